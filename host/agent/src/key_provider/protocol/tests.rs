use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// As skopeo sends it.
fn wrap_input() -> Value {
    json!({
        "op": "keywrap",
        "keywrapparams": {
            "ec": {
                "Parameters": { "attestation-agent": ["a2V5aWQ9a2JzOi8vL2Eva2V5LzE="] },
                "DecryptConfig": { "Parameters": null },
            },
            "optsdata": "b3B0aW9ucw==",
        },
        "keyunwrapparams": { "dc": null, "annotation": null },
    })
}

fn unwrap_input() -> Value {
    json!({
        "op": "keyunwrap",
        "keywrapparams": { "ec": null, "optsdata": null },
        "keyunwrapparams": {
            "dc": { "Parameters": { "attestation-agent": ["YQ=="] } },
            "annotation": "cGFja2V0",
        },
    })
}

fn wrapping(input: &Value) -> Result<Wrapping, ProtocolError> {
    match read(input.to_string().as_bytes())? {
        Operation::Wrap(wrapping) => Ok(wrapping),
        Operation::Unwrap(_) => panic!("an unwrapping"),
    }
}

fn packet(input: &Value) -> Vec<u8> {
    match read(input.to_string().as_bytes()) {
        Ok(Operation::Unwrap(unwrapping)) => unwrapping.packet.to_vec(),
        _ => panic!("no unwrapping"),
    }
}

#[test]
fn both_spellings_of_bytes_are_read() {
    let read = wrapping(&wrap_input()).unwrap();
    assert_eq!(read.parameters, "keyid=kbs:///a/key/1");
    assert_eq!(read.options.as_slice(), b"options");
    assert_eq!(packet(&unwrap_input()), b"packet");

    let mut numbers = wrap_input();
    numbers["keywrapparams"]["optsdata"] = json!(b"options");
    numbers["keywrapparams"]["ec"]["Parameters"]["attestation-agent"] = json!([b"keyid=x"]);
    let read = wrapping(&numbers).unwrap();
    assert_eq!(read.parameters, "keyid=x");
    assert_eq!(read.options.as_slice(), b"options");
    let mut numbers = unwrap_input();
    numbers["keyunwrapparams"]["annotation"] = json!(vec![7; 5000]);
    assert_eq!(packet(&numbers), vec![7; 5000]);
}

#[test]
fn the_other_half_may_be_missing() {
    let mut input = wrap_input();
    input.as_object_mut().unwrap().remove("keyunwrapparams");
    wrapping(&input).unwrap();
    let mut input = unwrap_input();
    input["keywrapparams"] = Value::Null;
    assert_eq!(packet(&input), b"packet");
}

#[test]
fn what_is_wrong_is_said_and_not_repeated() {
    let changed = |pointer: &str, value: Value| {
        let mut input = wrap_input();
        *input.pointer_mut(pointer).unwrap() = value;
        wrapping(&input).err().unwrap()
    };
    assert_eq!(changed("/op", json!("keysteal")), ProtocolError::Operation);
    assert_eq!(
        changed("/keywrapparams", Value::Null),
        ProtocolError::Missing("keywrapparams")
    );
    assert_eq!(
        changed("/keywrapparams/optsdata", Value::Null),
        ProtocolError::Missing("keywrapparams.optsdata")
    );
    for parameters in [
        json!(null),
        json!({}),
        json!({ "other": ["YQ=="] }),
        json!({ "attestation-agent": null }),
        json!({ "attestation-agent": [] }),
        json!({ "attestation-agent": ["YQ==", "YQ=="] }),
        json!({ "attestation-agent": ["/w=="] }),
    ] {
        let error = changed("/keywrapparams/ec/Parameters", parameters);
        assert_eq!(error, ProtocolError::Parameters);
    }
    for options in [json!("not base64!"), json!([256]), json!([-1]), json!(1)] {
        let error = changed("/keywrapparams/optsdata", options).to_string();
        assert!(
            error.contains("not JSON of the key provider protocol"),
            "{error}"
        );
        assert!(!error.contains("base64!"), "{error}");
    }
    let mut input = unwrap_input();
    input["keyunwrapparams"]["annotation"] = Value::Null;
    let error = read(input.to_string().as_bytes()).err().unwrap();
    assert_eq!(error, ProtocolError::Missing("keyunwrapparams.annotation"));
    for junk in ["", "{", "[]", "{}", "\u{0}", "{\"op\":1}"] {
        let error = read(junk.as_bytes()).err().unwrap();
        assert!(
            matches!(error, ProtocolError::Json { .. }),
            "{junk}: {error}"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = read(&bytes);
    }

    #[test]
    fn any_change_of_an_input_is_read_or_refused(
        unwrap: bool, at in 0usize..200, with in any::<u8>(), cut in 0usize..400
    ) {
        let input = if unwrap { unwrap_input() } else { wrap_input() };
        let mut text = input.to_string().into_bytes();
        let place = at % text.len();
        text[place] = with;
        text.truncate(cut);
        let _ = read(&text);
    }

    #[test]
    fn outputs_are_json_of_these_bytes(bytes: Vec<u8>) {
        for (json, pointer) in [
            (wrapped(&bytes), "/keywrapresults/annotation"),
            (unwrapped(&bytes), "/keyunwrapresults/optsdata"),
        ] {
            let value: Value = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(value.pointer(pointer).unwrap(), &json!(bytes));
        }
    }

    #[test]
    fn what_is_written_is_read(bytes: Vec<u8>) {
        let mut input = unwrap_input();
        input["keyunwrapparams"]["annotation"] = json!(bytes.clone());
        prop_assert_eq!(packet(&input), bytes);
    }
}
