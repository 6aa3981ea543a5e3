//! Addresses of KBS resources.
//!
//! `kbs://[host[:port]]/<repository>/<type>/<tag>`, as key ids in encrypted images and secrets in
//! policies name them. The parser is strict, because the path goes into a request line and because
//! grants compare addresses: exactly three segments of `[A-Za-z0-9_-][A-Za-z0-9_.-]*` (the rule of
//! Trustee's resource plugin), no query, no fragment, no escapes. So two addresses are equal exactly
//! when their texts are, and no segment can be `..` or smuggle a second path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

/// The longest address that is accepted, in bytes.
pub const MAX_URI_BYTES: usize = 1024;

/// Why a text is not the address of a KBS resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResourceUriError {
    /// Longer than [`MAX_URI_BYTES`].
    #[error(
        "a KBS resource address of {0} bytes is too long; at most {MAX_URI_BYTES} are accepted"
    )]
    TooLong(usize),
    /// Another scheme, or none.
    #[error("a KBS resource address starts with `kbs://`; write kbs:///repository/type/tag")]
    Scheme,
    /// `kbs+plugin://`: only the resource plugin is served here.
    #[error(
        "plugin addresses (`kbs+plugin://`) are not supported; write kbs:///repository/type/tag"
    )]
    Plugin,
    /// A query or a fragment.
    #[error("a KBS resource address has no query and no fragment; remove what follows `?` or `#`")]
    Query,
    /// The host part holds something other than a host name, an IP address and a port.
    #[error(
        "the host of the KBS resource address is malformed; leave it out: kbs:///repository/type/tag"
    )]
    Host,
    /// Not three segments.
    #[error("a KBS resource has exactly three segments, repository/type/tag; this one has {0}")]
    Segments(usize),
    /// A segment is empty or holds another character. The value is its place, counted from 1.
    #[error(
        "segment {0} of the KBS resource address is malformed; use letters, digits, `_`, `-`, and `.` after the first character"
    )]
    Segment(usize),
}

/// The address of one KBS resource, checked.
///
/// ```
/// use proplet_types::ResourceUri;
/// let uri: ResourceUri = "kbs:///default/key/module".parse()?;
/// assert_eq!(uri.path(), "default/key/module");
/// assert_eq!(uri.repository(), "default");
/// # Ok::<(), proplet_types::ResourceUriError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceUri {
    host: Option<String>,
    path: String,
    repository_len: usize,
}

impl ResourceUri {
    /// Takes a path `repository/type/tag`, without scheme and leading slash, as settings and
    /// `kbs_resource_path` in start messages give it.
    ///
    /// # Errors
    /// [`ResourceUriError::Segments`], [`ResourceUriError::Segment`] or
    /// [`ResourceUriError::TooLong`].
    pub fn from_path(path: &str) -> Result<Self, ResourceUriError> {
        if path.len() > MAX_URI_BYTES {
            return Err(ResourceUriError::TooLong(path.len()));
        }
        if path.contains(['?', '#']) {
            return Err(ResourceUriError::Query);
        }
        let count = path.split('/').count();
        if count != 3 {
            return Err(ResourceUriError::Segments(count));
        }
        for (place, segment) in (1..).zip(path.split('/')) {
            if !is_segment(segment) {
                return Err(ResourceUriError::Segment(place));
            }
        }
        let repository_len = path.find('/').unwrap_or(path.len());
        Ok(Self {
            host: None,
            path: path.to_owned(),
            repository_len,
        })
    }

    /// The first segment. A component reaches only the repository of the key that decrypted it.
    pub fn repository(&self) -> &str {
        self.path.get(..self.repository_len).unwrap_or_default()
    }

    /// The second segment. It tells keys of images from secrets: [`ImageKeyTypes`](crate::ImageKeyTypes).
    pub fn resource_type(&self) -> &str {
        self.path.split('/').nth(1).unwrap_or_default()
    }

    /// `repository/type/tag`, without a leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The host with its port as the address names it, in lower case. Which KBS is asked is decided
    /// by the settings; a host that is not that KBS's ([`KbsHost`]) is refused, never followed.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }
}

impl FromStr for ResourceUri {
    type Err = ResourceUriError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_URI_BYTES {
            return Err(ResourceUriError::TooLong(text.len()));
        }
        if text.starts_with("kbs+") {
            return Err(ResourceUriError::Plugin);
        }
        let rest = text
            .strip_prefix("kbs://")
            .ok_or(ResourceUriError::Scheme)?;
        let (host, path) = rest.split_once('/').ok_or(ResourceUriError::Segments(0))?;
        let mut uri = Self::from_path(path)?;
        if !host.is_empty() {
            if !is_host(host) {
                return Err(ResourceUriError::Host);
            }
            uri.host = Some(host.to_ascii_lowercase());
        }
        Ok(uri)
    }
}

impl TryFrom<String> for ResourceUri {
    type Error = ResourceUriError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ResourceUri> for String {
    fn from(uri: ResourceUri) -> Self {
        uri.to_string()
    }
}

impl fmt::Display for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "kbs://{}/{}",
            self.host.as_deref().unwrap_or_default(),
            self.path
        )
    }
}

impl fmt::Debug for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The key broker of the settings, as a resource address may name it: with its port or without.
///
/// ```
/// use proplet_types::{KbsHost, ResourceUri};
/// let configured = KbsHost::new("kbs.example", 8080);
/// let uri: ResourceUri = "kbs://kbs.example/default/key/module".parse()?;
/// assert!(configured.is_meant_by(&uri));
/// # Ok::<(), proplet_types::ResourceUriError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KbsHost {
    name: String,
    port: u16,
}

impl KbsHost {
    /// The key broker at this host name or address (an IPv6 address in brackets, as in a URL) and port.
    pub fn new(name: &str, port: u16) -> Self {
        Self {
            name: name.to_ascii_lowercase(),
            port,
        }
    }

    /// The key broker at this URL; none when it has no host, or a scheme without a port of its own.
    pub fn of(url: &Url) -> Option<Self> {
        Some(Self::new(url.host_str()?, url.port_or_known_default()?))
    }

    /// Whether an address means this key broker: it names none, or this one, and no other port.
    pub fn is_meant_by(&self, uri: &ResourceUri) -> bool {
        uri.host()
            .is_none_or(|named| named == self.name || named == self.to_string())
    }
}

/// Host and port, in lower case.
impl fmt::Display for KbsHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

pub(crate) fn is_segment(segment: &str) -> bool {
    let mut bytes = segment.bytes();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    bytes.next().is_some_and(plain) && bytes.all(|b| plain(b) || b == b'.')
}

/// A registered name, an IPv4 address or a bracketed IPv6 address, with an optional port.
fn is_host(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let named = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
    !name.is_empty() && name.bytes().all(named) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests;
