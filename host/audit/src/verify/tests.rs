use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proplet_types::Digest;
use proptest::prelude::*;

use super::*;
use crate::{audit::FORMAT, chain::Chain, event::Parts};

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

    #[test]
    fn a_byte_that_is_changed_is_seen(
        steps in steps(), at: prop::sample::Index, column: prop::sample::Index, by in 1_u8..=255,
    ) {
        let mut lines: Vec<Vec<u8>> = log(&steps).into_iter().map(String::into_bytes).collect();
        let at = at.index(lines.len() - 1);
        let column = column.index(lines[at].len());
        lines[at][column] ^= by;
        lines.iter_mut().for_each(|line| line.push(b'\n'));
        prop_assert!(!check_bytes(&lines.concat()).is_whole());
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
