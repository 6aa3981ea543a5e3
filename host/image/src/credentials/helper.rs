//! What a credential helper is asked, and what it answers (the `get` of docker's credential helper
//! protocol). The program itself is run by whoever may run programs.

use serde::Deserialize;
use zeroize::Zeroizing;

use super::credential::Credential;
use crate::error::ImageError;

/// What every helper's program is called, before its own name.
const PROGRAM: &str = "docker-credential-";
/// The words of a helper that has no credential for a registry.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The name that says that the secret is an identity token.
const IDENTITY_TOKEN: &str = "<token>";
/// The longest name of a helper.
const MAX_NAME_CHARS: usize = 64;

/// A helper that a credentials file names for a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helper {
    name: String,
    server: String,
}

/// What a helper said.
#[derive(Debug, Clone)]
pub enum HelperAnswer {
    /// The credential.
    Credential(Credential),
    /// It has none for this registry.
    NotFound,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: Zeroizing<String>,
}

impl Helper {
    pub(super) fn new(name: &str, registry: &str) -> Self {
        let server = match super::key::of_registry(registry).as_str() {
            "docker.io" => "https://index.docker.io/v1/".to_owned(),
            _ => registry.to_owned(),
        };
        Self {
            name: name.to_owned(),
            server,
        }
    }

    /// The program to look for in `PATH`. Its argument is `get`.
    ///
    /// # Errors
    /// [`ImageError::Settings`] for a name that could mean another file than one in `PATH`.
    pub fn program(&self) -> Result<String, ImageError> {
        let fits = (1..=MAX_NAME_CHARS).contains(&self.name.len())
            && self
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !fits {
            return Err(self.refuse("its name is not one of a program"));
        }
        Ok(format!("{PROGRAM}{}", self.name))
    }

    /// What the program reads from its standard input.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Reads what the program wrote to its standard output before it ended, well or not.
    ///
    /// # Errors
    /// [`ImageError::Settings`], naming the helper, when it failed or its answer cannot be read.
    pub fn answer(&self, success: bool, stdout: &[u8]) -> Result<HelperAnswer, ImageError> {
        if !success {
            let words = String::from_utf8_lossy(stdout);
            return match words.trim() {
                NOT_FOUND => Ok(HelperAnswer::NotFound),
                // Words are for people, JSON could be a credential.
                words if words.is_empty() || words.contains('{') => Err(self.refuse("it failed")),
                words => Err(self.refuse(&format!(
                    "it failed: {}",
                    words.lines().next().map(short).unwrap_or_default()
                ))),
            };
        }
        let answer: Answer = serde_json::from_slice(stdout)
            .map_err(|_| self.refuse("its answer is not that of a credential helper"))?;
        if answer.secret.is_empty() {
            return Err(self.refuse("its answer has no secret"));
        }
        Ok(HelperAnswer::Credential(
            if answer.username == IDENTITY_TOKEN {
                Credential::Identity(answer.secret)
            } else {
                Credential::Basic {
                    username: answer.username,
                    password: answer.secret,
                }
            },
        ))
    }

    /// An error about this helper.
    #[must_use]
    pub fn refuse(&self, why: &str) -> ImageError {
        ImageError::Settings {
            why: format!(
                "credential helper {:?} for {}: {why}",
                short(&self.name),
                self.server
            ),
        }
    }
}

pub(super) fn short(name: &str) -> String {
    name.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn helper() -> Helper {
        Helper::new("pass", "r.example:5000")
    }

    #[test]
    fn docker_hub_is_asked_for_by_its_old_address() {
        assert_eq!(
            Helper::new("x", "docker.io").server(),
            "https://index.docker.io/v1/"
        );
        assert_eq!(helper().server(), "r.example:5000");
        assert_eq!(helper().program().unwrap(), "docker-credential-pass");
    }

    #[test]
    fn names_that_are_paths_are_refused() {
        for name in ["", "../x", "a/b", "a b", "a\0", "a;b", &"a".repeat(65)] {
            let error = Helper::new(name, "r.example").program().unwrap_err();
            assert!(error.to_string().contains("r.example"), "{error}");
        }
    }

    #[test]
    fn answers_are_credentials_tokens_or_nothing() {
        let answer = |success, text: &str| helper().answer(success, text.as_bytes());
        let basic = r#"{"ServerURL":"r.example:5000","Username":"u","Secret":"hunter2"}"#;
        assert!(matches!(
            answer(true, basic).unwrap(),
            HelperAnswer::Credential(Credential::Basic { username, password })
                if username == "u" && *password == "hunter2"
        ));
        let token = r#"{"Username":"<token>","Secret":"hunter2"}"#;
        assert!(matches!(
            answer(true, token).unwrap(),
            HelperAnswer::Credential(Credential::Identity(token)) if *token == "hunter2"
        ));
        let none = "credentials not found in native keychain\n";
        assert!(matches!(
            answer(false, none).unwrap(),
            HelperAnswer::NotFound
        ));
    }

    #[test]
    fn failures_name_the_helper_and_tell_no_secret() {
        for (success, text, words) in [
            (false, "gpg: no secret key\nmore", "gpg: no secret key"),
            (false, r#"{"Username":"u","Secret":"hunter2"}"#, "it failed"),
            (false, "", "it failed"),
            (true, "", "not that of a credential helper"),
            (true, r#"{"Username":"u","Secret":""}"#, "no secret"),
            (true, r#"{"Username":"u","Secret":5}"#, "not that of"),
            (true, r#"{"Secret":"hunter2","Username":1}"#, "not that of"),
        ] {
            let error = helper().answer(success, text.as_bytes()).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains(words) && error.contains("\"pass\""),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(success: bool, bytes: Vec<u8>) {
            let _ = helper().answer(success, &bytes);
        }
    }
}
