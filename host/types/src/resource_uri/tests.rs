use proptest::prelude::*;

use super::*;

#[test]
fn parses_the_usual_form() {
    let uri: ResourceUri = "kbs:///default/key/1".parse().unwrap();
    assert_eq!(uri.repository(), "default");
    assert_eq!(uri.path(), "default/key/1");
    assert_eq!(uri.host(), None);
    assert_eq!(uri.to_string(), "kbs:///default/key/1");
    assert_eq!(ResourceUri::from_path("default/key/1").unwrap(), uri);
}

#[test]
fn keeps_the_host_apart() {
    for host in [
        "kbs.example",
        "KBS.example:8080",
        "10.0.0.1:1",
        "[::1]",
        "[::1]:8080",
    ] {
        let uri: ResourceUri = format!("kbs://{host}/a/b/c").parse().unwrap();
        assert_eq!(uri.host(), Some(host.to_ascii_lowercase().as_str()));
        assert_eq!(uri.path(), "a/b/c");
    }
    let here: ResourceUri = "kbs:///a/b/c".parse().unwrap();
    let there: ResourceUri = "kbs://elsewhere/a/b/c".parse().unwrap();
    assert_ne!(here, there);
}

#[test]
fn names_the_parts() {
    let uri: ResourceUri = "kbs:///default/key/1".parse().unwrap();
    assert_eq!((uri.repository(), uri.resource_type()), ("default", "key"));
}

#[test]
fn the_key_broker_of_the_settings_has_two_names() {
    let means = |host: &KbsHost, named: &str| {
        host.is_meant_by(&format!("kbs://{named}/a/b/c").parse().unwrap())
    };
    let host = KbsHost::new("KBS.example", 8080);
    for named in ["", "kbs.example", "KBS.Example:8080"] {
        assert!(means(&host, named), "{named}");
    }
    for named in [
        "kbs.example:8081",
        "kbs.example.org",
        "other.example",
        "example:8080",
    ] {
        assert!(!means(&host, named), "{named}");
    }
    let host = KbsHost::new("[::1]", 443);
    for named in ["", "[::1]", "[::1]:443"] {
        assert!(means(&host, named), "{named}");
    }
    assert!(!means(&host, "[::1]:8080"));
    assert_eq!(host.to_string(), "[::1]:443");
    let of = |url: &str| KbsHost::of(&url.parse().unwrap());
    assert_eq!(of("https://[::1]/prefix"), Some(host));
    assert_eq!(of("http://kbs:8080"), Some(KbsHost::new("kbs", 8080)));
    assert_eq!(of("unix:/run/kbs"), None);
}

#[test]
fn refuses_everything_else() {
    use ResourceUriError as E;
    let cases = [
        ("", E::Scheme),
        ("default/key/1", E::Scheme),
        ("/default/key/1", E::Scheme),
        ("KBS:///default/key/1", E::Scheme),
        ("https://kbs/default/key/1", E::Scheme),
        ("kbs+sample:///default/key/1", E::Plugin),
        ("kbs://host", E::Segments(0)),
        ("kbs:///", E::Segments(1)),
        ("kbs:///default/key", E::Segments(2)),
        ("kbs:///default/key/1/2", E::Segments(4)),
        ("kbs:////key/1", E::Segment(1)),
        ("kbs:///default//1", E::Segment(2)),
        ("kbs:///default/key/", E::Segment(3)),
        ("kbs:///../key/1", E::Segment(1)),
        ("kbs:///default/./1", E::Segment(2)),
        ("kbs:///default/.hidden/1", E::Segment(2)),
        ("kbs:///default/key/%2e%2e", E::Segment(3)),
        ("kbs:///default/key/a b", E::Segment(3)),
        ("kbs:///default/key/ü", E::Segment(3)),
        ("kbs:///default/key/1\r\nHost: x", E::Segment(3)),
        ("kbs:///default/key/1?x=y", E::Query),
        ("kbs:///default/key/1#x", E::Query),
        ("kbs://user@host/default/key/1", E::Host),
        ("kbs://host:port/default/key/1", E::Host),
        ("kbs://host:99999/default/key/1", E::Host),
        ("kbs://:80/default/key/1", E::Host),
        ("kbs://[::1/default/key/1", E::Host),
        ("kbs://[nonsense]/default/key/1", E::Host),
        ("kbs://[::1]80/default/key/1", E::Host),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<ResourceUri>(), Err(expected), "{text}");
    }
    let long = format!("kbs:///default/key/{}", "a".repeat(MAX_URI_BYTES));
    assert_eq!(long.parse::<ResourceUri>(), Err(E::TooLong(long.len())));
    assert!(ResourceUri::from_path(&"a/".repeat(MAX_URI_BYTES)).is_err());
}

#[test]
fn serde_goes_through_the_parser() {
    let uri: ResourceUri = serde_json::from_str("\"kbs:///a/b/c\"").unwrap();
    assert_eq!(serde_json::to_string(&uri).unwrap(), "\"kbs:///a/b/c\"");
    assert!(serde_json::from_str::<ResourceUri>("\"kbs:///a/b\"").is_err());
}

proptest! {
    #[test]
    fn never_panics(text in ".{0,64}") {
        let _ = text.parse::<ResourceUri>();
        let _ = format!("kbs://{text}").parse::<ResourceUri>();
        let _ = ResourceUri::from_path(&text);
    }

    #[test]
    fn round_trips(
        host in "([a-z0-9.-]{1,12}(:[0-9]{1,4})?)?",
        path in "[A-Za-z0-9_-][A-Za-z0-9_.-]{0,8}(/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,8}){2}",
    ) {
        let text = format!("kbs://{host}/{path}");
        let uri: ResourceUri = text.parse().unwrap();
        prop_assert_eq!(uri.to_string(), text);
        prop_assert_eq!(uri.path(), path.as_str());
        prop_assert_eq!(Some(uri.repository()), path.split('/').next());
    }

    #[test]
    fn accepted_paths_are_plain(text in "[a-z./%?#\\\\ -]{0,24}") {
        if let Ok(uri) = ResourceUri::from_path(&text) {
            prop_assert_eq!(uri.path().split('/').count(), 3);
            prop_assert!(uri.path().split('/').all(|s| !s.is_empty() && !s.starts_with('.')));
        }
    }
}
