//! A disk that loses power: writes that were not synced may be there afterwards, or not, or in part. It fails, hangs and is
//! damaged on demand as well.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use redb::{Builder, Database, StorageBackend};

use crate::{
    device,
    disk::{Disk, Failure},
    trouble::Trouble,
};

/// The state of the disk, which outlives every process that uses it.
#[derive(Clone, Default)]
pub(crate) struct Power(Arc<Mutex<Image>>, Arc<Condvar>);

#[derive(Default)]
struct Image {
    /// What a process sees.
    seen: Vec<u8>,
    /// What a loss of power surely leaves.
    synced: Vec<u8>,
    /// Since the last sync.
    unsynced: Vec<Step>,
    /// Steps until power is lost; none for never.
    left: Option<usize>,
    /// Every write fails so.
    broken: Option<io::ErrorKind>,
    /// Processes from before the last loss of power must not write any more.
    life: usize,
    aside: usize,
    /// No step ends.
    hangs: bool,
    /// No step ends from the write on that has these bytes.
    hangs_at: Option<Vec<u8>>,
    /// It is a device, of a fixed length and without a file system.
    is_device: bool,
    /// What is there once a store was set aside, in place of nothing.
    exchange: Option<Vec<u8>>,
    /// Everything is read from the disk each time.
    is_uncached: bool,
}

enum Step {
    Length(u64),
    Write(u64, Vec<u8>),
}

impl Step {
    /// Does all of it.
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length as usize, 0),
            Self::Write(at, written) => {
                let at = *at as usize;
                bytes[at..at + written.len()].copy_from_slice(written);
            }
        }
    }
}

impl Power {
    fn image(&self) -> MutexGuard<'_, Image> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device with these bytes on it.
    pub(crate) fn device(bytes: Vec<u8>) -> Self {
        let power = Self::default();
        {
            let mut image = power.image();
            image.synced = bytes.clone();
            image.seen = bytes;
            image.is_device = true;
        }
        power
    }

    pub(crate) fn disk(&self) -> FakeDisk {
        FakeDisk {
            power: self.clone(),
            exhausted: Arc::default(),
        }
    }

    /// As the process sees it now.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.image().seen.clone()
    }

    /// How many steps are left, of those that were given.
    pub(crate) fn left(&self) -> Option<usize> {
        self.image().left
    }

    /// Loses power after so many more steps.
    pub(crate) fn lose_after(&self, steps: usize) {
        self.image().left = Some(steps);
    }

    /// Every step fails so from now on, or none.
    pub(crate) fn fail(&self, kind: Option<io::ErrorKind>) {
        self.image().broken = kind;
    }

    /// No step ends from now on, or those that wait do.
    pub(crate) fn hang(&self, hangs: bool) {
        self.image().hangs = hangs;
        self.1.notify_all();
    }

    /// No step ends from the write on that has these bytes in it.
    pub(crate) fn hang_at(&self, bytes: &[u8]) {
        self.image().hangs_at = Some(bytes.to_vec());
    }

    pub(crate) fn hangs(&self) -> bool {
        self.image().hangs
    }

    /// Writes over what is there.
    pub(crate) fn damage(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut image = self.image();
        change(&mut image.seen);
        image.synced = image.seen.clone();
        image.unsynced.clear();
    }

    /// Has these bytes there once a store was set aside.
    pub(crate) fn exchange(&self, bytes: Vec<u8>) {
        self.image().exchange = Some(bytes);
    }

    /// Whatever a process reads from now on, it reads from the disk.
    pub(crate) fn without_cache(&self) {
        self.image().is_uncached = true;
    }

    /// Another disk with the same on it.
    pub(crate) fn twin(&self) -> Self {
        let twin = Self::default();
        twin.damage(|seen| *seen = self.copy());
        twin
    }

    /// The disk as it is now, to put it back.
    pub(crate) fn copy(&self) -> Vec<u8> {
        self.image().seen.clone()
    }

    pub(crate) fn set_asides(&self) -> usize {
        self.image().aside
    }

    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        has(&self.image().seen, bytes)
    }

    /// Power comes back: of each step that was not synced, `fate` says how much of it is there, in 256ths.
    pub(crate) fn restore(&self, mut fate: impl FnMut() -> u8) {
        let mut image = self.image();
        let mut left = std::mem::take(&mut image.synced);
        for step in std::mem::take(&mut image.unsynced) {
            match (step, fate()) {
                (Step::Length(length), fate) if fate >= 128 => left.resize(length as usize, 0),
                (Step::Length(_), _) => {}
                (Step::Write(at, bytes), fate) => {
                    let part = match fate {
                        0..64 => 0,
                        64..192 => bytes.len(),
                        // Sectors are written whole.
                        _ => bytes.len() * usize::from(fate) / 256 / 512 * 512,
                    };
                    let (at, end) = (at as usize, at as usize + part);
                    if left.len() < end {
                        left.resize(end, 0);
                    }
                    left[at..end].copy_from_slice(&bytes[..part]);
                }
            }
        }
        image.seen = left.clone();
        image.synced = left;
        image.left = None;
        image.life += 1;
    }
}

