//! What the system said, in a form that can be kept and compared.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// An error of a system call. Unlike [`io::Error`] it can be cloned and compared, as errors of evidence are:
/// one failure is told to everybody who waited for the same evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemError {
    errno: Option<i32>,
    text: String,
}

impl SystemError {
    /// The error's number, when the system gave one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    pub(crate) fn is(&self, errno: Errno) -> bool {
        self.errno == Some(errno.raw_os_error())
    }

    pub(crate) fn is_one_of(&self, errnos: &[Errno]) -> bool {
        errnos.iter().any(|errno| self.is(*errno))
    }
}

impl From<io::Error> for SystemError {
    fn from(error: io::Error) -> Self {
        Self {
            errno: error.raw_os_error(),
            text: error.to_string(),
        }
    }
}

impl From<Errno> for SystemError {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl fmt::Display for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
