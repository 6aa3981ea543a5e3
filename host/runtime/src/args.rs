//! From the inputs of a task to the arguments of an export.
//!
//! Component exports take one input per parameter: a `list<u8>` takes the raw bytes, a `string` takes WAVE
//! text in quotes or, if the input is not that, the bare text; every other type takes WAVE text. Exports of
//! core modules take numbers in decimal.

use wasmtime::component::Val;
use wasmtime::component::types::{ComponentFunc, Type};
use wasmtime::{FuncType, ValType};

use crate::allowance::Allowance;
use crate::error::{GuestText, RuntimeError};
use crate::limits::Passed;
use crate::signature;
use crate::task::Input;
use crate::wave;

/// Most bytes that a `list<u8>` takes when the export has no faster form: the engine needs some 40 bytes
/// for each element then.
const MAX_SLOW_BYTES: usize = 1 << 20;

/// Why there are no arguments.
#[derive(Debug)]
pub(crate) enum NoArguments {
    /// The inputs do not fit.
    Invalid(RuntimeError),
    /// The task has to end before they are read.
    Passed(Passed),
}

/// Arguments for a component export, read within the task's limits. The number of inputs was checked.
pub(crate) fn component(
    name: &str,
    function: &ComponentFunc,
    inputs: &[Input],
    allowance: &mut Allowance<'_>,
) -> Result<Vec<Val>, NoArguments> {
    function
        .params()
        .zip(inputs)
        .enumerate()
        .map(|(index, ((parameter, ty), input))| {
            value(&ty, input, allowance).map_err(|failed| match failed {
                wave::Failed::Passed(passed) => NoArguments::Passed(passed),
                wave::Failed::Invalid(reason) => {
                    let signature = signature::component(name, function);
                    NoArguments::Invalid(invalid(format!(
                        "input {index} for parameter `{parameter}`: {reason}; the export is `{signature}`"
                    )))
                }
            })
        })
        .collect()
}

/// Arguments for an export of a core module.
pub(crate) fn core(
    name: &str,
    function: &FuncType,
    inputs: &[Input],
) -> Result<Vec<wasmtime::Val>, RuntimeError> {
    let parameters = function.params().len();
    check_count(parameters, inputs.len(), false, || {
        signature::core(name, function)
    })?;
    function
        .params()
        .zip(inputs)
        .enumerate()
        .map(|(index, (ty, input))| {
            number(&ty, input).map_err(|reason| {
                let signature = signature::core(name, function);
                invalid(format!(
                    "input {index}: {reason}; the export is `{signature}`"
                ))
            })
        })
        .collect()
}

/// Checks that there are as many inputs as parameters.
pub(crate) fn check_count(
    parameters: usize,
    inputs: usize,
    surplus: bool,
    signature: impl FnOnce() -> String,
) -> Result<(), RuntimeError> {
    if inputs == parameters || (surplus && inputs > parameters) {
        return Ok(());
    }
    Err(invalid(format!(
        "{inputs} input{} for {parameters} parameter{}; the export is `{}`",
        if inputs == 1 { "" } else { "s" },
        if parameters == 1 { "" } else { "s" },
        signature()
    )))
}

fn value(ty: &Type, input: &Input, allowance: &mut Allowance<'_>) -> Result<Val, wave::Failed> {
    let invalid = |reason: String| Err(wave::Failed::Invalid(reason));
    if is_bytes(ty) {
        if input.bytes.len() > MAX_SLOW_BYTES {
            return invalid(format!(
                "{} bytes are too many here; read inputs of more than {MAX_SLOW_BYTES} bytes with \
                 propeller:confidential/inputs, or export `func(list<u8>) -> list<u8>`",
                input.bytes.len()
            ));
        }
        allowance.allocate(input.bytes.len() * size_of::<Val>())?;
        return Ok(Val::List(
            input.bytes.iter().copied().map(Val::U8).collect(),
        ));
    }
    let Ok(text) = std::str::from_utf8(&input.bytes) else {
        return invalid("not UTF-8, and only `list<u8>` takes other bytes".to_owned());
    };
    match (ty, wave::read(ty, text, allowance)) {
        (Type::String, Err(wave::Failed::Invalid(_))) => {
            allowance.allocate(text.len())?;
            Ok(Val::String(text.to_owned()))
        }
        (_, Err(wave::Failed::Invalid(reason))) => invalid(format!(
            "not WAVE text of type `{}`: {reason}",
            signature::of(ty)
        )),
        (_, read) => read,
    }
}

/// Whether the type is `list<u8>`.
pub(crate) fn is_bytes(ty: &Type) -> bool {
    matches!(ty, Type::List(list) if matches!(list.ty(), Type::U8))
}

fn number(ty: &ValType, input: &Input) -> Result<wasmtime::Val, String> {
    let text = std::str::from_utf8(&input.bytes)
        .map_err(|_| "not text".to_owned())?
        .trim();
    let parsed = match ty {
        ValType::I32 => integer(text, i32::MIN.into(), u32::MAX.into())
            // Numbers from 2^31 on are the unsigned reading of the same 32 bits.
            .map(|value| wasmtime::Val::I32(value as i32)),
        ValType::I64 => integer(text, i64::MIN.into(), u64::MAX.into())
            .map(|value| wasmtime::Val::I64(value as i64)),
        ValType::F32 => text.parse::<f32>().ok().map(Into::into),
        ValType::F64 => text.parse::<f64>().ok().map(Into::into),
        other => {
            return Err(format!(
                "a parameter of type {other} cannot be given as an input"
            ));
        }
    };
    parsed.ok_or_else(|| format!("not a number of type {ty}"))
}

fn integer(text: &str, least: i128, most: i128) -> Option<i128> {
    text.parse::<i128>()
        .ok()
        .filter(|value| (least..=most).contains(value))
}

fn invalid(text: String) -> RuntimeError {
    RuntimeError::ArgumentsInvalid(GuestText::new(text))
}

#[cfg(test)]
mod tests;
