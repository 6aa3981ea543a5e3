use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use std::path::Path;

use zeroize::Zeroizing;

use super::*;

fn read(json: &str) -> Credentials {
    Credentials::from_docker_config(json.as_bytes()).unwrap()
}

fn found(credentials: &Credentials, registry: &str, repository: &str) -> Option<Credential> {
    credentials.find(registry, repository).unwrap().cloned()
}

fn basic(credentials: &Credentials, registry: &str, repository: &str) -> (String, String) {
    match found(credentials, registry, repository) {
        Some(Credential::Basic { username, password }) => (username, password.to_string()),
        other => panic!("{other:?}"),
    }
}

fn refused(credentials: &Credentials, registry: &str) -> String {
    let error = credentials.find(registry, "any/thing").unwrap_err();
    assert_eq!(error.code(), "image-settings");
    error.to_string()
}

#[test]
fn both_forms_and_all_spellings_are_read() {
    let json = r#"{"auths":{
        "https://index.docker.io/v1/":{"auth":"dTpwOnE="},
        "Registry.example:5000":{"username":"v","password":"w"},
        "registry.example:5000/team":{"auth":"dGVhbTp4AAA="},
        "empty.example":{},
        "token.example":{"registrytoken":"t"}},
        "HttpHeaders":{"a":"b"}}"#;
    let credentials = read(json);
    assert_eq!(
        basic(&credentials, "docker.io", "library/a"),
        ("u".into(), "p:q".into())
    );
    assert_eq!(
        basic(&credentials, "index.docker.io", "a"),
        ("u".into(), "p:q".into())
    );
    assert_eq!(
        basic(&credentials, "registry.example:5000", "a"),
        ("v".into(), "w".into())
    );
    let team = basic(&credentials, "registry.example:5000", "team/a/b");
    assert_eq!(team, ("team".into(), "x".into()));
    assert!(found(&credentials, "empty.example", "a").is_none());
    assert!(found(&credentials, "other.example", "a").is_none());
    assert!(matches!(
        found(&credentials, "token.example", "a"),
        Some(Credential::Bearer(_))
    ));
}

#[test]
fn the_longest_repository_decides() {
    let json = r#"{"auths":{
        "r.example":{"auth":"YTph"},
        "r.example/team":{"auth":"Yjpi"},
        "r.example/team/app":{"auth":"Yzpj"}}}"#;
    let credentials = read(json);
    for (repository, user) in [
        ("other", "a"),
        ("teams/app", "a"),
        ("team", "b"),
        ("team/other", "b"),
        ("team/app", "c"),
        ("team/app/x", "c"),
    ] {
        assert_eq!(
            basic(&credentials, "r.example", repository).0,
            user,
            "{repository}"
        );
    }
}

#[test]
fn base64_is_read_as_tools_write_it() {
    // `~?>:u` and `p?p>~~`: characters whose base64 differs between the alphabets.
    for auth in [
        "fj8+OnA/cD5+fg==",
        "fj8-OnA_cD5-fg==",
        "fj8+OnA/cD5+fg",
        "fj8-OnA_cD5-fg",
        "fj8+OnA/\\ncD5+fg==\\n",
        " fj8+OnA/\\r\\ncD5+fg== ",
        "fj8+OnA/cD5+fh==",
    ] {
        let credentials = read(&format!(
            r#"{{"auths":{{"r.example":{{"auth":"{auth}"}}}}}}"#
        ));
        let pair = basic(&credentials, "r.example", "a");
        assert_eq!(pair, ("~?>".into(), "p?p>~~".into()), "{auth}");
    }
}

#[test]
fn an_identity_token_comes_before_a_password_that_opens_nothing() {
    let guid = STANDARD.encode("00000000-0000-0000-0000-000000000000:");
    let json = format!(
        r#"{{"auths":{{"a.example":{{"auth":"{guid}","identitytoken":"t"}},
        "b.example":{{"auth":"{guid}"}},
        "c.example":{{"identitytoken":"t"}}}}}}"#
    );
    let credentials = read(&json);
    for registry in ["a.example", "c.example"] {
        assert!(matches!(
            found(&credentials, registry, "a"),
            Some(Credential::Identity(token)) if *token == "t"
        ));
    }
    assert!(refused(&credentials, "b.example").contains("Azure"));
}

