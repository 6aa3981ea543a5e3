//! The ways in which a registry is named in a credentials file, made one.

/// What `docker login` keeps of a browser login besides the credential itself.
const DOCKER_TOKENS: [&str; 2] = ["v1/access-token", "v1/refresh-token"];

/// The key that an entry's name stands for: `host[:port]`, or `host[:port]/repository…` as podman
/// writes them. With a scheme only the host counts, as docker reads it (`https://index.docker.io/v1/`).
/// None for an entry that is not about a registry.
pub(super) fn of_entry(name: &str) -> Option<String> {
    let name = name.trim();
    let (scheme, rest) = match name.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, name),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_matches('/');
    if DOCKER_TOKENS.contains(&path) {
        return None;
    }
    let plain = scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"));
    let host = match host.strip_suffix(":80") {
        Some(host) if plain => of_registry(host),
        _ => of_registry(host),
    };
    match path {
        "" | "v1" | "v2" => Some(host),
        _ if scheme.is_some() => Some(host),
        path => Some(format!("{host}/{path}")),
    }
}

/// The key of a registry, as references name it.
pub(super) fn of_registry(registry: &str) -> String {
    let host = registry.to_ascii_lowercase();
    let host = host.strip_suffix(":443").unwrap_or(&host);
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_registry_are_one() {
        for name in [
            "r.example",
            "R.Example",
            "r.example/",
            "r.example:443",
            "https://r.example",
            "https://r.example:443/",
            "HTTPS://r.example/v2/",
            "https://r.example/some/path",
            "http://r.example:80",
            "r.example/v1/",
            " r.example ",
        ] {
            assert_eq!(of_entry(name).as_deref(), Some("r.example"), "{name}");
        }
        for name in [
            "https://index.docker.io/v1/",
            "index.docker.io",
            "registry-1.docker.io",
            "docker.io",
        ] {
            assert_eq!(of_entry(name).as_deref(), Some("docker.io"), "{name}");
        }
    }

    #[test]
    fn ports_and_repositories_tell_registries_apart() {
        for (name, key) in [
            ("r.example:5000", "r.example:5000"),
            ("https://r.example:5000/v2/", "r.example:5000"),
            ("r.example:80", "r.example:80"),
            ("r.example:5000/team/a/", "r.example:5000/team/a"),
            ("docker.io/someone", "docker.io/someone"),
        ] {
            assert_eq!(of_entry(name).as_deref(), Some(key), "{name}");
        }
    }

    #[test]
    fn a_browser_logins_tokens_are_no_registry() {
        assert_eq!(of_entry("https://index.docker.io/v1/access-token"), None);
        assert_eq!(of_entry("https://index.docker.io/v1/refresh-token"), None);
    }
}
