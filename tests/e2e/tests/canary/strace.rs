//! The same errands under a tracer, which misses nothing.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::Signal;

use crate::errands::{self, Plain, Secrets};
use crate::world::{Process, World};

/// Calls that make a file, name one, or start a program.
const CALLS: &str = "trace=open,openat,openat2,creat,mknod,mknodat,mkdir,mkdirat,rename,renameat,\
    renameat2,link,linkat,symlink,symlinkat,truncate,ftruncate,mmap,execve,execveat,fork,vfork,clone,\
    clone3,open_by_handle_at,io_uring_setup";

/// Lines of a trace that show a file being made or written, or a program or process being started. The
/// first `execve` is the tracer's own.
fn suspicious(trace: &str) -> Vec<&str> {
    let mut programs = 0;
    trace
        .lines()
        .filter(|line| {
            // `pid call(arguments) = result`, with a call that was interrupted in two lines.
            let call = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
            let (name, arguments) = call.split_once('(').unwrap_or((call, ""));
            match name {
                _ if call.starts_with("+++") || call.starts_with("---") => false,
                _ if call.starts_with("<...") => false,
                "open" | "openat" | "openat2" => {
                    let kept = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_TMPFILE"]
                        .iter()
                        .any(|flag| arguments.contains(flag));
                    kept && !arguments.contains("\"/dev/null\"")
                }
                // Memory of the process; a file can be mapped, but only what was opened for writing
                // can be written.
                "mmap" => {
                    arguments.contains("MAP_SHARED")
                        && arguments.contains("PROT_WRITE")
                        && !arguments.contains("MAP_ANONYMOUS")
                }
                "clone" | "clone3" => !arguments.contains("CLONE_THREAD"),
                "ftruncate" => false,
                "execve" => {
                    programs += 1;
                    programs > 1
                }
                _ => true,
            }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace; .ci/run runs it"]
async fn under_a_tracer_no_file_is_written_and_no_program_started() {
    let world = World::new("trace").await;
    let trace = tempfile::NamedTempFile::new().unwrap();
    let path = trace.path().to_str().unwrap();
    let tracer = ["strace", "-f", "-qq", "-s", "256", "-o", path, "-e", CALLS];
    let process = Process::daemon(&world.home, &tracer);
    world.ready().await;
    let outcomes = errands::run(&world, &Secrets::new(), &Plain::new()).await;
    assert!(outcomes.len() > 10);
    let text = fs::read_to_string(trace.path()).unwrap();
    let ended = process.end(Signal::TERM);
    let log = String::from_utf8_lossy(&ended.stderr);
    assert!(log.contains("Starting Proplet"), "{log}");
    assert!(
        text.contains("execve(") && text.contains("CLONE_THREAD"),
        "{text}"
    );
    let found: BTreeSet<_> = suspicious(&text).into_iter().collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn what_a_trace_shows_is_noticed() {
    let harmless = "\
1 execve(\"/x/lab-daemon\", [\"lab-daemon\"], 0x7ffd /* 8 vars */) = 0
1 openat(AT_FDCWD, \"/etc/ld.so.cache\", O_RDONLY|O_CLOEXEC) = 3
1 openat(AT_FDCWD, \"/dev/null\", O_RDWR) = 3
1 mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f
1 clone3({flags=CLONE_VM|CLONE_FS|CLONE_THREAD, exit_signal=0}, 88 <unfinished ...>
2 <... clone3 resumed>) = 0
2 +++ exited with 0 +++
1 --- SIGTERM {si_signo=SIGTERM} ---
";
    assert_eq!(suspicious(harmless), Vec::<&str>::new());
    for line in [
        "1 openat(AT_FDCWD, \"/tmp/m.wasm\", O_WRONLY|O_CREAT|O_EXCL, 0600) = 9",
        "1 openat(AT_FDCWD, \"/tmp\", O_RDWR|O_TMPFILE, 0600 <unfinished ...>",
        "1 openat(AT_FDCWD, \"/tmp/m.wasm\", O_RDWR) = -1 ENOENT (No such file or directory)",
        "1 creat(\"/tmp/x\", 0600) = 3",
        "1 mkdir(\"/tmp/x\", 0700) = 0",
        "1 rename(\"/tmp/x\", \"/tmp/y\") = 0",
        "1 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = 0x7f",
        "17 execve(\"/usr/bin/wasmtime\", [\"wasmtime\"], 0x7f /* 8 vars */ <unfinished ...>",
        "1 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 18",
        "1 vfork( <unfinished ...>",
    ] {
        let trace = format!("{harmless}{line}\n");
        assert_eq!(suspicious(&trace), [line]);
    }
}
