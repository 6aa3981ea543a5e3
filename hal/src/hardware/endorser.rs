//! The certificate that goes along with an SNP report.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::snp::{
    CertificateError, CertificateSource, CertificateTable, Endorsement, EndorsementKeyKind,
    TableKind, TrustRoots, is_signed_by, is_vouched_for,
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
///
/// Whoever has a genuine certificate can make another one with the same key, which fits as well and which every
/// verifier refuses. The hypervisor and whoever sits before a mirror can put that in the way. So one that AMD's
/// built-in roots vouch for comes first wherever it comes from, and no other one is kept in a cache; one that
/// only fits is the last resort, for generations that came after this program.
pub(super) struct Endorser {
    sources: Vec<Arc<dyn CertificateSource>>,
    roots: Option<TrustRoots>,
    memory: Mutex<Memory>,
}

impl Default for Endorser {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            // A test holds that they can be read.
            roots: TrustRoots::amd().ok(),
            memory: Mutex::default(),
        }
    }
}

#[derive(Default)]
struct Memory {
    found: Option<Found>,
    fruitless: Option<Instant>,
    told: bool,
}

/// How good a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// Another key's, or none.
    Nothing,
    /// The key's, and nobody knows who signed it.
    Fits,
    /// The key's, signed by AMD.
    Vouched,
}

impl Endorser {
    pub(super) fn add(&mut self, source: Arc<dyn CertificateSource>) {
        self.sources.push(source);
    }

    /// The certificate for a report. Without one the evidence goes as it is: a key broker may have it.
    pub(super) async fn endorse(&self, report: &[u8], table: &[u8]) -> Option<Found> {
        let wanted = Endorsement::of(report)?;
        let table = CertificateTable::parse(table).unwrap_or_else(|error| {
            tracing::debug!(%error, "the host's certificates are passed over");
            CertificateTable::default()
        });
        let of_host = table.endorsement(wanted.key).map(Arc::<[u8]>::from);
        let remembered = self.with(|memory| memory.found.clone());
        let remembered = remembered.filter(|(key, _)| *key == wanted.key);
        let known = of_host.into_iter().chain(remembered.map(|(_, der)| der));
        let mut last_resort: Option<Arc<[u8]>> = None;
        for der in known {
            match self.worth(report, &der) {
                Worth::Vouched => return Some(self.remember((wanted.key, der))),
                Worth::Fits => last_resort = last_resort.or(Some(der)),
                Worth::Nothing => {}
            }
        }
        let key = wanted.key;
        if self.with(|memory| memory.fruitless.is_some_and(|end| Instant::now() < end)) {
            return last_resort.map(|der| (key, der));
        }
        for source in &self.sources {
            let found = self.of_source(source.as_ref(), &wanted, report);
            match timeout(SOURCE_PATIENCE, found).await {
                Ok(Ok((Worth::Vouched, der))) => {
                    return Some(self.remember((key, der.into())));
                }
                Ok(Ok((Worth::Fits, der))) => {
                    last_resort = last_resort.or_else(|| Some(der.into()));
                }
                Ok(Ok((Worth::Nothing, _))) => {}
                Ok(Err(error)) => tracing::warn!(%error, "a source of certificates fails"),
                Err(_) => tracing::warn!("a source of certificates did not answer in time"),
            }
        }
        let first = self.with(|memory| {
            memory.fruitless = Some(Instant::now() + FRUITLESS_FOR);
            memory.found = last_resort.clone().map(|der| (key, der));
            !std::mem::replace(&mut memory.told, true)
        });
        if first && last_resort.is_some() {
            tracing::warn!(
                %key,
                "the certificate of the key that signs reports is not signed by AMD: verifiers refuse it under \
                 AMD's roots; have the host give AMD's, or name another source in [attestation]"
            );
        } else if first {
            tracing::warn!(
                %key,
                "no certificate of the key that signs reports: evidence goes without, and verifiers \
                 must have it; give the host one, or name a folder or address in [attestation]"
            );
        }
        last_resort.map(|der| (key, der))
    }

    fn worth(&self, report: &[u8], der: &[u8]) -> Worth {
        if is_signed_by(report, der).is_err() {
            return Worth::Nothing;
        }
        match &self.roots {
            Some(roots) if is_vouched_for(der, roots) => Worth::Vouched,
            _ => Worth::Fits,
        }
    }

