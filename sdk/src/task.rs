//! What comes into a function under [`macro@crate::main`], what goes out, and how it fails.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt::{self, Display};

use crate::bindings::propeller::worlds::outcome::Failure as Raw;
use crate::known::Known;

/// Why a task failed. `?` makes one from every error of this crate and of others; what is not an
/// error becomes one with [`invalid_input`](Self::invalid_input) or [`other`](Self::other).
///
/// For a component that came encrypted the text is sealed to the recipients like a result: the
/// orchestrator sees only that the component failed.
///
/// It does not implement [`std::error::Error`], since that would forbid making one from every error.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The input is not what this component takes.
    InvalidInput(String),
    /// A host function refused or failed.
    Host(String),
    /// Anything else, in words.
    Other(String),
}

impl Failure {
    /// The input is not what this component takes; `why` says what it takes.
    pub fn invalid_input(why: impl Display) -> Self {
        Self::InvalidInput(why.to_string())
    }

    /// Any other failure, in words.
    pub fn other(why: impl Display) -> Self {
        Self::Other(why.to_string())
    }

    /// Sorts an error by its type and keeps its words and those of its causes.
    fn from_dyn(error: &(dyn StdError + 'static)) -> Self {
        let text = with_causes(error);
        match known().find_map(|known| (known.blames_input)(error)) {
            Some(true) => Self::InvalidInput(text),
            Some(false) => Self::Host(text),
            None => Self::Other(text),
        }
    }

    /// As [`from_dyn`](Self::from_dyn) for what a task may return: errors of this crate, boxed errors,
    /// failures, and anything that can be displayed.
    fn from_any<E: Display + 'static>(error: E) -> Self {
        let any: &dyn Any = &error;
        if let Some(failure) = any.downcast_ref::<Self>() {
            return failure.clone();
        }
        any.downcast_ref::<Box<dyn StdError>>()
            .map(|error| &**error)
            .or_else(|| {
                let boxed = any.downcast_ref::<Box<dyn StdError + Send + Sync>>()?;
                Some(&**boxed as &(dyn StdError + 'static))
            })
            .or_else(|| known().find_map(|known| (known.of_any)(any)))
            .map_or_else(|| Self::Other(error.to_string()), Self::from_dyn)
    }
}

impl<E: StdError + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::from_dyn(&error)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidInput(text) => write!(f, "invalid input: {text}"),
            Self::Host(text) | Self::Other(text) => f.write_str(text),
        }
    }
}

/// As [`Display`]: this is what a `main` that returns a failure prints.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl From<Failure> for Raw {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::InvalidInput(text) => Self::InvalidInput(text),
            Failure::Host(text) => Self::Host(text),
            Failure::Other(text) => Self::Other(text),
        }
    }
}

/// What a task can take: the bytes of its first input, or the text.
pub trait Input: Sized {
    /// Makes the parameter from the bytes.
    ///
    /// # Errors
    ///
    /// The bytes are not what the task takes.
    fn from_bytes(bytes: Vec<u8>) -> Result<Self, Failure>;
}

impl Input for Vec<u8> {
    fn from_bytes(bytes: Vec<u8>) -> Result<Self, Failure> {
        Ok(bytes)
    }
}

impl Input for String {
    fn from_bytes(bytes: Vec<u8>) -> Result<Self, Failure> {
        String::from_utf8(bytes)
            .map_err(|_| Failure::invalid_input("this component takes text in UTF-8"))
    }
}

/// What a task can return: bytes, text, or nothing when it publishes its result itself.
pub trait Output {
    /// The bytes of the result.
    fn into_bytes(self) -> Vec<u8>;
}

impl Output for Vec<u8> {
    fn into_bytes(self) -> Vec<u8> {
        self
    }
}

impl Output for String {
    fn into_bytes(self) -> Vec<u8> {
        self.into_bytes()
    }
}

impl Output for () {
    fn into_bytes(self) -> Vec<u8> {
        Vec::new()
    }
}

/// Runs a task as the exported function does.
///
/// # Errors
///
/// The input is not what the task takes, or the task fails.
pub fn run<I: Input, O: Output, E: Display + 'static>(
    task: fn(I) -> Result<O, E>,
    input: Vec<u8>,
) -> Result<Vec<u8>, Raw> {
    let input = I::from_bytes(input)?;
    task(input)
        .map(Output::into_bytes)
        .map_err(|error| Failure::from_any(error).into())
}

/// The types of error that interfaces give.
fn known() -> impl Iterator<Item = &'static Known> {
    crate::ERRORS.iter().copied().flatten()
}

/// The words of an error and of its causes, without saying anything twice.
fn with_causes(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{attestation, inputs, results, secrets};

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn bytes_text_and_nothing_go_through() {
        fn echo(input: Vec<u8>) -> Result<Vec<u8>, Failure> {
            Ok(input)
        }
        fn shout(input: String) -> Result<String, Failure> {
            Ok(input.to_uppercase())
        }
        fn silent(_: String) -> Result<(), Failure> {
            Ok(())
        }
        assert_eq!(run(echo, vec![0xff]).unwrap(), [0xff]);
        assert_eq!(run(shout, b"abc".to_vec()).unwrap(), b"ABC");
        assert_eq!(run(silent, b"abc".to_vec()).unwrap(), b"");
    }

    #[test]
    fn text_that_is_none_is_an_invalid_input() {
        fn task(_: String) -> Result<(), Failure> {
            Ok(())
        }
        assert!(matches!(run(task, vec![0xff]), Err(Raw::InvalidInput(_))));
    }

    #[test]
    fn errors_are_sorted_by_type() {
        fn failed<E: Display + 'static>(error: E) -> Failure {
            Failure::from_any(error)
        }
        let host = Failure::Host(attestation::Error::NoTee.to_string());
        assert_eq!(Failure::from(attestation::Error::NoTee), host);
        assert_eq!(failed(attestation::Error::NoTee), host);
        assert_eq!(
            failed(Box::<dyn StdError>::from(attestation::Error::NoTee)),
            host
        );
        assert_eq!(
            failed(Box::<dyn StdError + Send + Sync>::from(
                attestation::Error::NoTee
            )),
            host
        );
        assert_eq!(failed(host.clone()), host);
        assert_eq!(failed("words"), Failure::Other("words".into()));
        assert_eq!(
            failed(String::from("words")),
            Failure::Other("words".into())
        );
        assert!(matches!(
            failed(inputs::Error::NotText { index: 0 }),
            Failure::InvalidInput(_)
        ));
        assert!(matches!(
            failed(inputs::Error::OutOfRange { count: 0 }),
            Failure::Host(_)
        ));
        assert!(matches!(failed(results::Error::NotText), Failure::Host(_)));
        assert!(matches!(
            failed(secrets::Error::TooLarge { limit: 1 }),
            Failure::Host(_)
        ));
        assert!(matches!(
            failed(secrets::RevealError::Other("x".into())),
            Failure::Host(_)
        ));
    }

    #[test]
    fn causes_are_kept() {
        let cause = "x".parse::<u8>().unwrap_err();
        let expected = format!("outer: {cause}");
        assert_eq!(Failure::from(Outer(cause)), Failure::Other(expected));
    }

    proptest! {
        #[test]
        fn a_text_task_never_panics(bytes: Vec<u8>) {
            fn task(text: String) -> Result<String, Failure> { Ok(text) }
            match run(task, bytes.clone()) {
                Ok(out) => prop_assert_eq!(out, bytes),
                Err(error) => prop_assert!(matches!(error, Raw::InvalidInput(_))),
            }
        }
    }
}
