//! The policy of a run: the author's, with the run's own reader in it.

use std::path::{Path, PathBuf};

use proplet_component::policy::{MAX_POLICY_BYTES, Policy, PolicyError, Recipients};
use proplet_jose::jwk::PublicKey;
use proplet_types::ResourceUri;
use toml::{Table, Value};

/// What the command line asks for.
pub struct Asked<'a> {
    /// Resources that were given to the key broker.
    pub secrets: &'a [&'a ResourceUri],
    /// The export to invoke.
    pub invoke: Option<&'a str>,
    /// Who will open the result.
    pub reader: &'a PublicKey,
}

/// A policy that is ready to go into the component.
pub struct Composed {
    /// TOML.
    pub text: String,
    /// Where at the key broker its secrets are, and so where the image's key must be.
    pub repository: Option<String>,
    /// What the author should know about it.
    pub notes: Vec<String>,
}

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The file cannot be read.
    #[error("cannot read policy {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The policy is not valid.
    #[error("policy {}: {source}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PolicyError,
    },
    /// The policy cannot be written anew.
    #[error("the policy cannot be completed: {0}")]
    Rewrite(String),
    /// Secrets in several repositories.
    #[error(
        "the secrets are in the repositories {0}, and a component reaches only one: that of the key \
         that decrypts it"
    )]
    Repositories(String),
}

/// Reads the author's policy, or makes one, and puts the run's reader into it.
pub fn compose(file: Option<&Path>, asked: &Asked<'_>) -> Result<Composed, ComposeError> {
    let mut notes = Vec::new();
    let (policy, mut table) = match file {
        Some(path) => read(path)?,
        None => (Policy::default(), made(asked, &mut notes)),
    };
    match policy.recipients {
        Recipients::Unnamed => {}
        Recipients::Keys(_) => notes.push(
            "the policy's recipients are replaced by a key of this run, which opens the result"
                .to_owned(),
        ),
        Recipients::Resource(uri) => {
            table.remove("recipients_resource");
            notes.push(format!(
                "recipients_resource {uri} is replaced by a key of this run, which opens the result"
            ));
        }
    }
    let jwk = Value::try_from(asked.reader.to_jwk()).map_err(rewrite)?;
    table.insert("recipients".to_owned(), Value::Array(vec![jwk]));
    let named: Vec<&ResourceUri> = policy.secrets.iter().map(|secret| &secret.uri).collect();
    if file.is_some() {
        notes.extend(differences(&named, asked.secrets));
    }
    Ok(Composed {
        text: toml::to_string(&table).map_err(rewrite)?,
        repository: repository(&named, asked.secrets)?,
        notes,
    })
}

