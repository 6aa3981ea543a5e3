//! The certificate that goes along with an SNP report.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::snp::{
    CertificateError, CertificateSource, CertificateTable, Endorsement, EndorsementKeyKind,
    TableKind, is_signed_by,
};

/// How long one source may take.
const SOURCE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a search that found nothing is believed.
const FRUITLESS_FOR: Duration = Duration::from_secs(60);

/// A certificate with its kind.
pub(super) type Found = (EndorsementKeyKind, Arc<[u8]>);

/// Finds the certificate of the key that signed a report: the host's own, the one that fitted last time, or
/// one of the sources in their order. Which one fits is decided by the report's signature, so a stale
/// certificate of the host's, from before a firmware update, is passed over.
#[derive(Default)]
pub(super) struct Endorser {
    sources: Vec<Arc<dyn CertificateSource>>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    found: Option<Found>,
    fruitless: Option<Instant>,
    told: bool,
}

impl Endorser {
    pub(super) fn add(&mut self, source: Arc<dyn CertificateSource>) {
        self.sources.push(source);
    }

    /// The certificate for a report. Without one the evidence goes as it is: a key broker may have it.
    pub(super) async fn endorse(&self, report: &[u8], table: &[u8]) -> Option<Found> {
        let wanted = Endorsement::of(report)?;
        let fits = |der: &[u8]| is_signed_by(report, der).is_ok();
        let table = CertificateTable::parse(table).unwrap_or_else(|error| {
            tracing::debug!(%error, "the host's certificates are passed over");
            CertificateTable::default()
        });
        let of_host = table.endorsement(wanted.key).map(Arc::<[u8]>::from);
        let remembered = self.with(|memory| memory.found.clone());
        let known = of_host.map(|der| (wanted.key, der)).into_iter();
        for (key, der) in known.chain(remembered) {
            if key == wanted.key && fits(&der) {
                return Some(self.remember((key, der)));
            }
        }
        if self.with(|memory| memory.fruitless.is_some_and(|end| Instant::now() < end)) {
            return None;
        }
        for source in &self.sources {
            match timeout(SOURCE_PATIENCE, of_source(source.as_ref(), &wanted, fits)).await {
                Ok(Ok(Some(der))) => return Some(self.remember((wanted.key, der.into()))),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "a source of certificates fails"),
                Err(_) => tracing::warn!("a source of certificates did not answer in time"),
            }
        }
        let first = self.with(|memory| {
            memory.fruitless = Some(Instant::now() + FRUITLESS_FOR);
            !std::mem::replace(&mut memory.told, true)
        });
        if first {
            tracing::warn!(
                key = %wanted.key,
                "no certificate of the key that signs reports: evidence goes without, and verifiers \
                 must have it; give the host one, or name a folder or address in [attestation]"
            );
        }
        None
    }

    fn remember(&self, found: Found) -> Found {
        self.with(|memory| {
            memory.found = Some(found.clone());
            memory.fruitless = None;
            memory.told = false;
        });
        found
    }

    fn with<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What fits of what a source has at hand, else what it fetches, if that fits.
async fn of_source(
    source: &dyn CertificateSource,
    wanted: &Endorsement,
    fits: impl Fn(&[u8]) -> bool,
) -> Result<Option<Vec<u8>>, CertificateError> {
    let candidates = source.candidates(wanted).await?;
    if let Some(der) = candidates.into_iter().find(|der| fits(der)) {
        return Ok(Some(der));
    }
    let Some(der) = source.fetch(wanted).await?.filter(|der| fits(der)) else {
        return Ok(None);
    };
    source.keep(wanted, &der).await;
    Ok(Some(der))
}

