//! Names of images.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::Reference;
use proplet_types::Digest;

use crate::error::ImageError;

/// The longest reference that is looked at, in bytes: 255 for the repository, 128 for the tag, a
/// host name and a digest, with room to spare.
const MAX_LENGTH: usize = 1024;

/// A parsed image reference, `registry/repository[:tag][@sha256:<hex>]`, with the defaults that
/// container tools use (`docker.io`, `latest`).
///
/// With a digest, the digest decides and the tag is only shown: this is how a task pins what runs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ImageReference {
    inner: Reference,
    digest: Option<Digest>,
}

impl ImageReference {
    /// The digest that pins the image, when the reference has one.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The tag, when the reference has one.
    pub fn tag(&self) -> Option<&str> {
        self.inner.tag()
    }

    /// The repository within the registry, for instance `library/hello`.
    pub fn repository(&self) -> &str {
        self.inner.repository()
    }

    /// The registry as written (or `docker.io`), with its port if any.
    pub fn registry(&self) -> &str {
        self.inner.registry()
    }

    /// The host and port that are connected to. Differs from [`registry`](Self::registry) for
    /// `docker.io` only.
    pub fn registry_host(&self) -> &str {
        self.inner.resolve_registry()
    }

    /// The same repository, pinned to `digest` instead of this reference's tag or digest.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            inner: self.inner.clone_with_digest(digest.to_string()),
            digest: Some(digest),
        }
    }
}

impl FromStr for ImageReference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let refuse = |why: String| ImageError::Reference {
            text: text.chars().take(128).collect(),
            why,
        };
        if text.len() > MAX_LENGTH {
            return Err(refuse(format!("longer than {MAX_LENGTH} bytes")));
        }
        if let Some(pinned) = pinned(text) {
            return Ok(pinned);
        }
        let inner =
            Reference::from_str(&plain_spelling(text)).map_err(|e| refuse(e.to_string()))?;
        // A first part that is no host name is taken for repository, upper case and all.
        if inner.repository().bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(refuse("a repository is written in lower case".to_owned()));
        }
        let digest = match inner.digest() {
            None => None,
            Some(digest) => Some(digest.parse().map_err(|_| {
                refuse("a digest must be sha256: and 64 lower-case hex digits".to_owned())
            })?),
        };
        Ok(Self { inner, digest })
    }
}

/// A reference as tasks write it: a host, a repository and a digest, with nothing left to defaults. The library
/// takes a regular expression to any reference, and that would be the longest of what a warm task does besides
/// cryptography. `None` for all others, right or wrong, which the library reads.
fn pinned(text: &str) -> Option<ImageReference> {
    let (name, hex) = text.split_once('@')?;
    let digest: Digest = hex.parse().ok()?;
    let (registry, repository) = name.split_once('/')?;
    let (host, port) = match registry.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (registry, None),
    };
    // Without a dot or a port it would be a part of a repository, and Docker Hub has several names.
    let is_host = (host.contains('.') || port.is_some())
        && host.split('.').all(|label| is_plain(label, b"-"))
        && !host.contains("docker");
    let is_port = port.is_none_or(|port| {
        (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
    });
    let is_repository = repository.len() <= 128
        && repository
            .split('/')
            .all(|component| is_plain(component, b"-._"));
    (is_host && is_port && is_repository).then(|| ImageReference {
        inner: Reference::with_digest(
            registry.to_owned(),
            repository.to_owned(),
            digest.to_string(),
        ),
        digest: Some(digest),
    })
}

/// Lower-case letters and digits, with a separator here and there between them.
fn is_plain(text: &str, separators: &[u8]) -> bool {
    let mut after_letter = false;
    for byte in text.bytes() {
        let is_letter = byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = is_letter || (after_letter && separators.contains(&byte));
        if !fits {
            return false;
        }
        after_letter = is_letter;
    }
    after_letter
}

