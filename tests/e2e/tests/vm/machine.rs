//! A virtual machine under emulation.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use std::{env, thread};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Under emulation on an idle machine a boot takes some 10 s; on one that does other work, minutes.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// The disk of the outbox, in the folder of a machine.
const OUTBOX: &str = "outbox.img";

/// What `.ci/vm` made.
pub struct Made(PathBuf);

impl Made {
    /// The folder that `$PROPLET_VM` names.
    pub fn here() -> Self {
        let folder =
            env::var_os("PROPLET_VM").expect("set PROPLET_VM to the folder of `.ci/vm FOLDER`");
        // From the root of the workspace, as whoever types it sees it.
        Self(root().join(folder).canonicalize().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The image of these tests.
    pub fn image(&self) -> PathBuf {
        self.path("test/proplet.efi")
    }

    /// Runs the image builder, and gives what it prints.
    pub fn builder(&self, arguments: &[&str], paths: &[&Path]) -> String {
        let mut command = Command::new(self.path("builder"));
        command.arg(arguments[0]).args(paths).args(&arguments[1..]);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Firmware that a machine starts with.
#[derive(Clone, Copy)]
pub enum Firmware {
    /// The product's for SNP, with the table of hashes that QEMU would give it.
    Snp,
    /// Debian's, which measures into a TPM.
    Debian,
}

/// A folder that machines are started from.
pub struct Setup {
    made: Made,
    folder: TempDir,
}

impl Setup {
    /// The folder, with an operator's disk of this text.
    pub fn new(operator: &str) -> Self {
        let (made, folder) = (Made::here(), tempfile::tempdir().unwrap());
        let setup = Self { made, folder };
        setup.disk("operator", operator);
        let image = setup.made.image();
        fs::copy(&image, setup.path("image.efi")).unwrap();
        let table = setup.path("table");
        let out = ["hash-table", "--out", table.to_str().unwrap()];
        setup.made.builder(&out, &[&image]);
        setup
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and gives its path as text.
    pub fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Makes the init-data disk, and gives the digest that the builder prints, in hexadecimal.
    pub fn init_data(&self, document: &str) -> String {
        let printed = self.disk("init-data", document);
        fs::rename(self.path("init-data.img"), self.path("initdata.img")).unwrap();
        let digest = printed
            .lines()
            .find_map(|line| line.strip_prefix("digest "))
            .unwrap_or_else(|| panic!("no digest in {printed:?}"));
        digest.trim().to_owned()
    }

    fn disk(&self, kind: &str, document: &str) -> String {
        let (text, disk) = (
            self.write(kind, document),
            self.path(&format!("{kind}.img")),
        );
        let out = [kind, "--out", disk.to_str().unwrap()];
        self.made.builder(&out, &[Path::new(&text)])
    }

    /// Makes a disk for the outbox, which every machine that is started from here has from now on.
    pub fn outbox_disk(&self, size: u64) {
        let disk = File::create(self.path(OUTBOX)).unwrap();
        disk.set_len(size).unwrap();
    }

    /// Waits until this lies on the disk of the outbox.
    pub fn has_on_disk(&self, machine: &Machine, words: &str) {
        let begin = Instant::now();
        let words = words.as_bytes();
        loop {
            let disk = fs::read(self.path(OUTBOX)).unwrap();
            if disk.windows(words.len()).any(|found| found == words) {
                return;
            }
            machine.must_run();
            assert!(begin.elapsed() < PATIENCE, "{}", machine.console());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Starts a machine, with these items of its QEMU under `opt/org.proplet`.
    pub fn start(&self, firmware: Firmware, items: &[(&str, &str)]) -> Machine {
        let console = self.path("console");
        let log = File::create(&console).unwrap();
        let tools = self.made.path("tools");
        let mut command = Command::new(root().join(".ci/vm-qemu"));
        command
            .args([&tools, self.folder.path()])
            .args(["-kernel", "image.efi"]);
        match firmware {
            Firmware::Snp => {
                let from = self.made.path("firmware/OVMF.amdsev.fd");
                fs::copy(from, self.path("firmware.fd")).unwrap();
                // Where this firmware looks for the table.
                let table = "loader,addr=0x810c00,file=table,force-raw=on";
                command.args(["-bios", "firmware.fd", "-device", table]);
            }
            Firmware::Debian => {
                command.args(["-bios", "/usr/share/ovmf/OVMF.fd"]);
                command.env("TPM", "1");
            }
        }
        if self.path(OUTBOX).exists() {
            command
                .args([
                    "-drive",
                    &format!("if=none,id=outbox,file={OUTBOX},format=raw"),
                ])
                .args([
                    "-device",
                    "virtio-blk-pci,drive=outbox,serial=outbox,disable-legacy=on,iommu_platform=on",
                ]);
        }
        for (name, value) in items {
            command.args([
                "-fw_cfg",
                &format!("name=opt/org.proplet/{name},string={value}"),
            ]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        let (tell, ended) = channel();
        thread::spawn(move || {
            let _ = tell.send(child.wait().is_ok_and(|status| status.success()));
        });
        Machine {
            pid,
            ended,
            console,
        }
    }
}

/// A machine that runs. It is switched off when dropped.
pub struct Machine {
    pid: Pid,
    ended: Receiver<bool>,
    console: PathBuf,
}

impl Machine {
    /// What it has written to its console.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap()).into_owned()
    }

    /// Fails when it has ended.
    pub fn must_run(&self) {
        assert!(self.ended.try_recv().is_err(), "{}", self.console());
    }

    /// Waits until it has switched itself off, and gives what it wrote.
    pub fn ends(&self) -> String {
        let ended = self.ended.recv_timeout(PATIENCE);
        assert_eq!(ended, Ok(true), "{}", self.console());
        self.console()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.ended.try_recv().is_err() {
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = self.ended.recv_timeout(PATIENCE);
        }
    }
}
