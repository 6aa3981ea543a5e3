use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::page;

#[test]
fn each_is_written_once_and_reads_back() {
    let texts: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(texts.len(), Code::ALL.len());
    for code in Code::ALL {
        assert_eq!(code.as_str().parse(), Ok(*code));
        assert_eq!(code.to_string(), code.as_str());
        let json = serde_json::to_string(code).unwrap();
        assert_eq!(json, format!("\"{code}\""));
        assert_eq!(serde_json::from_str::<Code>(&json).unwrap(), *code);
    }
    assert_eq!("kbs-Denied".parse::<Code>(), Err(UnknownCode));
    assert!(serde_json::from_str::<Code>("\"\"").is_err());
}

#[test]
fn codes_decide_about_the_exit_code() {
    for (code, exit) in [
        (Code::KbsUnavailable, ExitCode::Unavailable),
        (Code::RegistryUnavailable, ExitCode::Unavailable),
        (Code::TaskInvalid, ExitCode::Usage),
        (Code::KbsDenied, ExitCode::Failed),
        (Code::NoTee, ExitCode::Failed),
    ] {
        assert_eq!(code.exit_code(), exit, "{code}");
    }
    assert!(
        Code::ALL
            .iter()
            .all(|code| code.exit_code() != ExitCode::Done)
    );
}

#[test]
fn they_are_words_with_hyphens() {
    for code in Code::ALL {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        assert!(code.as_str().bytes().all(plain), "{code}");
    }
}

#[test]
fn the_page_lists_every_code_and_no_other() {
    let rows = page::codes();
    for row in &rows {
        let code: Code = row[0].parse().unwrap_or_else(|_| panic!("{row:?}"));
        assert_eq!(row.len(), 4, "{row:?}");
        assert_eq!(row[1], (code.exit_code() as u8).to_string(), "{code}");
        assert!(row[2..].iter().all(|cell| cell.len() > 5), "{row:?}");
    }
    let listed: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let all: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(listed, all, "the order of docs/codes.md and of Code::ALL");
}

proptest! {
    #[test]
    fn any_text_is_a_code_or_refused(text in "[a-z-]{0,30}|.{0,30}") {
        if let Ok(code) = text.parse::<Code>() {
            prop_assert_eq!(code.as_str(), text);
        }
    }
}
