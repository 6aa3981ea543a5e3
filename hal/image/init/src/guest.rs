//! Whether the CPU says that this is a confidential guest.
//!
//! A host may leave out the device that a guest attests with, or make up one. It cannot change what the CPU tells the
//! kernel: of SEV in a register that only hardware sets, of TDX by a leaf of CPUID that the TDX module answers.
//! The kernel says what it found in three places, and each of them counts.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The words before the features, in the kernel's log.
const ACTIVE: &str = "Memory Encryption Features active:";
/// The longest record of the kernel's log.
const RECORD: usize = 8192;
/// Records that are read: the log of a boot has a few hundred.
const MAX_RECORDS: usize = 100_000;
/// How much of `/proc/cpuinfo` is read: the first CPU's entry.
const CPUINFO: u64 = 16 * 1024;

/// What says that this is a confidential guest, in words; nothing when nothing does.
pub(crate) fn sign(root: &Path) -> Option<String> {
    let cpuinfo = read_head(&root.join("proc/cpuinfo"));
    if has_flag(&cpuinfo, "tdx_guest") {
        return Some("the CPU has the flag tdx_guest".to_owned());
    }
    let sev = root.join("sys/devices/system/cpu/sev");
    if sev.exists() {
        return Some("the kernel has a privilege level of SEV-SNP".to_owned());
    }
    let mut log = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(root.join("dev/kmsg"))
        .ok()?;
    in_log(&mut log)
}

/// Each read of the log is a record; its end is an error, because further ones could come.
fn in_log(log: &mut impl Read) -> Option<String> {
    let mut record = vec![0; RECORD];
    for _ in 0..MAX_RECORDS {
        let len = match log.read(&mut record) {
            Ok(0) => return None,
            Ok(len) => len,
            // Records were overwritten while they were read.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => continue,
            Err(_) => return None,
        };
        if let Some(sign) = record.get(..len).and_then(in_record) {
            return Some(sign);
        }
    }
    None
}

/// `priority,number,time,flags;text`, of the kernel's own only: programs can write records too, with a priority
/// of 8 and above.
fn in_record(record: &[u8]) -> Option<String> {
    let record = String::from_utf8_lossy(record);
    let (head, text) = record.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    let line = text.lines().next()?;
    let features = line.split_once(ACTIVE)?.1.trim();
    (priority < 8 && !features.is_empty()).then(|| format!("the kernel says: {features}"))
}

fn has_flag(cpuinfo: &str, flag: &str) -> bool {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.trim() == "flags")
        .any(|(_, flags)| flags.split_whitespace().any(|found| found == flag))
}

fn read_head(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(CPUINFO).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::{fs, io};

    use proptest::prelude::*;

    use super::*;

    fn machine(files: &[(&str, &str)]) -> Option<String> {
        let root = tempfile::tempdir().unwrap();
        for (path, contents) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        sign(root.path())
    }

    #[test]
    fn what_the_cpu_says_counts() {
        let tdx = machine(&[("proc/cpuinfo", "processor : 0\nflags\t: fpu tdx_guest\n")]);
        assert!(tdx.unwrap().contains("tdx_guest"));
        let snp = machine(&[("sys/devices/system/cpu/sev/vmpl", "0")]);
        assert!(snp.unwrap().contains("SEV-SNP"));
        let log = "6,70,0,-;Memory Encryption Features active: AMD SEV SEV-ES SEV-SNP\n";
        assert_eq!(
            machine(&[("dev/kmsg", log)]).unwrap(),
            "the kernel says: AMD SEV SEV-ES SEV-SNP"
        );
    }

    #[test]
    fn a_machine_without_any_sign_is_plain() {
        assert_eq!(machine(&[]), None);
        assert_eq!(
            machine(&[(
                "proc/cpuinfo",
                "flags : fpu sev sev_snp tdx_host_platform\n"
            )]),
            None
        );
        assert_eq!(
            machine(&[("dev/kmsg", "6,1,0,-;Memory Encryption Features active: \n")]),
            None
        );
        // Of a program, not of the kernel.
        assert_eq!(
            machine(&[(
                "dev/kmsg",
                "12,1,0,-;Memory Encryption Features active: AMD SEV\n"
            )]),
            None
        );
    }

    #[test]
    fn the_log_is_read_record_by_record() {
        struct Log(Vec<io::Result<&'static [u8]>>);
        impl Read for Log {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let record = self.0.remove(0)?;
                buffer[..record.len()].copy_from_slice(record);
                Ok(record.len())
            }
        }
        let mut log = Log(vec![
            Ok(b"6,1,0,-;Linux version 6.12\n"),
            Err(io::ErrorKind::BrokenPipe.into()),
            Ok(b"6,2,0,-;x86: Memory Encryption Features active: Intel TDX\n"),
        ]);
        assert_eq!(in_log(&mut log).unwrap(), "the kernel says: Intel TDX");
        let mut log = Log(vec![
            Ok(b"6,1,0,-;x\n"),
            Err(io::ErrorKind::WouldBlock.into()),
        ]);
        assert_eq!(in_log(&mut log), None);
    }

    proptest! {
        #[test]
        fn any_record_is_read(record in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = in_record(&record);
        }
    }
}
