use proptest::prelude::*;

use super::*;

const KEY: &str = r#"{ kty = "EC", crv = "P-256", x = "x", y = "y" }"#;

fn component(inner: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {inner})")).unwrap()
}

fn refusal(toml: &str) -> String {
    Policy::parse(toml.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_whole_policy_is_read() {
    let toml = format!(
        r#"
        version = 1
        recipients = [{KEY}]
        exports = ["run", "example:a/b#c"]
        hosts = []
        metrics = true

        [[secrets]]
        uri = "kbs:///default/model/key"
        reveal = true

        [[secrets]]
        uri = "kbs:///default/model/other"

        [limits]
        memory_bytes = 1048576
        wall_clock_ms = 1000
        cpu_ms = 500
        output_bytes = 4096
        handles = 16
        evidence_quota = 0
        secret_quota = 3
        "#
    );
    let policy = Policy::parse(toml.as_bytes()).unwrap();
    assert_eq!(policy.secrets.len(), 2);
    assert!(policy.secrets[0].reveal);
    assert!(!policy.secrets[1].reveal);
    assert!(matches!(&policy.recipients, Recipients::Keys(keys) if keys[0]["crv"] == "P-256"));
    assert_eq!(policy.exports.unwrap(), ["run", "example:a/b#c"]);
    assert!(policy.metrics);
    assert_eq!(policy.limits.evidence_quota, Some(0));
    assert_eq!(policy.limits.secret_quota, Some(3));
    assert_eq!(policy.limits.memory_bytes, Some(1 << 20));
}

#[test]
fn the_smallest_policy_grants_nothing() {
    let policy = Policy::parse(b"version = 1").unwrap();
    assert_eq!(policy, Policy::default());
}

#[test]
fn recipients_may_be_a_resource() {
    let policy = Policy::parse(b"version = 1\nrecipients_resource = \"kbs:///a/b/c\"").unwrap();
    assert_eq!(
        policy.recipients,
        Recipients::Resource("kbs:///a/b/c".parse().unwrap())
    );
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (toml, word) in [
        ("", "version"),
        ("version = 2", "version"),
        ("version = 1\nsecret = []", "secret"),
        ("version = 1\nmetric = true", "metric"),
        ("version = 1\nmetrics = 1", "valid"),
        ("version = 1\nmetrics = \"true\"", "valid"),
        ("version = 1\n[limits]\nmemory = 1", "memory"),
        ("version = 1\n[limits]\nmemory_bytes = 0", "limits"),
        ("version = 1\n[limits]\nhandles = 0", "limits"),
        ("version = 1\n[limits]\ncpu_ms = -1", "valid"),
        ("version = 1\nhosts = [\"\"]", "hosts"),
        ("version = 1\nhosts = [\"https://example.org\"]", "hosts"),
        ("version = 1\nhosts = [\"*.example.org\"]", "hosts"),
        (
            "version = 1\nhosts = [\"a.example\", \"A.example\"]",
            "hosts",
        ),
        ("version = 1\nexports = [\"\"]", "exports"),
        ("version = 1\nrecipients = []", "recipients"),
        ("version = 1\nrecipients = [1]", "recipients"),
        ("version = 1\nrecipients = [{ x = \"y\" }]", "kty"),
        (
            "version = 1\nrecipients = [{ kty = \"EC\", d = \"y\" }]",
            "private",
        ),
        (
            "version = 1\nrecipients = [{ kty = \"oct\", k = \"y\" }]",
            "symmetric",
        ),
        (
            "version = 1\nrecipients_resource = \"kbs:///a\"",
            "recipients_resource",
        ),
        ("version = 1\n[[secrets]]\nreveal = true", "uri"),
        (
            "version = 1\n[[secrets]]\nuri = \"kbs:///a/b/c\"\nexport = 1",
            "export",
        ),
        (
            "version = 1\n[[secrets]]\nuri = \"https://a/b/c\"",
            "kbs:///",
        ),
        ("version = 1\n[[secrets]]\nuri = \"kbs:///a/b\"", "three"),
        (
            "version = 1\n[[secrets]]\nuri = \"kbs:///a/b/c\"\n[[secrets]]\nuri = \"kbs:///a/b/c\"",
            "twice",
        ),
    ] {
        let refusal = refusal(toml);
        assert!(refusal.contains(word), "{toml:?}: {refusal}");
    }
    let both = format!("version = 1\nrecipients = [{KEY}]\nrecipients_resource = \"kbs:///a/b/c\"");
    assert!(refusal(&both).contains("exclude"));
    let many = format!("version = 1\nexports = [{}]", "\"a\",".repeat(257));
    assert!(refusal(&many).contains("257"));
    assert!(matches!(
        Policy::parse(&vec![b'#'; MAX_POLICY_BYTES + 1]),
        Err(PolicyError::TooLarge(_))
    ));
    assert!(matches!(
        Policy::parse(&[0xff]),
        Err(PolicyError::Syntax(_))
    ));
}

#[test]
fn addresses_of_secrets_are_checked() {
    for good in ["kbs:///default/key/1", "kbs:///a.b/C_d/e-f"] {
        secret_uri(good).unwrap();
    }
    for bad in [
        "",
        "default/key/1",
        "kbs://host/a/b/c",
        "kbs:///a/b",
        "kbs:///a/b/c/d",
        "kbs:///a//c",
        "kbs:///a/../c",
        "kbs:///a/.b/c",
        "kbs:///a/b/c?x",
        "kbs:///a/b/%63",
        "kbs:///a/b/c d",
        "kbs+x:///a/b/c",
    ] {
        assert!(secret_uri(bad).is_err(), "{bad}");
    }
}

#[test]
fn embed_and_extract_round_trip() {
    let toml = b"# mine\nversion = 1\n";
    for wasm in [component(""), wat::parse_str("(module)").unwrap()] {
        assert_eq!(Policy::extract(&wasm).unwrap(), None);
        let with_policy = Policy::embed(&wasm, toml).unwrap();
        let embedded = Policy::extract(&with_policy).unwrap().unwrap();
        assert_eq!(*embedded.policy, Policy::default());
        assert_eq!(embedded.digest, Digest::of(toml));
        assert_eq!(Policy::embed(&with_policy, toml), Err(PolicyError::Present));
        assert!(with_policy.starts_with(&wasm));
    }
}

#[test]
fn an_invalid_policy_is_not_embedded() {
    assert!(matches!(
        Policy::embed(&component(""), b"version = 3"),
        Err(PolicyError::Value { .. })
    ));
    assert!(matches!(
        Policy::embed(b"not wasm", b"version = 1"),
        Err(PolicyError::NotWasm(_))
    ));
}

#[test]
fn two_sections_are_refused() {
    let one = section::append(&component(""), b"version = 1");
    let two = section::append(&one, b"version = 1");
    assert_eq!(Policy::extract(&two), Err(PolicyError::Duplicate));
}

#[test]
fn a_nested_section_does_not_count() {
    let section = r#"(@custom "propeller:policy" "version = 1")"#;
    for nested in [
        format!("(component {section})"),
        format!("(core module {section})"),
        format!("(component (component {section}) (core module {section}))"),
    ] {
        assert_eq!(
            Policy::extract(&component(&nested)).unwrap(),
            None,
            "{nested}"
        );
    }
    let after = component(&format!("(component) (core module) {section}"));
    assert!(Policy::extract(&after).unwrap().is_some());
}

#[test]
fn an_invalid_section_is_an_error_and_not_none() {
    let wasm = section::append(&component(""), b"version = 9");
    assert!(matches!(
        Policy::extract(&wasm),
        Err(PolicyError::Value {
            field: "version",
            ..
        })
    ));
}

#[test]
fn a_truncated_binary_is_an_error() {
    let wasm = Policy::embed(&component("(core module)"), b"version = 1").unwrap();
    for end in 0..wasm.len() - 1 {
        // A cut at a section boundary is a shorter valid binary without the policy.
        if let Ok(Some(_)) = Policy::extract(&wasm[..end]) {
            panic!("a policy was read from the first {end} bytes");
        }
    }
}

proptest! {
    #[test]
    fn parse_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Policy::parse(&bytes);
    }

    #[test]
    fn parse_never_panics_on_text(text in "(version = 1\n)?[a-z_\\[\\]{}=\"', \n0-9]{0,200}") {
        let _ = Policy::parse(text.as_bytes());
    }

    #[test]
    fn extract_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Policy::extract(&bytes);
        let header = [&b"\0asm\x0d\0\x01\0"[..], &bytes].concat();
        let _ = Policy::extract(&header);
        let _ = Policy::embed(&header, b"version = 1");
    }

    #[test]
    fn only_true_allows_metrics(value in "true|false|[ -~]{0,12}") {
        let toml = format!("version = 1\nmetrics = {value}\n");
        if let Ok(policy) = Policy::parse(toml.as_bytes()) {
            let said = value.split('#').next().unwrap().trim();
            prop_assert_eq!(policy.metrics, said == "true");
        }
    }

    #[test]
    fn any_comment_round_trips(comment in "[ -~]{0,300}") {
        let toml = format!("version = 1 #{comment}");
        let wasm = Policy::embed(&component("(core module)"), toml.as_bytes()).unwrap();
        let embedded = Policy::extract(&wasm).unwrap().unwrap();
        prop_assert_eq!(embedded.digest, Digest::of(toml.as_bytes()));
    }

    #[test]
    fn secret_uri_never_panics(uri in "\\PC{0,64}") {
        let _ = secret_uri(&uri);
    }
}

