//! A server of another project, as a child process of the test.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proplet_testkit::ports::free_address;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;

/// Connection attempts before a server counts as not starting; with the pause between them, 30 s.
const ATTEMPTS: usize = 1500;
const PAUSE: Duration = Duration::from_millis(20);

/// A running server. Dropping it kills it.
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts a program with its output in a log file, and waits until it listens on this port.
    pub async fn start(command: &mut Command, log: &Path, port: u16) -> Self {
        let file = File::create(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} did not start: {error}; is it installed?"));
        let mut server = Self { child };
        for _ in 0..ATTEMPTS {
            let ended = server.child.try_wait().unwrap();
            let said = || std::fs::read_to_string(log).unwrap();
            assert!(ended.is_none(), "{command:?} ended: {ended:?}\n{}", said());
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return server;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{command:?} does not listen on port {port}");
    }

    /// Asks the server to read its files again.
    pub fn reload(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// Kills the server as a power cut would, and waits until it is gone.
    pub fn kill(mut self) {
        self.end().unwrap();
    }

    fn end(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended before; nobody is left to tell.
        let _ = self.end();
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    free_address().unwrap().port()
}
