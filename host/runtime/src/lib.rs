//! Wasmtime engine, limits, instance cache and the host side of every WIT interface.
