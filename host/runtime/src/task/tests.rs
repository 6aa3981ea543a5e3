use super::*;

fn outcome(content: Content, in_ok: bool, stdout: &[u8], stderr: &[u8]) -> Outcome {
    Outcome {
        value: Ok(Value { content, in_ok }),
        stdout: Zeroizing::new(stdout.to_vec()),
        stderr: Zeroizing::new(stderr.to_vec()),
        usage: Usage::default(),
        export: "run".into(),
        published: false,
    }
}

#[test]
fn plain_text_is_wave() {
    let bytes = Content::Bytes(Zeroizing::new(vec![1, 20, 255]));
    let text = Content::Text(Zeroizing::new("a \"b\"".to_owned()));
    let wave = Content::Wave(Zeroizing::new("{a: 1}".to_owned()));
    for (content, in_ok, expected) in [
        (bytes.clone(), false, "[1, 20, 255]"),
        (bytes, true, "ok([1, 20, 255])"),
        (text, false, r#""a \"b\"""#),
        (wave.clone(), false, "{a: 1}"),
        (wave, true, "ok({a: 1})"),
        (Content::Nothing, false, ""),
        (Content::Nothing, true, "ok"),
    ] {
        assert_eq!(
            *outcome(content, in_ok, b"", b"").plain_text().unwrap(),
            expected
        );
    }
}

#[test]
fn a_commands_text_is_stdout_then_stderr() {
    let text = |out: &[u8], err: &[u8]| outcome(Content::Stdout, false, out, err).plain_text();
    assert_eq!(*text(b"30\n", b"").unwrap(), "30\n");
    assert_eq!(*text(b"30", b"warning").unwrap(), "30\nwarning");
}

#[test]
fn sealed_content_is_raw() {
    let bytes = Content::Bytes(Zeroizing::new(vec![0xff, 0]));
    let text = Content::Text(Zeroizing::new("grüße".to_owned()));
    for (content, stdout, expected) in [
        (bytes, &b""[..], (&[0xff, 0][..], OCTETS)),
        (text, b"", ("grüße".as_bytes(), TEXT)),
        (Content::Stdout, b"hi\n", (b"hi\n", TEXT)),
        (Content::Stdout, &[0xff], (&[0xff], OCTETS)),
        (Content::Nothing, b"", (b"", TEXT)),
    ] {
        let (content, media_type) = outcome(content, true, stdout, b"").content().unwrap();
        assert_eq!((content.as_slice(), media_type), expected);
    }
}

#[test]
fn a_failed_task_has_neither() {
    let mut outcome = outcome(Content::Nothing, false, b"out", b"");
    outcome.value = Err(RuntimeError::Stopped);
    assert!(outcome.plain_text().is_none());
    assert!(outcome.content().is_none());
}

#[test]
fn debug_shows_no_content() {
    let outcome = outcome(
        Content::Text(Zeroizing::new("4711".into())),
        false,
        b"",
        b"",
    );
    assert!(!format!("{:?}", outcome.value).contains("4711"));
    assert!(!format!("{:?}", Input::text("4711")).contains("4711"));
}
