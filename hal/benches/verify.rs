//! What verification takes beside the crates that it stands on, as ratios in the same run.
//!
//! SNP: the report and the VCEK's certificate, beside the crate `sev`, which reads the same, checks the chain and
//! then the report's signature. That crate has its own RSA and P-384 and this one has ring's, so another line
//! shows the two signatures by ring alone: what is above them is what all other checks take. TDX: a quote,
//! beside `dcap-qvl`, which this verifier calls too, with the claims that the facts are made from; another line
//! leaves these out. *From files* means that the roots or the collateral are read anew each time, as a command
//! does that verifies once; else they are ready, as in a process that verifies often.
//!
//! The evidence is recorded from the fakes of the test kit, so its certificates are those of a test PKI, of the
//! same kinds and sizes as the vendors'. With `$PROPLET_VECTORS` real machines' evidence is measured too.
//!
//! Both sides take turns, and medians are compared. Nothing here fails because something is slow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use criterion::Criterion;
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{Policy, QuoteClaims, QuoteCollateralV3};
use proplet_hal::Evidence;
use proplet_hal::snp::{EndorsementKeyKind, SnpTrust, TrustRoots, verify_report};
use proplet_hal::tdx::{Collateral, TdxRoot, TdxTrust, verify_quote};
use proplet_hal::verify::{TeeTrust, TrustPolicy, verify};
use ring::signature::{
    ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey, VerificationAlgorithm,
};
use sev::certs::snp::{Chain, Verifiable as _};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

/// One line of the table: this crate, and another way.
struct Pair<'a> {
    name: String,
    here: Box<dyn Fn() + 'a>,
    bare: Box<dyn Fn() + 'a>,
}

impl<'a> Pair<'a> {
    fn new(name: &str, of: &str, here: impl Fn() + 'a, bare: impl Fn() + 'a) -> Self {
        Self {
            name: format!("{name}{of}"),
            here: Box::new(here),
            bare: Box::new(bare),
        }
    }
}

/// SNP evidence, with what vouches for it.
struct Snp {
    of: &'static str,
    report: Vec<u8>,
    vcek: Vec<u8>,
    /// ARK and ASK, PEM.
    roots: Vec<u8>,
    now: SystemTime,
}

impl Snp {
    fn recorded() -> Self {
        Self {
            of: "",
            report: include_bytes!("../tests/vectors/fake-snp/report.bin").to_vec(),
            vcek: include_bytes!("../tests/vectors/fake-snp/vcek.der").to_vec(),
            roots: include_bytes!("../tests/vectors/fake-snp/roots.pem").to_vec(),
            now: at(1_704_067_200),
        }
    }

    fn real(vectors: &Path) -> Self {
        let read = |name: &str| std::fs::read(vectors.join("evidence/snp").join(name)).unwrap();
        Self {
            of: ", Milan",
            report: hex::decode(read("report_milan.hex").trim_ascii()).unwrap(),
            vcek: read("vcek_milan.der"),
            roots: read("cert_chain_milan.pem"),
            now: at(1_704_067_200),
        }
    }

    fn trust(&self) -> SnpTrust {
        SnpTrust {
            minimum_version: 2,
            ..SnpTrust::new(TrustRoots::from_pem(&self.roots).unwrap())
        }
    }

    /// DER of the ARK and the ASK.
    fn authorities(&self) -> [Vec<u8>; 2] {
        let certificates = Certificate::load_pem_chain(&self.roots).unwrap();
        let (mut ark, mut ask) = (None, None);
        for certificate in certificates {
            let tbs = &certificate.tbs_certificate;
            let place = if tbs.issuer == tbs.subject {
                &mut ark
            } else {
                &mut ask
            };
            *place = Some(certificate.to_der().unwrap());
        }
        [ark.unwrap(), ask.unwrap()]
    }

    fn pairs(&self) -> Vec<Pair<'_>> {
        let [ark, ask] = self.authorities();
        let signatures = signatures(&self.report, &self.vcek, &ask);
        let with_sev = move || {
            let report = AttestationReport::from_bytes(&self.report).unwrap();
            let chain = Chain::from_der(&ark, &ask, &self.vcek).unwrap();
            (&chain, &report).verify().unwrap();
            black_box(report);
        };
        let with = |trust: &SnpTrust| {
            let facts = verify_report(&self.report, &self.vcek, trust, self.now);
            black_box(facts.unwrap());
        };
        let trust = self.trust();
        let ready = move || with(&trust);
        let evidence =
            Evidence::from_snp_report(&self.report, Some((EndorsementKeyKind::Vcek, &self.vcek)))
                .unwrap();
        let text = serde_json::to_string(&evidence).unwrap();
        let policy = TrustPolicy::of(TeeTrust::Snp(Box::new(self.trust())));
        let from_json = move || {
            let evidence: Evidence = serde_json::from_str(&text).unwrap();
            black_box(verify(&evidence, &policy, self.now).unwrap());
        };
        vec![
            Pair::new(
                "SNP from files / sev",
                self.of,
                move || with(&self.trust()),
                with_sev.clone(),
            ),
            Pair::new("SNP / sev", self.of, ready.clone(), with_sev),
            Pair::new("SNP / its signatures", self.of, ready, signatures.clone()),
            Pair::new("SNP from JSON / signatures", self.of, from_json, signatures),
        ]
    }
}

