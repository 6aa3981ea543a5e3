//! Nothing in clear outside memory: canaries go through every place that plaintext passes, and are then
//! looked for everywhere else.
//!
//! The daemon runs as a process of its own, with a home that is nobody else's and a log at the level
//! `trace`. Encrypted tasks carry canaries in their component, its names, its secrets, its input, result,
//! standard error, failures and panics. Then everything is searched that the process wrote or could have
//! written: files, log, both ends of every connection, the messages about its tasks. The kernel is asked
//! about children, open files and core dumps. And all that once more with an audit log, which is to be there and to
//! hold nothing of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod audit;
mod errands;
mod search;
mod strace;
mod tap;
mod watch;
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;

use proplet_testkit::broker::Outcome;
use rustix::process::Signal;

use crate::errands::{Plain, Secrets};
use crate::search::{Canary, Leak, Search};
use crate::watch::{Account, Seen, Watch, files_under};
use crate::world::{Ended, Home, Process, World};

/// Bytes and where they were.
type Place = (String, Vec<u8>);

/// Everything that was kept of a run, by who may have put a canary there.
#[derive(Default)]
struct Kept {
    /// What the process wrote, was started with, or reported.
    own: Vec<Place>,
    /// What it sent over MQTT, by connection: plain tasks answer in clear here.
    published: Vec<Place>,
    /// What it was sent over MQTT: inputs of every task, and the components of plain ones.
    ordered: Vec<Place>,
}

impl Kept {
    fn of(world: &World, account: &Account, ended: Ended, outcomes: &[Outcome]) -> Self {
        let mut own = vec![
            ("standard output".to_owned(), ended.stdout),
            ("the log".to_owned(), ended.stderr),
        ];
        let environment = account.environment.clone();
        own.extend(environment.map(|bytes| ("environment and arguments".to_owned(), bytes)));
        for (path, bytes) in files_under(world.home.path()) {
            own.push((format!("the file {}", path.display()), bytes));
            own.push((
                "the name of a file".to_owned(),
                path.into_os_string().into_encoded_bytes(),
            ));
        }
        for Outcome {
            task_id,
            results,
            error,
            ..
        } in outcomes
        {
            own.push((format!("the results of {task_id}"), results.clone().into()));
            let error = error.clone().unwrap_or_default();
            own.push((format!("the error of {task_id}"), error.into()));
        }
        let place = |name: &str, wires: Vec<Vec<u8>>| -> Vec<Place> {
            wires
                .into_iter()
                .map(|bytes| (name.to_owned(), bytes))
                .collect()
        };
        for (sent, received, tap) in [
            (
                "sent to the registry",
                "sent by the registry",
                &world.registry,
            ),
            (
                "sent to the key broker",
                "sent by the key broker",
                &world.kbs,
            ),
        ] {
            own.extend(place(sent, tap.sent()));
            own.extend(place(received, tap.received()));
        }
        Self {
            own,
            published: place("sent to the MQTT broker", world.mqtt.sent()),
            ordered: place("sent by the MQTT broker", world.mqtt.received()),
        }
    }

    fn leaks(&self, secrets: &Secrets, plain: &Plain) -> Vec<Leak> {
        let Self {
            own,
            published,
            ordered,
        } = self;
        let mut leaks = Vec::new();
        for (canaries, places) in [
            ([secrets.all(), plain.all()].concat(), vec![own]),
            (secrets.all(), vec![published]),
            (secrets.hidden(), vec![ordered]),
        ] {
            let search = Search::new(canaries);
            for (place, bytes) in places.into_iter().flatten() {
                leaks.extend(search.in_bytes(place, bytes));
            }
        }
        leaks
    }
}

/// A daemon that ran all errands and ended.
struct Observed {
    seen: Seen,
    account: Account,
    printed: String,
    log: String,
    outcomes: Vec<Outcome>,
    kept: Kept,
}

impl Observed {
    async fn of(world: &World, secrets: &Secrets, plain: &Plain) -> Self {
        let process = Process::daemon(&world.home, &[]);
        let watch = Watch::start(process.pid());
        world.ready().await;
        let outcomes = errands::run(world, secrets, plain).await;
        let account = Account::of(process.pid());
        let seen = watch.stop();
        let ended = process.end(Signal::TERM);
        assert!(ended.status.success(), "{:?}", ended.status);
        Self {
            seen,
            printed: String::from_utf8_lossy(&ended.stdout).into_owned(),
            log: String::from_utf8_lossy(&ended.stderr).into_owned(),
            kept: Kept::of(world, &account, ended, &outcomes),
            account,
            outcomes,
        }
    }

