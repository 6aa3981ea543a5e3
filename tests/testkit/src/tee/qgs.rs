//! A stand-in for TDX's quoting service.
//!
//! It listens on a Unix socket, because the machines that run tests have no vsock of their own, and answers
//! the frames that Intel's `qgsd` answers: a TDREPORT comes in, the quote of a [`FakeTdx`] goes out. It
//! refuses what is no TDREPORT of that fake, as a quoting enclave checks the MAC.
//!
//! Source: Intel SGX DCAP, `QuoteGeneration/quote_wrapper/qgs_msg_lib/inc/qgs_msg_lib.h`.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::{FakeTdx, TD_REPORT_LEN};

const MAJOR: u16 = 1;
const REQUEST: u32 = 0;
const RESPONSE: u32 = 1;
const HEADER_LEN: usize = 16;
/// Header, length of the report, length of the list of key ids, report.
const REQUEST_LEN: usize = HEADER_LEN + 8 + TD_REPORT_LEN;
/// The service's numbers for what went wrong.
const UNEXPECTED: u32 = 0x1_2001;
const INVALID_PARAMETER: u32 = 0x1_2003;
const INVALID_VERSION: u32 = 0x1_2004;
const INVALID_TYPE: u32 = 0x1_2005;
const INVALID_SIZE: u32 = 0x1_2006;

/// How the stand-in misbehaves.
#[derive(Debug, Clone)]
pub enum QgsFault {
    /// It answers with this error and no quote.
    Refuses(u32),
    /// It closes the connection without an answer.
    Silent,
    /// It closes the connection after this many bytes of the answer's frame.
    Truncated(usize),
    /// Its frame is said to be this long.
    FrameLength(u32),
    /// Its message is of this major version.
    Version(u16),
    /// Its message is of this type.
    Type(u32),
    /// Its message is said to hold a quote of this many bytes.
    QuoteLength(u32),
    /// Its quote is empty.
    Empty,
    /// Its quote is another VM's, over the same report data.
    OtherVm(Arc<FakeTdx>),
}

/// A quoting service on a Unix socket. It stops when dropped.
#[derive(Debug)]
pub struct QuotingServiceStandIn {
    path: PathBuf,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    fake: Arc<FakeTdx>,
    key_id: Mutex<Vec<u8>>,
    fault: Mutex<Option<QgsFault>>,
    requests: AtomicU64,
    stopping: AtomicBool,
}