/// The two signatures that are checked for each report, and nothing around them.
fn signatures(report: &[u8], vcek: &[u8], ask: &[u8]) -> impl Fn() + Clone + use<> {
    let (vcek, ask) = [vcek, ask]
        .map(|der| Certificate::from_der(der).unwrap())
        .into();
    let key = |certificate: &Certificate| {
        let info = &certificate.tbs_certificate.subject_public_key_info;
        info.subject_public_key.raw_bytes().to_vec()
    };
    let (signed, rest) = report.split_at(0x2a0);
    // Two little-endian numbers with room for 72 bytes each.
    let scalar = |from: usize| rest.iter().skip(from).take(48).rev().copied();
    let checks = [
        (
            &RSA_PSS_2048_8192_SHA384 as &dyn VerificationAlgorithm,
            key(&ask),
            vcek.tbs_certificate.to_der().unwrap(),
            vcek.signature.raw_bytes().to_vec(),
        ),
        (
            &ECDSA_P384_SHA384_FIXED,
            key(&vcek),
            signed.to_vec(),
            scalar(0).chain(scalar(72)).collect(),
        ),
    ];
    move || {
        for (algorithm, key, message, signature) in &checks {
            UnparsedPublicKey::new(*algorithm, key)
                .verify(message, signature)
                .unwrap();
        }
    }
}

/// Accepts whatever is genuine, as this crate does before its own rules.
struct Everything;

impl Policy for Everything {
    fn validate(&self, _: &QuoteClaims) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A quote, with what vouches for it.
struct Tdx {
    of: &'static str,
    quote: Vec<u8>,
    collateral: Vec<u8>,
    root: TdxRoot,
    now: u64,
}

impl Tdx {
    fn recorded() -> Self {
        Self {
            of: "",
            quote: include_bytes!("../tests/vectors/fake-tdx/quote.bin").to_vec(),
            collateral: include_bytes!("../tests/vectors/fake-tdx/collateral.json").to_vec(),
            root: TdxRoot::from_pem(include_bytes!("../tests/vectors/fake-tdx/root.pem")).unwrap(),
            now: 1_800_000_000,
        }
    }

    fn real(vectors: &Path) -> Self {
        let read = |name: &str| std::fs::read(vectors.join("evidence/tdx").join(name)).unwrap();
        Self {
            of: ", a real machine's",
            quote: read("dcap-qvl.tdx_quote"),
            collateral: read("dcap-qvl.tdx_quote_collateral.json"),
            root: TdxRoot::intel().unwrap(),
            now: 1_750_414_563,
        }
    }

    fn trust(&self) -> TdxTrust {
        let collateral = Collateral::from_files([("collateral", &self.collateral[..])]).unwrap();
        TdxTrust::new(self.root.clone()).with_collateral(collateral)
    }

    fn pairs(&self) -> Vec<Pair<'_>> {
        let here = |trust: &TdxTrust| {
            let facts = verify_quote(&self.quote, None, trust, at(self.now));
            black_box(facts.unwrap());
        };
        let verifier = || QuoteVerifier::new(self.root.der().to_vec());
        let bare = move |collateral: &QuoteCollateralV3| {
            let claims =
                verifier().verify_with_policy(&self.quote, collateral, self.now, &Everything);
            black_box(claims.unwrap());
        };
        let signatures = move |collateral: &QuoteCollateralV3| {
            let verified = verifier().verify(&self.quote, collateral, self.now);
            black_box(verified.unwrap());
        };
        let read = || serde_json::from_slice::<QuoteCollateralV3>(&self.collateral).unwrap();
        let (trust, collateral) = (self.trust(), read());
        let ready = move || here(&trust);
        vec![
            Pair::new(
                "TDX from files / dcap-qvl",
                self.of,
                move || here(&self.trust()),
                move || bare(&read()),
            ),
            Pair::new("TDX / dcap-qvl", self.of, ready.clone(), {
                let collateral = collateral.clone();
                move || bare(&collateral)
            }),
            Pair::new("TDX / the same, no claims", self.of, ready, move || {
                signatures(&collateral);
            }),
        ]
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Medians of both sides, which take turns.
fn compare(rounds: usize, pair: &Pair<'_>) -> (Duration, Duration) {
    let (mut here, mut bare) = (Vec::new(), Vec::new());
    for round in 0..rounds + rounds / 10 {
        let start = Instant::now();
        (pair.here)();
        let middle = Instant::now();
        (pair.bare)();
        let end = Instant::now();
        // The first rounds warm both sides up.
        if round >= rounds / 10 {
            here.push(middle - start);
            bare.push(end - middle);
        }
    }
    (median(here), median(bare))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn main() {
    // `cargo test` and `--test` see that it works; only a real `cargo bench` takes its time.
    let given = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let rounds = if given("--bench") && !given("--test") {
        1_000
    } else {
        1
    };
    let (mut snp, mut tdx) = (vec![Snp::recorded()], vec![Tdx::recorded()]);
    match std::env::var_os("PROPLET_VECTORS") {
        Some(vectors) => {
            snp.push(Snp::real(vectors.as_ref()));
            tdx.push(Tdx::real(vectors.as_ref()));
        }
        None => eprintln!("PROPLET_VECTORS is not set: evidence of real machines is left out"),
    }
    let of_snp = snp.iter().flat_map(Snp::pairs);
    let pairs: Vec<_> = of_snp.chain(tdx.iter().flat_map(Tdx::pairs)).collect();

    let mut criterion = Criterion::default().configure_from_args();
    for pair in &pairs {
        criterion.bench_function(&pair.name, |bencher| bencher.iter(|| (pair.here)()));
    }
    criterion.final_summary();

    println!("\n{:<44} {:>9} {:>9} {:>7}", "us", "here", "bare", "ratio");
    for pair in &pairs {
        let (here, bare) = compare(rounds, pair);
        let [here, bare] = [here, bare].map(|time| time.as_secs_f64() * 1e6);
        println!(
            "{:<44} {here:>9.1} {bare:>9.1} {:>7.2}",
            pair.name,
            here / bare
        );
    }
}
