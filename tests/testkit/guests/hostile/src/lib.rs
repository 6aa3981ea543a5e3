//! Misbehaves on request, so that tests can show what the host does about it.
//!
//! The input is one word and what it applies to, `panic CANARY-4711`; `run` lists the words. Nothing
//! here asks for a secret or for the network, so the component also runs as a plain one; `secret-probe` and
//! `dialler` do.
#![deny(missing_docs)]
#![allow(clippy::panic, reason = "misbehaving is what it is for")]

use std::hint::black_box;
use std::io::{self, Write};
use std::time::Duration;

use proplet_sdk::{Failure, attestation, audit, inputs, results};

#[proplet_sdk::main]
fn run(input: String) -> Result<Vec<u8>, Failure> {
    let (word, rest) = input.split_once(' ').unwrap_or((&input, ""));
    match word {
        // Behaves well.
        "echo" => Ok(rest.into()),
        "identity" => Ok(format!(
            "{:?}\n{:?}",
            attestation::identity(),
            attestation::platform()
        )
        .into()),
        "inputs" => Ok(inputs::all()?.join(&b"\n"[..])),
        "recipients" => Ok(results::recipients().join("\n").into()),
        "record" => published(results::publish(audit::all()?.join("\n"), "text/plain")),
        "evidence" => evidence(number(rest)?),
        "attest" => Ok(attestation::evidence(bytes_of(rest)?)?.to_json()),
        // Ends badly.
        "fail" => Err(Failure::other(rest)),
        "panic" => panic!("{rest}"),
        "trap" => trap(),
        "exit" => std::process::exit(i32::try_from(number(rest)?).unwrap_or(1)),
        // Does not end.
        "spin" => loop {
            black_box(());
        },
        "sleep" => {
            std::thread::sleep(Duration::from_millis(number(rest)?));
            Ok(Vec::new())
        }
        "recurse" => Ok(recurse(0).to_string().into()),
        "allocate" => allocate(number(rest)?),
        // Says too much.
        "say-stdout" => said(writeln!(io::stdout(), "{rest}")),
        "say-stderr" => said(writeln!(io::stderr(), "{rest}")),
        "flood-stdout" => said(flood(&mut io::stdout(), number(rest)?)),
        "flood-stderr" => said(flood(&mut io::stderr(), number(rest)?)),
        "return" => Ok(filler(number(rest)?)),
        "publish" => published(results::publish(rest, "text/plain")),
        "publish-typed" => {
            let (media_type, content) = rest.split_once(' ').unwrap_or((rest, ""));
            published(results::publish(content, media_type))
        }
        "publish-big" => published(results::publish(filler(number(rest)?), "text/plain")),
        "publish-bytes" => published(results::publish([0xff, 0xfe], "application/octet-stream")),
        "publish-twice" => {
            results::publish(rest, "text/plain")?;
            published(results::publish(rest, "text/plain"))
        }
        "publish-then-fail" => {
            results::publish(rest, "text/plain")?;
            Err(Failure::other("after publishing"))
        }
        "publish-then-trap" => {
            results::publish(rest, "text/plain")?;
            trap()
        }
        // Reaches out.
        "read" => Ok(std::fs::read(rest)?),
        "write" => said(std::fs::write(rest, "written")),
        "list" => list(rest),
        "env" => Ok(lines(
            std::env::vars().map(|(name, value)| format!("{name}={value}")),
        )),
        "args" => Ok(lines(std::env::args())),
        _ => Err(Failure::invalid_input(format!(
            "no such misbehaviour: {word:?}"
        ))),
    }
}

fn number(text: &str) -> Result<u64, Failure> {
    text.parse()
        .map_err(|error| Failure::invalid_input(format!("{text:?}: {error}")))
}

/// Bytes from hexadecimal digits: an input is text, and a challenge need not be.
fn bytes_of(digits: &str) -> Result<Vec<u8>, Failure> {
    let wrong = || Failure::invalid_input(format!("{digits:?} is not hexadecimal"));
    let digits = digits.as_bytes().chunks(2);
    digits
        .map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            u8::from_str_radix(pair, 16).map_err(|_| wrong())
        })
        .collect()
}

fn trap() -> ! {
    #[cfg(target_family = "wasm")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_family = "wasm"))]
    std::process::abort()
}

/// Evidence `n` times; gives the last.
fn evidence(n: u64) -> Result<Vec<u8>, Failure> {
    let mut last = Vec::new();
    for round in 0..n {
        last = attestation::evidence(round.to_be_bytes())?.to_json();
    }
    Ok(last)
}

/// Uses up the stack.
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if black_box(true) {
        recurse(depth + 1) + frame.iter().sum::<u64>()
    } else {
        0
    }
}

/// Holds `bytes` of memory, every page of it written to.
fn allocate(bytes: u64) -> Result<Vec<u8>, Failure> {
    const CHUNK: usize = 1 << 20;
    let mut held: Vec<Vec<u8>> = Vec::new();
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    while left > 0 {
        let size = left.min(CHUNK);
        held.push(black_box(vec![0xa5; size]));
        left -= size;
    }
    Ok(format!("holds {} bytes", held.iter().map(Vec::len).sum::<usize>()).into())
}

fn flood(out: &mut impl Write, bytes: u64) -> io::Result<()> {
    const CHUNK: usize = 4096;
    let mut left = bytes;
    while left > 0 {
        let size = left.min(CHUNK as u64);
        out.write_all(&filler(size))?;
        left -= size;
    }
    out.flush()
}

fn filler(bytes: u64) -> Vec<u8> {
    vec![b'x'; usize::try_from(bytes).unwrap_or(usize::MAX)]
}

fn said(outcome: io::Result<()>) -> Result<Vec<u8>, Failure> {
    outcome?;
    Ok(Vec::new())
}

fn published(outcome: Result<results::Receipt, results::Error>) -> Result<Vec<u8>, Failure> {
    let receipt = outcome?;
    Ok(receipt
        .jws()
        .unwrap_or_else(|| receipt.result_digest())
        .into())
}

fn list(path: &str) -> Result<Vec<u8>, Failure> {
    let names: io::Result<Vec<_>> = std::fs::read_dir(path)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect();
    Ok(lines(names?.into_iter()))
}

fn lines(lines: impl Iterator<Item = String>) -> Vec<u8> {
    lines.collect::<Vec<_>>().join("\n").into()
}

#[cfg(test)]
mod tests {
    use proplet_sdk::testing::Host;

    use super::*;

    fn ask(input: &str) -> Result<Vec<u8>, Failure> {
        Host::new()
            .with_input("a")
            .with_input("b")
            .run(|| run(input.into()))
    }

    #[test]
    fn it_does_as_told() {
        assert_eq!(ask("echo a b").unwrap(), b"a b");
        assert_eq!(ask("inputs").unwrap(), b"a\nb");
        assert_eq!(ask("return 3").unwrap(), b"xxx");
        assert_eq!(ask("allocate 3000000").unwrap(), b"holds 3000000 bytes");
        assert_eq!(ask("fail words").unwrap_err().to_string(), "words");
        assert!(
            ask("publish-twice x")
                .unwrap_err()
                .to_string()
                .contains("already")
        );
        assert!(
            ask("evidence 1")
                .unwrap_err()
                .to_string()
                .contains("no TEE")
        );
    }

    #[test]
    fn other_words_are_invalid_input() {
        for input in [
            "",
            "dance",
            "spin-not",
            "return x",
            "evidence -1",
            "attest 0x",
        ] {
            assert!(
                matches!(ask(input), Err(Failure::InvalidInput(_))),
                "{input:?}"
            );
        }
    }
}
