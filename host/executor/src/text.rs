//! Which text may leave this host in clear, decided by its type.
//!
//! An encrypted task may say nothing in clear but what this host says in its own words: its Manager, the
//! broker and the log are read by others than the data owner. So there are two types of text.
//! [`HostText`] is written by this host. [`GuestText`] is written by a component or describes its insides.
//!
//! The argument that no guest's text becomes host text is a short one, because there are few ways to make
//! a [`HostText`]:
//!
//! - from a literal, which is in this program's source;
//! - by [`host_text!`](crate::host_text), from a literal and values of types that are [`InClear`]. Neither
//!   `String` nor `str` is, so whatever a stranger wrote does not fit in. The types are all listed in
//!   `in_clear.rs`, each with its reason, and the trait is sealed;
//! - text that is known to be somebody else's than the guest's goes through [`Known`], which says whose.
//!
//! A [`Refusal`](crate::Refusal) is made of host text alone, so every refusal may be logged and sent.
//! A [`TaskError`](crate::TaskError) can carry guest text beside its refusal; only the plain road, on which
//! nothing is confidential, has a way to put it there.

use std::{borrow::Cow, fmt};

pub use proplet_runtime::GuestText;
use proplet_types::text::short_line;

/// Words of this host, fit for a log, a broker and a Manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostText(Cow<'static, str>);

impl HostText {
    /// A template with `{}` in place of each value, in order. Use [`host_text!`](crate::host_text), which
    /// counts them when it is compiled. Each value is on one line, and cut: strangers choose the length of
    /// what an error quotes.
    #[must_use]
    pub fn with(template: &'static str, values: &[&dyn InClear]) -> Self {
        let mut text = String::new();
        let mut values = values.iter();
        for (place, part) in template.split("{}").enumerate() {
            if place > 0
                && let Some(value) = values.next()
            {
                text.push_str(&short_line(&value.to_string(), MAX_VALUE));
            }
            text.push_str(part);
        }
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for HostText {
    fn from(text: &'static str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for HostText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Host text from a literal with `{}` for each value; values are of types that are
/// [`InClear`](crate::text::InClear).
///
/// ```
/// use proplet_executor::host_text;
/// let text = host_text!("{} tasks run already; at most {} may", 3_u64, 4_u64);
/// assert_eq!(text.as_str(), "3 tasks run already; at most 4 may");
/// ```
///
/// Text of unknown origin has none of those types:
///
/// ```compile_fail
/// use proplet_executor::host_text;
/// let said: String = std::env::args().collect();
/// let text = host_text!("the component said {}", said);
/// ```
#[macro_export]
macro_rules! host_text {
    ($template:literal $(, $value:expr)* $(,)?) => {{
        // Counts the values, and lets none be captured by name.
        if false {
            let _ = ::std::format_args!(::std::concat!($template) $(, $value)*);
        }
        $crate::text::HostText::with($template, &[$(&$value as &dyn $crate::text::InClear),*])
    }};
}

/// Values whose text is this host's, and so may leave in clear. No other crate can add to them.
pub trait InClear: fmt::Display + sealed::Sealed {}

pub(crate) mod sealed {
    pub trait Sealed {}
    impl<T: Sealed + ?Sized> Sealed for &T {}
}

impl<T: InClear + ?Sized> InClear for &T {}

/// Text that is not a guest's, and whose it is. It is shown without control characters, and cut.
#[derive(Debug, Clone)]
pub struct Known(String);

/// Longest text of somebody else that is repeated, in characters.
const MAX_KNOWN: usize = 512;
/// Longest value in a host text, in characters.
const MAX_VALUE: usize = 2048;

impl Known {
    /// What the sender of the task wrote, and so knows: an image reference, an address.
    #[must_use]
    pub fn of_request(text: &str) -> Self {
        Self::cleaned(text)
    }

    /// What this machine, its libraries or its settings say: an error of a driver, the name of a device.
    #[must_use]
    pub fn of_machine(text: &dyn fmt::Display) -> Self {
        Self::cleaned(&text.to_string())
    }

    fn cleaned(text: &str) -> Self {
        Self(short_line(text, MAX_KNOWN))
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proplet_image::{ImageError, Manifest};
    use proplet_runtime::RuntimeError;

    use super::*;
    use crate::Refusal;

    #[test]
    fn a_template_takes_its_values_in_order() {
        assert_eq!(host_text!("no value").as_str(), "no value");
        let host = Known::of_request("regi\nstry\u{1b}[31m");
        let text = host_text!("{}: {} of {}", host, 1_u32, HostText::from("{}"));
        assert_eq!(text.as_str(), "regi; stry\u{fffd}[31m: 1 of {}");
    }

    /// A registry chooses what its manifest holds, and the error quotes it.
    #[test]
    fn what_an_error_quotes_is_on_one_line_and_cut() {
        let manifest = format!(
            "{{\"schemaVersion\":\"\u{1b}[31m{}\"}}",
            "x".repeat(1 << 20)
        );
        let quoted = Manifest::parse(manifest.as_bytes()).unwrap_err();
        let folder = ImageError::Folder {
            path: "\u{1b}[31m\n".to_owned(),
            why: "x".repeat(1 << 20),
        };
        for error in [quoted, folder] {
            let refusal = Refusal::from(error);
            let words = refusal.words();
            assert!(words.len() <= 3 * MAX_VALUE, "{}", words.len());
            assert!(!words.contains(char::is_control));
        }
    }

    #[test]
    fn an_engine_error_says_nothing_of_the_guest() {
        let error = RuntimeError::GuestTrapped(GuestText::new("patient 4711"));
        let text = host_text!("{}; the rest is sealed", error);
        assert!(!text.as_str().contains("4711"), "{text}");
    }
}