fn read(path: &Path) -> Result<(Policy, Table), ComposeError> {
    let read = |source| ComposeError::Read {
        path: path.to_owned(),
        source,
    };
    let invalid = |source| ComposeError::Invalid {
        path: path.to_owned(),
        source,
    };
    let length = std::fs::metadata(path).map_err(read)?.len();
    if length > MAX_POLICY_BYTES as u64 {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        return Err(invalid(PolicyError::TooLarge(length)));
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    let policy = Policy::parse(text.as_bytes()).map_err(invalid)?;
    Ok((policy, text.parse().map_err(rewrite)?))
}

/// A policy for somebody who gave none: it grants what the command line gave.
fn made(asked: &Asked<'_>, notes: &mut Vec<String>) -> Table {
    let mut table = Table::from_iter([("version".to_owned(), Value::Integer(1))]);
    if let Some(export) = asked.invoke {
        table.insert("exports".to_owned(), Value::Array(vec![export.into()]));
    }
    let secrets: Vec<Value> = asked
        .secrets
        .iter()
        .map(|uri| {
            Value::Table(Table::from_iter([
                ("uri".to_owned(), uri.to_string().into()),
                ("reveal".to_owned(), true.into()),
            ]))
        })
        .collect();
    if !secrets.is_empty() {
        table.insert("secrets".to_owned(), Value::Array(secrets));
        notes.push(
            "without --policy the component may see every --secret; write a policy before you encrypt it"
                .to_owned(),
        );
    }
    table
}

/// Secrets that only one side knows.
fn differences(named: &[&ResourceUri], given: &[&ResourceUri]) -> Vec<String> {
    let absent = named.iter().filter(|uri| !given.contains(uri)).map(|uri| {
        format!("the policy names {uri}, and the key broker has none: give --secret {uri}=FILE")
    });
    let ungranted = given
        .iter()
        .filter(|uri| !named.contains(uri))
        .map(|uri| format!("the policy does not name {uri}, so the component cannot ask for it"));
    absent.chain(ungranted).collect()
}

/// The one repository of all secrets.
fn repository(
    named: &[&ResourceUri],
    given: &[&ResourceUri],
) -> Result<Option<String>, ComposeError> {
    let mut all: Vec<&str> = named
        .iter()
        .chain(given)
        .map(|uri| uri.repository())
        .collect();
    all.sort_unstable();
    all.dedup();
    if all.len() > 1 {
        return Err(ComposeError::Repositories(all.join(" and ")));
    }
    Ok(all.pop().map(str::to_owned))
}

fn rewrite(error: impl std::fmt::Display) -> ComposeError {
    ComposeError::Rewrite(error.to_string())
}

#[cfg(test)]
mod tests {
    use proplet_jose::jwk::PrivateKey;

    use super::*;

    fn composed(policy: Option<&str>, secrets: &[&str]) -> Result<Composed, ComposeError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        if let Some(policy) = policy {
            std::fs::write(&path, policy).unwrap();
        }
        let secrets: Vec<ResourceUri> = secrets.iter().map(|uri| uri.parse().unwrap()).collect();
        let reader = PrivateKey::generate_p256().unwrap();
        let asked = Asked {
            secrets: &secrets.iter().collect::<Vec<_>>(),
            invoke: Some("add"),
            reader: reader.public(),
        };
        let composed = compose(policy.map(|_| path.as_path()), &asked)?;
        let policy = Policy::parse(composed.text.as_bytes()).unwrap();
        let expected = Recipients::Keys(vec![reader.public().to_jwk()]);
        assert_eq!(
            policy.recipients, expected,
            "the run's reader and nobody else"
        );
        Ok(composed)
    }

    #[test]
    fn without_a_policy_every_secret_may_be_seen() {
        let made = composed(None, &["kbs:///alice/data/x"]).unwrap();
        let policy = Policy::parse(made.text.as_bytes()).unwrap();
        assert!(policy.secrets[0].reveal);
        assert_eq!(policy.exports.unwrap(), ["add"]);
        assert_eq!(made.repository.unwrap(), "alice");
        assert_eq!(made.notes.len(), 1);
        assert!(composed(None, &[]).unwrap().notes.is_empty());
    }

    #[test]
    fn the_authors_policy_stays_but_for_its_readers() {
        let text = "version = 1\nexports = [\"other\"]\nrecipients_resource = \"kbs:///a/b/c\"\n\
                    [limits]\nhandles = 7\n[[secrets]]\nuri = \"kbs:///a/data/x\"\n";
        let composed = composed(Some(text), &["kbs:///a/data/y"]).unwrap();
        let policy = Policy::parse(composed.text.as_bytes()).unwrap();
        assert_eq!(policy.limits.handles, Some(7));
        assert_eq!(policy.exports.unwrap(), ["other"]);
        assert!(!policy.secrets[0].reveal);
        let notes = composed.notes.join("\n");
        for word in [
            "recipients_resource",
            "--secret kbs:///a/data/x=FILE",
            "does not name kbs:///a/data/y",
        ] {
            assert!(notes.contains(word), "{word}: {notes}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let two = composed(None, &["kbs:///a/data/x", "kbs:///b/data/x"]);
        assert!(matches!(two, Err(ComposeError::Repositories(_))));
        let invalid = composed(Some("version = 2"), &[]);
        assert!(matches!(invalid, Err(ComposeError::Invalid { .. })));
        let large = "#".repeat(MAX_POLICY_BYTES + 1);
        assert!(matches!(
            composed(Some(&large), &[]),
            Err(ComposeError::Invalid { .. })
        ));
    }
}
