//! What a Manager sends, what an operator writes, and what lies in the outbox.

use proplet_daemon::message::chunks::{Assembly, Broken, Chunk, Step};
use proplet_daemon::message::{Decoded, DecodedInvoke, InvocationId, Stop};
use proplet_executor::request::{MAX_INPUTS, MAX_VARIABLES, is_id};
use proplet_settings::{Settings, environment::Environment};
use proplet_types::Digest;

use crate::text as utf8;

/// Who receives the messages.
const ENTITY: &str = "us";

/// A start message: what is to run was checked, and an answer is due to nothing but an id.
pub fn start(bytes: &[u8]) -> bool {
    match Decoded::from_bytes(bytes, ENTITY) {
        Decoded::Task(start) => {
            let request = start.request;
            assert!(request.check().is_ok(), "a task that was not checked");
            assert!(is_id(&request.task.id));
            assert!(is_for_us(bytes), "another proplet's task");
            true
        }
        Decoded::Bad(bad) => {
            assert!(bad.id.is_none_or(|id| is_id(&id)));
            assert!(is_for_us(bytes), "another proplet's task is answered");
            false
        }
        Decoded::NotForUs => false,
    }
}

/// An invoke message: what is to be done was checked, and an answer is due to nothing but two ids.
pub fn invoke(bytes: &[u8]) -> bool {
    let checked = |id: &InvocationId| {
        assert!(is_id(&id.task) && is_id(&id.invocation));
        assert!(InvocationId::is_key_of(&id.key(), &id.task));
        assert!(!is_id(&id.key()), "it could be the id of a task");
    };
    match DecodedInvoke::from_bytes(bytes, ENTITY) {
        DecodedInvoke::Invoke(invoke) => {
            checked(&invoke.id);
            assert!(
                invoke
                    .inputs
                    .is_none_or(|inputs| inputs.len() <= MAX_INPUTS)
            );
            assert!(invoke.env.len() <= MAX_VARIABLES);
            assert!(is_for_us(bytes), "another proplet's invocation");
            true
        }
        DecodedInvoke::Bad(id, _) => {
            id.iter().for_each(checked);
            assert!(is_for_us(bytes), "another proplet's invocation is answered");
            false
        }
        DecodedInvoke::NotForUs => false,
    }
}

/// A stop message: it stops what has an id that a task of ours can have.
pub fn stop(bytes: &[u8]) -> bool {
    let Some(stop) = Stop::from_bytes(bytes, ENTITY) else {
        return false;
    };
    assert!(is_id(&stop.id));
    assert!(is_for_us(bytes), "a stop for another proplet");
    true
}

/// The most bytes that an image may have here.
const MAX_IMAGE: u64 = 4096;

/// Chunks of one image, a message on each line: what is put together is no larger than allowed, and the same in the
/// other order.
pub fn chunks(bytes: &[u8]) -> bool {
    let lines = bytes.split(|byte| *byte == b'\n');
    let messages: Vec<_> = lines.filter_map(Chunk::from_bytes).collect();
    let Ok(Some((last, whole))) = assembled(messages.iter()) else {
        return false;
    };
    assert!(whole.len() as u64 <= MAX_IMAGE, "larger than allowed");
    let used = messages.iter().take(last + 1).rev();
    assert_eq!(
        assembled(used).map(|found| found.map(|(_, whole)| whole)),
        Ok(Some(whole))
    );
    true
}

/// The first component that comes of these messages, and which of them was the last of it.
fn assembled<'a>(
    messages: impl Iterator<Item = &'a Chunk<'a>>,
) -> Result<Option<(usize, Vec<u8>)>, Broken> {
    let mut assembly = Assembly::new(MAX_IMAGE);
    for (at, chunk) in messages.enumerate() {
        if let Step::Whole(whole) = assembly.add(chunk)? {
            return Ok(Some((at, whole)));
        }
    }
    Ok(None)
}

/// Whether a message names this proplet, nobody, or everybody: read by other code than ours. What does not read as
/// JSON, or names somebody twice, may be for anybody.
fn is_for_us(bytes: &[u8]) -> bool {
    let Ok(serde_json::Value::Object(message)) = serde_json::from_slice(bytes) else {
        return true;
    };
    let named = message.get("proplet_id").and_then(|id| id.as_str());
    let broadcast = message.get("broadcast").and_then(|all| all.as_bool());
    named.is_none_or(|id| id.is_empty() || id == ENTITY)
        || broadcast == Some(true)
        || repeats(bytes)
}

/// Whether one of the two members occurs twice, escaped or not.
fn repeats(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.contains("\\u")
        || ["proplet_id", "broadcast"]
            .iter()
            .any(|name| text.matches(name).count() > 1)
}

/// A settings document: its digest is over its bytes, it reads as the same again, and nothing of a credential is shown.
pub fn settings(bytes: &[u8]) -> bool {
    let Some(text) = utf8(bytes) else {
        return false;
    };
    let Ok(settings) = Settings::parse(Some(text), &Environment::default()) else {
        return false;
    };
    assert!(settings.has_document);
    if settings.init_data.is_none() {
        assert_eq!(settings.digest, Digest::of(bytes));
    }
    let again = Settings::parse(Some(text), &Environment::default());
    let again = again.unwrap_or_else(|error| panic!("it does not read again: {error}"));
    assert_eq!(format!("{settings:?}"), format!("{again:?}"));
    true
}

/// An entry of the outbox: what is read is written as the same.
pub fn outbox_entry(bytes: &[u8]) -> bool {
    proplet_outbox::fuzzing::entry(bytes)
}

/// The header of a device that the outbox lies on: what is read is what was written.
pub fn outbox_header(bytes: &[u8]) -> bool {
    proplet_outbox::fuzzing::header(bytes)
}
