//! The part of a device that a store lies in.
//!
//! The first mebibyte is the headers'. What follows is the store, as long as the header in force says. To grow, the new
//! bytes are made zero and synced first, and only then a header says that they are the store's: no crash shows the store
//! what somebody else had there. Each header is synced before anything else happens, so at most one copy is in flight.
//!
//! **A new store** has the length 0 on the disk until all of it is there. Power that is lost before leaves a device
//! on which the next start begins again, and not one with half a store, which would count as damaged.
//!
//! **The last bytes.** The store grows by doubling itself. Where that does not fit any more, the device counts as full,
//! and the store that is opened next has all of it, so that no more than a moment is lost and no half of the disk.

use std::{
    fmt, io,
    io::ErrorKind,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{Builder, Database, StorageBackend};

use super::{
    blocks::Blocks,
    header::{self, Found, Header, Place},
};
use crate::{
    disk::{Failure, OpenError},
    trouble::Trouble,
};

/// Where the store begins.
pub(crate) const BEGIN: u64 = 1024 * 1024;
/// The smallest device: room for some megabytes between the two mebibytes that tell whether it is new.
pub(crate) const LEAST: u64 = 8 * 1024 * 1024;
/// What is looked at in one read.
const CHUNK: usize = 64 * 1024;
/// Of what the store is made. It may be any number of these long, up to [`MAX_WHOLE`].
const PAGE: u64 = 4096;
/// A longer store is made of parts, not of pages.
const MAX_WHOLE: u64 = 4 * 1024 * 1024 * 1024;

/// Opens the store on a device, or makes it on one that is all zero. `exhausted` outlives the store: whether it could
/// not grow.
pub(crate) fn database<B: Blocks>(
    blocks: B,
    path: &Path,
    exhausted: &Arc<AtomicBool>,
    builder: &Builder,
) -> Result<Database, Failure> {
    let area = Arc::new(Area::open(blocks, path, Arc::clone(exhausted))?);
    if exhausted.swap(false, Ordering::SeqCst) {
        area.take_all()?;
    }
    let backend = Backend(Arc::clone(&area));
    let database = builder
        .create_with_backend(backend)
        .map_err(Trouble::from)?;
    area.begun()?;
    Ok(database)
}

struct Area<B> {
    blocks: B,
    /// The longest store that fits.
    capacity: u64,
    state: Mutex<State>,
    exhausted: Arc<AtomicBool>,
}

struct State {
    /// The copy that is in force.
    place: Place,
    header: Header,
    /// The length is not on the disk yet.
    is_new: bool,
}

impl<B: Blocks> Area<B> {
    fn open(blocks: B, path: &Path, exhausted: Arc<AtomicBool>) -> Result<Self, Failure> {
        let foreign = |what| {
            Failure::Fatal(OpenError::Foreign {
                path: path.to_owned(),
                what,
            })
        };
        let size = blocks.size()?;
        if size < LEAST {
            return Err(Failure::Fatal(OpenError::TooSmall {
                path: path.to_owned(),
                size,
                least: LEAST,
            }));
        }
        let capacity = size.saturating_sub(BEGIN);
        let copy = |place: Place| {
            let mut bytes = [0; header::LEN];
            blocks.read(place.offset(), &mut bytes).map(|()| bytes)
        };
        let (place, header) = match header::find(&copy(Place::First)?, &copy(Place::Second)?) {
            Found::Header(place, header) => (place, header),
            Found::Nothing => {
                // Signatures of file systems and tables of partitions lie at either end.
                for from in [0, capacity] {
                    if !is_zero(&blocks, from, BEGIN)? {
                        return Err(foreign("it is not empty, and there is no outbox on it"));
                    }
                }
                let header = Header {
                    generation: 1,
                    length: 0,
                };
                blocks.write(Place::First.offset(), &header.bytes())?;
                blocks.sync()?;
                (Place::First, header)
            }
            Found::Broken => {
                return Err(Trouble::damaged(&"neither copy of its header is whole").into());
            }
            Found::Later => return Err(foreign("the outbox on it is a later proplet's")),
            Found::Foreign => return Err(foreign("it does not begin as an outbox does")),
        };
        if header.length > capacity {
            return Err(Trouble::damaged(&format!(
                "the store has {} bytes, and the device has room for {capacity}",
                header.length
            ))
            .into());
        }
        Ok(Self {
            blocks,
            capacity,
            state: Mutex::new(State {
                place,
                header,
                is_new: header.length == 0,
            }),
            exhausted,
        })
    }

    /// Gives the store all that there is.
    fn take_all(&self) -> io::Result<()> {
        let mut state = self.state();
        let whole = self.capacity.min(MAX_WHOLE) / PAGE * PAGE;
        if state.is_new || whole <= state.header.length {
            return Ok(());
        }
        self.resize(&mut state, whole)
    }

    /// A new store is there.
    fn begun(&self) -> io::Result<()> {
        let mut state = self.state();
        if !state.is_new {
            return Ok(());
        }
        self.blocks.sync()?;
        state.is_new = false;
        let length = state.header.length;
        self.record(&mut state, length)
    }

    fn resize(&self, state: &mut State, length: u64) -> io::Result<()> {
        let more = length.saturating_sub(state.header.length);
        if more > 0 {
            self.blocks.zero(self.at(state.header.length)?, more)?;
            self.blocks.sync()?;
        }
        self.record(state, length)
    }

    /// Writes the next header over the copy that is not in force.
    fn record(&self, state: &mut State, length: u64) -> io::Result<()> {
        if state.is_new {
            state.header.length = length;
            return Ok(());
        }
        let generation = state.header.generation.checked_add(1);
        let next = Header {
            generation: generation.ok_or(ErrorKind::InvalidData)?,
            length,
        };
        let place = state.place.other();
        self.blocks.write(place.offset(), &next.bytes())?;
        self.blocks.sync()?;
        (state.place, state.header) = (place, next);
        Ok(())
    }

    /// Where on the device these bytes of the store are, which are all inside it.
    fn within(&self, offset: u64, length: usize) -> io::Result<u64> {
        let end = u64::try_from(length)
            .ok()
            .and_then(|length| offset.checked_add(length));
        match end {
            Some(end) if end <= self.state().header.length => self.at(offset),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    fn at(&self, offset: u64) -> io::Result<u64> {
        BEGIN
            .checked_add(offset)
            .ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_zero(blocks: &impl Blocks, from: u64, length: u64) -> io::Result<bool> {
    let (mut chunk, zeros) = (vec![0; CHUNK], vec![0; CHUNK]);
    let (mut at, end) = (from, from.saturating_add(length));
    while at < end {
        blocks.read(at, &mut chunk)?;
        if chunk != zeros {
            return Ok(false);
        }
        at = at.saturating_add(CHUNK as u64);
    }
    Ok(true)
}

/// The store's storage.
struct Backend<B>(Arc<Area<B>>);

impl<B> fmt::Debug for Backend<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl<B: Blocks> StorageBackend for Backend<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.state().header.length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = self.0.within(offset, out.len())?;
        self.0.blocks.read(at, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if length > self.0.capacity {
            self.0.exhausted.store(true, Ordering::SeqCst);
            return Err(ErrorKind::StorageFull.into());
        }
        let mut state = self.0.state();
        self.0.resize(&mut state, length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.blocks.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = self.0.within(offset, data.len())?;
        self.0.blocks.write(at, data)
    }
}
