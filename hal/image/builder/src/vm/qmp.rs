//! One command to QEMU by its control socket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::VmError;

/// Most that QEMU may say before it answers.
const MAX_BYTES: u64 = 1024 * 1024;

/// Greets QEMU, gives the command and returns its answer as JSON.
pub(super) fn execute(socket: &Path, command: &str, patience: Duration) -> Result<String, VmError> {
    let failed = |reason: String| VmError::Qmp {
        socket: socket.to_owned(),
        reason,
    };
    let io = |error: std::io::Error| failed(error.to_string());
    let mut stream = UnixStream::connect(socket).map_err(io)?;
    stream.set_write_timeout(Some(patience)).map_err(io)?;
    let until = Instant::now() + patience;
    let mut lines = BufReader::new(stream.try_clone().map_err(io)?.take(MAX_BYTES));
    let mut answer = || loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failed("it does not answer".to_owned()));
        }
        lines
            .get_ref()
            .get_ref()
            .set_read_timeout(Some(left))
            .map_err(io)?;
        let mut line = String::new();
        if lines.read_line(&mut line).map_err(io)? == 0 {
            return Err(failed("it closed the connection".to_owned()));
        }
        let said: Value = serde_json::from_str(&line)
            .map_err(|error| failed(format!("it does not speak QMP: {error}")))?;
        // The greeting and events come in between.
        if let Some(value) = said.get("return") {
            return Ok(value.to_string());
        }
        if let Some(error) = said.get("error") {
            let words = error.get("desc").and_then(Value::as_str);
            return Err(failed(words.unwrap_or("it refuses").to_owned()));
        }
    };
    for name in ["qmp_capabilities", command] {
        let line = format!("{}\n", json!({ "execute": name }));
        stream.write_all(line.as_bytes()).map_err(io)?;
        let value = answer()?;
        if name == command {
            return Ok(value);
        }
    }
    Err(failed("no command was given".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// What QEMU says to the first and to the second command, and what is heard of it.
    fn spoken(answers: [&'static str; 2]) -> Result<String, VmError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let peer = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let _ = stream.write_all(b"{\"QMP\": {}}\n");
            for (command, answer) in ["qmp_capabilities", "system_powerdown"].iter().zip(answers) {
                let Some(Ok(line)) = lines.next() else { return };
                assert!(line.contains(command), "{line}");
                let _ = stream.write_all(answer.as_bytes());
                if answer.is_empty() {
                    return;
                }
            }
        });
        let heard = execute(&path, "system_powerdown", Duration::from_secs(20));
        peer.join().unwrap();
        heard
    }

    #[test]
    fn events_come_in_between() {
        let heard = spoken([
            "{\"return\": {}}\n",
            "{\"event\": \"POWERDOWN\"}\n{\"return\": {\"a\": 1}}\n",
        ]);
        assert_eq!(heard.unwrap(), r#"{"a":1}"#);
    }

    #[test]
    fn what_goes_wrong_is_told() {
        let words = |answers| spoken(answers).unwrap_err().to_string();
        let said = words([
            "{\"return\": {}}\n",
            "{\"error\": {\"class\": \"x\", \"desc\": \"not now\"}}\n",
        ]);
        assert!(said.contains("not now"), "{said}");
        assert!(words(["\n", ""]).contains("QMP"));
        assert!(words(["", ""]).contains("closed"));
    }

    #[test]
    fn silence_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let _silent = UnixListener::bind(&path).unwrap();
        let heard = execute(&path, "quit", Duration::from_millis(50));
        assert!(matches!(heard, Err(VmError::Qmp { .. })), "{heard:?}");
        let nowhere = execute(&folder.path().join("x"), "quit", Duration::from_secs(1));
        assert!(nowhere.unwrap_err().to_string().contains("status"));
    }
}
