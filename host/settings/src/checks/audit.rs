//! `[audit]`: where the audit log is written, and who may see all of it.

use std::collections::BTreeSet;

use proplet_jose::{jwe::MAX_RECIPIENTS, jwk::PublicKey};

use super::audit_export::checked_export;
use crate::{document, error::SettingsError, sections::Audit};

/// The smallest file that is worth its name.
const LEAST_FILE_BYTES: u64 = 64 * 1024;
/// One file.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

pub(crate) fn checked_audit(document: document::Audit) -> Result<Audit, SettingsError> {
    let wrong = |name, why: String| Err(SettingsError::value("audit", name, why));
    if document.path.is_none() {
        let without = [
            ("required", document.required),
            ("max_file_bytes", document.max_file_bytes.is_some()),
            ("max_bytes", document.max_bytes.is_some()),
            ("recipients", !document.recipients.is_empty()),
        ];
        if let Some((name, _)) = without.into_iter().find(|(_, is_set)| *is_set) {
            let why = "it is about files, and there is no place for them: set path too";
            return wrong(name, why.to_owned());
        }
        let copies = [
            ("export", document.export.is_some()),
            ("syslog", document.syslog.is_some()),
        ];
        if let Some((name, _)) = copies.into_iter().find(|(_, is_set)| *is_set) {
            let why = "what is exported is a copy of the files, and there are none: set path too";
            return wrong(name, why.to_owned());
        }
    }
    if document
        .path
        .as_ref()
        .is_some_and(|path| path.as_os_str().is_empty())
    {
        let why = "it is empty: name a folder, or leave it out";
        return wrong("path", why.to_owned());
    }
    let max_file_bytes = document.max_file_bytes.unwrap_or(FILE_BYTES);
    if max_file_bytes < LEAST_FILE_BYTES {
        let why = format!("must be at least {LEAST_FILE_BYTES}");
        return wrong("max_file_bytes", why);
    }
    let least = max_file_bytes.saturating_mul(2);
    if document.max_bytes.is_some_and(|most| most < least) {
        let why = format!(
            "must be at least {least}, twice max_file_bytes: files are removed whole, and not the one that is written"
        );
        return wrong("max_bytes", why);
    }
    Ok(Audit {
        path: document.path,
        max_file_bytes,
        max_bytes: document.max_bytes,
        required: document.required,
        export: checked_export(document.export.as_deref(), document.syslog.as_deref())?,
        recipients: recipients(&document.recipients)?,
    })
}

fn recipients(given: &[serde_json::Value]) -> Result<Vec<PublicKey>, SettingsError> {
    let wrong = |why: String| SettingsError::value("audit", "recipients", why);
    let keys = given
        .iter()
        .map(|jwk| PublicKey::from_jwk(jwk).map_err(|error| wrong(error.to_string())))
        .collect::<Result<Vec<_>, _>>()?;
    let distinct: BTreeSet<String> = keys.iter().map(PublicKey::thumbprint).collect();
    if distinct.len() != keys.len() || keys.len() > MAX_RECIPIENTS {
        return Err(wrong(format!("name at most {MAX_RECIPIENTS}, each once")));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use proplet_jose::jwk::PrivateKey;

    use super::*;
    use crate::{Settings, environment::Environment};

    fn parsed(text: &str) -> Result<Audit, String> {
        let text = format!("[audit]\n{text}");
        let settings = Settings::parse(Some(&text), &Environment::default());
        settings
            .map(|settings| settings.audit)
            .map_err(|error| error.to_string())
    }

    /// A key as it is written in a document.
    fn jwk() -> String {
        let jwk = PrivateKey::generate_x25519().unwrap().public().to_jwk();
        let member = |name: &str| jwk[name].as_str().unwrap().to_owned();
        format!(
            "{{ kty = \"OKP\", crv = \"X25519\", x = \"{}\" }}",
            member("x")
        )
    }

    #[test]
    fn nothing_is_written_and_nobody_held_up_unless_the_document_says_so() {
        let audit = parsed("").unwrap();
        assert_eq!((audit.path, audit.max_bytes), (None, None));
        assert_eq!(audit.export, None);
        assert!(!audit.required && audit.recipients.is_empty());
        let audit = parsed("path = \"/var/lib/proplet/audit\"").unwrap();
        assert_eq!(audit.max_file_bytes, FILE_BYTES);
        let all = format!(
            "path = \"/a\"\nmax_file_bytes = 65536\nmax_bytes = 131072\nrequired = true\nrecipients = [{}, {}]",
            jwk(),
            jwk()
        );
        let audit = parsed(&all).unwrap();
        assert_eq!(
            (audit.max_file_bytes, audit.max_bytes),
            (65_536, Some(131_072))
        );
        assert!(audit.required && audit.recipients.len() == 2);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let path = "path = \"/a\"\n";
        let key = jwk();
        for (text, words) in [
            ("required = true".to_owned(), "set path too"),
            ("max_bytes = 1000000000".to_owned(), "set path too"),
            ("max_file_bytes = 1000000".to_owned(), "set path too"),
            (format!("recipients = [{key}]"), "set path too"),
            ("export = \"journald\"".to_owned(), "set path too"),
            ("syslog = \"unix:/dev/log\"".to_owned(), "set path too"),
            ("path = \"\"".to_owned(), "it is empty"),
            (format!("{path}max_file_bytes = 65535"), "at least 65536"),
            (format!("{path}max_bytes = 134217727"), "at least 134217728"),
            (format!("{path}recipients = [{key}, {key}]"), "each once"),
            (
                format!("{path}recipients = [{{ kty = \"oct\" }}]"),
                "recipients",
            ),
            (format!("{path}retain = 1"), "retain"),
        ] {
            let error = parsed(&text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
