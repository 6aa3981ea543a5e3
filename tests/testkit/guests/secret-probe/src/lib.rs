//! Asks for any secret and reads it, so that tests can show what a policy and the key broker keep back.
//!
//! The input is one word and the address of a secret, `reveal kbs:///default/model/iris`; `run` lists
//! the words.
#![deny(missing_docs)]
#![allow(clippy::panic, reason = "misbehaving is what it is for")]

use std::{
    io::{self, Write},
    thread,
    time::Duration,
};

use proplet_sdk::{Failure, audit, results, secrets};

#[proplet_sdk::main]
fn run(input: String) -> Result<Vec<u8>, Failure> {
    let (word, uri) = input.split_once(' ').unwrap_or((&input, ""));
    match word {
        "secret" => Ok(secrets::get(uri)?.uri().into()),
        "reveal" => Ok(secrets::get(uri)?.reveal()?),
        // For as long as it may run.
        "keep" => {
            let _held = secrets::get(uri)?;
            loop {
                thread::sleep(Duration::from_millis(100));
            }
        }
        // As many handles as the host lets it have, all of them held at once.
        "hoard" => {
            let mut held = Vec::new();
            loop {
                match secrets::get(uri) {
                    Ok(secret) => held.push(secret),
                    Err(error) => return Err(Failure::other(format!("{}: {error}", held.len()))),
                }
            }
        }
        // Goes on asking, whatever the answer, until it may not.
        "insist" => {
            let mut asked = 0;
            loop {
                match secrets::get(uri) {
                    Err(error @ secrets::Error::QuotaExceeded { .. }) => {
                        return Err(Failure::other(format!("{asked}: {error}")));
                    }
                    _ => asked += 1,
                }
            }
        }
        "publish" => {
            results::publish(secrets::get(uri)?.reveal()?, "application/octet-stream")?;
            Ok(Vec::new())
        }
        "print" => {
            let secret = secrets::get(uri)?.reveal()?;
            io::stdout().write_all(&secret)?;
            io::stderr().write_all(&secret)?;
            Ok(Vec::new())
        }
        // What is on record about this task, once it has asked for the secret as often as it may.
        "record" => {
            while secrets::get(uri).is_ok() {}
            let mut lines = audit::all()?;
            lines.push(audit::head());
            Ok(lines.join("\n").into_bytes())
        }
        "fail" => Err(Failure::other(String::from_utf8_lossy(
            &secrets::get(uri)?.reveal()?,
        ))),
        "panic" => panic!("{}", String::from_utf8_lossy(&secrets::get(uri)?.reveal()?)),
        _ => Err(Failure::invalid_input(format!("no such word: {word:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use proplet_sdk::testing::Host;

    use super::*;

    const URI: &str = "kbs:///default/test/canary";

    #[test]
    fn it_does_as_told() {
        let host = Host::new().with_secret(URI, "CANARY");
        assert_eq!(
            host.run(|| run(format!("secret {URI}"))).unwrap(),
            URI.as_bytes()
        );
        assert_eq!(
            host.run(|| run(format!("reveal {URI}"))).unwrap(),
            b"CANARY"
        );
        assert_eq!(
            host.run(|| run(format!("fail {URI}")))
                .unwrap_err()
                .to_string(),
            "CANARY"
        );
        host.run(|| run(format!("publish {URI}"))).unwrap();
        assert_eq!(host.published().unwrap().content, b"CANARY");
    }

    #[test]
    fn what_is_not_granted_is_a_failure_of_the_host() {
        for word in ["secret", "reveal", "publish", "print", "fail", "panic"] {
            let failure = Host::new()
                .run(|| run(format!("{word} {URI}")))
                .unwrap_err();
            assert!(
                matches!(failure, Failure::Host(text) if text.contains(URI)),
                "{word}"
            );
        }
        let failure = Host::new().run(|| run(format!("hoard {URI}"))).unwrap_err();
        assert!(failure.to_string().starts_with("0: "));
    }
}
