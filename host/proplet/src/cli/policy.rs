//! Policies: checked, shown, and completed with recipients.

use std::path::{Path, PathBuf};

use proplet_component::policy::{MAX_POLICY_BYTES, Policy, Recipients};
use proplet_jose::{jwk::PublicKey, keyfile};
use proplet_types::{
    Code, Digest, HOST_CREDENTIAL_TYPE, ImageKeyTypes, is_host_credential, text::line,
};
use serde_json::{Value, json};

use super::{arguments::PolicyCheck, console::Console, error::CliError, files};

/// `proplet policy check`: says what a policy grants.
pub(super) fn check(arguments: &PolicyCheck, console: &mut Console<'_>) -> Result<(), CliError> {
    let (text, policy) = read(&arguments.policy)?;
    keep_apart(&policy, &arguments.types.image_key_types)
        .map_err(|words| CliError::input("policy", &arguments.policy, words))?;
    let digest = Digest::of(text.as_bytes());
    if console.json {
        console.value(&json!({"policy_digest": digest, "policy": to_json(&policy)}))?;
    } else {
        console.text(&format!("policy      {digest}\n{}", to_text(&policy)))?;
    }
    Ok(())
}

/// The text of the policy that goes into a component: the file as it is, or, when recipients come on top,
/// the same values written anew. None when neither is given.
pub(super) fn compose(
    file: Option<&Path>,
    recipients: &[PathBuf],
) -> Result<Option<String>, CliError> {
    let given = file.map(read).transpose()?;
    let added = read_recipients(recipients)?;
    let Some((text, policy)) = given else {
        if added.is_empty() {
            return Ok(None);
        }
        return rewritten("version = 1", added).map(Some);
    };
    if added.is_empty() {
        return Ok(Some(text));
    }
    let file = file.unwrap_or(Path::new("policy"));
    let mut all = match &policy.recipients {
        Recipients::Unnamed => Vec::new(),
        Recipients::Keys(keys) => keys.clone(),
        Recipients::Resource(uri) => {
            return Err(CliError::input(
                "policy",
                file,
                format!("its recipients are those of {uri}: leave out --recipient, or that line"),
            ));
        }
    };
    for key in added {
        let listed = |jwk| PublicKey::from_jwk(jwk).is_ok_and(|public| public.to_jwk() == key);
        if !all.iter().any(listed) {
            all.push(key);
        }
    }
    rewritten(&text, all).map(Some)
}

/// Refuses a policy that asks for a key that decrypts images: no host gives one to a component.
pub(super) fn keep_apart(policy: &Policy, types: &ImageKeyTypes) -> Result<(), String> {
    let secrets = policy.secrets.iter().map(|secret| ("secrets", &secret.uri));
    let recipients = match &policy.recipients {
        Recipients::Resource(uri) => Some(("recipients_resource", uri)),
        Recipients::Unnamed | Recipients::Keys(_) => None,
    };
    for (field, uri) in secrets.chain(recipients) {
        if is_host_credential(uri) {
            return Err(format!(
                "`{field}`: {uri} cannot be given: resources of type {HOST_CREDENTIAL_TYPE} are credentials of \
                 hosts; put it under another type"
            ));
        }
        if !types.may_be_given(uri) {
            return Err(format!(
                "`{field}`: {uri} cannot be given: resources of type {types} decrypt images; put it \
                 under another type, or give --image-key-types as the hosts' settings have it"
            ));
        }
    }
    Ok(())
}

/// A policy for people.
pub(super) fn to_text(policy: &Policy) -> String {
    let mut text = String::new();
    for secret in &policy.secrets {
        let reveal = if secret.reveal {
            ", which it may see"
        } else {
            ""
        };
        text.push_str(&format!("  secret    {}{reveal}\n", secret.uri));
    }
    match &policy.recipients {
        Recipients::Unnamed => {
            text.push_str("  recipient whoever the host's settings name\n");
        }
        Recipients::Resource(uri) => {
            text.push_str(&format!("  recipient as {uri} says\n"));
        }
        Recipients::Keys(keys) => {
            for key in keys {
                text.push_str(&format!("  recipient {}\n", thumbprint(key)));
            }
        }
    }
    match &policy.exports {
        None => text.push_str("  export    the default one only\n"),
        Some(exports) => {
            for export in exports {
                text.push_str(&format!("  export    {}\n", line(export)));
            }
        }
    }
    for host in &policy.hosts {
        text.push_str(&format!("  host      {}\n", line(host)));
    }
    if policy.metrics {
        text.push_str("  metrics   shown to whoever starts a task, while it runs\n");
    }
    for (name, value) in limits(policy) {
        text.push_str(&format!("  limit     {name} = {value}\n"));
    }
    text
}

/// A policy for programs.
pub(super) fn to_json(policy: &Policy) -> Value {
    let secrets: Vec<Value> = policy
        .secrets
        .iter()
        .map(|secret| json!({"uri": secret.uri, "reveal": secret.reveal}))
        .collect();
    let (recipients, resource) = match &policy.recipients {
        Recipients::Unnamed => (Value::Null, Value::Null),
        Recipients::Keys(keys) => (keys.iter().map(thumbprint).collect(), Value::Null),
        Recipients::Resource(uri) => (Value::Null, uri.to_string().into()),
    };
    let limits: serde_json::Map<_, _> = limits(policy)
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    json!({
        "secrets": secrets,
        "recipients": recipients,
        "recipients_resource": resource,
        "exports": policy.exports,
        "hosts": policy.hosts,
        "metrics": policy.metrics,
        "limits": limits,
    })
}

