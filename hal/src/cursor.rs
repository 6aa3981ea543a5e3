//! Little-endian bytes from outside, read front to back, never past their end.

use crate::FormError;

/// A place in bytes that are being read.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    whole: usize,
    what: &'static str,
}

impl<'a> Cursor<'a> {
    /// The start of bytes that errors call `what`.
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self {
            rest: bytes,
            whole: bytes.len(),
            what,
        }
    }

    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], FormError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| {
            FormError::malformed(
                self.what,
                format!(
                    "it ends too early: {length} bytes are due at byte {} of {}",
                    self.position(),
                    self.whole
                ),
            )
        })?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length of 32 bits. One that does not fit this machine's is longer than any bytes it has.
    pub(crate) fn length32(&mut self) -> Result<usize, FormError> {
        Ok(usize::try_from(self.u32()?).unwrap_or(usize::MAX))
    }

    /// How many bytes were read.
    pub(crate) fn position(&self) -> usize {
        self.whole.saturating_sub(self.rest.len())
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}
