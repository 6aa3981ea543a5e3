//! Attribute of proplet-sdk.
