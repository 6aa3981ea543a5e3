//! Token services as they are.

use super::*;

/// A registry with a token service, and the settings that open it.
async fn guarded(folder: &Path) -> (Registry, RegistryConfig) {
    let access = Access::Token {
        username: "robot".to_owned(),
        password: "hunter2-hunter2".to_owned(),
    };
    let registry = Registry::start_with(access).await.unwrap();
    let path = folder.join(registry.host().replace(':', "-"));
    let file = serde_json::json!({"auths": {registry.host(): {
        "username": "robot", "password": "hunter2-hunter2",
    }}});
    std::fs::write(&path, file.to_string()).unwrap();
    let config = RegistryConfig {
        auth_file: Some(path),
        retry_delay: Duration::from_millis(1),
        ..settings(&registry)
    };
    push::push(&config, &named(&registry, ":v1"), &plain(100))
        .await
        .unwrap();
    (registry, config)
}

#[tokio::test]
async fn the_token_that_can_be_used_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, config) = guarded(folder.path()).await;
    for (instead, right) in [
        (r#""token":"","access_token":"#, true),
        (r#""token":null,"access_token":"#, true),
        (r#""access_token":"","token":"#, true),
        (r#""access_token":"#, true),
        (r#""refresh_token":"#, false),
        (r#""token":"","access_token":"","other":"#, false),
    ] {
        registry.heal();
        let fault = Fault::Replace(r#""token":"#.to_owned(), instead.to_owned());
        registry.inject(Target::Tokens, fault);
        let result = pull_plain(&config, &named(&registry, ":v1")).await;
        assert_eq!(result.is_ok(), right, "{instead}: {result:?}");
    }
}

#[tokio::test]
async fn the_scope_of_the_challenge_is_asked_for_and_no_more_than_pulling() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, config) = guarded(folder.path()).await;
    let realm = format!("http://{}/token", registry.host());
    for (scope, asked) in [
        ("", "repository%3Ateam%2Fmodule%3Apull"),
        (
            r#",scope="repository:upstream/team/module:pull""#,
            "repository%3Aupstream%2Fteam%2Fmodule%3Apull",
        ),
        (
            r#",scope="repository:upstream/module:pull,push,delete repository:other:*""#,
            "repository%3Aupstream%2Fmodule%3Apull",
        ),
        (
            r#",scope="registry:catalog:*""#,
            "repository%3Ateam%2Fmodule%3Apull",
        ),
        (
            r#",scope="repository:a&b=c:pull""#,
            "repository%3Ateam%2Fmodule%3Apull",
        ),
    ] {
        for scheme in ["Bearer", "Basic realm=\"x, Bearer\", bEARER"] {
            registry.challenge_with(format!(r#"{scheme} realm="{realm}",service="s, t"{scope}"#));
            pull_plain(&config, &named(&registry, ":v1")).await.unwrap();
            let queries = registry.token_queries();
            let expected = format!("service=s%2C+t&scope={asked}");
            assert_eq!(queries.last(), Some(&expected));
        }
    }
}

#[tokio::test]
async fn a_token_service_in_trouble_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, config) = guarded(folder.path()).await;
    for fault in [
        Fault::Later(429, "0".to_owned()),
        Fault::Status(503),
        Fault::Break(5),
    ] {
        registry.heal();
        registry.inject_times(2, Target::Tokens, fault.clone());
        let result = pull_plain(&config, &named(&registry, ":v1")).await;
        assert!(result.is_ok(), "{fault:?}: {result:?}");
    }
}
