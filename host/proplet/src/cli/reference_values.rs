//! Reference values for a key broker's attestation service, from a file.
//!
//! Two forms are read. One is what the service takes: values by the names that its policy knows. The other is the
//! file of relying parties ([`proplet_hal::reference_values`]), of which the measurements are taken: a
//! service compares with single values, and lowest versions and rules are not among them. What `proplet detect --json`
//! prints has values of the first form under `reference_values`.

use std::collections::BTreeSet;

use proplet_hal::reference_values::ReferenceValues;
use serde_json::{Map, Value};

/// What a file gives.
#[derive(Debug, PartialEq)]
pub(super) struct Registered {
    /// By name.
    pub(super) values: Map<String, Value>,
    /// Whether the file demands something besides.
    pub(super) rest: bool,
}

/// What is said of the output of `proplet detect` on a machine that has no reference values.
const NONE_FOUND: &str = "`proplet detect` found none on its machine: run `proplet detect --json` as root in the \
     confidential VM that is to be trusted; its `missing` says what that VM lacks";

/// The reference values in a file: JSON where it begins as an object does, else TOML.
pub(super) fn read(text: &str) -> Result<Registered, String> {
    let values: Map<String, Value> = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| format!("it is no JSON object: {error}"))?
    } else {
        let values = toml::from_str(text);
        values.map_err(|error| format!("it is no TOML: {}", error.message()))?
    };
    // What `proplet detect --json` printed.
    let values = match values.get("reference_values") {
        Some(Value::Object(own)) if !own.is_empty() => own.clone(),
        Some(_) => return Err(NONE_FOUND.to_owned()),
        None => values,
    };
    let is_table = |name| values.get(name).is_some_and(Value::is_object);
    if is_table("snp") || is_table("tdx") {
        return shared(text);
    }
    if values.is_empty() {
        return Err("it has no values".to_owned());
    }
    for (name, value) in &values {
        let is_value = match value {
            Value::Array(list) => list.iter().all(is_single),
            value => is_single(value),
        };
        if !is_value {
            return Err(format!(
                "{name} is no reference value: write a text, a number, a truth value, or a list of \
                 these"
            ));
        }
    }
    Ok(Registered {
        values,
        rest: false,
    })
}

fn is_single(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
}

/// The file that relying parties share.
fn shared(text: &str) -> Result<Registered, String> {
    let read = ReferenceValues::from_toml(text).map_err(|error| error.to_string())?;
    let (mut snp, mut tdx) = (read.snp.unwrap_or_default(), read.tdx.unwrap_or_default());
    let [_, rtmr1, rtmr2, _] = &mut tdx.rtmrs;
    let taken = [
        ("snp_launch_measurement", snp.measurements.take()),
        ("mr_td", tdx.mrtd.take()),
        ("rtmr_1", rtmr1.take()),
        ("rtmr_2", rtmr2.take()),
    ];
    let named = |(name, values): (&str, Option<BTreeSet<[u8; 48]>>)| {
        let texts = values?
            .into_iter()
            .map(|value| Value::String(hex::encode(value)));
        Some((name.to_owned(), texts.collect()))
    };
    let values: Map<String, Value> = taken.into_iter().filter_map(named).collect();
    if values.is_empty() {
        return Err("it has no measurements to register".to_owned());
    }
    let rest = snp != Default::default() || tdx != Default::default();
    Ok(Registered { values, rest })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn toml_and_json_say_the_same() {
        let toml =
            "snp_launch_measurement = [\"00ff\"]\nsnp_bootloader = 3\nsnp_smt_enabled = true\n";
        let json =
            r#" {"snp_launch_measurement":["00ff"],"snp_bootloader":3,"snp_smt_enabled":true}"#;
        assert_eq!(read(toml).unwrap(), read(json).unwrap());
        assert!(!read(toml).unwrap().rest);
    }

    #[test]
    fn the_file_of_relying_parties_is_taken_as_far_as_it_goes() {
        let (snp, tdx) = ("5a".repeat(48), "a5".repeat(48));
        let text = format!(
            "[snp]\nmeasurements = [\"{snp}\"]\n[tdx]\nmrtd = [\"{tdx}\"]\nrtmr1 = [\"{tdx}\"]\n"
        );
        let registered = read(&text).unwrap();
        let expected = json!({ "snp_launch_measurement": [snp], "mr_td": [tdx], "rtmr_1": [tdx] });
        assert_eq!(Value::Object(registered.values), expected);
        assert!(!registered.rest);
        let more = format!("{text}rtmr3 = [\"{tdx}\"]\n");
        assert!(read(&more).unwrap().rest);
        let text = "[[snp.minimum_tcb]]\nsnp = 24\n";
        assert!(read(text).unwrap_err().contains("measurement"));
    }

    #[test]
    fn what_detect_says_is_taken() {
        let text = r#"{"tee":"snp","missing":[],"reference_values":
            {"snp_launch_measurement":["00ff"],"snp_bootloader":[3]}}"#;
        let expected = json!({ "snp_launch_measurement": ["00ff"], "snp_bootloader": [3] });
        assert_eq!(Value::Object(read(text).unwrap().values), expected);
        // A machine without a TEE has none.
        for none in [
            r#"{"tee":null,"reference_values":null}"#,
            r#"{"reference_values":{}}"#,
        ] {
            assert!(
                read(none).unwrap_err().contains("in the confidential VM"),
                "{none}"
            );
        }
    }

    #[test]
    fn what_is_no_reference_value_is_refused() {
        for (text, words) in [
            ("", "no values"),
            ("{}", "no values"),
            ("{", "no JSON object"),
            ("a", "no TOML"),
            ("[a]\nb = 1", "a is no reference value"),
            ("a = [[1]]", "a is no reference value"),
            ("{\"a\":null}", "a is no reference value"),
            ("a = 1979-05-27", "a is no reference value"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,64}") {
            let _ = read(&text);
        }
    }
}
