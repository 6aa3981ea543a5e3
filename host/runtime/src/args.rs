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
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_by_type() {
        let read = |ty: ValType, text: &str| number(&ty, &Input::text(text)).ok();
        let i32s = [
            ("7", 7),
            (" -7 ", -7),
            ("4294967295", -1),
            ("-2147483648", i32::MIN),
            ("+1", 1),
        ];
        for (text, expected) in i32s {
            assert_eq!(
                read(ValType::I32, text).and_then(|value| value.i32()),
                Some(expected),
                "{text}"
            );
        }
        let i64s = [
            ("18446744073709551615", -1),
            ("-9223372036854775808", i64::MIN),
        ];
        for (text, expected) in i64s {
            assert_eq!(
                read(ValType::I64, text).and_then(|value| value.i64()),
                Some(expected),
                "{text}"
            );
        }
        assert_eq!(
            read(ValType::F32, "1.5").and_then(|value| value.f32()),
            Some(1.5)
        );
        assert_eq!(
            read(ValType::F64, "-1e300").and_then(|value| value.f64()),
            Some(-1e300)
        );
        for (ty, text) in [
            (ValType::I32, "4294967296"),
            (ValType::I32, "-2147483649"),
            (ValType::I32, "1.0"),
            (ValType::I32, "0x10"),
            (ValType::I32, ""),
            (ValType::I64, "18446744073709551616"),
            (ValType::F64, "one"),
            (ValType::V128, "1"),
        ] {
            assert!(read(ty.clone(), text).is_none(), "{ty} {text}");
        }
        assert!(
            number(
                &ValType::I32,
                &Input {
                    bytes: vec![0xff].into(),
                    media_type: None
                }
            )
            .is_err()
        );
    }

    #[test]
    fn counts_are_checked() {
        let check = |parameters, inputs, surplus| {
            check_count(parameters, inputs, surplus, || "f: func()".to_owned())
                .map_err(|error| error.detail().unwrap().to_owned())
        };
        check(2, 2, false).unwrap();
        check(1, 3, true).unwrap();
        assert_eq!(
            check(1, 0, true).unwrap_err(),
            "0 inputs for 1 parameter; the export is `f: func()`"
        );
        assert_eq!(
            check(2, 1, false).unwrap_err(),
            "1 input for 2 parameters; the export is `f: func()`"
        );
        assert!(check(1, 2, false).is_err());
    }

    proptest! {
        #[test]
        fn number_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let input = Input { bytes: bytes.into(), media_type: None };
            for ty in [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::V128] {
                let _ = number(&ty, &input);
            }
        }

        #[test]
        fn numbers_round_trip(a: i32, b: i64, c in any::<f64>().prop_filter("equal to itself", |c| !c.is_nan())) {
            let read = |ty: ValType, text: String| number(&ty, &Input::text(text)).unwrap();
            prop_assert_eq!(read(ValType::I32, a.to_string()).i32(), Some(a));
            prop_assert_eq!(read(ValType::I64, b.to_string()).i64(), Some(b));
            prop_assert_eq!(read(ValType::F64, c.to_string()).f64(), Some(c));
        }
    }
}
