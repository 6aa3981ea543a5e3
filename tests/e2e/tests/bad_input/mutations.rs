//! Good start messages with random faults. Whatever comes of them, there is an answer, and the daemon
//! goes on.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

use crate::scene::{Scene, code, good};

/// Messages that are tried. They are many and small, so they go through one daemon in batches.
const MESSAGES: usize = 240;
const BATCH: usize = 16;

/// A way to spoil the text that follows the id.
#[derive(Clone, Debug)]
enum Fault {
    Cut(prop::sample::Index),
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
    Swap(prop::sample::Index, prop::sample::Index),
}

fn fault() -> impl Strategy<Value = Fault> {
    use Fault::*;
    let at = any::<prop::sample::Index>;
    prop_oneof![
        at().prop_map(Cut),
        (at(), any::<u8>()).prop_map(|(at, byte)| Replace(at, byte)),
        // What means something in JSON does more harm than noise.
        (at(), prop::sample::select(b"{}[]\",:\\0-e \n".as_slice()))
            .prop_map(|(at, byte)| Replace(at, byte)),
        (at(), prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Insert(at, bytes)),
        (at(), 1..20_usize).prop_map(|(at, count)| Remove(at, count)),
        (at(), 1..20_usize).prop_map(|(at, count)| Repeat(at, count)),
        (at(), at()).prop_map(|(one, other)| Swap(one, other)),
    ]
}

fn spoil(text: &mut Vec<u8>, fault: &Fault) {
    if text.is_empty() {
        return;
    }
    let length = text.len();
    match fault {
        Fault::Cut(at) => text.truncate(at.index(length)),
        Fault::Replace(at, byte) => text[at.index(length)] = *byte,
        Fault::Insert(at, bytes) => {
            let at = at.index(length);
            text.splice(at..at, bytes.iter().copied());
        }
        Fault::Remove(at, count) => {
            let at = at.index(length);
            text.drain(at..length.min(at + count));
        }
        Fault::Repeat(at, count) => {
            let at = at.index(length);
            let piece = text[at..length.min(at + count)].to_vec();
            text.splice(at..at, piece);
        }
        Fault::Swap(one, other) => text.swap(one.index(length), other.index(length)),
    }
}

/// A message whose id stands first and is whole, so an answer to it is due.
fn spoilt(id: &str, faults: &[Fault]) -> Vec<u8> {
    let Value::Object(mut members) = good(id) else {
        panic!("a message is an object");
    };
    members.remove("id");
    let mut rest = Value::Object(members).to_string().split_off(1).into_bytes();
    for fault in faults {
        spoil(&mut rest, fault);
    }
    let mut message = format!("{{\"id\":\"{id}\",").into_bytes();
    message.extend(rest);
    message
}

/// The id that a reader of the whole message finds: a fault can write another.
fn names_its_task(message: &[u8], id: &str) -> bool {
    match serde_json::from_slice::<Value>(message) {
        Ok(value) => {
            let ours = value.get("proplet_id").is_none_or(Value::is_null);
            value["id"] == id && ours
        }
        // A second id or an address cannot be told from here; the faults write none that is whole.
        Err(_) => true,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_spoilt_message_is_answered_once() {
    let scene = Scene::set("wall_clock_ms = 2000\ncpu_ms = 1000").await;
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, b"spoilt start messages, like it  ");
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let faults = prop::collection::vec(fault(), 1..4);
    let (mut refused, mut ran) = (0, 0);
    for batch in 0..MESSAGES / BATCH {
        let mut sent = Vec::new();
        for number in 0..BATCH {
            let id = format!("spoilt-{batch}-{number}");
            let faults = faults.new_tree(&mut runner).unwrap().current();
            let message = spoilt(&id, &faults);
            if names_its_task(&message, &id) {
                scene.send(&message).await;
                sent.push((id, String::from_utf8_lossy(&message).into_owned()));
            }
        }
        for (id, message) in sent {
            let outcome = scene.answer(&id).await;
            assert_eq!(scene.answers_so_far(&id), 1, "{message}");
            if outcome.error.is_some() {
                code(&message, &outcome);
                refused += 1;
            } else {
                ran += 1;
            }
        }
        scene.goes_on().await;
    }
    // Both happen, or the faults are too weak or too strong to tell anything.
    assert!(
        refused > MESSAGES / 2 && ran > 0,
        "{refused} refused, {ran} ran"
    );
    scene.end().await;
}
