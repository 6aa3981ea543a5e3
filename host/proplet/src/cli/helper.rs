//! Credential helpers: the programs in which people keep their passwords, asked as docker asks them.
//!
//! The daemon never comes here. A command does, for the registry that was typed, when the credentials
//! file that was typed leaves that registry to a helper. The program is looked for in the absolute
//! folders of `PATH`, gets the registry's name and nothing else, and is ended when it takes too long or
//! says too much.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use proplet_image::{Credentials, Helper, HelperAnswer, ImageReference};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};
use zeroize::Zeroizing;

use super::{context::Context, error::CliError};

/// How long a helper may take. It may ask its owner for a passphrase.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Credentials in which the registry of this reference is left to nobody.
pub(super) async fn resolve(
    credentials: Credentials,
    reference: &ImageReference,
    context: &Context,
) -> Result<Credentials, CliError> {
    let registry = reference.registry();
    let Some(helper) = credentials.helper(registry, reference.repository()) else {
        return Ok(credentials);
    };
    let name = helper.program()?;
    let program = context
        .program_path
        .as_deref()
        .and_then(|path| find(&name, path));
    let Some(program) = program else {
        let why = format!(
            "there is no program {name} in PATH; install it, or put a name and a password for this \
             registry into the credentials file"
        );
        return Err(helper.refuse(&why).into());
    };
    match ask(&helper, &program, PATIENCE).await? {
        HelperAnswer::Credential(credential) => Ok(credentials.resolve(registry, Some(credential))),
        HelperAnswer::NotFound => Ok(credentials.resolve(registry, None)),
    }
}

fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

async fn ask(
    helper: &Helper,
    program: &Path,
    patience: Duration,
) -> Result<HelperAnswer, CliError> {
    let failed = |error: std::io::Error| helper.refuse(&format!("it does not run: {error}"));
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Its words for its owner come on the terminal itself; anything else would pass by our own.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
        return Err(helper.refuse("it has no input or output").into());
    };
    let asked = async {
        // One that ends without reading has said why.
        let _ = stdin.write_all(helper.server().as_bytes()).await;
        drop(stdin);
        // With room for all of it the buffer does not move, and moving leaves a copy behind.
        let limit = MAX_ANSWER_BYTES + 1;
        let mut answer = Zeroizing::new(Vec::with_capacity(limit));
        let mut stdout = stdout.take(limit as u64);
        stdout.read_to_end(&mut answer).await.map_err(failed)?;
        if answer.len() == limit {
            return Err(helper.refuse("its answer is too long"));
        }
        let status = child.wait().await.map_err(failed)?;
        helper.answer(status.success(), &answer)
    };
    match tokio::time::timeout(patience, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            let why = format!("it did not answer within {} s", patience.as_secs());
            Err(helper.refuse(&why).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn helper() -> Helper {
        let json = br#"{"credHelpers":{"registry.example":"test"}}"#;
        let credentials = Credentials::from_docker_config(json).unwrap();
        credentials.helper("registry.example", "a").unwrap()
    }

    #[tokio::test]
    async fn one_that_never_ends_is_ended() {
        // `yes get` reads nothing and writes for as long as somebody reads.
        let error = ask(&helper(), Path::new("/usr/bin/yes"), PATIENCE).await;
        let error = error.unwrap_err();
        assert!(error.words().contains("too long"), "{error:?}");
        let silent = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/helper/silent");
        let patience = Duration::from_millis(50);
        let error = ask(&helper(), Path::new(silent), patience).await;
        let error = error.unwrap_err();
        assert!(error.words().contains("did not answer"), "{error:?}");
    }

    #[test]
    fn programs_are_looked_for_in_absolute_folders() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("docker-credential-test"), "").unwrap();
        let here = folder.path().as_os_str();
        assert!(find("docker-credential-test", here).is_some());
        assert!(find("docker-credential-other", here).is_none());
        assert!(find("src", OsStr::new(".:")).is_none());
        assert!(
            find("tmp", OsStr::new("/")).is_none(),
            "a folder is no program"
        );
    }
}