#[test]
fn hosts_are_spelt_out() {
    let with = |host: &str| Policy::parse(format!("version = 1\nhosts = [{host:?}]").as_bytes());
    for host in [
        "api.example",
        "API.example:8443",
        "localhost",
        "10.0.0.1:8080",
        "[2001:db8::1]",
        "[2001:db8::1]:443",
        "a_b.example",
    ] {
        assert_eq!(with(host).unwrap().hosts, [host]);
    }
    for host in [
        "a/b",
        "a.example/",
        "a b",
        "user@a",
        "a:",
        "a:0",
        "a:65536",
        "a:x",
        "a:+1",
        "a:01",
        ":1",
        "[::1",
        "[x]",
        "[::1]x",
        "[::1]:",
        ".a",
        "a.",
        "a..b",
        "-a",
        "a-",
        "127.1",
        "0x7f000001",
        "1.2.3.4.5",
        "256.1.1.1",
        "a?b",
        "a#b",
        "ä.example",
    ] {
        with(host).unwrap_err();
    }
    let many: Vec<String> = (0..257).map(|n| format!("h{n}.example")).collect();
    Policy::parse(format!("version = 1\nhosts = {many:?}").as_bytes()).unwrap_err();
}

proptest! {
    #[test]
    fn any_text_is_a_host_or_refused(text in ".{0,80}|[a-z0-9.:\\[\\]-]{0,40}") {
        let list = toml::Value::try_from(vec![text.clone()]).unwrap();
        if let Ok(policy) = Policy::parse(format!("version = 1\nhosts = {list}").as_bytes()) {
            prop_assert_eq!(policy.hosts, [text]);
        }
    }
}
