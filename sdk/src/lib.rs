//! What a guest of proplet depends on.