impl QuotingServiceStandIn {
    /// Listens on a socket of this path, which must not exist.
    ///
    /// # Errors
    /// What the system said.
    pub fn start(path: &Path, fake: Arc<FakeTdx>) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let shared = Arc::new(Shared {
            fake,
            key_id: Mutex::new(Vec::new()),
            fault: Mutex::new(None),
            requests: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        });
        let served = shared.clone();
        let listening = thread::spawn(move || {
            for stream in listener.incoming() {
                if served.stopping.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), served) = (stream, served.clone()) else {
                    return;
                };
                thread::spawn(move || {
                    // A client that went away is nothing to tell anybody.
                    let _ = served.serve(stream);
                });
            }
        });
        Ok(Self {
            path: path.to_path_buf(),
            shared,
            listening: Some(listening),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names this key before each quote.
    pub fn set_key_id(&self, id: &[u8]) {
        *lock(&self.shared.key_id) = id.to_vec();
    }

    /// Misbehaves in this way from now on.
    pub fn inject(&self, fault: QgsFault) {
        *lock(&self.shared.fault) = Some(fault);
    }

    /// Behaves again.
    pub fn heal(&self) {
        *lock(&self.shared.fault) = None;
    }

    /// How many requests came so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for QuotingServiceStandIn {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // The listener waits for a connection, so it gets one.
        drop(UnixStream::connect(&self.path));
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Shared {
    /// Answers the requests of one connection, one after the other.
    fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            // Nothing longer is asked of a quoting service.
            let mut message = vec![0; length.min(2 * REQUEST_LEN)];
            stream.read_exact(&mut message)?;
            self.requests.fetch_add(1, Ordering::Relaxed);
            let fault = lock(&self.fault).clone();
            let frame = self.answer(&message, fault.as_ref());
            match fault {
                Some(QgsFault::Silent) => return Ok(()),
                Some(QgsFault::Truncated(length)) => {
                    return stream.write_all(frame.get(..length).unwrap_or(&frame));
                }
                _ => stream.write_all(&frame)?,
            }
        }
    }

    /// The frame of the answer.
    fn answer(&self, message: &[u8], fault: Option<&QgsFault>) -> Vec<u8> {
        let quote = match fault {
            Some(QgsFault::Refuses(error)) => Err(*error),
            Some(QgsFault::Empty) => Ok(Vec::new()),
            Some(QgsFault::OtherVm(other)) => {
                let data = message
                    .get(HEADER_LEN + 8 + 128..)
                    .and_then(<[u8]>::first_chunk);
                data.map(|data| other.quote(data)).ok_or(INVALID_SIZE)
            }
            _ => self.quote(message),
        };
        let (error, quote) = match quote {
            Ok(quote) => (0, quote),
            Err(error) => (error, Vec::new()),
        };
        let id = lock(&self.key_id).clone();
        let version = match fault {
            Some(QgsFault::Version(version)) => *version,
            _ => MAJOR,
        };
        let kind = match fault {
            Some(QgsFault::Type(kind)) => *kind,
            _ => RESPONSE,
        };
        let quote_length = match fault {
            Some(QgsFault::QuoteLength(length)) => *length,
            _ => number(quote.len()),
        };
        let size = number(HEADER_LEN + 8 + id.len() + quote.len());
        let frame_length = match fault {
            Some(QgsFault::FrameLength(length)) => *length,
            _ => size,
        };
        [
            &frame_length.to_be_bytes()[..],
            &version.to_le_bytes(),
            &0_u16.to_le_bytes(),
            &kind.to_le_bytes(),
            &size.to_le_bytes(),
            &error.to_le_bytes(),
            &number(id.len()).to_le_bytes(),
            &quote_length.to_le_bytes(),
            &id,
            &quote,
        ]
        .concat()
    }

    /// The quote that a request asks for, or the service's number for what is wrong with it.
    fn quote(&self, message: &[u8]) -> Result<Vec<u8>, u32> {
        let u16_at = |at: usize| {
            let bytes = message.get(at..).and_then(|rest| rest.first_chunk());
            bytes.map(|bytes| u16::from_le_bytes(*bytes))
        };
        let u32_at = |at: usize| {
            let bytes = message.get(at..).and_then(|rest| rest.first_chunk());
            bytes.map(|bytes| u32::from_le_bytes(*bytes))
        };
        if u16_at(0) != Some(MAJOR) {
            return Err(INVALID_VERSION);
        }
        if u32_at(4) != Some(REQUEST) {
            return Err(INVALID_TYPE);
        }
        if message.len() != REQUEST_LEN || u32_at(8) != Some(number(REQUEST_LEN)) {
            return Err(INVALID_SIZE);
        }
        if u32_at(16) != Some(number(TD_REPORT_LEN)) || u32_at(20) != Some(0) {
            return Err(INVALID_PARAMETER);
        }
        let report = message.get(HEADER_LEN + 8..).unwrap_or_default();
        self.fake.quote_of(report).ok_or(UNEXPECTED)
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request as Intel's library writes it, with its frame.
    fn request(report: &[u8]) -> Vec<u8> {
        let head = hex::decode("000004180100010000000000180400000000000000040000").unwrap();
        [&head[..], &[0; 4], report].concat()
    }

    fn ask(service: &QuotingServiceStandIn, frame: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(service.path()).unwrap();
        stream.write_all(frame).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    fn started() -> (tempfile::TempDir, Arc<FakeTdx>, QuotingServiceStandIn) {
        let folder = tempfile::tempdir().unwrap();
        let fake = Arc::new(FakeTdx::new());
        let path = folder.path().join("qgs.sock");
        let service = QuotingServiceStandIn::start(&path, fake.clone()).unwrap();
        (folder, fake, service)
    }

    #[test]
    fn a_report_of_the_fake_becomes_a_quote() {
        let (_folder, fake, service) = started();
        let frame = request(&fake.td_report(&[7; 64]));
        for id in [&b""[..], b"key id"] {
            service.set_key_id(id);
            let answer = ask(&service, &frame);
            let length = answer.len() - 4;
            assert_eq!(answer[..4], u32::try_from(length).unwrap().to_be_bytes());
            assert_eq!(answer[4..12], [1, 0, 0, 0, 1, 0, 0, 0]);
            assert_eq!(answer[12..16], u32::try_from(length).unwrap().to_le_bytes());
            assert_eq!(answer[16..20], [0; 4]);
            let quote = &answer[28 + id.len()..];
            assert_eq!(quote[568..632], [7; 64]);
        }
        let two = [frame.clone(), frame].concat();
        assert_eq!(
            ask(&service, &two).len(),
            2 * ask(&service, &two[..1052]).len()
        );
        assert_eq!(service.requests(), 5);
    }

    #[test]
    fn what_is_no_report_of_the_fake_is_refused() {
        let (_folder, fake, service) = started();
        let good = request(&fake.td_report(&[7; 64]));
        for (at, error) in [
            (4, INVALID_VERSION),
            (8, INVALID_TYPE),
            (12, INVALID_SIZE),
            (20, INVALID_PARAMETER),
            (24, INVALID_PARAMETER),
            (28 + 128, UNEXPECTED),
        ] {
            let mut frame = good.clone();
            frame[at] ^= 1;
            let answer = ask(&service, &frame);
            assert_eq!(answer[16..20], error.to_le_bytes(), "byte {at}");
            assert_eq!(answer.len(), 28);
        }
    }

    #[test]
    fn faults_come_as_told() {
        let (_folder, fake, service) = started();
        let frame = request(&fake.td_report(&[7; 64]));
        let with = |fault| {
            service.inject(fault);
            ask(&service, &frame)
        };
        assert_eq!(with(QgsFault::Silent), [0_u8; 0]);
        assert_eq!(with(QgsFault::Truncated(10)).len(), 10);
        assert_eq!(
            with(QgsFault::Refuses(5))[16..],
            [5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(with(QgsFault::Empty).len(), 28);
        assert_eq!(with(QgsFault::FrameLength(9))[..4], [0, 0, 0, 9]);
        assert_eq!(with(QgsFault::Version(2))[4], 2);
        assert_eq!(with(QgsFault::Type(7))[8], 7);
        assert_eq!(with(QgsFault::QuoteLength(3))[24..28], [3, 0, 0, 0]);
        service.heal();
        assert!(ask(&service, &frame).len() > 1000);
    }
}
