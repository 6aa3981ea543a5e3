//! The streams of a command, and how things are shown on them.
//!
//! What a command says holds text of strangers: media types of a registry, names in a component, a
//! receipt's task id, the words of a server. A terminal obeys escape sequences in it. So there is one door:
//! everything that is text leaves through [`Console`], which takes out what a terminal would obey, whoever
//! wrote it, and also when the stream is a file, which is read at a terminal the next day. Only bytes that
//! are somebody's result go as they are ([`Console::bytes`]), and the commands send none to a terminal.
//! Callers still put a stranger's words on one line ([`line`]), lest these pass for another line of ours.

use std::io::{self, IsTerminal as _, Read, Write};

use proplet_types::text::{escaped_json, line, printable};
use serde_json::{Value, json};

use super::error::CliError;
use crate::output;

/// Columns of a line of progress.
const PROGRESS_WIDTH: usize = 60;

/// Standard input, output and error of one command.
///
/// Tests give buffers.
pub struct Console<'a> {
    /// Where `-` is read from.
    pub stdin: &'a mut (dyn Read + Send),
    /// Results.
    pub stdout: &'a mut (dyn Write + Send),
    /// Everything else.
    pub stderr: &'a mut (dyn Write + Send),
    /// Whether somebody looks at standard output: then no bytes go there that are not text.
    pub stdout_is_terminal: bool,
    /// Whether somebody looks at standard error: then they are told what takes long.
    pub stderr_is_terminal: bool,
    /// Whether JSON was asked for. The command line decides.
    pub json: bool,
}

impl Console<'_> {
    /// Standard input, and a console without it, for whoever writes while he reads.
    pub(super) fn apart<'b>(
        &'b mut self,
        nothing: &'b mut io::Empty,
    ) -> (&'b mut (dyn Read + Send), Console<'b>) {
        let console = Console {
            stdin: nothing,
            stdout: self.stdout,
            stderr: self.stderr,
            stdout_is_terminal: self.stdout_is_terminal,
            stderr_is_terminal: self.stderr_is_terminal,
            json: self.json,
        };
        (self.stdin, console)
    }

    /// Text of a result, with a line end.
    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        self.ended(&printable(text))
    }

    /// The text that a component gave, with a line end: as it is, unless somebody looks at it.
    pub(super) fn given(&mut self, text: &str) -> io::Result<()> {
        if self.stdout_is_terminal {
            self.text(text)
        } else {
            self.ended(text)
        }
    }

    fn ended(&mut self, text: &str) -> io::Result<()> {
        self.stdout.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            self.stdout.write_all(b"\n")?;
        }
        self.stdout.flush()
    }

    /// Bytes of a result, as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdout.write_all(bytes)?;
        self.stdout.flush()
    }

    /// A result as JSON: the same value, with escapes for what a terminal would obey.
    pub(super) fn value(&mut self, value: &Value) -> io::Result<()> {
        self.ended(&escaped_json(&format!("{value:#}")))
    }

    /// Text for standard error. A closed standard error is nobody's concern.
    pub(super) fn note(&mut self, text: &str) {
        let _ = writeln!(self.stderr, "{}", printable(text));
    }

    /// What is being done, for somebody who waits.
    pub(super) fn status(&mut self, text: &str) {
        if self.stderr_is_terminal && !self.json {
            self.note(text);
        }
    }

    /// How far it is, for somebody who waits: in place of what was said so the last time.
    pub(super) fn progress(&mut self, text: &str) {
        if self.stderr_is_terminal && !self.json {
            let _ = write!(self.stderr, "\r{:<PROGRESS_WIDTH$}", line(text));
            let _ = self.stderr.flush();
        }
    }

    /// Takes away the last line of progress.
    pub(super) fn end_progress(&mut self) {
        if self.stderr_is_terminal && !self.json {
            let _ = write!(self.stderr, "\r{:<PROGRESS_WIDTH$}\r", "");
            let _ = self.stderr.flush();
        }
    }

    /// Why the command did not end well: one line, or one JSON object.
    pub(super) fn fail(&mut self, error: &CliError) {
        let text = if self.json {
            let (code, message, exit) = (error.code(), error.words(), error.exit() as u8);
            let object = json!({"error": {"code": code, "message": message, "exit": exit}});
            escaped_json(&object.to_string())
        } else {
            format!("error: {}", line(error.words()))
        };
        self.note(&text);
    }
}

/// The streams of the process.
pub(super) struct Standard {
    stdin: io::Stdin,
    stdout: Stdout,
    stderr: io::Stderr,
}

impl Default for Standard {
    fn default() -> Self {
        Self {
            stdin: io::stdin(),
            stdout: Stdout,
            stderr: io::stderr(),
        }
    }
}

impl Standard {
    pub(super) fn console(&mut self) -> Console<'_> {
        Console {
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: self.stderr.is_terminal(),
            stdin: &mut self.stdin,
            stdout: &mut self.stdout,
            stderr: &mut self.stderr,
            json: false,
        }
    }
}

struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        output::bytes(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
