//! Ways in which the emulated interface misbehaves.

use std::time::Duration;

use rustix::io::Errno;

/// A step of asking for a report, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TsmStep {
    /// `mkdir`.
    Create,
    /// Reading `provider`.
    ReadProvider,
    /// Reading `generation`.
    ReadGeneration,
    /// Writing `privlevel`.
    WritePrivlevel,
    /// Writing `inblob`.
    WriteInblob,
    /// Reading `outblob`, before the device is asked.
    ReadOutblob,
    /// Reading `auxblob`.
    ReadAuxblob,
    /// `rmdir`.
    Remove,
}

/// How the emulated interface misbehaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TsmFault {
    /// A step fails with this error of the kernel, such as `EBUSY` or `ETIMEDOUT`, by its number.
    Fails(TsmStep, i32),
    /// Another driver's name stands in `provider`.
    OtherProvider(String),
    /// The driver was taken away: everything that needs it fails with `ENXIO`.
    Vanished,
    /// The device takes this long for a report, and everybody waits.
    Slow(Duration),
    /// Somebody else writes into the folder while the report is made: `generation` is one too high.
    Conflict,
    /// The report is over, and signs, other data than was written.
    OtherReportData,
    /// The report is over, and signs, zeros.
    ZeroReportData,
    /// `outblob` is cut to this length.
    Truncated(usize),
    /// `outblob` goes on with this many zeros.
    Padded(usize),
    /// One bit of `outblob` is flipped, at this place.
    Flipped(usize),
    /// `auxblob` is this.
    Certificates(Vec<u8>),
}

/// Faults with how often they still come; without a number, always.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(TsmFault, Option<u32>)>);

impl Faults {
    pub fn add(&mut self, fault: TsmFault, times: Option<u32>) {
        self.0.push((fault, times));
    }

    /// The error of this step, if it is to fail.
    pub fn check(&mut self, step: TsmStep) -> Result<(), Errno> {
        let errno = self.take(|fault| match fault {
            TsmFault::Fails(at, errno) if *at == step => Some(*errno),
            _ => None,
        });
        errno.map_or(Ok(()), |errno| Err(Errno::from_raw_os_error(errno)))
    }

    /// Whether the driver is gone. It does not come back by being asked.
    pub fn vanished(&self) -> bool {
        self.0.iter().any(|(fault, _)| *fault == TsmFault::Vanished)
    }

    pub fn other_provider(&mut self) -> Option<String> {
        self.take(|fault| match fault {
            TsmFault::OtherProvider(name) => Some(name.clone()),
            _ => None,
        })
    }

    pub fn delay(&mut self) -> Option<Duration> {
        self.take(|fault| match fault {
            TsmFault::Slow(delay) => Some(*delay),
            _ => None,
        })
    }

    pub fn conflict(&mut self) -> bool {
        self.take(|fault| (*fault == TsmFault::Conflict).then_some(()))
            .is_some()
    }

    /// The report data that the device is to sign.
    pub fn report_data(&mut self, mut asked: [u8; 64]) -> [u8; 64] {
        let changed = self.take(|fault| match fault {
            TsmFault::OtherReportData => {
                asked[0] ^= 1;
                Some(asked)
            }
            TsmFault::ZeroReportData => Some([0; 64]),
            _ => None,
        });
        changed.unwrap_or(asked)
    }

    /// `outblob` as it leaves the kernel.
    pub fn outblob(&mut self, mut blob: Vec<u8>) -> Vec<u8> {
        // What is taken is the change itself.
        let _ = self.take(|fault| {
            match fault {
                TsmFault::Truncated(length) => blob.truncate(*length),
                TsmFault::Padded(zeros) => blob.resize(blob.len() + zeros, 0),
                TsmFault::Flipped(at) => {
                    if let Some(byte) = blob.get_mut(*at) {
                        *byte ^= 1;
                    }
                }
                _ => return None,
            }
            Some(())
        });
        blob
    }

    pub fn auxblob(&mut self, blob: Vec<u8>) -> Vec<u8> {
        let changed = self.take(|fault| match fault {
            TsmFault::Certificates(other) => Some(other.clone()),
            _ => None,
        });
        changed.unwrap_or(blob)
    }

    /// The first fault that `chosen` knows, used up once.
    fn take<T>(&mut self, mut chosen: impl FnMut(&TsmFault) -> Option<T>) -> Option<T> {
        let mut found = None;
        for (number, (fault, _)) in self.0.iter().enumerate() {
            if let Some(value) = chosen(fault) {
                found = Some((number, value));
                break;
            }
        }
        let (number, value) = found?;
        match self.0.get_mut(number) {
            Some((_, Some(times))) if *times <= 1 => {
                self.0.remove(number);
            }
            Some((_, Some(times))) => *times -= 1,
            _ => {}
        }
        Some(value)
    }
}
