//! Stands in for QEMU: notes what it is started with, takes its ports, and hears commands on its control socket.
//!
//! | variable | |
//! | --- | --- |
//! | `STUB_FOLDER` | where a start is noted, as `start-PID.json` |
//! | `STUB_VERSION` | the version that it says it is |
//! | `STUB_SEV` | its answer about SEV |
//! | `STUB_ENDS` | `0` or another exit code with which it ends at once |
//! | `STUB_DEAF` | the power button does nothing |

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;

use proplet_script_tests::Start;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a program's output"
)]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--version") {
        let version = variable("STUB_VERSION").unwrap_or_else(|| "11.1.3".to_owned());
        println!("QEMU emulator version {version} (Debian)");
        return ExitCode::SUCCESS;
    }
    if arguments.windows(2).any(|pair| pair == ["-qmp", "stdio"]) {
        answers_about_sev();
        return ExitCode::SUCCESS;
    }
    let Some(folder) = variable("STUB_FOLDER") else {
        eprintln!("stub-qemu: STUB_FOLDER is not set");
        return ExitCode::FAILURE;
    };
    let start = Start {
        arguments: arguments.clone(),
        variables: std::env::vars().collect::<BTreeMap<_, _>>(),
    };
    let path = Path::new(&folder).join(format!("start-{}.json", std::process::id()));
    let noted = serde_json::to_vec(&start).map(|json| fs::write(path, json));
    if !matches!(noted, Ok(Ok(()))) {
        eprintln!("stub-qemu: the start cannot be noted");
        return ExitCode::FAILURE;
    }
    if let Some(code) = variable("STUB_ENDS") {
        eprintln!("stub-qemu: ends as it was told");
        return code.parse::<u8>().map_or(ExitCode::FAILURE, ExitCode::from);
    }
    match runs(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stub-qemu: {error}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "this is a program's output")]
fn answers_about_sev() {
    println!("{{\"QMP\": {{}}}}");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match variable("STUB_SEV") {
            Some(answer) if line.contains("query-sev-capabilities") => println!("{answer}"),
            _ => println!("{{\"return\": {{}}}}"),
        }
    }
}

/// A machine that is on until somebody presses the power button.
fn runs(arguments: &[String]) -> std::io::Result<()> {
    let mut ports = Vec::new();
    for port in arguments
        .iter()
        .flat_map(|argument| argument.split("hostfwd=tcp:").skip(1))
        .filter_map(|forward| forward.split('-').next())
    {
        ports.push(TcpListener::bind(port)?);
    }
    if arguments
        .iter()
        .any(|argument| argument == "file,id=con,path=console.log")
    {
        fs::write(
            "console.log",
            "init: proplet 0.1.0 starts\n\u{1b}[2Jinit: POWER OFF: vm-network: words\n",
        )?;
    }
    let socket = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("unix:")?.split(',').next())
        .unwrap_or("qmp.sock");
    let listener = UnixListener::bind(socket)?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let lines = BufReader::new(stream.try_clone()?).lines();
        writeln!(stream, "{{\"QMP\": {{}}}}")?;
        for line in lines.map_while(Result::ok) {
            // Whoever has heard enough goes.
            if writeln!(stream, "{{\"return\": {{}}}}").is_err() {
                break;
            }
            if line.contains("system_powerdown") && variable("STUB_DEAF").is_none() {
                return Ok(());
            }
        }
    }
    Ok(())
}