#[test]
fn name_and_password_beside_an_auth_are_read_too() {
    for (entry, pair) in [
        (
            r#"{"auth":"dTpw","username":"v","password":"w"}"#,
            ("u", "p"),
        ),
        (r#"{"auth":"","username":"v","password":"w"}"#, ("v", "w")),
        (r#"{"auth":null,"username":"v","password":"w"}"#, ("v", "w")),
        (r#"{"auth":"!!","username":"v","password":"w"}"#, ("v", "w")),
        (r#"{"auth":"dTpw","identitytoken":""}"#, ("u", "p")),
        (
            r#"{"auth":"dTpw","email":5,"serveraddress":null}"#,
            ("u", "p"),
        ),
    ] {
        let credentials = read(&format!(r#"{{"auths":{{"r.example":{entry}}}}}"#));
        let (user, password) = basic(&credentials, "r.example", "a");
        assert_eq!((user.as_str(), password.as_str()), pair, "{entry}");
    }
}

#[test]
fn an_unusable_entry_matters_for_its_registry_only() {
    for entry in [
        r#"{"auth":"hunter2-hunter2!"}"#,
        r#"{"auth":"aHVudGVyMg=="}"#,
        r#"{"auth":"/////w=="}"#,
        r#"{"auth":{"hunter2":1}}"#,
        r#"{"auth":["hunter2"]}"#,
        r#"{"auth":5}"#,
        r#"{"username":"hunter2"}"#,
        r#"{"password":"hunter2"}"#,
        r#""hunter2""#,
        r#"["hunter2"]"#,
        "17",
        "true",
    ] {
        let json =
            format!(r#"{{"auths":{{"bad.example":{entry},"good.example":{{"auth":"dTpw"}}}}}}"#);
        let credentials = read(&json);
        assert_eq!(basic(&credentials, "good.example", "a").0, "u", "{entry}");
        assert!(found(&credentials, "other.example", "a").is_none());
        let error = refused(&credentials, "bad.example");
        assert!(error.contains("\"bad.example\""), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn files_without_credentials_are_no_error() {
    for json in [
        "",
        " \n",
        "{}",
        "\u{feff}{}",
        r#"{"auths":null}"#,
        r#"{"auths":{}}"#,
        r#"{"auths":[]}"#,
        r#"{"auths":{"r.example":null}}"#,
        r#"{"auths":{"r.example":{}},"credHelpers":null,"credsStore":null}"#,
        r#"{"auths":null,"credHelpers":{},"credsStore":""}"#,
        r#"{"auths":{"r.example":{"auth":"","email":"a@b.example"}}}"#,
        r#"{"HttpHeaders":{"User-Agent":"x"},"detachKeys":"ctrl-e","proxies":{"default":{}}}"#,
    ] {
        assert!(found(&read(json), "r.example", "a").is_none(), "{json}");
    }
}

#[test]
fn what_is_no_such_file_is_refused() {
    for json in [
        "no JSON",
        "[\"hunter2\"]",
        "\"hunter2\"",
        r#"{"auths":"hunter2"}"#,
        r#"{"auths":[{"auth":"hunter2"}]}"#,
        r#"{"auths":{"r.example":{"auth":"hunter2""#,
    ] {
        let error = Credentials::from_docker_config(json.as_bytes()).unwrap_err();
        assert_eq!(error.code(), "image-settings");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn the_old_form_of_the_file_is_read() {
    let credentials = read(
        r#"{"https://index.docker.io/v1/":{"auth":"dTpw","email":"a@b.example"},
        "r.example:5000":{"auth":"!","email":""},"detachKeys":"ctrl-e"}"#,
    );
    assert_eq!(basic(&credentials, "docker.io", "a").0, "u");
    assert!(refused(&credentials, "r.example:5000").contains("r.example:5000"));
    // In the newer form, what stands beside `auths` is something else.
    let credentials = read(r#"{"auths":{},"r.example":{"auth":"dTpw"}}"#);
    assert!(found(&credentials, "r.example", "a").is_none());
}

#[test]
fn two_spellings_of_a_registry_give_the_usable_one() {
    for json in [
        r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"docker.io":{}}}"#,
        r#"{"auths":{"docker.io":{"auth":"!"},"https://index.docker.io/v1/":{"auth":"dTpw"}}}"#,
        r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},
            "https://index.docker.io/v1/refresh-token":{"auth":"eDp5"}}}"#,
    ] {
        assert_eq!(basic(&read(json), "docker.io", "a").0, "u", "{json}");
    }
}

#[test]
fn registries_of_helpers_are_refused_by_name() {
    let credentials = read(
        r#"{"auths":{"stored.example":{},"mine.example":{"auth":"dTpw"},
            "both.example":{"auth":"dTpw"}},
        "credHelpers":{"https://cloud.example":"gcloud","both.example":"gcloud",
            "file.example":"","odd.example":5},
        "credsStore":"desktop"}"#,
    );
    for (registry, helper) in [
        ("stored.example", "desktop"),
        ("cloud.example", "gcloud"),
        ("both.example", "gcloud"),
    ] {
        let error = refused(&credentials, registry);
        assert!(
            error.contains(registry) && error.contains(helper),
            "{error}"
        );
        assert!(credentials.helper(registry, "a").is_some(), "{registry}");
    }
    assert_eq!(basic(&credentials, "mine.example", "a").0, "u");
    assert!(credentials.helper("mine.example", "a").is_none());
    assert!(found(&credentials, "file.example", "a").is_none());
    assert!(credentials.helper("file.example", "a").is_none());
    assert!(refused(&credentials, "odd.example").contains("odd.example"));

    // Without a trace of a login, the store may have one or not.
    assert!(found(&credentials, "public.example", "a").is_none());
    assert!(credentials.helper("public.example", "a").is_some());
    let unasked = credentials.unasked("public.example", "a").unwrap();
    assert!(unasked.to_string().contains("desktop"), "{unasked}");
    assert!(credentials.unasked("mine.example", "a").is_none());
}

#[test]
fn what_a_helper_said_is_used() {
    let json = r#"{"auths":{"r.example":{},"r.example/team":{"auth":"!"},"o.example":{}},
        "credHelpers":{"r.example":"x"},"credsStore":"desktop"}"#;
    let said = Credential::Identity(Zeroizing::new("t".to_owned()));
    let credentials = read(json).resolve("r.example", Some(said));
    assert!(matches!(
        found(&credentials, "r.example", "team"),
        Some(Credential::Identity(_))
    ));
    assert!(credentials.helper("r.example", "team").is_none());
    assert!(refused(&credentials, "o.example").contains("desktop"));
    let credentials = read(json).resolve("o.example", None);
    assert!(found(&credentials, "o.example", "a").is_none());
    assert!(credentials.unasked("o.example", "a").is_none());
}

#[test]
fn credentials_do_not_print() {
    let json = r#"{"auths":{"r.example":{"username":"u","password":"hunter2"},
        "s.example":{"identitytoken":"hunter2"},"t.example":{"registrytoken":"hunter2"}}}"#;
    assert!(!format!("{:?}", read(json)).contains("hunter2"));
}

#[test]
fn a_missing_file_is_named() {
    let error = Credentials::read(Path::new("/nonexistent/config.json")).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/config.json"));
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
        let _ = Credentials::from_docker_config(&bytes);
    }

    #[test]
    fn any_entry_spoils_itself_only(entry in "[{}\\[\\]\":,a-c0-9]{0,20}") {
        if serde_json::from_str::<serde_json::Value>(&entry).is_ok() {
            let json = format!(r#"{{"auths":{{"bad.example":{entry},"good.example":{{"auth":"dTpw"}}}}}}"#);
            prop_assert_eq!(basic(&read(&json), "good.example", "a").0, "u");
        }
    }

    #[test]
    fn what_is_written_is_found(
        host in "[a-z]{1,10}\\.example(:[0-9]{1,5})?",
        user in "[a-z]{1,8}",
        password in "[ -~]{0,20}",
    ) {
        let auth = STANDARD.encode(format!("{user}:{password}"));
        let json = serde_json::json!({"auths": {host.clone(): {"auth": auth}}}).to_string();
        prop_assert_eq!(basic(&read(&json), &host, "any/thing"), (user, password));
    }
}
