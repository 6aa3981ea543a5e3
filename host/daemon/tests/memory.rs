//! Messages take no more memory than a few times what they are long, whatever they say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unsafe_code
)]

#[path = "../../runtime/tests/adversarial/counting.rs"]
mod counting;

use proplet_daemon::message::{Decoded, DecodedInvoke, Stop};

/// Of each message.
const BYTES: usize = 4 << 20;

/// Repeats this until there is enough of it.
fn many(item: impl Fn(usize) -> String) -> String {
    let mut text = String::with_capacity(BYTES + 64);
    for number in 0.. {
        text.push_str(&item(number));
        if text.len() >= BYTES {
            break;
        }
        text.push(',');
    }
    text
}

// One test: what others allocate at the same time would count.
#[test]
fn no_message_takes_three_times_its_length() {
    let ones = many(|_| "1".to_owned());
    let pairs = many(|number| format!("\"{number:x}\":\"\""));
    let rest = "\"id\":\"t\",\"invocation_id\":\"i\",\"name\":\"n\",\"image_url\":\"x\"";
    for message in [
        format!("{{{rest},\"inputs\":[{ones}]}}"),
        format!("{{{rest},\"inputs\":[{}]}}", many(|_| "\"\"".to_owned())),
        format!("{{{rest},\"inputs\":[{}]}}", many(|_| "[]".to_owned())),
        format!("{{{rest},\"env\":{{{pairs}}}}}"),
        format!("{{{rest},\"cli_args\":[{}]}}", many(|_| "\"\"".to_owned())),
        format!("{{{rest},\"monitoring_profile\":{{\"interval\":[{ones}]}}}}"),
        // What can be saved of a message is read once more.
        format!("{{\"id\":[{ones}]}}"),
        format!("{{\"invocation_id\":{{{pairs}}},\"id\":1}}"),
        format!("{{\"inputs\":true,\"id\":{{{pairs}}}}}"),
        format!("{{\"inputs\":true,\"proplet_id\":[{ones}]}}"),
        format!("{{\"inputs\":true,\"broadcast\":{{{pairs}}}}}"),
    ] {
        let bytes = message.as_bytes();
        for (topic, decode) in [
            ("start", start as fn(&[u8])),
            ("invoke", invoke),
            ("stop", stop),
        ] {
            let before = counting::reset();
            decode(bytes);
            let took = counting::peak().saturating_sub(before);
            let begin = &message[..80];
            assert!(took < 3 * bytes.len(), "{topic} {begin}: {took} bytes");
        }
    }
}

fn start(bytes: &[u8]) {
    let decoded = Decoded::from_bytes(bytes, "us");
    assert!(matches!(decoded, Decoded::Bad(_) | Decoded::Task(_)));
}

fn invoke(bytes: &[u8]) {
    let decoded = DecodedInvoke::from_bytes(bytes, "us");
    assert!(!matches!(decoded, DecodedInvoke::NotForUs));
}

fn stop(bytes: &[u8]) {
    let _ = Stop::from_bytes(bytes, "us");
}
