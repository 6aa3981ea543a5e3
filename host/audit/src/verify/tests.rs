use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proplet_types::Digest;
use proptest::prelude::*;

use super::{form::MAX_BEFORE_BYTES, *};
use crate::{chain::Chain, core::FORMAT, entry::MAX_LINE_BYTES, event::Parts};

/// The lines of a boot with these steps, made without any file.
fn log(steps: &[(u8, u8)]) -> Vec<String> {
    let now: SystemTime = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let mut boot = Chain::of_boot("b0".to_owned());
    let begins = Parts::new("boot").about("format", FORMAT);
    let mut lines = vec![boot.extend(&begins, None, now)];
    let mut tasks: Vec<Chain> = Vec::new();
    let end = |task: &mut Chain, boot: &mut Chain, lines: &mut Vec<String>| {
        lines.push(task.extend(&Parts::new("ended"), None, now));
        let ends = Parts::new("task-ended")
            .word("chain", task.name())
            .digest("head", task.head())
            .about("entries", task.len());
        lines.push(boot.extend(&ends, None, now));
    };
    for (what, which) in steps {
        let place = usize::from(*which) % tasks.len().max(1);
        match (what % 4, tasks.get_mut(place)) {
            (0, _) | (_, None) => {
                let seq = boot.len();
                lines.push(boot.extend(&Parts::new("task-begun").task("t"), None, now));
                tasks.push(Chain::of_task("b0", seq, boot.head().unwrap()));
            }
            (1, _) => lines.push(boot.extend(&Parts::new("readiness"), None, now)),
            (2, Some(task)) => lines.push(task.extend(&Parts::new("accepted"), None, now)),
            (_, Some(task)) => {
                end(task, &mut boot, &mut lines);
                tasks.remove(place);
            }
        }
    }
    for mut task in tasks {
        end(&mut task, &mut boot, &mut lines);
    }
    lines.push(boot.extend(&Parts::new("stopped"), None, now));
    lines
}

fn check(lines: &[String]) -> Report {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    check_bytes(text.as_bytes())
}

fn check_bytes(bytes: &[u8]) -> Report {
    let mut verifier = Verifier::new();
    verifier.file("f", bytes, |_| {}).unwrap();
    verifier.finish()
}

fn steps() -> impl Strategy<Value = Vec<(u8, u8)>> {
    proptest::collection::vec((any::<u8>(), any::<u8>()), 1..40)
}

proptest! {
    #[test]
    fn what_is_written_holds(steps in steps()) {
        let report = check(&log(&steps));
        prop_assert!(report.is_whole(), "{:?}", report.breaks);
        prop_assert_eq!(report.boots[0].open_tasks, 0);
        prop_assert!(report.boots[0].stopped);
    }

    #[test]
    fn a_line_that_is_left_out_is_missed(steps in steps(), at: prop::sample::Index) {
        let mut lines = log(&steps);
        // Whether the last one is there, only who has its hash can tell.
        lines.remove(at.index(lines.len() - 1));
        prop_assert!(!check(&lines).is_whole());
    }

    #[test]
    fn a_line_that_stands_twice_is_seen(steps in steps(), at: prop::sample::Index, to: prop::sample::Index) {
        let mut lines = log(&steps);
        let line = lines[at.index(lines.len())].clone();
        lines.insert(to.index(lines.len() + 1), line);
        prop_assert!(!check(&lines).is_whole());
    }

    #[test]
    fn entries_of_a_chain_do_not_change_places(steps in steps(), at: prop::sample::Index) {
        let mut lines = log(&steps);
        let at = at.index(lines.len() - 1);
        let chain = |line: &str| Entry::parse(line.as_bytes()).unwrap().chain;
        let is_one = chain(&lines[at]) == chain(&lines[at + 1]);
        lines.swap(at, at + 1);
        if is_one {
            prop_assert!(!check(&lines).is_whole());
        }
    }

    /// In the log, and in a copy of it.
    #[test]
    fn a_byte_that_is_changed_is_seen(
        steps in steps(), at: prop::sample::Index, column: prop::sample::Index, by in 1_u8..=255,
    ) {
        let mut lines: Vec<Vec<u8>> = log(&steps).into_iter().map(String::into_bytes).collect();
        // In a copy a line that is changed beyond recognition is missing, and whether the last one is there, only who has
        // its hash can tell.
        let at = at.index(lines.len() - 1);
        let column = column.index(lines[at].len());
        lines[at][column] ^= by;
        lines.iter_mut().for_each(|line| line.push(b'\n'));
        prop_assert!(!check_bytes(&lines.concat()).is_whole());
        let mut verifier = Verifier::new();
        verifier.exported("f", lines.concat().as_slice(), |_| {}).unwrap();
        prop_assert!(!verifier.finish().is_whole());
    }

    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let report = check_bytes(&bytes);
        prop_assert!(report.lines <= bytes.len() as u64);
    }

    #[test]
    fn a_log_that_is_cut_short_holds_as_far_as_it_goes(steps in steps(), at: prop::sample::Index) {
        let text: String = log(&steps).iter().map(|line| format!("{line}\n")).collect();
        let cut = &text.as_bytes()[..at.index(text.len())];
        let report = check_bytes(cut);
        prop_assert!(report.is_whole());
        prop_assert_eq!(report.torn.is_empty(), cut.is_empty() || cut.ends_with(b"\n"));
    }
}

