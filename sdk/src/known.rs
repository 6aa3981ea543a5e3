//! Errors of this crate's interfaces, as a failure of the task sorts them.

use std::any::Any;
use std::error::Error as StdError;

/// An error that an interface gives.
pub(crate) trait InterfaceError: StdError + 'static {
    /// Whether the input is at fault, and not the host.
    fn blames_input(&self) -> bool {
        false
    }
}

/// A type of error that an interface gives, to find among errors of any type.
pub(crate) struct Known {
    pub(crate) of_any: for<'a> fn(&'a (dyn Any + 'static)) -> Option<&'a (dyn StdError + 'static)>,
    /// As [`InterfaceError::blames_input`]; none for an error of another type.
    pub(crate) blames_input: fn(&(dyn StdError + 'static)) -> Option<bool>,
}

impl Known {
    pub(crate) const fn of<E: InterfaceError>() -> Self {
        Self {
            of_any: |any| any.downcast_ref::<E>().map(|error| error as _),
            blames_input: |error| error.downcast_ref::<E>().map(E::blames_input),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// A type of error that is missing from the list would be sorted as a guest's own.
    #[test]
    fn every_error_of_an_interface_is_in_the_list() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut implemented = 0;
        for entry in fs::read_dir(sources).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let text = fs::read_to_string(path).unwrap();
                let lines = text.lines();
                implemented += lines
                    .filter(|line| line.starts_with("impl InterfaceError for "))
                    .count();
            }
        }
        let listed: usize = crate::ERRORS.iter().map(|errors| errors.len()).sum();
        assert_eq!(listed, implemented);
        assert!(listed > 4, "{listed}");
    }
}
