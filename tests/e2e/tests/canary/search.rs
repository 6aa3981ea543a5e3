//! Canaries, the forms that they may take, and the search for them.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proplet_types::Digest;

/// Bytes of a canary.
const LENGTH: usize = 32;

/// A text that stands in one place only, 32 letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// What it stands for.
    pub name: &'static str,
    /// The text.
    pub text: String,
}

impl Canary {
    /// The canary of this name: always the same, and unlike every other.
    pub fn new(name: &'static str) -> Self {
        // Letters from the whole alphabet, so that base64 of it is not another text of the same kind.
        let digest = Digest::of(name.as_bytes()).to_string();
        let letters = digest.trim_start_matches("sha256:").as_bytes();
        let text = letters
            .chunks(2)
            .map(|pair| {
                let byte = pair
                    .iter()
                    .fold(0_usize, |sum, c| sum * 31 + usize::from(*c));
                char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[byte % 52])
            })
            .collect::<String>();
        assert_eq!(text.len(), LENGTH);
        Self { name, text }
    }

    /// Every form in which it may appear. A half is enough, since texts get cut.
    fn forms(&self) -> BTreeMap<Vec<u8>, String> {
        let (first, last) = self.text.as_bytes().split_at(LENGTH / 2);
        let mut forms = BTreeMap::new();
        for (half, bytes) in [("first", first), ("last", last)] {
            for (form, needle) in encodings(bytes) {
                forms.insert(needle, format!("{half} half of {}, {form}", self.name));
            }
        }
        forms
    }
}

/// The encodings of some bytes that their surroundings cannot change.
pub fn encodings(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let list = format!("{bytes:?}");
    let mut encodings = vec![
        ("as it is", bytes.to_vec()),
        ("hex", hex::encode(bytes).into_bytes()),
        ("upper case hex", hex::encode_upper(bytes).into_bytes()),
        ("a list of numbers", list.trim_matches(['[', ']']).into()),
        (
            "a JSON list",
            list.trim_matches(['[', ']']).replace(' ', "").into(),
        ),
        ("UTF-16", bytes.iter().flat_map(|byte| [*byte, 0]).collect()),
        ("backwards", bytes.iter().rev().copied().collect()),
    ];
    for (engine, names) in [
        (&STANDARD, ["base64", "base64 at 1", "base64 at 2"]),
        (&URL_SAFE, ["base64url", "base64url at 1", "base64url at 2"]),
    ] {
        for (offset, name) in names.into_iter().enumerate() {
            let mut shifted = vec![0; offset];
            shifted.extend_from_slice(bytes);
            let text = engine.encode(&shifted);
            // The characters that hold bits of the bytes before or after are not part of the form.
            let start = (offset * 8).div_ceil(6);
            let end = shifted.len() * 8 / 6;
            encodings.push((name, text[start..end].into()));
        }
    }
    encodings
}

/// A canary where it must not be.
#[derive(Debug, PartialEq, Eq)]
pub struct Leak {
    /// Which canary, in which form.
    pub what: String,
    /// Where it was.
    pub place: String,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.what, self.place)
    }
}

/// Looks for some canaries in any form.
pub struct Search {
    forms: BTreeMap<Vec<u8>, String>,
    /// Whether a form begins with these two bytes.
    begins: Vec<bool>,
}

impl Search {
    pub fn new<'a>(canaries: impl IntoIterator<Item = &'a Canary>) -> Self {
        let forms: BTreeMap<_, _> = canaries.into_iter().flat_map(Canary::forms).collect();
        let mut begins = vec![false; 1 << 16];
        for form in forms.keys() {
            begins[usize::from(form[0]) << 8 | usize::from(form[1])] = true;
        }
        Self { forms, begins }
    }

    /// Every form that these bytes hold.
    pub fn in_bytes(&self, place: &str, bytes: &[u8]) -> Vec<Leak> {
        let mut found = Vec::new();
        for (at, pair) in bytes.windows(2).enumerate() {
            if !self.begins[usize::from(pair[0]) << 8 | usize::from(pair[1])] {
                continue;
            }
            for (form, what) in &self.forms {
                let what = Leak {
                    what: what.clone(),
                    place: place.to_owned(),
                };
                if bytes[at..].starts_with(form) && !found.contains(&what) {
                    found.push(what);
                }
            }
        }
        found
    }
}

#[test]
fn every_form_is_found_wherever_it_is_planted() {
    let canary = Canary::new("planted");
    let other = Canary::new("other");
    let search = Search::new([&canary]);
    let blind = Search::new([&other]);
    for surroundings in ["", "x", "yy", "zzz", "{\"token\":\""] {
        let mut plain = surroundings.as_bytes().to_vec();
        plain.extend_from_slice(canary.text.as_bytes());
        plain.extend_from_slice(surroundings.as_bytes());
        let list = format!("{plain:?}");
        for (form, text) in [
            ("raw", plain.clone()),
            ("hex", hex::encode(&plain).into()),
            ("upper", hex::encode_upper(&plain).into()),
            ("base64", STANDARD.encode(&plain).into()),
            ("base64url", URL_SAFE.encode(&plain).into()),
            (
                "base64 of base64url",
                STANDARD.encode(canary.text.as_bytes()).into(),
            ),
            ("debug", list.clone().into()),
            ("json", list.replace(' ', "").into()),
        ] {
            for half in ["first", "last"] {
                let found = search.in_bytes(form, &text);
                assert!(
                    found.iter().any(|leak| leak.what.starts_with(half)),
                    "{form} in {surroundings:?}: {found:?}"
                );
            }
            assert_eq!(blind.in_bytes(form, &text), []);
        }
    }
    // A half is enough, a quarter is not.
    assert!(
        !search
            .in_bytes("half", &canary.text.as_bytes()[..16])
            .is_empty()
    );
    assert_eq!(search.in_bytes("quarter", &canary.text.as_bytes()[..8]), []);
}