/// Without what tools put before a reference (`oci://`, `docker://`), and with Docker Hub under its one
/// name, by which credentials and settings know it.
fn plain_spelling(text: &str) -> String {
    const TRANSPORTS: [&str; 2] = ["oci://", "docker://"];
    const DOCKER_HUB: [&str; 3] = [
        "index.docker.io",
        "registry-1.docker.io",
        "registry.hub.docker.com",
    ];
    let text = text.trim();
    let rest = TRANSPORTS.iter().find_map(|transport| {
        let (start, rest) = text.split_at_checked(transport.len())?;
        start.eq_ignore_ascii_case(transport).then_some(rest)
    });
    let text = rest.unwrap_or(text);
    match text.split_once('/') {
        Some((host, path)) if DOCKER_HUB.iter().any(|hub| hub.eq_ignore_ascii_case(host)) => {
            format!("docker.io/{path}")
        }
        _ => text.to_owned(),
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageReference({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "94fa6a5b351a21453fdf505f9a96c7d2db4c02f95a1515ec6f941832f5480eb6";

    #[test]
    fn tags_and_digests_are_kept() {
        let tagged: ImageReference = "registry.example:5000/a/b:v1".parse().unwrap();
        assert_eq!(tagged.registry(), "registry.example:5000");
        assert_eq!(tagged.repository(), "a/b");
        assert_eq!(tagged.tag(), Some("v1"));
        assert_eq!(tagged.digest(), None);

        let text = format!("registry.example/a@sha256:{HEX}");
        let pinned: ImageReference = text.parse().unwrap();
        assert_eq!(
            pinned.digest().unwrap().to_string(),
            format!("sha256:{HEX}")
        );
        assert_eq!(pinned.to_string(), text);
    }

    #[test]
    fn defaults_are_those_of_container_tools() {
        let reference: ImageReference = "hello".parse().unwrap();
        assert_eq!(reference.to_string(), "docker.io/library/hello:latest");
        assert_eq!(reference.registry_host(), "index.docker.io");
    }

    #[test]
    fn spellings_of_other_tools_are_understood() {
        for (text, expected) in [
            ("oci://ghcr.io/org/app:v1", "ghcr.io/org/app:v1"),
            ("OCI://ghcr.io/org/app:v1", "ghcr.io/org/app:v1"),
            ("docker://hello", "docker.io/library/hello:latest"),
            ("docker.io/hello:1", "docker.io/library/hello:1"),
            (
                "docker.io/someone/add.wasm",
                "docker.io/someone/add.wasm:latest",
            ),
            (
                "index.docker.io/someone/add.wasm",
                "docker.io/someone/add.wasm:latest",
            ),
            (
                "registry-1.docker.io/library/hello",
                "docker.io/library/hello:latest",
            ),
            (
                "docker://registry.hub.docker.com/hello",
                "docker.io/library/hello:latest",
            ),
            (" ghcr.io/org/app:v1\n", "ghcr.io/org/app:v1"),
            ("localhost:5000/add.wasm", "localhost:5000/add.wasm:latest"),
        ] {
            let reference: ImageReference = text.parse().unwrap();
            assert_eq!(reference.to_string(), expected, "{text}");
        }
        for text in [
            "oci://",
            "oci:///a",
            "oci://oci://a/b",
            "https://ghcr.io/a",
            "oci:a/b:c:d",
        ] {
            text.parse::<ImageReference>().unwrap_err();
        }
    }

    #[test]
    fn other_digests_and_spellings_are_refused() {
        for text in [
            String::new(),
            "UPPER/case".to_owned(),
            format!("r.example/a@sha512:{HEX}{HEX}"),
            format!("r.example/a@sha256:{}", HEX.to_uppercase()),
            format!("r.example/{}", "a".repeat(2000)),
        ] {
            let error = text.parse::<ImageReference>().unwrap_err();
            assert_eq!(error.code(), "image-reference", "{text}");
        }
    }

    #[test]
    fn pinned_images_are_read_without_the_library() {
        for (name, is_plain) in [
            ("registry.example:5000/team/a-b", true),
            ("localhost:5000/a", true),
            ("127.0.0.1:5000/a", true),
            ("ghcr.io/a/b_c.d", true),
            ("docker.io/a/b", false),
            ("localhost/a", false),
            ("a/b", false),
            ("ghcr.io/a--b", false),
            ("ghcr.io/a:v1", false),
            ("ghcr.io/", false),
            ("ghcr.io//a", false),
            ("oci://ghcr.io/a", false),
            ("Ghcr.io/a", false),
        ] {
            let text = format!("{name}@sha256:{HEX}");
            assert_eq!(pinned(&text).is_some(), is_plain, "{text}");
        }
        assert!(pinned(&format!("ghcr.io/a@sha512:{HEX}")).is_none());
        assert!(pinned("ghcr.io/a").is_none());
    }

    proptest! {
        #[test]
        fn what_is_read_without_the_library_is_what_the_library_reads(
            host in "[a-z0-9.-]{1,8}(\\.(io|docker|com|-a|0))?(:[0-9]{0,6})?",
            repository in "[a-zA-Z0-9._/-]{0,10}",
            tag in "(:[a-z0-9.]{1,4})?",
        ) {
            let text = format!("{host}/{repository}{tag}@sha256:{HEX}");
            if let Some(pinned) = pinned(&text) {
                let inner = Reference::from_str(&plain_spelling(&text)).unwrap();
                prop_assert_eq!(&pinned.inner, &inner, "{}", text);
                let digest = pinned.digest.unwrap().to_string();
                prop_assert_eq!(Some(&digest[..]), inner.digest());
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,200}") {
            if let Ok(reference) = text.parse::<ImageReference>() {
                let again: ImageReference = reference.to_string().parse().unwrap();
                prop_assert_eq!(again, reference);
            }
        }
    }
}
