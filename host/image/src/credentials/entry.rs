//! From an entry's members to one credential.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::credential::Credential;
use super::file::RawEntry;

/// What tools write who follow the standard to different degrees.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
/// The name under which Azure's login stores its identity token.
const ZERO_GUID: &str = "00000000-0000-0000-0000-000000000000";

/// What an entry comes to.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Usable(Credential),
    /// It means to hold a credential; what is wrong with it.
    Unusable(&'static str),
    /// It holds nothing: the trace of a login whose credential is elsewhere.
    Placeholder,
}

impl Entry {
    pub(super) fn of(raw: RawEntry) -> Self {
        match credential(raw) {
            Ok(Some(credential)) => Self::Usable(credential),
            Ok(None) => Self::Placeholder,
            Err(why) => Self::Unusable(why),
        }
    }

    /// Of two entries for one registry the one that is worth more is used.
    pub(super) fn worth(&self) -> u8 {
        match self {
            Self::Placeholder => 0,
            Self::Unusable(_) => 1,
            Self::Usable(_) => 2,
        }
    }
}

/// An identity token comes before a name and a password, as in docker's own client: who has one
/// stores it beside a name that opens nothing.
fn credential(raw: RawEntry) -> Result<Option<Credential>, &'static str> {
    if let Some(token) = raw.registrytoken {
        return Ok(Some(Credential::Bearer(token)));
    }
    if let Some(token) = raw.identitytoken {
        return Ok(Some(Credential::Identity(token)));
    }
    let pair = match (raw.username, raw.password) {
        (Some(username), Some(password)) => Some(Ok((username.to_string(), password))),
        (Some(_), None) => Some(Err("it has a name and no password")),
        (None, Some(_)) => Some(Err("it has a password and no name")),
        (None, None) => None,
    };
    let pair = match (raw.auth.map(|auth| decode(&auth)), pair) {
        (Some(Ok(decoded)), _) => Some(Ok(decoded)),
        // Written twice, and readable once.
        (Some(Err(_)), Some(Ok(pair))) => Some(Ok(pair)),
        (Some(Err(why)), _) => Some(Err(why)),
        (None, pair) => pair,
    };
    match pair {
        Some(Ok((username, password))) if password.is_empty() && username == ZERO_GUID => Err(
            "it is of Azure's login and has no identity token, which stands in for the password",
        ),
        Some(Ok((username, password))) => Ok(Some(Credential::Basic { username, password })),
        Some(Err(why)) => Err(why),
        None if raw.malformed => Err("it is malformed"),
        None => Ok(None),
    }
}

/// Name and password of an `auth`: base64 of either alphabet, padded or not, in one line or wrapped.
fn decode(auth: &str) -> Result<(String, Zeroizing<String>), &'static str> {
    let mut plain = Zeroizing::new(String::with_capacity(auth.len()));
    plain.extend(auth.chars().filter_map(|c| match c {
        '-' => Some('+'),
        '_' => Some('/'),
        c if c.is_ascii_whitespace() => None,
        c => Some(c),
    }));
    let bytes = LENIENT
        .decode(plain.as_bytes())
        .map_err(|_| "its auth is not base64")?;
    let bytes = Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes).map_err(|_| "its auth is not the base64 of text")?;
    let (username, password) = text
        .split_once(':')
        .ok_or("its auth is not the base64 of name:password")?;
    // Docker pads some with NUL bytes.
    let password = password.trim_end_matches('\0');
    Ok((username.to_owned(), Zeroizing::new(password.to_owned())))
}
