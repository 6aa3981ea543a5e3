//! What a caller is told: a gRPC status whose words begin with this host's own code, where there is one.

use proplet_types::{Code, ExitCode, text::short_line};
use tonic::Status;

/// Longest words. They travel in a header.
const MAX_WORDS: usize = 600;

/// The status of a failure that has a code.
pub(crate) fn of_code(code: Code, words: &impl std::fmt::Display) -> Status {
    let status = match code {
        Code::KbsDenied | Code::ImageKeyType | Code::ImageWrapRefused => {
            tonic::Code::PermissionDenied
        }
        Code::KbsNotFound => tonic::Code::NotFound,
        Code::TeeBusy => tonic::Code::Unavailable,
        Code::Input => tonic::Code::InvalidArgument,
        code if code.exit_code() == ExitCode::Unavailable => tonic::Code::Unavailable,
        code if code.exit_code() == ExitCode::Usage => tonic::Code::InvalidArgument,
        _ => tonic::Code::FailedPrecondition,
    };
    Status::new(status, short_line(&format!("{code}: {words}"), MAX_WORDS))
}

/// The status of a request that cannot be meant.
pub(crate) fn malformed(words: &impl std::fmt::Display) -> Status {
    Status::invalid_argument(short_line(&words.to_string(), MAX_WORDS))
}

/// The status of a method that is not there.
pub(crate) fn unknown_method(name: &str, known: &str) -> Status {
    let name = short_line(name, 64);
    Status::unimplemented(format!("{name} is not served here; {known}"))
}