fn has(all: &[u8], bytes: &[u8]) -> bool {
    all.windows(bytes.len()).any(|window| window == bytes)
}

pub(crate) struct FakeDisk {
    power: Power,
    exhausted: Arc<AtomicBool>,
}

impl Disk for FakeDisk {
    fn database(&mut self, builder: &Builder) -> Result<Database, Failure> {
        let (life, is_device, is_uncached) = {
            let image = self.power.image();
            (image.life, image.is_device, image.is_uncached)
        };
        let mut uncached = Builder::new();
        uncached.set_cache_size(0);
        let builder = if is_uncached { &uncached } else { builder };
        let backend = FakeBackend {
            life,
            power: self.power.clone(),
        };
        if is_device {
            return device::database(backend, Path::new("a device"), &self.exhausted, builder);
        }
        Ok(builder
            .create_with_backend(backend)
            .map_err(Trouble::from)?)
    }

    fn set_aside(&mut self, _why: &Trouble) -> io::Result<PathBuf> {
        let mut image = self.power.image();
        if image.is_device {
            return Err(device::kept(Path::new("a device")));
        }
        image.aside += 1;
        image.seen = image.exchange.take().unwrap_or_default();
        image.synced = image.seen.clone();
        image.unsynced.clear();
        Ok(PathBuf::from(format!("aside-{}", image.aside)))
    }
}

pub(crate) struct FakeBackend {
    power: Power,
    life: usize,
}

impl std::fmt::Debug for FakeBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeBackend")
    }
}

impl FakeBackend {
    fn step(&self) -> io::Result<MutexGuard<'_, Image>> {
        let image = self.power.image();
        let answers = self.power.1.wait_while(image, |image| image.hangs);
        let mut image = answers.unwrap_or_else(PoisonError::into_inner);
        if image.life != self.life || image.left == Some(0) {
            return Err(io::Error::other("power was lost"));
        }
        if let Some(kind) = image.broken {
            return Err(kind.into());
        }
        image.left = image.left.map(|left| left - 1);
        Ok(image)
    }
}

impl StorageBackend for FakeBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.power.image().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.power.image();
        let start = offset as usize;
        let bytes = image
            .seen
            .get(start..start + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut image = self.step()?;
        image.seen.resize(length as usize, 0);
        image.unsynced.push(Step::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.step()?;
        for step in std::mem::take(&mut image.unsynced) {
            step.apply(&mut image.synced);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        {
            let mut image = self.power.image();
            if image.hangs_at.take_if(|bytes| has(data, bytes)).is_some() {
                image.hangs = true;
            }
        }
        let mut image = self.step()?;
        let (start, end) = (offset as usize, offset as usize + data.len());
        if image.seen.len() < end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        image.seen[start..end].copy_from_slice(data);
        image.unsynced.push(Step::Write(offset, data.to_vec()));
        Ok(())
    }
}
