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

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,200}") {
            if let Ok(reference) = text.parse::<ImageReference>() {
                let again: ImageReference = reference.to_string().parse().unwrap();
                prop_assert_eq!(again, reference);
            }
        }
    }
}