    /// The best of what a source has at hand, else of what it fetches.
    async fn of_source(
        &self,
        source: &dyn CertificateSource,
        wanted: &Endorsement,
        report: &[u8],
    ) -> Result<(Worth, Vec<u8>), CertificateError> {
        let mut best = (Worth::Nothing, Vec::new());
        for der in source.candidates(wanted).await? {
            match self.worth(report, &der) {
                Worth::Vouched => return Ok((Worth::Vouched, der)),
                Worth::Fits if best.0 == Worth::Nothing => best = (Worth::Fits, der),
                _ => {}
            }
        }
        let Some(der) = source.fetch(wanted).await? else {
            return Ok(best);
        };
        match self.worth(report, &der) {
            Worth::Vouched => {
                source.keep(wanted, &der).await;
                Ok((Worth::Vouched, der))
            }
            Worth::Fits if best.0 == Worth::Nothing => Ok((Worth::Fits, der)),
            _ => Ok(best),
        }
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

    /// Under the roots of the test PKI in place of AMD's.
    fn without_sources() -> Endorser {
        let roots = include_bytes!("../../tests/vectors/fake-snp/roots.pem");
        Endorser {
            roots: Some(TrustRoots::from_pem(roots).unwrap()),
            ..Endorser::default()
        }
    }

    fn endorser(sources: &[&Arc<Source>]) -> Endorser {
        let mut endorser = without_sources();
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
            let mut endorser = without_sources();
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
        let mut endorser = without_sources();
        endorser.add(Arc::new(Hangs));
        endorser.add(giving(&[CERTIFICATE]));
        assert_eq!(certificate(&endorser, &[]).await.unwrap(), CERTIFICATE);
    }

    /// The genuine key in a certificate that AMD did not sign: its last bytes are the signature's.
    fn forged() -> Vec<u8> {
        let mut forged = CERTIFICATE.to_vec();
        *forged.last_mut().unwrap() ^= 1;
        assert!(is_signed_by(REPORT, &forged).is_ok());
        forged
    }

    #[tokio::test(start_paused = true)]
    async fn a_genuine_certificate_comes_before_a_forged_one_with_the_same_key() {
        let forged = forged();
        let genuine = giving(&[&forged, CERTIFICATE]);
        let of_host = table(&[(VCEK, &forged)]);
        let endorser = endorser(&[&genuine]);
        for _ in 0..2 {
            assert_eq!(certificate(&endorser, &of_host).await.unwrap(), CERTIFICATE);
        }
        // The second time it was remembered.
        assert_eq!(genuine.calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_nobody_vouches_for_is_the_last_resort_and_never_kept() {
        struct Mirror(Vec<u8>, AtomicUsize);
        #[async_trait]
        impl CertificateSource for Mirror {
            async fn candidates(&self, _: &Endorsement) -> Result<Vec<Vec<u8>>, CertificateError> {
                Ok(Vec::new())
            }
            async fn fetch(&self, _: &Endorsement) -> Result<Option<Vec<u8>>, CertificateError> {
                self.1.fetch_add(1, Ordering::Relaxed);
                Ok(Some(self.0.clone()))
            }
            async fn keep(&self, _: &Endorsement, _: &[u8]) {
                panic!("a forged certificate is kept");
            }
        }
        let mirror = Arc::new(Mirror(forged(), AtomicUsize::new(0)));
        let mut endorser = without_sources();
        endorser.add(Arc::clone(&mirror) as Arc<dyn CertificateSource>);
        for _ in 0..3 {
            assert_eq!(certificate(&endorser, &[]).await.unwrap(), forged());
        }
        assert_eq!(mirror.1.load(Ordering::Relaxed), 1);
        // A good one is looked for again after a while.
        tokio::time::advance(FRUITLESS_FOR).await;
        certificate(&endorser, &[]).await.unwrap();
        assert_eq!(mirror.1.load(Ordering::Relaxed), 2);
        let of_host = table(&[(VCEK, CERTIFICATE)]);
        assert_eq!(certificate(&endorser, &of_host).await.unwrap(), CERTIFICATE);
    }

    #[test]
    fn amds_roots_are_there() {
        assert!(Endorser::default().roots.is_some());
    }
}
