//! How close opening an encrypted layer comes to what two cores can do.
//!
//! A layer costs four passes: SHA-256 of the ciphertext, HMAC-SHA256 of it, AES-256-CTR, SHA-256 of
//! the plaintext. Two threads cannot be faster than half of their sum. The last lines print each
//! pass, that bound, the whole, and their ratio, all measured in turn in one run, so that the ratio
//! means something on a machine whose speed varies.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use aes::Aes256;
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use proplet_component::Hashed;
use proplet_image::encrypt::{EncryptedLayer, encrypt_layer};
use proplet_image::layer::{InMemory, LayerKey, decrypt_layer, open};
use ring::{digest, hmac};

const LAYER: usize = 64 << 20;
const ROUNDS: usize = 15;
const KEK: [u8; 32] = [7; 32];

struct Passes {
    layer: EncryptedLayer,
    plain: Vec<u8>,
}

impl Passes {
    fn new() -> Self {
        let mut plain: Vec<u8> = (0..LAYER as u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8)
            .collect();
        plain[..8].copy_from_slice(b"\0asm\x01\0\0\0");
        let kid = "kbs:///default/key/1".parse().unwrap();
        let layer = encrypt_layer(&plain, &KEK, &kid, "application/wasm").unwrap();
        Self { layer, plain }
    }

    fn ciphertext_digest(&self) {
        black_box(digest::digest(&digest::SHA256, &self.layer.bytes));
    }

    fn mac(&self) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &KEK);
        black_box(hmac::sign(&key, &self.layer.bytes));
    }

    /// Into `output`, which is touched already: page faults are not counted against the bound.
    fn ctr(&self, output: &mut [u8]) {
        let mut cipher = Ctr128BE::<Aes256>::new(&KEK.into(), &[1; 16].into());
        cipher
            .apply_keystream_b2b(&self.layer.bytes, output)
            .unwrap();
        black_box(output);
    }

    fn plain_digest(&self) {
        black_box(digest::digest(&digest::SHA256, &self.plain));
    }

    /// The layer in memory that nobody else holds.
    fn own(&self) -> Bytes {
        Bytes::from(self.layer.bytes.to_vec())
    }

    /// As from a manifest: annotations parsed, key unwrapped, decrypted in place, all checks made.
    fn in_place(&self, own: Bytes) -> Hashed {
        decrypt_layer(own, &self.layer.descriptor, &KEK, LAYER as u64).unwrap()
    }

    /// As from the network: the same into a new buffer, whose page faults come on top.
    fn streamed(&self) -> Hashed {
        let key = LayerKey::unwrap(&self.layer.descriptor, &KEK).unwrap();
        let source = InMemory::new(self.layer.bytes.clone());
        open(source, &self.layer.descriptor, Some(&key), LAYER as u64).unwrap()
    }
}

fn benches(criterion: &mut Criterion, passes: &Passes) {
    let mut group = criterion.benchmark_group("layer, 64 MiB");
    group
        .throughput(Throughput::Bytes(LAYER as u64))
        .sample_size(10);
    group.bench_function("SHA-256 of the ciphertext", |b| {
        b.iter(|| passes.ciphertext_digest())
    });
    group.bench_function("HMAC-SHA256", |b| b.iter(|| passes.mac()));
    let mut output = vec![1; LAYER];
    group.bench_function("AES-256-CTR", |b| b.iter(|| passes.ctr(&mut output)));
    group.bench_function("SHA-256 of the plaintext", |b| {
        b.iter(|| passes.plain_digest())
    });
    // What is prepared before and wiped afterwards is not the pull's time.
    group.bench_function("verify and decrypt, in place", |b| {
        b.iter_batched(
            || passes.own(),
            |own| passes.in_place(own),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("verify and decrypt, streamed", |b| {
        b.iter_batched(|| (), |()| passes.streamed(), BatchSize::PerIteration);
    });
    group.finish();
}

fn summary(passes: &Passes, rounds: usize) {
    let mut output = vec![1; LAYER];
    let mut times: [Vec<Duration>; 6] = Default::default();
    for _ in 0..rounds {
        let mut own = Some(passes.own());
        let mut opened = None;
        let mut timed = |number: usize, work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            times[number].push(start.elapsed());
        };
        timed(0, &mut || passes.ciphertext_digest());
        timed(1, &mut || passes.mac());
        timed(2, &mut || passes.ctr(&mut output));
        timed(3, &mut || passes.plain_digest());
        timed(4, &mut || {
            opened = own.take().map(|own| passes.in_place(own))
        });
        drop(opened.take());
        timed(5, &mut || opened = Some(passes.streamed()));
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    };
    let best = |times: &[Duration]| times.iter().min().unwrap().as_secs_f64();
    let bests: Vec<f64> = times.iter().map(|t| best(t)).collect();
    let medians: Vec<f64> = times.iter_mut().map(median).collect();
    println!("\n64 MiB layer, {rounds} rounds in turn    median ms    best ms    GB/s (median)");
    let names = [
        "SHA-256 of ciphertext",
        "HMAC-SHA256",
        "AES-256-CTR",
        "SHA-256 of plaintext",
    ];
    let line = |name: &str, median: f64, best: f64| {
        let rate = LAYER as f64 / median / 1e9;
        println!(
            "{name:<34} {:>9.1} {:>10.1} {rate:>16.2}",
            median * 1e3,
            best * 1e3
        );
    };
    for (number, name) in names.iter().enumerate() {
        line(name, medians[number], bests[number]);
    }
    let bound = |values: &[f64]| values[..4].iter().sum::<f64>() / 2.0;
    line(
        "bound of two threads (sum / 2)",
        bound(&medians),
        bound(&bests),
    );
    line("verify and decrypt, in place", medians[4], bests[4]);
    line("verify and decrypt, streamed", medians[5], bests[5]);
    for (number, name) in [(4, "in place"), (5, "streamed")] {
        println!(
            "whole / bound, {name}: {:.3} of medians, {:.3} of bests",
            medians[number] / bound(&medians),
            bests[number] / bound(&bests)
        );
    }
}

fn main() {
    let passes = Passes::new();
    let mut criterion = Criterion::default().configure_from_args();
    benches(&mut criterion, &passes);
    criterion.final_summary();
    // `cargo test` and `--test` see that it works; only a real `cargo bench` takes its time.
    let given = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let in_earnest = given("--bench") && !given("--test");
    summary(&passes, if in_earnest { ROUNDS } else { 1 });
}
