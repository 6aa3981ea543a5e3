//! An MQTT broker in this process.
