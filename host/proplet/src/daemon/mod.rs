//! The daemon: tasks from a broker, outcomes back to it.