#[test]
fn each_break_says_what_and_where() {
    let lines = log(&[(0, 0), (2, 0), (2, 0), (1, 0)]);
    let first = |lines: &[String]| check(lines).breaks.first().unwrap().to_string();
    let without = |at: usize| {
        let mut lines = lines.clone();
        lines.remove(at);
        first(&lines)
    };
    assert_eq!(
        without(0),
        "f line 1: the chain b0 begins here with entry 1: what was before is missing"
    );
    assert_eq!(
        without(2),
        "f line 3: entries 0 to 0 of the chain b0/1 are missing before this one"
    );
    let mut twice = lines.clone();
    twice.insert(2, lines[1].clone());
    assert_eq!(
        first(&twice),
        "f line 3: entry 1 of the chain b0 is out of its place"
    );
    let mut changed = lines.clone();
    changed[2] = changed[2].replace("accepted", "excepted");
    assert_eq!(
        first(&changed),
        "f line 4: the entry before 1 in the chain b0/1 was changed"
    );
    let mut other = lines.clone();
    other[0] = other[0].replace(FORMAT, "proplet-audit-9");
    assert!(first(&other).contains("another format"), "{other:?}");
    let mut bare = lines.clone();
    bare[1] = "{}".to_owned();
    assert!(first(&bare).contains("no line of an audit log"), "{bare:?}");
}

#[test]
fn a_task_ends_as_the_boot_says() {
    let mut lines = log(&[(0, 0), (2, 0)]);
    // The chain of the task is cut short, and its end in the boot's stays.
    let at = lines
        .iter()
        .position(|line| line.contains("\"ended\""))
        .unwrap();
    lines.remove(at);
    let report = check(&lines);
    assert_eq!(
        report.breaks[0].to_string(),
        "f line 4: the chain b0/1 of a task does not end as the boot's chain says"
    );
    assert_eq!(report.tasks, 0);
}

#[test]
fn many_breaks_are_counted() {
    let lines: Vec<_> = (0..150).map(|_| "x".to_owned()).collect();
    let report = check(&lines);
    assert_eq!((report.breaks.len(), report.more_breaks), (100, 50));
    assert!(!report.is_whole());
}

