//! Writing.

use std::fmt;

use wasmtime::component::{Val, wasm_wave::writer::Writer};
use zeroize::Zeroizing;

use super::failed::Failed;
use crate::allowance::Allowance;
use crate::limits::Passed;

/// Bytes of text that count as one step.
const STEP_BYTES: usize = 64;

/// The value as WAVE text.
///
/// # Errors
/// [`Passed::Output`] when it would be longer than `limit` bytes, and whatever else the task passes.
pub(crate) fn write(
    value: &Val,
    limit: u64,
    allowance: &mut Allowance<'_>,
) -> Result<Zeroizing<String>, Failed> {
    let sink = written(value, limit, allowance)?;
    if sink.full {
        return Err(Failed::Passed(sink.allowance.pass(Passed::Output)));
    }
    Ok(sink.text)
}

/// The value as WAVE text, cut when it is longer than `limit` bytes.
///
/// # Errors
/// Whatever limit the task passes meanwhile.
pub(crate) fn write_cut(
    value: &Val,
    limit: u64,
    allowance: &mut Allowance<'_>,
) -> Result<Zeroizing<String>, Failed> {
    written(value, limit, allowance).map(|sink| sink.text)
}

fn written<'a, 'b>(
    value: &Val,
    limit: u64,
    allowance: &'a mut Allowance<'b>,
) -> Result<Sink<'a, 'b>, Failed> {
    let mut sink = Sink {
        text: Zeroizing::default(),
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        full: false,
        passed: None,
        allowance,
    };
    let written = Writer::new(&mut sink).write_value(value);
    match (sink.passed, written) {
        (Some(passed), _) => Err(Failed::Passed(passed)),
        (None, Err(error)) if !sink.full => Err(Failed::Invalid(error.to_string())),
        _ => Ok(sink),
    }
}

/// Takes text up to its limit.
struct Sink<'a, 'b> {
    text: Zeroizing<String>,
    limit: usize,
    full: bool,
    passed: Option<Passed>,
    allowance: &'a mut Allowance<'b>,
}

impl Sink<'_, '_> {
    fn take(&mut self, more: &str) -> Result<(), Passed> {
        self.allowance.work(more.len() / STEP_BYTES + 1)?;
        let length = self.text.len() + more.len();
        if length > self.text.capacity() {
            let capacity = length.next_power_of_two().max(256);
            self.allowance.allocate(capacity)?;
            // By hand, because a string that grows by itself leaves its old contents behind.
            let mut larger = Zeroizing::new(String::with_capacity(capacity));
            larger.push_str(&self.text);
            self.text = larger;
        }
        self.text.push_str(more);
        Ok(())
    }
}

impl fmt::Write for Sink<'_, '_> {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let left = self.limit.saturating_sub(self.text.len());
        let fits = more
            .get(..more.floor_char_boundary(left))
            .unwrap_or_default();
        if let Err(passed) = self.take(fits) {
            self.passed = Some(passed);
            return Err(fmt::Error);
        }
        if fits.len() < more.len() {
            self.full = true;
            return Err(fmt::Error);
        }
        Ok(())
    }
}
