//! The resource policies of `docs/trustee`, in Rust.
//!
//! A policy text is taken when it is one of those files but for what stands in its tables: the rules are then
//! known, and are the ones below. That both say the same is shown by cases that either evaluates, here and with
//! Trustee's own engine in `tests/rego`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::request::ResourceRequest;

/// The files, and how many submodules each demands.
const FILES: [(&str, usize); 2] = [
    (include_str!("../../../../docs/trustee/passport.rego"), 1),
    (
        include_str!("../../../../docs/trustee/additional-evidence.rego"),
        2,
    ),
];

/// The names of the tables.
const TABLES: [&str; 3] = ["image_keys", "secrets", "tees"];

/// What a policy of `docs/trustee` grants.
#[derive(Debug, PartialEq, Eq)]
pub struct Grants {
    submods: usize,
    /// Path and digest.
    image_keys: BTreeSet<(String, String)>,
    secrets: BTreeSet<(String, String)>,
    tees: BTreeSet<String>,
}

impl Grants {
    /// The grants of a policy text. None when it is not one of the files with other tables.
    pub fn from_rego(text: &str) -> Option<Self> {
        let (rest, [image_keys, secrets, tees]) = tables(text)?;
        let is_file =
            |(file, _): &&(&str, usize)| tables(file).is_some_and(|(other, _)| other == rest);
        let (_, submods) = FILES.iter().find(is_file)?;
        Some(Self {
            submods: *submods,
            image_keys: serde_json::from_str(&image_keys).ok()?,
            secrets: serde_json::from_str(&secrets).ok()?,
            tees: serde_json::from_str(&tees).ok()?,
        })
    }

    /// Whether they allow a request.
    pub fn allow(&self, request: &ResourceRequest<'_>) -> bool {
        self.workload(request.claims)
            .is_some_and(|workload| self.admits(request.path, &workload))
    }

    fn admits(&self, path: &str, workload: &Map<String, Value>) -> bool {
        let entry = |name| {
            let digest = workload.get(name)?.as_str()?;
            Some((path.to_owned(), digest.to_owned()))
        };
        match workload.get("component_digest") {
            // A digest that is no text is in no table, and is one all the same.
            Some(value) if value != &Value::Bool(false) => {
                entry("component_digest").is_some_and(|entry| self.secrets.contains(&entry))
            }
            _ => entry("image_digest").is_some_and(|entry| self.image_keys.contains(&entry)),
        }
    }

    /// The workload of a token that counts.
    fn workload(&self, claims: &Value) -> Option<Map<String, Value>> {
        let submods = claims.get("submods")?.as_object()?;
        let cpu = submods.get("cpu0")?;
        let evidence = annotated(cpu)?;
        let counts = submods.len() == self.submods
            && cpu.get("ear.status")? == "affirming"
            && cpu.get("ear.appraisal-policy-id")? == "default"
            && self
                .tees
                .iter()
                .any(|tee| evidence.get(tee).is_some_and(Value::is_object));
        if !counts {
            return None;
        }
        let claims = evidence.get("runtime_data_claims")?;
        if self.submods == 1 {
            return claims.get("workload")?.as_object().cloned();
        }
        annotated(submods.get("gpu0")?)?
            .get("sampledevice")?
            .as_object()?;
        let text = claims.get("additional-evidence")?.as_str()?;
        let devices: Map<String, Value> = serde_json::from_str(text).ok()?;
        match (devices.len(), devices.get("sampledevice")) {
            (1, Some(device)) => device.get("workload")?.as_object().cloned(),
            _ => None,
        }
    }
}

fn annotated(submod: &Value) -> Option<&Value> {
    submod.get("ear.veraison.annotated-evidence")
}

/// The text without its tables and comments, and the tables as JSON lists.
fn tables(text: &str) -> Option<(String, [String; 3])> {
    let mut rest = String::new();
    let mut found: [Option<String>; 3] = [None, None, None];
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('#') {
            continue;
        }
        let begins = |name: &str| {
            let after = line.strip_prefix(name)?.strip_prefix(" := {")?;
            Some(after.to_owned())
        };
        let table = TABLES.iter().zip(&mut found);
        let table = table.filter_map(|(name, slot)| Some((begins(name)?, slot)));
        let Some((mut body, slot)) = table.into_iter().next() else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        while !body.ends_with('}') {
            body.push_str(lines.next()?);
        }
        let entries = body.strip_suffix('}')?.trim().trim_end_matches(',');
        *slot = Some(format!("[{entries}]"));
    }
    let [Some(image_keys), Some(secrets), Some(tees)] = found else {
        return None;
    };
    Some((rest, [image_keys, secrets, tees]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The cases that Trustee's engine evaluates too.
    const CASES: &str = include_str!("../../../rego/cases.json");

    #[test]
    fn the_files_are_known_whatever_is_in_their_tables() {
        for (file, submods) in FILES {
            let grants = Grants::from_rego(file).unwrap();
            assert_eq!((grants.submods, grants.tees.len()), (submods, 2));
            let empty = file.replace("tees := {\"snp\", \"tdx\"}", "tees := {\"snp\"}");
            assert_eq!(Grants::from_rego(&empty).unwrap().tees.len(), 1);
            let lax = file.replace("== \"affirming\"", "!= \"\"");
            assert_eq!(Grants::from_rego(&lax), None);
        }
        assert_eq!(Grants::from_rego("package policy"), None);
        assert_eq!(Grants::from_rego(""), None);
    }

    #[test]
    fn each_case_is_decided_as_it_says() {
        let cases: Value = serde_json::from_str(CASES).unwrap();
        let cases = cases.as_array().unwrap();
        assert!(cases.len() > 20);
        for case in cases {
            let text = |name: &str| case[name].as_str().unwrap();
            let file = FILES
                .iter()
                .find(|(file, _)| file.contains(&format!("component_bound = \"{}\"", text("way"))));
            let grants = Grants::from_rego(file.unwrap().0).unwrap();
            let request = ResourceRequest {
                path: text("path"),
                claims: &case["claims"],
            };
            assert_eq!(
                json!(grants.allow(&request)),
                case["allowed"],
                "{}",
                text("name")
            );
        }
    }
}