#[test]
fn lines_beyond_all_bounds_are_passed_over() {
    let long = "x".repeat(3 * MAX_LINE_BYTES);
    let mut lines = log(&[(0, 0)]);
    lines.insert(1, long);
    let report = check(&lines);
    assert_eq!(report.breaks.len(), 1);
    assert_eq!(report.breaks[0].place.line, 2);
    assert_eq!(report.lines, lines.len() as u64);
    assert_eq!(report.found.len(), 0);
    let mut verifier = Verifier::new();
    let head = Digest::of(lines[0].as_bytes());
    verifier.look_for(head);
    verifier.file("f", lines[0].as_bytes(), |_| {}).unwrap();
    // A line without its end was not written whole.
    assert_eq!(verifier.finish().missing, [head]);
}

/// Chains that a test extends, with the lines in the order in which they were made.
struct Made {
    boot: Chain,
    lines: Vec<String>,
}

impl Made {
    fn new() -> Self {
        let mut made = Self {
            boot: Chain::of_boot("b0".to_owned()),
            lines: Vec::new(),
        };
        made.boot(&Parts::new("boot").about("format", FORMAT));
        made
    }

    fn boot(&mut self, parts: &Parts) {
        self.lines.push(self.boot.extend(parts, None, UNIX_EPOCH));
    }

    fn file(&mut self, lost: u64) {
        let parts = Parts::new("file").about("format", FORMAT);
        self.boot(&parts.about("part", 1_u64).about("lost", lost));
    }

    fn begin(&mut self) -> Chain {
        let seq = self.boot.len();
        self.boot(&Parts::new("task-begun").task("t"));
        Chain::of_task("b0", seq, self.boot.head().unwrap())
    }