fn limits(policy: &Policy) -> impl Iterator<Item = (&'static str, u64)> {
    let limits = &policy.limits;
    [
        ("memory_bytes", limits.memory_bytes),
        ("wall_clock_ms", limits.wall_clock_ms),
        ("cpu_ms", limits.cpu_ms),
        ("output_bytes", limits.output_bytes),
        ("handles", limits.handles.map(u64::from)),
        ("evidence_quota", limits.evidence_quota.map(u64::from)),
        ("secret_quota", limits.secret_quota.map(u64::from)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

fn thumbprint(jwk: &Value) -> String {
    match PublicKey::from_jwk(jwk) {
        Ok(key) => key.thumbprint(),
        Err(error) => format!("unusable: {error}"),
    }
}

/// The policy in a file: its text and its meaning. Recipients are read too, because the host would
/// otherwise refuse the component only when it is first run.
fn read(path: &Path) -> Result<(String, Policy), CliError> {
    let text = files::read_text("policy", path, MAX_POLICY_BYTES as u64)?;
    let refused = |error: &dyn std::fmt::Display| CliError::input("policy", path, error);
    let policy = Policy::parse(text.as_bytes()).map_err(|error| refused(&error))?;
    if let Recipients::Keys(keys) = &policy.recipients {
        for key in keys {
            PublicKey::from_jwk(key).map_err(|error| refused(&error))?;
        }
    }
    Ok((text.to_string(), policy))
}

fn read_recipients(paths: &[PathBuf]) -> Result<Vec<Value>, CliError> {
    let mut keys: Vec<Value> = Vec::new();
    for path in paths {
        let file = files::read("recipient", path, files::MAX_KEY_BYTES)?;
        let read = keyfile::public_keys(&file);
        for key in read.map_err(|error| CliError::input("recipient", path, error))? {
            let jwk = key.to_jwk();
            if !keys.contains(&jwk) {
                keys.push(jwk);
            }
        }
    }
    Ok(keys)
}

fn rewritten(policy: &str, recipients: Vec<Value>) -> Result<String, CliError> {
    let failed = |error: &dyn std::fmt::Display| {
        CliError::new(
            Code::Internal,
            format!("the policy cannot be written: {error}"),
        )
    };
    let mut table: toml::Table =
        toml::from_str(policy).map_err(|error| failed(&error.message()))?;
    let recipients = toml::Value::try_from(recipients).map_err(|error| failed(&error))?;
    table.insert("recipients".to_owned(), recipients);
    toml::to_string(&table).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use proplet_jose::jwk::PrivateKey;

    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        }

        fn key(&self, name: &str) -> (PathBuf, Value) {
            let jwk = PrivateKey::generate_p256().unwrap().public().to_jwk();
            (self.write(name, &jwk.to_string()), jwk)
        }
    }

    fn recipients(text: &str) -> Vec<Value> {
        match Policy::parse(text.as_bytes()).unwrap().recipients {
            Recipients::Keys(keys) => keys,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_policy_alone_stays_as_it_is() {
        let files = Files::new();
        let text = "# mine\nversion = 1\n";
        let policy = files.write("policy.toml", text);
        assert_eq!(compose(Some(&policy), &[]).unwrap().unwrap(), text);
        assert_eq!(compose(None, &[]).unwrap(), None);
    }

    #[test]
    fn recipients_are_added_once() {
        let files = Files::new();
        let (one_file, one) = files.key("1");
        let (two_file, two) = files.key("2");
        let text = compose(None, std::slice::from_ref(&one_file))
            .unwrap()
            .unwrap();
        assert_eq!(recipients(&text), std::slice::from_ref(&one));

        let text = format!("exports = [\"run\"]\n{text}\n[limits]\ncpu_ms = 5\n");
        let policy = files.write("policy.toml", &text.replace("[[", "\n[["));
        let text = std::fs::read_to_string(&policy).unwrap();
        Policy::parse(text.as_bytes()).unwrap();
        let text = compose(Some(&policy), &[one_file, two_file])
            .unwrap()
            .unwrap();
        assert_eq!(recipients(&text), [one, two]);
        let policy = Policy::parse(text.as_bytes()).unwrap();
        assert_eq!(policy.exports, Some(vec!["run".to_owned()]));
        assert_eq!(policy.limits.cpu_ms, Some(5));
    }

    #[test]
    fn recipients_of_a_resource_are_not_mixed_with_others() {
        let files = Files::new();
        let (key, _) = files.key("1");
        let text = "version = 1\nrecipients_resource = \"kbs:///default/keys/readers\"\n";
        let policy = files.write("policy.toml", text);
        let error = compose(Some(&policy), &[key]).unwrap_err();
        assert!(error.words().contains("leave out --recipient"), "{error:?}");
    }

    #[test]
    fn private_keys_and_bad_policies_are_refused() {
        let files = Files::new();
        let private = PrivateKey::generate_p256().unwrap().to_jwk();
        let private = files.write("private", &private);
        let error = compose(None, &[private]).unwrap_err();
        assert!(error.words().contains("a private key"), "{error:?}");
        let policy = files.write("policy.toml", "version = 1\nsecret = []\n");
        let error = compose(Some(&policy), &[]).unwrap_err();
        assert!(error.words().contains("policy.toml"), "{error:?}");
    }
}
