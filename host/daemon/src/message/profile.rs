//! What the sender of a start wants to be told of the task while it runs: `monitoring_profile`.
//!
//! It decides about messages and not about what runs, so it refuses no task: a member of another type counts as if it
//! were absent, and so does what is no object at all.

use std::{fmt, time::Duration};

use proplet_executor::watch::Profile;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use super::scalar::{Scalar, drain};

/// Intervals from here on are nanoseconds. The Manager writes those and upstream's proplet reads seconds: as a number of
/// seconds this one is eleven days, and as nanoseconds a millisecond, and nobody means either.
const NANOSECONDS: u64 = 1_000_000;
/// Samples that are kept, at most: what upstream keeps of a daemon.
const MAX_HISTORY: u64 = 500;

/// The member as it is written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    enabled: Option<bool>,
    interval: Option<u64>,
    collect_cpu: Option<bool>,
    collect_memory: Option<bool>,
    export_to_mqtt: Option<bool>,
    retain_history: Option<bool>,
    history_size: Option<u64>,
}

impl Written {
    /// What is wanted, with upstream's defaults for the kind of task.
    pub(super) fn profile(&self, is_daemon: bool) -> Option<Profile> {
        let (seconds, samples) = if is_daemon { (120, 500) } else { (10, 100) };
        let or_yes = |given: Option<bool>| given.unwrap_or(true);
        let history = match or_yes(self.retain_history) {
            true => self.history_size.unwrap_or(samples).min(MAX_HISTORY),
            false => 0,
        };
        let is_wanted = or_yes(self.enabled) && or_yes(self.export_to_mqtt);
        is_wanted.then(|| Profile {
            interval: match self.interval {
                None => Duration::from_secs(seconds),
                Some(nanoseconds @ NANOSECONDS..) => Duration::from_nanos(nanoseconds),
                Some(seconds) => Duration::from_secs(seconds),
            },
            cpu: or_yes(self.collect_cpu),
            memory: or_yes(self.collect_memory),
            history: usize::try_from(history).unwrap_or(usize::MAX),
        })
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Written, A::Error> {
                let mut written = Written::default();
                while let Some(Name(name)) = members.next_key()? {
                    let value: Scalar = members.next_value()?;
                    match name {
                        Some(Member::Enabled) => written.enabled = value.switch(),
                        Some(Member::Interval) => written.interval = value.number(),
                        Some(Member::CollectCpu) => written.collect_cpu = value.switch(),
                        Some(Member::CollectMemory) => written.collect_memory = value.switch(),
                        Some(Member::ExportToMqtt) => written.export_to_mqtt = value.switch(),
                        Some(Member::RetainHistory) => written.retain_history = value.switch(),
                        Some(Member::HistorySize) => written.history_size = value.number(),
                        None => {}
                    }
                }
                Ok(written)
            }

            fn visit_unit<E: Error>(self) -> Result<Written, E> {
                Ok(Written::default())
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Written, E> {
                Ok(Written::default())
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Written, E> {
                Ok(Written::default())
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Written, E> {
                Ok(Written::default())
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Written, E> {
                Ok(Written::default())
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Written, E> {
                Ok(Written::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Written, A::Error> {
                drain(items)?;
                Ok(Written::default())
            }
        }

        deserializer.deserialize_any(Members)
    }
}

/// The members that are read. Disks, threads and files are no task's own, so whether they are wanted does not matter.
#[derive(Clone, Copy)]
enum Member {
    Enabled,
    Interval,
    CollectCpu,
    CollectMemory,
    ExportToMqtt,
    RetainHistory,
    HistorySize,
}

/// A name; none of those that mean nothing.
struct Name(Option<Member>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl Visitor<'_> for Names {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
                Ok(Name(match name {
                    "enabled" => Some(Member::Enabled),
                    "interval" => Some(Member::Interval),
                    "collect_cpu" => Some(Member::CollectCpu),
                    "collect_memory" => Some(Member::CollectMemory),
                    "export_to_mqtt" => Some(Member::ExportToMqtt),
                    "retain_history" => Some(Member::RetainHistory),
                    "history_size" => Some(Member::HistorySize),
                    _ => None,
                }))
            }
        }

        deserializer.deserialize_identifier(Names)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(written: &Value) -> Option<Profile> {
        let written: Written = serde_json::from_str(&written.to_string()).unwrap();
        written.profile(false)
    }

    fn usual() -> Profile {
        Profile {
            interval: Duration::from_secs(10),
            cpu: true,
            memory: true,
            history: 100,
        }
    }

    fn managers() -> Value {
        json!({
            "enabled": true, "interval": 30_000_000_000_u64, "collect_cpu": true, "collect_memory": false,
            "collect_disk_io": true, "collect_threads": true, "collect_file_descriptors": true,
            "export_to_mqtt": true, "retain_history": true, "history_size": 7,
        })
    }

    #[test]
    fn what_the_manager_writes_is_read() {
        let wanted = Profile {
            interval: Duration::from_secs(30),
            memory: false,
            history: 7,
            ..usual()
        };
        assert_eq!(read(&managers()), Some(wanted));
    }

    #[test]
    fn without_a_profile_there_is_upstreams_of_the_kind() {
        let daemon = Profile {
            interval: Duration::from_secs(120),
            history: 500,
            ..usual()
        };
        assert_eq!(Written::default().profile(false), Some(usual()));
        assert_eq!(Written::default().profile(true), Some(daemon));
        assert_eq!(read(&Value::Null), Some(usual()));
    }

    #[test]
    fn an_interval_is_seconds_or_nanoseconds() {
        for (written, wanted) in [
            (json!(1), Duration::from_secs(1)),
            (json!(10), Duration::from_secs(10)),
            (json!(999_999), Duration::from_secs(999_999)),
            (json!(1_000_000), Duration::from_millis(1)),
            (json!(1_500_000_000_u64), Duration::from_millis(1500)),
            (json!(u64::MAX), Duration::from_nanos(u64::MAX)),
            (json!(0), Duration::ZERO),
            (json!(-1), Duration::from_secs(10)),
            (json!(1.5), Duration::from_secs(10)),
            (json!("10s"), Duration::from_secs(10)),
            (Value::Null, Duration::from_secs(10)),
        ] {
            let profile = read(&json!({"interval": written})).unwrap();
            assert_eq!(profile.interval, wanted, "{written}");
        }
    }

    #[test]
    fn who_wants_nothing_gets_nothing() {
        for name in ["enabled", "export_to_mqtt"] {
            let mut written = managers();
            written[name] = json!(false);
            assert_eq!(read(&written), None, "{name}");
        }
    }

    #[test]
    fn the_history_is_bounded() {
        let history = |written: Value| read(&written).unwrap().history;
        assert_eq!(history(json!({"history_size": 499})), 499);
        assert_eq!(history(json!({"history_size": u64::MAX})), 500);
        assert_eq!(history(json!({"history_size": 0})), 0);
        let none = json!({"history_size": 9, "retain_history": false});
        assert_eq!(history(none), 0);
    }

    #[test]
    fn what_is_no_profile_counts_as_none() {
        for written in [
            json!(true),
            json!(7),
            json!(-7),
            json!(0.5),
            json!("often"),
            json!([{"enabled": false}]),
            json!({}),
            json!({"enabled": "no", "interval": [1, {"a": 2}], "history_size": {"b": [3]}, "more": [[]]}),
        ] {
            assert_eq!(read(&written), Some(usual()), "{written}");
        }
    }

    proptest! {
        #[test]
        fn any_profile_is_read_and_bounded(
            name in "enabled|interval|history_size|export_to_mqtt|x",
            value in "true|false|null|-?[0-9]{1,20}|\"[a-z]{0,5}\"|\\[[0-9]?\\]|\\{\\}",
        ) {
            let text = format!("{{\"{name}\":{value}}}");
            if serde_json::from_str::<Value>(&text).is_ok() {
                let written: Written = serde_json::from_str(&text).unwrap();
                if let Some(profile) = written.profile(false) {
                    prop_assert!(profile.history <= 500);
                } else {
                    prop_assert_eq!(value, "false");
                }
            }
        }
    }
}
