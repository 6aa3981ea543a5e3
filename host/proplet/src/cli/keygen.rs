//! `proplet keygen`: a key pair that results can be sealed to.

use std::path::{Path, PathBuf};

use proplet_jose::jwk::PrivateKey;
use proplet_types::Code;
use serde_json::json;

use super::{
    arguments::{Algorithm, Keygen},
    console::Console,
    error::CliError,
    files,
};

/// The private key goes to a new file, the public one beside it and to standard output.
pub(super) fn run(arguments: &Keygen, console: &mut Console<'_>) -> Result<(), CliError> {
    let private_file = &arguments.out;
    let public_file = beside(private_file);
    if public_file.exists() {
        return Err(CliError::output(
            &public_file,
            &std::io::ErrorKind::AlreadyExists.into(),
        ));
    }
    let key = match arguments.algorithm {
        Algorithm::P256 => PrivateKey::generate_p256(),
        Algorithm::X25519 => PrivateKey::generate_x25519(),
    }
    .map_err(|error| CliError::new(Code::Keygen, format!("no key was made: {error}")))?;
    let public = key.public().to_jwk();
    files::write_secret(private_file, key.to_jwk().as_bytes())?;
    files::write_public(&public_file, format!("{public}\n").as_bytes())?;

    let thumbprint = key.public().thumbprint();
    if console.json {
        console.value(&json!({
            "public": public,
            "thumbprint": thumbprint,
            "private_file": private_file,
            "public_file": public_file,
        }))?;
    } else {
        console.text(&public.to_string())?;
        console.note(&format!("thumbprint   {thumbprint}"));
        console.note(&format!(
            "private key  {}: keep it secret",
            private_file.display()
        ));
        console.note(&format!("public key   {}", public_file.display()));
    }
    Ok(())
}

fn beside(private_file: &Path) -> PathBuf {
    let mut name = private_file.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}
