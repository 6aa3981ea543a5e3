//! The types of values taken apart, in one place for all who go through them.

use wasmtime::component::types::Type;

/// What a type is, as far as values of it can be written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number, `bool`, `char` or `string`.
    Leaf,
    List,
    Option,
    Result,
    Record,
    Tuple,
    Variant,
    Enum,
    Flags,
    /// Handles, streams and futures, and whatever a later engine adds.
    Unsupported,
}

impl Kind {
    pub(crate) fn of(ty: &Type) -> Self {
        match ty {
            Type::Bool
            | Type::S8
            | Type::U8
            | Type::S16
            | Type::U16
            | Type::S32
            | Type::U32
            | Type::S64
            | Type::U64
            | Type::Float32
            | Type::Float64
            | Type::Char
            | Type::String => Self::Leaf,
            Type::List(_) => Self::List,
            Type::Option(_) => Self::Option,
            Type::Result(_) => Self::Result,
            Type::Record(_) => Self::Record,
            Type::Tuple(_) => Self::Tuple,
            Type::Variant(_) => Self::Variant,
            Type::Enum(_) => Self::Enum,
            Type::Flags(_) => Self::Flags,
            _ => Self::Unsupported,
        }
    }
}

/// Goes through the parts of a type, each with its name (empty when it has none) and its type, if it has one,
/// until `each` fails. A type that is no more than itself has no parts; what has an `ok` and an `err` has both,
/// in this order.
pub(crate) fn try_for_each<E>(
    ty: &Type,
    mut each: impl FnMut(&str, Option<Type>) -> Result<(), E>,
) -> Result<(), E> {
    match ty {
        Type::List(list) => each("", Some(list.ty())),
        Type::Option(option) => each("", Some(option.ty())),
        Type::Result(result) => {
            each("", result.ok())?;
            each("", result.err())
        }
        Type::Record(record) => record
            .fields()
            .try_for_each(|field| each(field.name, Some(field.ty))),
        Type::Tuple(tuple) => tuple.types().try_for_each(|ty| each("", Some(ty))),
        Type::Variant(variant) => variant
            .cases()
            .try_for_each(|case| each(case.name, case.ty)),
        Type::Enum(cases) => cases.names().try_for_each(|name| each(name, None)),
        Type::Flags(flags) => flags.names().try_for_each(|name| each(name, None)),
        _ => Ok(()),
    }
}