    /// Whatever was found, in one text.
    fn leaks(&self, secrets: &Secrets, plain: &Plain) -> String {
        let leaks = self.kept.leaks(secrets, plain);
        let leaks: Vec<_> = leaks.iter().map(Leak::to_string).collect();
        leaks.join("\n")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_plaintext_leaves_the_process() {
    let world = World::new("trace").await;
    let (secrets, plain) = (Secrets::new(), Plain::new());
    let observed = Observed::of(&world, &secrets, &plain).await;
    let leaks = observed.leaks(&secrets, &plain);
    let Observed {
        seen,
        account,
        printed,
        log,
        outcomes,
        mut kept,
    } = observed;

    // What the kernel says.
    assert!(seen.looks > 100, "{seen:?}");
    assert_eq!(seen.children, BTreeSet::new(), "children");
    assert_eq!(account.faults_of_children, 0, "there was a child");
    assert_eq!(
        seen.writable,
        BTreeSet::new(),
        "files that were open for writing"
    );
    assert_eq!(account.core_limits, ("0".to_owned(), "0".to_owned()));
    assert_eq!(printed, "dumpable: false\n");
    if !seen.hidden.is_empty() {
        // Without CAP_SYS_PTRACE the open files of a process that is not dumpable cannot be listed: the
        // files that it left, and the test under a tracer, say the rest.
        eprintln!("not seen: {:?}", seen.hidden);
    }
    assert_eq!(world.home.foreign_files(), Vec::<PathBuf>::new());

    // The log is there, at the level that was asked for, and speaks of the tasks.
    assert!(log.contains(" TRACE "), "{log}");
    for outcome in &outcomes {
        assert!(
            log.contains(&format!("Executing task {}", outcome.task_id)),
            "{log}"
        );
    }

    assert_eq!(leaks, "");

    // The same search, with something to find in every place.
    let planted = &secrets.module.text;
    let mut places = BTreeSet::new();
    for (place, bytes) in [&mut kept.own, &mut kept.published, &mut kept.ordered]
        .into_iter()
        .flatten()
    {
        bytes.extend_from_slice(planted.as_bytes());
        places.insert(place.clone());
    }
    let found: BTreeSet<_> = kept
        .leaks(&secrets, &plain)
        .into_iter()
        .map(|leak| leak.place)
        .collect();
    assert_eq!(found, places);
    let expected = [
        "the log",
        "standard output",
        "the error of panic",
        "the results of trap",
    ];
    for place in expected
        .iter()
        .chain(&["sent to the MQTT broker", "sent to the key broker"])
    {
        assert!(places.contains(*place), "{place}: {places:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_with_a_secret_in_memory_leaves_no_core() {
    let world = World::new("info").await;
    let process = Process::daemon(&world.home, &[]);
    world.ready().await;
    let secrets = Secrets::new();
    errands::reveal(&world, &secrets.released[0]).await;
    let ended = process.end(Signal::ABORT);
    assert_eq!(ended.status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!ended.status.core_dumped(), "{:?}", ended.status);
    assert_eq!(world.home.foreign_files(), Vec::<PathBuf>::new());
}

/// The watch on a process that does everything that the daemon must not do.
#[test]
fn the_watch_sees_what_a_process_does() {
    let canary = Canary::new("watched");
    let home = Home::new("");
    let script = format!(
        "exec 3>\"$TMPDIR/open\"; mkdir -p \"$HOME/a/b\"; printf {0} >\"$HOME/a/b/{0}\"; printf {0} >&2; \
         (read -r never <\"$XDG_RUNTIME_DIR/pipe\") & wait",
        canary.text
    );
    let pipe = home.path().join("runtime/pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    let process = Process::start(&home, command);
    let watch = Watch::start(process.pid());
    // Opening the pipe waits for the child; closing it ends the child, and the shell after it.
    let ends = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    let account = Account::of(process.pid());
    let looked = watch.stop();
    drop(ends);
    let ended = process.wait();
    assert!(ended.status.success(), "{:?}", ended.status);
    assert!(!looked.children.is_empty(), "{looked:?}");
    assert!(
        looked.writable.contains(&home.path().join("tmp/open")),
        "{looked:?}"
    );
    assert!(
        account.faults_of_children > 0,
        "mkdir was a child: {account:?}"
    );
    fs::remove_file(pipe).unwrap();

    let search = Search::new([&canary]);
    assert!(!search.in_bytes("log", &ended.stderr).is_empty());
    let files = files_under(home.path());
    let file = home.path().join("home/a/b").join(&canary.text);
    let (_, bytes) = files.iter().find(|(path, _)| *path == file).unwrap();
    assert!(!search.in_bytes("file", bytes).is_empty());
    assert!(
        !search
            .in_bytes("name", file.as_os_str().as_encoded_bytes())
            .is_empty()
    );
}
