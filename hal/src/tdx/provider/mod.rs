//! Evidence from TDX's quoting service over vsock.
//!
//! The TDX module signs nothing that leaves the machine: it gives a TDREPORT, which a service on the host
//! (Intel's `qgsd`) turns into a quote. Asked directly this takes milliseconds; asked through the kernel it
//! takes a second and more, because the kernel polls. So this way comes before configfs where it answers.
//!
//! The service is not trusted. It cannot sign another TDREPORT than one that the module of this machine made,
//! and whether the quote is over *our* report data is compared afterwards, like evidence of any way.

mod config;
mod error;
mod message;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

pub use self::error::QuotingError;
use crate::SystemError;
use crate::device::{self, TD_REPORT_LEN};

/// The kernel's device.
const DEVICE: &str = "/dev/tdx_guest";
/// The host, as vsock numbers it.
const HOST_CID: u32 = 2;
/// How long one read or write may wait, and how long after the first one the last may begin.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where TDREPORTs come from.
pub trait TdReports: Send + Sync + 'static {
    /// A TDREPORT over `report_data`.
    ///
    /// # Errors
    /// [`QuotingError`].
    fn td_report(&self, report_data: &[u8; 64]) -> Result<[u8; TD_REPORT_LEN], QuotingError>;
}

/// A connection to the quoting service.
pub trait Connection: Read + Write + Send {}

impl<C: Read + Write + Send> Connection for C {}

/// How the quoting service is reached.
pub trait Dial: Send + Sync + 'static {
    /// Where that is, for messages.
    fn address(&self) -> String;

    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    fn dial(&self) -> io::Result<Box<dyn Connection>>;
}

/// The quote in an answer of the quoting service, for the fuzzers.
///
/// # Errors
/// [`QuotingError`] when there is none.
#[cfg(feature = "fuzzing")]
pub fn quote_in_answer(message: &[u8]) -> Result<Vec<u8>, QuotingError> {
    message::quote(message)
}

/// `/dev/tdx_guest`.
pub(crate) struct KernelReports;

impl TdReports for KernelReports {
    fn td_report(&self, report_data: &[u8; 64]) -> Result<[u8; TD_REPORT_LEN], QuotingError> {
        let device = File::open(DEVICE).map_err(|error| {
            let (path, error) = (PathBuf::from(DEVICE), SystemError::from(error));
            if error.is_one_of(&[Errno::ACCESS, Errno::PERM]) {
                QuotingError::NoPermission { path, error }
            } else {
                QuotingError::NoDevice { path, error }
            }
        })?;
        device::td_report(&device, report_data).map_err(|error| QuotingError::NoReport {
            error: error.into(),
        })
    }
}

/// MRCONFIGID of this VM as the TDX module holds it; none when it is all zeros. Neither the host nor a quoting
/// service is asked.
///
/// # Errors
/// [`QuotingError`], when there is no TDX module to ask.
pub fn own_mrconfigid() -> Result<Option<Vec<u8>>, QuotingError> {
    mrconfigid(&KernelReports)
}

fn mrconfigid(reports: &dyn TdReports) -> Result<Option<Vec<u8>>, QuotingError> {
    // Any report data will do: what is read does not depend on it, and the report goes nowhere.
    let report = reports.td_report(&[0; 64])?;
    // After the report's own structure (256), the TCB's (239), reserved bytes (17), attributes, XFAM and MRTD.
    let field = report
        .get(256 + 239 + 17 + 8 + 8 + 48..)
        .and_then(|rest| rest.first_chunk::<48>());
    Ok(field
        .filter(|field| **field != [0; 48])
        .map(|field| field.to_vec()))
}

/// A port of the host's.
struct HostPort(u32);

impl Dial for HostPort {
    fn address(&self) -> String {
        format!("vsock port {} of the host", self.0)
    }

    fn dial(&self) -> io::Result<Box<dyn Connection>> {
        let connection = device::connect_vsock(HOST_CID, self.0, PATIENCE)?;
        Ok(Box::new(connection))
    }
}

