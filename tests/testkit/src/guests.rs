//! Building the example guests at run time.
