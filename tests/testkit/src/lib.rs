//! Fake TEEs, development key broker, registry, broker and guest builder.