/// The kinds of certificates in a table; none when it cannot be read.
pub(super) fn kinds(table: &[u8]) -> Vec<TableKind> {
    CertificateTable::parse(table)
        .map(|table| table.kinds().collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::snp::table::tests::{VCEK, table};

    const REPORT: &[u8] = include_bytes!("../../tests/vectors/fake-snp/report.bin");
    const CERTIFICATE: &[u8] = include_bytes!("../../tests/vectors/fake-snp/vcek.der");

    /// Gives what it is told to, and counts.
    #[derive(Default)]
    struct Source {
        gives: Vec<Vec<u8>>,
        fails: bool,
        calls: AtomicUsize,
    }

    #[async_trait]
    impl CertificateSource for Source {
        async fn candidates(&self, wanted: &Endorsement) -> Result<Vec<Vec<u8>>, CertificateError> {
            assert_eq!(wanted.key, EndorsementKeyKind::Vcek);
            self.calls.fetch_add(1, Ordering::Relaxed);
            if self.fails {
                let (place, reason) = ("here".to_owned(), "no".to_owned());
                return Err(CertificateError { place, reason });
            }
            Ok(self.gives.clone())
        }
    }

    fn endorser(sources: &[&Arc<Source>]) -> Endorser {
        let mut endorser = Endorser::default();
        for source in sources {
            endorser.add(Arc::clone(source) as Arc<dyn CertificateSource>);
        }
        endorser
    }

    fn giving(gives: &[&[u8]]) -> Arc<Source> {
        Arc::new(Source {
            gives: gives.iter().map(|der| der.to_vec()).collect(),
            ..Source::default()
        })
    }

    async fn certificate(endorser: &Endorser, table: &[u8]) -> Option<Vec<u8>> {
        let (key, der) = endorser.endorse(REPORT, table).await?;
        assert_eq!(key, EndorsementKeyKind::Vcek);
        Some(der.to_vec())
    }

    #[tokio::test(start_paused = true)]
    async fn the_hosts_certificate_is_used_and_remembered() {
        let source = giving(&[CERTIFICATE]);
        let endorser = endorser(&[&source]);
        let of_host = table(&[(VCEK, CERTIFICATE)]);
        assert_eq!(certificate(&endorser, &of_host).await.unwrap(), CERTIFICATE);
        assert_eq!(certificate(&endorser, &[]).await.unwrap(), CERTIFICATE);
        assert_eq!(source.calls.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stale_certificate_gives_way_to_the_sources_in_their_order() {
        let broken = Arc::new(Source {
            fails: true,
            ..Source::default()
        });
        let (other, fitting) = (giving(&[b"other", b""]), giving(&[b"x", CERTIFICATE]));
        let endorser = endorser(&[&broken, &other, &fitting]);
        for stale in [table(&[(VCEK, b"stale")]), vec![0xff; 100]] {
            assert_eq!(certificate(&endorser, &stale).await.unwrap(), CERTIFICATE);
        }
        for source in [broken, other, fitting] {
            assert_eq!(source.calls.load(Ordering::Relaxed), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fruitless_search_is_not_repeated_at_once() {
        let source = giving(&[b"other"]);
        let endorser = endorser(&[&source]);
        for _ in 0..3 {
            assert_eq!(certificate(&endorser, &[]).await, None);
        }
        assert_eq!(source.calls.load(Ordering::Relaxed), 1);
        tokio::time::advance(FRUITLESS_FOR).await;
        assert_eq!(certificate(&endorser, &[]).await, None);
        assert_eq!(source.calls.load(Ordering::Relaxed), 2);
        // The host's own is looked at all the same.
        let of_host = table(&[(VCEK, CERTIFICATE)]);
        assert_eq!(certificate(&endorser, &of_host).await.unwrap(), CERTIFICATE);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_fits_is_kept() {
        /// Has something at hand, and fetches.
        struct Fetches(&'static [u8], Mutex<Vec<Vec<u8>>>);
        #[async_trait]
        impl CertificateSource for Fetches {
            async fn candidates(&self, _: &Endorsement) -> Result<Vec<Vec<u8>>, CertificateError> {
                Ok(vec![b"\x30\x00".to_vec()])
            }
            async fn fetch(&self, _: &Endorsement) -> Result<Option<Vec<u8>>, CertificateError> {
                Ok(Some(self.0.to_vec()))
            }
            async fn keep(&self, _: &Endorsement, certificate: &[u8]) {
                self.1.lock().unwrap().push(certificate.to_vec());
            }
        }
        for (fetched, fits) in [(CERTIFICATE, true), (&b"\x30\x00"[..], false)] {
            let source = Arc::new(Fetches(fetched, Mutex::default()));
            let mut endorser = Endorser::default();
            endorser.add(Arc::clone(&source) as Arc<dyn CertificateSource>);
            assert_eq!(certificate(&endorser, &[]).await.is_some(), fits);
            assert_eq!(source.1.lock().unwrap().len(), usize::from(fits));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_hangs_is_left_behind() {
        struct Hangs;
        #[async_trait]
        impl CertificateSource for Hangs {
            async fn candidates(&self, _: &Endorsement) -> Result<Vec<Vec<u8>>, CertificateError> {
                std::future::pending().await
            }
        }
        let mut endorser = Endorser::default();
        endorser.add(Arc::new(Hangs));
        endorser.add(giving(&[CERTIFICATE]));
        assert_eq!(certificate(&endorser, &[]).await.unwrap(), CERTIFICATE);
    }
}
