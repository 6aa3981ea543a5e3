//! Answers HTTP requests: greets whoever the path names, so `/Ada` is answered with `Hello, Ada!`.
//!
//! `wasi:http` has nothing to do with this project, so neither has this guest: it runs wherever components are served.
#![deny(missing_docs)]

#[cfg(target_family = "wasm")]
mod server;

/// What is answered to a request for this path, whose query does not count.
#[cfg(any(target_family = "wasm", test))]
fn greeting(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    match path.trim_matches('/') {
        "" => "Hello, whoever you are!\n".to_owned(),
        name => format!("Hello, {name}!\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_greeted() {
        for (path, name) in [
            ("/Ada", "Ada"),
            ("/Grace/?loud=1", "Grace"),
            ("/", "whoever you are"),
            ("", "whoever you are"),
        ] {
            assert_eq!(greeting(path), format!("Hello, {name}!\n"), "{path:?}");
        }
    }
}