/// Evidence from the quoting service.
pub struct QuotingService {
    reports: Box<dyn TdReports>,
    service: Box<dyn Dial>,
}

impl QuotingService {
    /// The kernel's device, and the host's service at the port that `/etc/tdx-attest.conf` names.
    #[must_use]
    pub fn of_host() -> Self {
        let port = config::port(Path::new(config::CONFIG));
        Self::with(KernelReports, HostPort(port))
    }

    /// Another device and another way to the service.
    #[must_use]
    pub fn with(reports: impl TdReports, service: impl Dial) -> Self {
        Self {
            reports: Box::new(reports),
            service: Box::new(service),
        }
    }

    /// A quote, and the TDREPORT that it was asked for with.
    pub(crate) fn quote(
        &self,
        report_data: &[u8; 64],
    ) -> Result<(Vec<u8>, [u8; TD_REPORT_LEN]), QuotingError> {
        // The device first: a machine without one has no business with the service.
        let td_report = self.reports.td_report(report_data)?;
        let address = || self.service.address();
        let mut connection = self
            .service
            .dial()
            .map_err(|error| QuotingError::NoService {
                address: address(),
                error: error.into(),
            })?;
        let broken = |error: io::Error| QuotingError::Broken {
            address: address(),
            error: error.into(),
        };
        connection
            .write_all(&message::request(&td_report))
            .map_err(broken)?;
        let asked = Instant::now();
        let over = || asked.elapsed() > PATIENCE;
        let mut prefix = [0; 4];
        read(connection.as_mut(), &mut prefix, over).map_err(broken)?;
        let mut answer = vec![0; message::message_len(prefix)?];
        read(connection.as_mut(), &mut answer, over).map_err(broken)?;
        Ok((message::quote(&answer)?, td_report))
    }
}

