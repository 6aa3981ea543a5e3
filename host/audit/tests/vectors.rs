//! A log that was not made with this crate.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use proplet_audit::verify::Verifier;

const LOG: &str = include_str!("vectors/log.jsonl");
/// Head of the task's chain with its result.
const RESULT: &str = "sha256:fcea67644bfbaab21d850b49bfbc43fe135405c784df1b84b17e32c85779e20e";
/// Head of the boot's chain.
const BOOT: &str = "sha256:5b131fb535d98b88ee2bef4a8d44bcc8d6fabd95ab7a28ea9edfc261c4c7d55c";

#[test]
fn the_log_is_whole_and_has_its_heads() {
    let mut verifier = Verifier::new();
    verifier.look_for(RESULT.parse().unwrap());
    let mut kinds = Vec::new();
    verifier
        .file("log", LOG.as_bytes(), |entry| {
            kinds.push(entry.kind.clone())
        })
        .unwrap();
    let report = verifier.finish();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!((report.lines, report.tasks, report.boots.len()), (16, 1, 1));
    let boot = &report.boots[0];
    assert_eq!(boot.head.to_string(), BOOT);
    assert!(boot.stopped && boot.entries == 10);
    let found = report.found.values().next().unwrap();
    assert_eq!(
        (found.entry.kind.as_str(), found.place.line),
        ("result", 11)
    );
    assert_eq!(found.entry.number("sequence"), Some(1));
    assert_eq!(kinds.len(), 16);
}
