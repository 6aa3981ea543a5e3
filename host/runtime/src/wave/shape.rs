//! The types that a text meets, taken apart once so that every name in it is found by one look-up.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use wasmtime::component::types::Type;

use crate::allowance::Allowance;
use crate::limits::Passed;

/// Bytes that the allocator and a map's slot take beside a name, at most.
const OVERHEAD: usize = 64;

/// A type, taken apart when a value of it is first met: a type can have a million parts, and a text touches
/// few of them.
pub(super) struct Node {
    pub(super) ty: Type,
    shape: OnceCell<Box<Shape>>,
}

/// A type, taken apart.
pub(super) enum Shape {
    /// A number, `bool`, `char` or `string`.
    Leaf,
    List(Node),
    Record(Record),
    Tuple(Vec<Node>),
    Variant(HashMap<String, Option<Node>>),
    Enum(HashSet<String>),
    Option(Node),
    Result {
        ok: Option<Node>,
        err: Option<Node>,
    },
    Flags(HashSet<String>),
    /// What text cannot carry.
    Unsupported,
}

/// A record type.
pub(super) struct Record {
    pub(super) fields: Vec<(String, Node)>,
    pub(super) index: HashMap<String, usize>,
    /// Bytes that all fields of one value take, without what is in them.
    pub(super) bytes: usize,
}

impl Node {
    pub(super) fn new(ty: Type) -> Self {
        Self {
            ty,
            shape: OnceCell::new(),
        }
    }

    pub(super) fn shape(&self, allowance: &mut Allowance<'_>) -> Result<&Shape, Passed> {
        if let Some(shape) = self.shape.get() {
            return Ok(shape);
        }
        let shape = Shape::new(&self.ty, allowance)?;
        Ok(self.shape.get_or_init(|| Box::new(shape)))
    }

    /// Whether a value of this type may stand for itself where an `option` or a `result` is asked for.
    pub(super) fn is_flattenable(&self) -> bool {
        !matches!(self.ty, Type::Option(_) | Type::Result(_))
    }
}

impl Shape {
    fn new(ty: &Type, allowance: &mut Allowance<'_>) -> Result<Self, Passed> {
        part("", allowance)?;
        Ok(match ty {
            Type::List(list) => Self::List(Node::new(list.ty())),
            Type::Option(option) => Self::Option(Node::new(option.ty())),
            Type::Result(result) => Self::Result {
                ok: result.ok().map(Node::new),
                err: result.err().map(Node::new),
            },
            Type::Record(record) => {
                let mut fields = Vec::new();
                let mut index = HashMap::new();
                let mut bytes = 0_usize;
                for field in record.fields() {
                    part(field.name, allowance)?;
                    let size = size_of::<(String, wasmtime::component::Val)>() + OVERHEAD;
                    bytes = bytes.saturating_add(size + field.name.len());
                    index.insert(field.name.to_owned(), fields.len());
                    fields.push((field.name.to_owned(), Node::new(field.ty)));
                }
                Self::Record(Record {
                    fields,
                    index,
                    bytes,
                })
            }
            Type::Tuple(tuple) => {
                let mut types = Vec::new();
                for ty in tuple.types() {
                    part("", allowance)?;
                    types.push(Node::new(ty));
                }
                Self::Tuple(types)
            }
            Type::Variant(variant) => {
                let mut cases = HashMap::new();
                for case in variant.cases() {
                    part(case.name, allowance)?;
                    cases.insert(case.name.to_owned(), case.ty.map(Node::new));
                }
                Self::Variant(cases)
            }
            Type::Enum(names) => Self::Enum(set(names.names(), allowance)?),
            Type::Flags(names) => Self::Flags(set(names.names(), allowance)?),
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
            _ => Self::Unsupported,
        })
    }
}

fn set<'a>(
    names: impl Iterator<Item = &'a str>,
    allowance: &mut Allowance<'_>,
) -> Result<HashSet<String>, Passed> {
    let mut set = HashSet::new();
    for name in names {
        part(name, allowance)?;
        set.insert(name.to_owned());
    }
    Ok(set)
}

/// Counts one part of a type: its name is held twice, and vectors and maps double when they grow.
fn part(name: &str, allowance: &mut Allowance<'_>) -> Result<(), Passed> {
    allowance.work(2)?;
    let slot = size_of::<Node>() + size_of::<(String, usize)>() + OVERHEAD;
    allowance.allocate(2 * (name.len() + slot))
}
