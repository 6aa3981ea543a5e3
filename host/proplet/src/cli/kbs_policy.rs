//! The resource policy for a key broker that is told which component asks: a file of `docs/trustee` whose tables
//! admit one image to its key and one component to its secrets.

use std::fmt::Write as _;

use proplet_component::policy::{Policy, Recipients};
use proplet_types::{Digest, ResourceUri};

use super::arguments::{KbsPolicyWay, PolicyTee};

const PASSPORT: &str = include_str!("../../../../docs/trustee/passport.rego");
const ADDITIONAL_EVIDENCE: &str = include_str!("../../../../docs/trustee/additional-evidence.rego");

/// What is granted to whom.
pub(super) struct Granted<'a> {
    pub(super) key_id: &'a ResourceUri,
    pub(super) image: Digest,
    /// What the component's policy names.
    pub(super) resources: &'a [ResourceUri],
    pub(super) component: Digest,
    /// The TEEs whose evidence counts; all of them when empty.
    pub(super) tees: &'a [PolicyTee],
}

/// The resources that a component with this policy asks for: its secrets, and the recipients of its results.
pub(super) fn resources(policy: &Policy) -> Vec<ResourceUri> {
    let secrets = policy.secrets.iter().map(|secret| secret.uri.clone());
    let recipients = match &policy.recipients {
        Recipients::Resource(uri) => Some(uri.clone()),
        Recipients::Unnamed | Recipients::Keys(_) => None,
    };
    secrets.chain(recipients).collect()
}

/// The policy's text.
pub(super) fn text(way: KbsPolicyWay, granted: &Granted<'_>) -> String {
    let file = match way {
        KbsPolicyWay::Passport => PASSPORT,
        KbsPolicyWay::AdditionalEvidence => ADDITIONAL_EVIDENCE,
    };
    let text = with_table(file, "image_keys", [granted.key_id], granted.image);
    let text = with_table(&text, "secrets", granted.resources, granted.component);
    if granted.tees.is_empty() {
        return text;
    }
    let tees: Vec<String> = granted
        .tees
        .iter()
        .map(|tee| format!("\"{tee}\""))
        .collect();
    let line = format!("tees := {{{}}}", tees.join(", "));
    text.replace("tees := {\"snp\", \"tdx\"}", &line)
}

/// The text with other lines in a table. A file without that table keeps what it has, which admits nobody.
fn with_table<'a>(
    text: &str,
    name: &str,
    paths: impl IntoIterator<Item = &'a ResourceUri>,
    digest: Digest,
) -> String {
    let begin = format!("\n{name} := {{\n");
    let Some((before, rest)) = text.split_once(&begin) else {
        return text.to_owned();
    };
    let Some((_, after)) = rest.split_once("\n}\n") else {
        return text.to_owned();
    };
    let mut lines = String::new();
    for uri in paths {
        // A path has no characters that a text in Rego would escape. Writing to a string cannot fail.
        let _ = writeln!(lines, "\t[\"{}\", \"{digest}\"],", uri.path());
    }
    // `{}` alone would be an object, which has no entries either, but is not what the rules speak of.
    if lines.is_empty() {
        return format!("{before}\n{name} := set()\n{after}");
    }
    format!("{before}{begin}{lines}}}\n{after}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn uri(text: &str) -> ResourceUri {
        text.parse().unwrap()
    }

    fn printed(way: KbsPolicyWay, policy: &str, tees: &[PolicyTee]) -> String {
        let policy = Policy::parse(format!("version = 1\n{policy}").as_bytes()).unwrap();
        text(
            way,
            &Granted {
                key_id: &uri("kbs:///alice/key/module"),
                image: Digest::of(b"image"),
                resources: &resources(&policy),
                component: Digest::of(b"component"),
                tees,
            },
        )
    }

    const SECRETS: &str = "recipients_resource = \"kbs:///alice/readers/set\"\n\
                           [[secrets]]\nuri = \"kbs:///alice/data/secret\"\n";

    /// `tests/rego` evaluates these texts with Trustee's engine.
    #[test]
    fn the_printed_policies_are_those_that_are_tried() {
        let ways = [KbsPolicyWay::Passport, KbsPolicyWay::AdditionalEvidence];
        let now: Vec<Value> = ways
            .iter()
            .map(|way| {
                json!({
                    "way": way.to_string(),
                    "image_digest": Digest::of(b"image"),
                    "component_digest": Digest::of(b"component"),
                    "policy": printed(*way, SECRETS, &[PolicyTee::Snp]),
                })
            })
            .collect();
        let tried: Value =
            serde_json::from_str(include_str!("../../../../tests/rego/printed.json")).unwrap();
        let now = Value::Array(now);
        assert!(
            now == tried,
            "write this to tests/rego/printed.json:\n{now:#}"
        );
    }

    #[test]
    fn the_tables_hold_this_image_and_this_component_and_nothing_else() {
        for way in [KbsPolicyWay::Passport, KbsPolicyWay::AdditionalEvidence] {
            let text = printed(way, SECRETS, &[]);
            let (image, component) = (Digest::of(b"image"), Digest::of(b"component"));
            for line in [
                format!("\t[\"alice/key/module\", \"{image}\"],\n"),
                format!("\t[\"alice/data/secret\", \"{component}\"],\n"),
                format!("\t[\"alice/readers/set\", \"{component}\"],\n"),
                "tees := {\"snp\", \"tdx\"}\n".to_owned(),
            ] {
                assert!(text.contains(&line), "{line} in {text}");
            }
            assert_eq!(text.matches("sha256:").count(), 3, "{text}");
            let none = printed(way, "", &[PolicyTee::Tdx]);
            assert!(none.contains("\nsecrets := set()\n"), "{none}");
            assert!(none.contains("\ntees := {\"tdx\"}\n"), "{none}");
        }
    }
}