/// Fills the buffer. A service that sends a byte now and then never lets a read wait too long, and would keep
/// this thread for days: the whole answer has an end as well.
fn read(
    connection: &mut dyn Connection,
    mut buffer: &mut [u8],
    over: impl Fn() -> bool,
) -> io::Result<()> {
    while !buffer.is_empty() {
        if over() {
            return Err(Errno::TIMEDOUT.into());
        }
        match connection.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => buffer = buffer.get_mut(read..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::thread::JoinHandle;

    use proplet_types::Code;
    use tempfile::TempDir;

    use super::*;

    struct Fixed;

    impl TdReports for Fixed {
        fn td_report(&self, report_data: &[u8; 64]) -> Result<[u8; TD_REPORT_LEN], QuotingError> {
            let mut report = [1; TD_REPORT_LEN];
            report[128..192].copy_from_slice(report_data);
            Ok(report)
        }
    }

    struct Socket(PathBuf);

    impl Dial for Socket {
        fn address(&self) -> String {
            "a socket".to_owned()
        }

        fn dial(&self) -> io::Result<Box<dyn Connection>> {
            Ok(Box::new(UnixStream::connect(&self.0)?))
        }
    }

    /// A service that takes one request and answers with these bytes; it gives the request back.
    fn service(answer: Vec<u8>) -> (TempDir, PathBuf, JoinHandle<Vec<u8>>) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("qgs");
        let listener = UnixListener::bind(&path).unwrap();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 4 + 24 + TD_REPORT_LEN];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(&answer).unwrap();
            request
        });
        (folder, path, served)
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let len = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&len[..], message].concat()
    }

    type Asked = (Result<Vec<u8>, QuotingError>, Vec<u8>);

    fn ask(answer: Vec<u8>) -> Asked {
        let (_folder, path, served) = service(answer);
        let quote = QuotingService::with(Fixed, Socket(path)).quote(&[7; 64]);
        let request = served.join().unwrap();
        let quote = quote.map(|(quote, td_report)| {
            assert_eq!(request[28..], td_report);
            quote
        });
        (quote, request)
    }

    #[test]
    fn mrconfigid_is_read_where_the_module_puts_it() {
        struct Zero;
        impl TdReports for Zero {
            fn td_report(&self, _: &[u8; 64]) -> Result<[u8; TD_REPORT_LEN], QuotingError> {
                Ok([0; TD_REPORT_LEN])
            }
        }
        struct At(usize);
        impl TdReports for At {
            fn td_report(&self, _: &[u8; 64]) -> Result<[u8; TD_REPORT_LEN], QuotingError> {
                let mut report = [0; TD_REPORT_LEN];
                report[self.0] = 5;
                Ok(report)
            }
        }
        assert_eq!(mrconfigid(&Zero).unwrap(), None);
        // TDINFO begins at 512 (TDX module 1.5, table "TDREPORT_STRUCT"); MRCONFIGID is 64 bytes into it.
        assert_eq!(mrconfigid(&At(575)).unwrap(), None);
        assert_eq!(mrconfigid(&At(576)).unwrap().unwrap()[0], 5);
        assert_eq!(mrconfigid(&At(623)).unwrap().unwrap()[47], 5);
        assert_eq!(mrconfigid(&At(624)).unwrap(), None);
    }

    #[test]
    fn a_quote_is_asked_for_with_the_report() {
        let answer = framed(&message::tests::answer(0, b"id", b"a quote"));
        let (quote, request) = ask(answer);
        assert_eq!(quote.unwrap(), b"a quote");
        assert_eq!(request[28 + 128..28 + 192], [7; 64]);
    }

    #[test]
    fn what_the_service_does_wrong_is_told() {
        let whole = framed(&message::tests::answer(0, b"", b"a quote"));
        for cut in [0, 3, 4, 20, whole.len() - 1] {
            let (quote, _) = ask(whole[..cut].to_vec());
            let error = quote.unwrap_err();
            assert!(error.is_retryable(), "{error}");
            assert_eq!(error.code(), Code::TeeBusy);
        }
        let (quote, _) = ask(framed(&message::tests::answer(0x11, b"", b"")));
        assert_eq!(quote, Err(QuotingError::Refused { error: 0x11 }));
        let (quote, _) = ask(vec![0xff; 64]);
        assert_eq!(quote.unwrap_err().code(), Code::TeeMalformed);
    }

    #[test]
    fn an_answer_byte_by_byte_has_an_end() {
        /// Gives a byte whenever it is asked.
        struct Drips;
        impl Read for Drips {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                buffer[0] = 7;
                Ok(1)
            }
        }
        impl Write for Drips {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut buffer = [0; 1000];
        read(&mut Drips, &mut buffer, || false).unwrap();
        assert_eq!(buffer, [7; 1000]);
        let reads = std::cell::Cell::new(0);
        let over = || reads.replace(reads.get() + 1) == 10;
        let error = read(&mut Drips, &mut buffer, over).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(reads.get(), 11);
    }

    #[test]
    fn without_a_service_that_is_said() {
        let folder = TempDir::new().unwrap();
        let nobody = Socket(folder.path().join("nobody"));
        let error = QuotingService::with(Fixed, nobody)
            .quote(&[7; 64])
            .unwrap_err();
        assert_eq!(error.code(), Code::TeeUnreachable);
        assert!(error.to_string().contains("qgsd"), "{error}");
    }

    #[test]
    fn without_a_device_nobody_is_dialled() {
        struct Never;
        impl Dial for Never {
            fn address(&self) -> String {
                String::new()
            }
            fn dial(&self) -> io::Result<Box<dyn Connection>> {
                panic!("dialled")
            }
        }
        if Path::new(DEVICE).exists() {
            return;
        }
        let error = QuotingService::with(KernelReports, Never)
            .quote(&[7; 64])
            .unwrap_err();
        assert!(matches!(error, QuotingError::NoDevice { .. }), "{error}");
    }
}
