//! Why a request failed, whether another try may help, and when it is due.

use std::time::{Duration, SystemTime};

use proplet_net::reach::{self, Answer, BodyError};
use proplet_net::retry::{self, Tries};
use reqwest::StatusCode;
use tokio::time::Instant;

use crate::error::ImageError;
use crate::reference::ImageReference;

/// Why a try failed, and whether another one may help.
#[derive(Debug)]
pub(crate) struct Trouble {
    error: ImageError,
    /// Whether it may pass.
    passing: bool,
    /// What the server asked to be given.
    asked: Option<Duration>,
    /// Whether the registry sent us to who failed. How often that was tried tells that it may pass,
    /// which is more than is told of such hosts.
    foreign: bool,
}

impl Trouble {
    pub(crate) fn passing(error: ImageError) -> Self {
        Self {
            error,
            passing: true,
            asked: None,
            foreign: false,
        }
    }

    /// The same as [`Trouble::passing`], of a host that the registry sent us to.
    pub(crate) fn passing_abroad(error: ImageError) -> Self {
        Self {
            foreign: true,
            ..Self::passing(error)
        }
    }

    /// Whether the registry said that it has no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self.error, ImageError::NotFound { .. })
    }

    /// Whether the registry, or its token service, refused who we are.
    pub(crate) fn is_unauthorized(&self) -> bool {
        matches!(self.error, ImageError::Unauthorized { .. })
    }

    /// The same, to be tried in another way.
    pub(crate) fn but_passing(self) -> Self {
        Self {
            passing: true,
            ..self
        }
    }

    pub(crate) fn of_status(error: ImageError, answer: &Answer) -> Self {
        Self {
            error,
            passing: retry::may_pass(answer.response.status()),
            asked: retry::retry_after(answer.response.headers(), SystemTime::now()),
            foreign: answer.foreign,
        }
    }
}

impl From<ImageError> for Trouble {
    fn from(error: ImageError) -> Self {
        Self {
            error,
            passing: false,
            asked: None,
            foreign: false,
        }
    }
}

/// Waits until the next try is due, or says why there is none.
pub(crate) async fn pause(
    tries: &mut Tries,
    trouble: Trouble,
    deadline: Instant,
) -> Result<(), ImageError> {
    if !trouble.passing {
        return Err(trouble.error);
    }
    let left = deadline.saturating_duration_since(Instant::now());
    match tries.failed(trouble.asked, left) {
        Some(wait) => {
            tracing::debug!(error = %trouble.error, ?wait, "trying the registry again");
            tokio::time::sleep(wait).await;
            Ok(())
        }
        None => Err(match trouble.error {
            ImageError::Unavailable { registry, why } if !trouble.foreign => {
                let made = tries.made();
                let asked = trouble.asked.filter(|asked| *asked >= left);
                let asked = asked.map_or_else(String::new, |asked| {
                    format!(", and asks for {} s until the next", asked.as_secs())
                });
                let times = if made == 1 { "time" } else { "times" };
                ImageError::Unavailable {
                    registry,
                    why: format!("{why} (tried {made} {times}{asked})"),
                }
            }
            error => error,
        }),
    }
}

/// A body that could not be read to its end.
pub(crate) fn body_trouble(reference: &ImageReference, error: BodyError, what: &str) -> Trouble {
    match error {
        BodyError::TooLarge(limit) => ImageError::TooLarge {
            what: what.to_owned(),
            limit,
        }
        .into(),
        BodyError::Encoding(_) => ImageError::layout(what, error.to_string()).into(),
        BodyError::Broken(error) => unreachable(reference, error),
    }
}

pub(crate) fn unavailable(reference: &ImageReference, why: impl Into<String>) -> ImageError {
    ImageError::Unavailable {
        registry: reference.registry().to_owned(),
        why: why.into(),
    }
}

/// A request that brought no answer. A refused address of the registry itself is a matter of the
/// settings, not of the registry.
pub(crate) fn unreachable(reference: &ImageReference, error: reach::Error) -> Trouble {
    match error {
        reach::Error::Refused { .. } => ImageError::NotAllowed {
            why: error.to_string(),
        }
        .into(),
        error => Trouble {
            passing: error.is_transient(),
            foreign: matches!(error, reach::Error::Foreign { .. }),
            error: unavailable(reference, error.to_string()),
            asked: None,
        },
    }
}

/// What may be told of an error in what a host gave: everything, unless the registry sent us there. Then
/// sizes, digests and words would tell whoever chose the registry what lies on hosts that only this machine
/// reaches.
pub(crate) fn told(
    reference: &ImageReference,
    foreign: Option<&str>,
    error: ImageError,
) -> ImageError {
    let Some(host) = foreign else { return error };
    tracing::warn!(
        "{host}, which registry {} sent this host to: {error}",
        reference.registry()
    );
    unavailable(reference, reach::foreign_words(host))
}

/// The answer of a host that the registry sent us to, of which nothing is told.
pub(crate) fn sent_on(reference: &ImageReference, host: &str, status: StatusCode) -> ImageError {
    tracing::warn!(
        "{host}, which registry {} sent this host to, answered with {status}",
        reference.registry()
    );
    unavailable(reference, reach::foreign_words(host))
}