    fn task(&mut self, task: &mut Chain, kinds: &[&'static str]) {
        for kind in kinds {
            let line = task.extend(&Parts::new(kind), None, UNIX_EPOCH);
            self.lines.push(line);
        }
    }

    /// Looks for the last line of this kind.
    fn look_for(&self, kind: &str) -> (Report, Linked) {
        let is_it = |line: &&String| line.contains(&format!("\"kind\":\"{kind}\""));
        let line = self.lines.iter().rev().find(is_it).unwrap();
        let head = Digest::of(line.as_bytes());
        let mut verifier = Verifier::new();
        verifier.look_for(head);
        let text: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        verifier.file("f", text.as_bytes(), |_| {}).unwrap();
        let report = verifier.finish();
        let linked = report.found[&head].linked;
        (report, linked)
    }
}

const TASK: [&str; 6] = ["accepted", "key", "component", "secret", "secret", "result"];

#[test]
fn a_head_is_linked_where_all_that_led_to_it_is_here() {
    let mut made = Made::new();
    let mut task = made.begin();
    made.task(&mut task, &TASK[..2]);
    made.file(0);
    made.task(&mut task, &TASK[2..]);
    made.boot(&Parts::new("stopped"));
    for kind in ["boot", "task-begun", "key", "result", "stopped"] {
        let (report, linked) = made.look_for(kind);
        assert!(report.is_whole(), "{:?}", report.breaks);
        assert_eq!(linked, Linked::Whole, "{kind}");
    }
    // Without the first file the task is not, and the boot from the next one on.
    made.lines.drain(..4);
    for kind in ["file", "result", "stopped"] {
        let (report, linked) = made.look_for(kind);
        assert!(report.is_whole(), "{:?}", report.breaks);
        assert_eq!(linked, Linked::Elsewhere, "{kind}");
    }
}

#[test]
fn lines_of_a_task_are_not_passed_off_as_lost() {
    // What the host wrote, with a line `file` that nothing vouches for where a forger has it.
    let forged = |lost_at: usize| {
        let mut made = Made::new();
        let mut real = made.begin();
        let mut other = Chain::of_task("b0", 1, real.head().unwrap());
        for (at, kind) in TASK[..3].iter().enumerate() {
            if at == lost_at {
                made.file(2);
            }
            made.task(&mut other, &[kind]);
        }
        if lost_at == 3 {
            made.file(2);
        }
        let begins = made.lines.len();
        made.task(&mut real, &TASK);
        made.lines.drain(begins..begins + 5);
        made
    };
    // Said before the forged lines it excuses nothing after them.
    for at in 0..3 {
        let (report, linked) = forged(at).look_for("result");
        assert!(!report.is_whole());
        assert_eq!(linked, Linked::Not);
        assert_eq!(
            report.breaks[0].broken.to_string(),
            "entries 3 to 4 of the chain b0/1 are missing before this one"
        );
    }
    // Said in the gap it does, but the head vouches for nothing then.
    let (report, linked) = forged(3).look_for("result");
    assert!(report.is_whole(), "{:?}", report.breaks);
    assert_eq!(linked, Linked::Not);
}

#[test]
fn what_was_lost_excuses_nothing_that_came_after() {
    let mut made = Made::new();
    // Three lines are lost: those of a task that began and ended meanwhile, but for its line in the boot's chain.
    let mut short = made.begin();
    let kept = made.lines.len();
    made.task(&mut short, &["accepted", "secret", "ended"]);
    made.lines.truncate(kept);
    made.file(3);
    let mut later = made.begin();
    made.task(&mut later, &TASK);
    assert!(made.look_for("result").0.is_whole());
    assert_eq!(made.look_for("result").1, Linked::Whole);
    let secret = made.lines.len() - 2;
    made.lines.remove(secret);
    let (report, linked) = made.look_for("result");
    assert_eq!(
        report.breaks[0].broken.to_string(),
        "entries 4 to 4 of the chain b0/3 are missing before this one"
    );
    assert_eq!(linked, Linked::Not);
}

#[test]
fn what_a_boot_lost_is_missing_before_the_line_that_says_so_only() {
    let mut made = Made::new();
    made.boot(&Parts::new("readiness"));
    made.lines.pop();
    made.file(1);
    made.boot(&Parts::new("stopped"));
    let (report, linked) = made.look_for("stopped");
    assert!(report.is_whole(), "{:?}", report.breaks);
    assert_eq!(linked, Linked::Not);
    let mut made = Made::new();
    made.file(1);
    made.boot(&Parts::new("readiness"));
    made.lines.pop();
    made.file(0);
    let (report, linked) = made.look_for("file");
    assert_eq!(report.breaks.len(), 1, "{:?}", report.breaks);
    assert_eq!(linked, Linked::Not);
}

#[test]
fn two_lines_are_not_a_task() {
    let mut made = Made::new();
    let mut task = made.begin();
    made.task(&mut task, &TASK);
    let result = made.lines.pop().unwrap();
    let file = made.boot.extend(
        &Parts::new("file").about("format", FORMAT),
        None,
        UNIX_EPOCH,
    );
    let file = file.replace("\"seq\":2", "\"seq\":99");
    assert_eq!(Entry::parse(file.as_bytes()).unwrap().seq, 99);
    made.lines = vec![file, result];
    assert_eq!(made.look_for("result").1, Linked::Elsewhere);
}

fn check_exported(text: &str) -> Report {
    let mut verifier = Verifier::new();
    verifier.exported("f", text.as_bytes(), |_| {}).unwrap();
    verifier.finish()
}

/// As receivers write them: with a time and a name before, and with lines of others in between.
fn received(lines: &[String], before: &str) -> String {
    let lines = lines.iter().map(|line| {
        format!("{before}{line}\n{before}3 entries {{of}} the audit log were not exported\n")
    });
    lines.collect()
}

#[test]
fn what_a_receiver_wrote_is_a_log_with_something_before_each_line() {
    let lines = log(&[(0, 0), (1, 0), (2, 0), (0, 0), (3, 1)]);
    let count = lines.len() as u64;
    for before in [
        "",
        "2026-11-28T12:00:00.1+00:00 vm proplet-audit[1]: ",
        "Nov 28 12:00:00 vm proplet-audit[1]: ",
        "<86>1 2026-11-28T12:00:00.123Z vm proplet-audit 1 k [a b=\"{\\\"chain\\\":\"] ",
    ] {
        let report = check_exported(&received(&lines, before));
        assert!(report.is_whole(), "{before}: {report:?}");
        assert_eq!((report.lines, report.torn.len()), (count, 0));
        assert_eq!(report.others, count);
        assert!(report.boots[0].stopped);
        // Read as a file of the log, it is none.
        let report = check_bytes(received(&lines, before).as_bytes());
        assert!(!report.is_whole(), "{before}");

        let mut fewer = lines.clone();
        fewer.remove(1);
        assert!(!check_exported(&received(&fewer, before)).is_whole());
        let mut changed = lines.clone();
        changed[2] = changed[2].replace("readiness", "stopped");
        assert_ne!(changed, lines);
        assert!(!check_exported(&received(&changed, before)).is_whole());
        // As by a receiver that keeps so many bytes of each line and no more.
        let mut cut = lines.clone();
        cut[2].truncate(100);
        let report = check_exported(&received(&cut, before));
        assert!(matches!(report.breaks[0].broken, Broken::Entry(_)));
    }
}

#[test]
fn lines_without_end_are_passed_over_or_none() {
    let lines = log(&[(0, 0)]);
    let long = "x".repeat(2 * (MAX_LINE_BYTES + MAX_BEFORE_BYTES));
    let text = format!("{}\n{long}\n{}", lines[0], lines[1..].join("\n"));
    let report = check_exported(&text);
    assert_eq!((report.breaks, report.torn.len()), (Vec::new(), 0));
    assert_eq!((report.lines, report.others), (lines.len() as u64, 1));
    // Half of a line is none, and the host's own end.
    for report in [
        check_exported(&text[..text.len() - 1]),
        check_bytes(lines.join("\n").as_bytes()),
    ] {
        assert_eq!((report.breaks, report.torn.len()), (Vec::new(), 1));
        assert_eq!(report.lines, lines.len() as u64 - 1);
    }
    // One that says whose it would be is one of the log that does not hold.
    let long = format!("{}\n{}{long}\n", lines[0], &lines[0][..lines[0].len() - 1]);
    assert!(matches!(
        check_exported(&long).breaks[0].broken,
        Broken::Entry(_)
    ));
}

#[test]
fn lines_in_the_json_of_a_journal_are_read() {
    let lines = log(&[(0, 0), (1, 0), (2, 0)]);
    let text = |line: &String| serde_json::json!({"_PID": "1", "MESSAGE": line}).to_string();
    let bytes = |line: &String| serde_json::json!({"MESSAGE": line.as_bytes()}).to_string();
    for entry in [&text as &dyn Fn(&String) -> String, &bytes] {
        let other = r#"{"MESSAGE":null}"#.to_owned();
        let entries = |lines: &[String]| -> String {
            let all = lines.iter().map(entry).chain([other.clone()]);
            all.map(|line| format!("{line}\n")).collect()
        };
        let report = check_exported(&entries(&lines));
        assert!(report.is_whole(), "{:?}", report.breaks);
        assert_eq!((report.lines, report.others), (lines.len() as u64, 1));
        assert!(!check_exported(&entries(&lines[1..])).is_whole());
        let mut changed = lines.clone();
        changed[2] = changed[2].replace("readiness", "stopped");
        assert_ne!(changed, lines);
        assert!(!check_exported(&entries(&changed)).is_whole());
    }
}

#[test]
fn white_space_behind_a_line_is_the_transports_and_in_a_file_of_the_log_it_is_a_change() {
    let lines = log(&[(0, 0), (1, 0)]);
    for end in ["\r", " ", "\t\r"] {
        let text: String = lines.iter().map(|line| format!("{line}{end}\n")).collect();
        let report = check_exported(&text);
        assert!(report.is_whole(), "{:?}", report.breaks);
        assert_eq!(report.lines, lines.len() as u64);
        assert!(!check_bytes(text.as_bytes()).is_whole());
    }
}

/// Lines of other programs that look like ours from afar.
const STRANGE: [&str; 5] = [
    r#"{"about":{"version":1},"service":"other"}"#,
    r#"{"chain":"eth0","rule":7}"#,
    r#"{"chain":"b1/0","kind":"#,
    r#"{"chain":"b00","kind":1}"#,
    r#"other[1]: {"about":{}}{"chain":""}"#,
];

#[test]
fn what_can_be_no_line_of_the_log_is_passed_over_and_counted() {
    let lines = log(&[(0, 0), (1, 0), (2, 0)]);
    for at in 0..=lines.len() {
        for strange in STRANGE {
            let mut mixed = lines.clone();
            mixed.insert(at, strange.to_owned());
            let text: String = mixed.iter().map(|line| format!("{line}\n")).collect();
            let report = check_exported(&text);
            assert!(report.is_whole(), "{strange}: {:?}", report.breaks);
            let counts = (report.lines, report.others);
            assert_eq!(counts, (lines.len() as u64, 1), "{strange}");
            assert_eq!(report.boots.len(), 1);
            // A file of the log has lines of nobody else.
            assert!(!check(&mixed).is_whole(), "{strange}");
        }
    }
}

#[test]
fn what_says_that_it_is_of_the_log_is_held_to_it() {
    let lines = log(&[(0, 0), (1, 0), (2, 0)]);
    let entry = lines[1].replace("\"seq\":1", "\"seq\":7");
    for inserted in [
        r#"{"chain":"b0","kind":"#.to_owned(),
        r#"{"about":{"chain":"b0/1"},"note":1}"#.to_owned(),
        // In canonical form, of this boot, of a task of it, and of one of which there is nothing else.
        entry.replace("\"b0\"", "\"b0/1\""),
        entry.replace("\"b0\"", "\"b1\""),
        entry.replace("\"b0\"", "\"b1/1\""),
        entry,
    ] {
        let mut mixed = lines.clone();
        mixed.insert(3, inserted.clone());
        let text: String = mixed.iter().map(|line| format!("{line}\n")).collect();
        let report = check_exported(&text);
        assert_eq!(report.others, 0, "{inserted}");
        assert!(!report.breaks.is_empty(), "{inserted}");
        assert!(report.breaks.iter().any(|broken| broken.place.line == 4));
    }
}

#[test]
fn of_named_boots_every_line_is_held_to_the_log_and_no_other_is() {
    let lines = log(&[(0, 0), (1, 0), (2, 0)]);
    // The end of another host's log.
    let others: Vec<_> = lines.iter().map(|line| line.replace("b0", "b1")).collect();
    let begins = 3;
    let mixed = |lines: &[String]| {
        let both = others[begins..].iter().chain(lines);
        both.map(|line| format!("{line}\n")).collect::<String>()
    };
    let only = |boots: &[&str], text: &str| {
        let mut verifier = Verifier::new();
        boots
            .iter()
            .for_each(|boot| verifier.only((*boot).to_owned()));
        let mut entries = 0;
        let each = |_: &Entry| entries += 1;
        verifier.exported("f", text.as_bytes(), each).unwrap();
        (verifier.finish(), entries)
    };
    // Without a name it may be this one's, whose beginning was taken away.
    assert!(!check_exported(&mixed(&lines)).is_whole());
    let (report, entries) = only(&["b0"], &mixed(&lines));
    assert!(report.is_whole(), "{:?}", report.breaks);
    assert_eq!((report.boots.len(), entries), (1, lines.len() as u64));
    assert_eq!(report.others, (others.len() - begins) as u64);
    assert!(!only(&["b0", "b1"], &mixed(&lines)).0.is_whole());
    // What is missing of the named one is missed, also its beginning.
    for at in 0..lines.len() - 1 {
        let mut fewer = lines.clone();
        fewer.remove(at);
        assert!(!only(&["b0"], &mixed(&fewer)).0.is_whole(), "{at}");
    }
    let broken = r#"{"chain":"b0","kind":"#.to_owned();
    assert!(!only(&["b0"], &mixed(&[broken])).0.is_whole());
    assert_eq!(only(&["b2"], &mixed(&lines)).0.lines, 0);
}

/// Files of one host, in their order.
fn check_files(files: &[(&str, &[String])]) -> Report {
    let mut verifier = Verifier::new();
    for (name, lines) in files {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        verifier.file(name, text.as_bytes(), |_| {}).unwrap();
    }
    verifier.finish()
}

/// A boot that was begun when this file was there, with a second file.
fn boot(name: &str, earlier: Option<&str>, lost: u64) -> [Vec<String>; 2] {
    let now: SystemTime = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let mut chain = Chain::of_boot(name.to_owned());
    let begins = Parts::new("boot").about("format", FORMAT);
    let mut first = vec![chain.extend(&begins, None, now)];
    if let Some(file) = earlier {
        let earlier = Parts::new("earlier-log").word("file", file);
        first.push(chain.extend(&earlier, None, now));
    }
    let part = Parts::new("file").about("format", FORMAT);
    let part = part.about("part", 1_u64).about("lost", lost);
    let part = chain.extend(&part, None, now);
    let last = chain.extend(&Parts::new("stopped"), None, now);
    [first, vec![part, last]]
}

#[test]
fn boots_of_a_host_come_one_after_the_other() {
    let first = log(&[(0, 0), (2, 0)]);
    let other = boot("b1", None, 0).concat();
    assert!(check_files(&[("f", &first), ("g", &other)]).is_whole());
    for at in 1..first.len() {
        let mut mixed = first.clone();
        mixed.insert(at, other[0].clone());
        let text: String = mixed.iter().map(|line| format!("{line}\n")).collect();
        let report = check(&mixed);
        assert!(matches!(report.breaks[0].broken, Broken::Behind { .. }));
        assert_eq!(report.breaks[0].place.line, at as u64 + 2);
        // A receiver may have the lines of several hosts.
        assert!(check_exported(&text).is_whole());
    }
}

#[test]
fn a_file_that_is_missing_between_others_is_missed() {
    let name = |number: u64| format!("audit-{number:08}.jsonl");
    let names: Vec<_> = (1..=6).map(name).collect();
    let all = [
        boot("b0", None, 0),
        boot("b1", Some(&names[1]), 0),
        boot("b2", Some(&names[3]), 0),
    ]
    .concat();
    let without = |missing: &[usize]| {
        let files = names.iter().zip(&all).enumerate();
        let files = files.filter(|(at, _)| !missing.contains(at));
        let files: Vec<_> = files
            .map(|(_, (name, lines))| (name.as_str(), lines.as_slice()))
            .collect();
        check_files(&files)
    };
    // The oldest may be somewhere else, and whether the last is there, only who has its hash can tell.
    for missing in [&[0][..], &[0, 1], &[0, 1, 2], &[0, 1, 2, 3], &[5]] {
        assert!(
            !without(missing).breaks.iter().any(|broken| matches!(
                broken.broken,
                Broken::Absent { .. } | Broken::Begins { .. }
            ))
        );
    }
    for (missing, words) in [
        (&[1][..], "audit-00000002.jsonl, which was there"),
        (&[2], "the chain b1 begins here with entry 2"),
        (&[2, 3], "audit-00000004.jsonl, which was there"),
        (&[4], "the chain b2 begins here with entry 2"),
    ] {
        let report = without(missing);
        let said = report.breaks.iter().map(ToString::to_string);
        assert!(
            said.clone().any(|said| said.contains(words)),
            "{words}: {:?}",
            report.breaks
        );
    }
    // A boot whose first lines found no room on the disk begins so.
    let [_, late] = boot("b1", None, 1);
    let [first, second] = boot("b0", None, 0);
    assert!(check_files(&[("f", &[first, second].concat()), ("g", &late)]).is_whole());
}
