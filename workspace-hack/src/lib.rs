//! No code: this crate's manifest gives the dependencies of the workspace one set of features.
