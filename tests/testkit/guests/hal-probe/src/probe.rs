//! The exports. Each line of what they return is a name, an equals sign and what came.
#![allow(unsafe_code, reason = "what exports them is generated code")]

use std::fmt::Debug;

mod bindings {
    #![allow(
        missing_docs,
        unsafe_code,
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "generated code"
    )]

    wit_bindgen::generate!({
        path: "../../../../wit/elastic-hal",
        inline: "
            package test:hal-probe;
            world probe {
                import elastic:hal/platform@0.1.0;
                import elastic:hal/attestation@0.1.0;
                import elastic:hal/crypto@0.1.0;
                import elastic:hal/clock@0.1.0;
                import elastic:hal/random@0.1.0;
                export run-attestation: func() -> string;
                export run-hal-test: func() -> string;
                export run-refusals: func() -> string;
            }
        ",
        world: "test:hal-probe/probe",
        generate_all,
    });
}

use bindings::elastic::hal::{attestation, clock, crypto, platform, random};

struct Probe;

bindings::export!(Probe with_types_in bindings);

impl bindings::Guest for Probe {
    /// As `attestation-test` does it.
    fn run_attestation() -> String {
        let info = platform::get_platform_info();
        let nonce = random::get_random_bytes(32).unwrap_or_default();
        let nonces: Vec<String> = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
        let evidence = match attestation::attestation(&nonce) {
            Ok(evidence) => String::from_utf8_lossy(&evidence).into_owned(),
            Err(words) => format!("error: {words}"),
        };
        [
            format!("platform={} {}", info.platform_type, info.version),
            format!("nonce={}", nonces.concat()),
            format!("evidence={evidence}"),
        ]
        .join("\n")
    }

    /// As `hal-test` does it, and the rest that works.
    fn run_hal_test() -> String {
        let mut lines = Lines::default();
        let data = b"hello".as_slice();
        lines.debug("sha256", &crypto::hash(data, crypto::HashAlgorithm::Sha256));
        let sha512 = crypto::hash(data, crypto::HashAlgorithm::Sha512);
        lines.debug("sha512", &sha512.map(|hash| hash.len()));
        for cipher in [
            crypto::CipherAlgorithm::Aes256Gcm,
            crypto::CipherAlgorithm::Chacha20Poly1305,
        ] {
            let key = [1; 32];
            let one = crypto::encrypt(data, &key, cipher).unwrap_or_default();
            let other = crypto::encrypt(data, &key, cipher).unwrap_or_default();
            lines.debug("nonces-differ", &(one.get(..12) != other.get(..12)));
            lines.debug(
                "opened",
                &(crypto::decrypt(&one, &key, cipher).as_deref() == Ok(data)),
            );
        }
        match crypto::generate_keypair() {
            Ok(pair) => {
                lines.debug("keys-differ", &(pair.public_key != pair.private_key));
                let signature = crypto::sign(data, &pair.private_key).unwrap_or_default();
                lines.debug(
                    "verified",
                    &crypto::verify(data, &signature, &pair.public_key),
                );
                lines.debug(
                    "forged",
                    &crypto::verify(b"no", &signature, &pair.public_key),
                );
            }
            Err(words) => lines.debug("keys-differ", &words),
        }
        let context = crypto::create_context().and_then(crypto::destroy_context);
        lines.debug("context", &context);
        lines.debug(
            "random",
            &random::get_secure_random(16).map(|bytes| bytes.len()),
        );
        let begun = clock::get_monotonic_time();
        lines.debug("slept", &clock::sleep(2_000_000));
        let ended = clock::get_monotonic_time();
        let passed = |time: &Result<clock::MonotonicTime, String>| {
            let nanoseconds = time.as_ref().map(|time| {
                time.elapsed_seconds * 1_000_000_000 + u64::from(time.elapsed_nanoseconds)
            });
            nanoseconds.unwrap_or_default()
        };
        lines.debug(
            "time-passed",
            &(passed(&ended) >= passed(&begun) + 2_000_000),
        );
        let time = clock::get_system_time();
        lines.debug("after-2020", &time.map(|time| time.seconds > 1_577_836_800));
        lines.debug("resolution", &clock::resolution());
        let capabilities = platform::list_capabilities();
        let supported = capabilities.iter().filter(|one| one.supported);
        let supported: Vec<_> = supported.map(|one| one.feature_name.as_str()).collect();
        lines.debug("capabilities", &supported);
        lines.debug("has-crypto", &platform::has_capability("crypto"));
        lines.debug("has-sockets", &platform::has_capability("sockets"));
        lines.0
    }

    fn run_refusals() -> String {
        let mut lines = Lines::default();
        lines.debug("blake3", &crypto::hash(b"", crypto::HashAlgorithm::Blake3));
        let aes = crypto::CipherAlgorithm::Aes256Gcm;
        lines.debug("key", &crypto::encrypt(b"", b"short", aes));
        lines.debug("open", &crypto::decrypt(&[0; 64], &[0; 32], aes));
        lines.debug("sign", &crypto::sign(b"", b"short"));
        lines.debug("context", &crypto::destroy_context(42));
        lines.debug("entropy", &random::get_entropy_info().map(|_| ()));
        lines.debug("reseed", &random::reseed(b"mine"));
        lines.debug("much", &random::get_random_bytes(u32::MAX).map(|_| ()));
        lines.debug("report-data", &attestation::attestation(&[0; 65]));
        lines.0
    }
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn debug(&mut self, name: &str, value: &impl Debug) {
        self.0.push_str(&format!("{name}={value:?}\n"));
    }
}
