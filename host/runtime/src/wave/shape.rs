//! The types that a text meets, taken apart once so that every name in it is found by one look-up.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use wasmtime::component::types::Type;

use crate::allowance::Allowance;
use crate::limits::Passed;
use crate::parts::{self, Kind};

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
        count("", allowance)?;
        let mut parts: Vec<(String, Option<Node>)> = Vec::new();
        parts::try_for_each(ty, |name, ty| {
            count(name, allowance)?;
            parts.push((name.to_owned(), ty.map(Node::new)));
            Ok(())
        })?;
        let mut parts = parts.into_iter();
        let next = |parts: &mut dyn Iterator<Item = (String, Option<Node>)>| parts.next()?.1;
        Ok(match Kind::of(ty) {
            Kind::Leaf => Self::Leaf,
            Kind::List => next(&mut parts).map_or(Self::Unsupported, Self::List),
            Kind::Option => next(&mut parts).map_or(Self::Unsupported, Self::Option),
            Kind::Result => Self::Result {
                ok: next(&mut parts),
                err: next(&mut parts),
            },
            Kind::Record => Self::Record(Record::new(parts)),
            Kind::Tuple => Self::Tuple(parts.filter_map(|(_, node)| node).collect()),
            Kind::Variant => Self::Variant(parts.collect()),
            Kind::Enum => Self::Enum(parts.map(|(name, _)| name).collect()),
            Kind::Flags => Self::Flags(parts.map(|(name, _)| name).collect()),
            Kind::Unsupported => Self::Unsupported,
        })
    }
}

impl Record {
    fn new(parts: impl Iterator<Item = (String, Option<Node>)>) -> Self {
        let mut record = Self {
            fields: Vec::new(),
            index: HashMap::new(),
            bytes: 0,
        };
        for (name, node) in parts {
            let Some(node) = node else { continue };
            let size = size_of::<(String, wasmtime::component::Val)>() + OVERHEAD;
            record.bytes = record.bytes.saturating_add(size + name.len());
            record.index.insert(name.clone(), record.fields.len());
            record.fields.push((name, node));
        }
        record
    }
}

/// Counts one part of a type: its name is held twice, and so is the part while the type is taken apart; vectors
/// and maps double when they grow.
fn count(name: &str, allowance: &mut Allowance<'_>) -> Result<(), Passed> {
    allowance.work(2)?;
    let part = size_of::<(String, Option<Node>)>();
    let slot = 2 * part + size_of::<(String, usize)>() + OVERHEAD;
    allowance.allocate(2 * (name.len() + slot))
}
