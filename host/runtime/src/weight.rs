//! What values of an export's type can cost the host, whatever their size in text or in the guest's memory.

use wasmtime::component::types::{ComponentFunc, Type};

use crate::parts::{self, Kind};

/// Most types that are looked at. A component may nest types so that going through them takes long.
const MAX_TYPES: usize = 100_000;
/// Most types of an export whose values are small whatever they hold.
const MAX_SMALL_TYPES: usize = 100;

/// Bytes that the host allocates, at most, for each byte that the engine counts of a value that it passes on
/// value by value: a name, a value and what the allocator adds, against a value and a name.
const AMPLIFICATION: u32 = 4;
/// The same with flags. The engine counts the letters of a flag's name, and the host makes a string of it.
const AMPLIFICATION_OF_FLAGS: u32 = 24;

/// What values of an export's type can cost the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Whether every type is a plain value, which a start message and a result can carry.
    pub(crate) is_plain: bool,
    /// Whether arguments and results are so few values that building them takes no time, strings aside.
    pub(crate) is_small: bool,
    /// Bytes of the host, at most, for each byte of a result that the engine counts.
    pub(crate) amplification: u32,
}

impl Weight {
    pub(crate) fn of(function: &ComponentFunc) -> Self {
        let mut walk = Walk {
            left: MAX_TYPES,
            lists: false,
            flags: false,
        };
        let is_plain = function.params().all(|(_, ty)| walk.is_plain(&ty))
            && function.results().all(|ty| walk.is_plain(&ty));
        Self {
            is_plain,
            is_small: !walk.lists && MAX_TYPES - walk.left <= MAX_SMALL_TYPES,
            amplification: if walk.flags {
                AMPLIFICATION_OF_FLAGS
            } else {
                AMPLIFICATION
            },
        }
    }
}

struct Walk {
    left: usize,
    lists: bool,
    flags: bool,
}

impl Walk {
    fn is_plain(&mut self, ty: &Type) -> bool {
        let Some(left) = self.left.checked_sub(1) else {
            return false;
        };
        self.left = left;
        match Kind::of(ty) {
            Kind::Unsupported => return false,
            // Names alone weigh nothing, and there can be a million of them.
            Kind::Enum => return true,
            Kind::Flags => {
                self.flags = true;
                return true;
            }
            Kind::List => self.lists = true,
            _ => {}
        }
        let all = parts::try_for_each(ty, |_, part| match part {
            Some(part) if !self.is_plain(&part) => Err(NotPlain),
            _ => Ok(()),
        });
        all.is_ok()
    }
}

/// A part of a type is no plain value.
struct NotPlain;
