//! The command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Parser, Subcommand};
use proplet_hal::Flavour;
use proplet_hal::init_data::InitData;
use proplet_measure::snp::Loaded;
use proplet_net::{Proxy, ProxyError};

use crate::assemble::{self, Ingredients};
use crate::fetch::Fetcher;
use crate::firmware::{self, Sources};
use crate::lock::{CERTIFICATES, DEBUG_PARTS, EDK2, EDK2_DEBIAN, KERNEL, Lock, STUB};
use crate::vm::Vm;
use crate::{BuildError, apt, debug, disk, elf, program, sbom};

/// Builds the confidential VM image of proplet, and the disks that it is started with.
#[derive(Debug, Parser)]
#[command(name = "proplet-image-builder", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build an image and say what it measures
    Build(Build),
    /// Build the firmware for SNP and for TDX
    Firmware(Firmware),
    /// Build the static program that an image starts
    Program(Program),
    /// Put an init-data document on a disk
    InitData(Document),
    /// Put an operator's document on a disk
    Operator(Document),
    /// Write the table of hashes that QEMU gives to firmware for SNP, to test without SNP
    HashTable(HashTable),
    /// Look into the lock file, or make it anew
    Lock(LockCommand),
    /// What the script around QEMU asks for
    Vm(Vm),
}

#[derive(Debug, Args)]
struct PartsArguments {
    /// The lock file
    #[arg(long, value_name = "FILE", default_value = "hal/image/image.lock")]
    lock: PathBuf,
    /// Where parts are kept; by default proplet-image in the user's cache folder
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Take parts from the cache only
    #[arg(long)]
    offline: bool,
    /// Download parts through this proxy. HTTPS_PROXY and its like are not read
    #[arg(long, value_name = "URL", value_parser = proxy)]
    proxy: Option<Proxy>,
}

#[derive(Debug, Args)]
struct Build {
    #[command(flatten)]
    parts: PartsArguments,
    /// The static `proplet` that the image starts
    #[arg(long, value_name = "FILE")]
    program: PathBuf,
    /// A folder with both firmwares; without one nothing is measured
    #[arg(long, value_name = "FOLDER")]
    firmware: Option<PathBuf>,
    /// The tree of the sources that the program was built from, for the bill of materials
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    tree: PathBuf,
    /// Which flavour: nobody gets into a sealed image; the debug one has a shell on the console and ssh, and a
    /// measurement of its own
    #[arg(long, value_name = "sealed|debug", default_value_t = Flavour::Sealed)]
    flavour: Flavour,
    /// A further program of a test image, as PATH=FILE; its measurements are not those of the sealed image. One that
    /// is called init is started instead of the program, which is /proplet then
    #[arg(long, value_name = "PATH=FILE", value_parser = pair)]
    test_program: Vec<(String, PathBuf)>,
    /// A further module of the kernel in a test image
    #[arg(long, value_name = "NAME")]
    test_module: Vec<String>,
    /// Where the image and what belongs to it are written; by default target/image, or target/image-debug
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Firmware {
    #[command(flatten)]
    parts: PartsArguments,
    /// A root file system with compiler, assembler and python3; by default this machine's are used
    #[arg(long, value_name = "FOLDER")]
    tools: Option<PathBuf>,
    /// Where the firmwares are written
    #[arg(long, value_name = "FOLDER", default_value = "target/image/firmware")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct Program {
    /// The tree of the sources
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    tree: PathBuf,
    /// Where cargo keeps what it makes; by default `target` in the tree
    #[arg(long, value_name = "FOLDER")]
    target_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Document {
    /// The document
    #[arg(value_name = "FILE")]
    document: PathBuf,
    /// The disk
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct HashTable {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// The table
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct LockCommand {
    #[command(flatten)]
    parts: PartsArguments,
    /// Make it anew, of what Debian publishes now
    #[arg(long)]
    update: bool,
}

fn pair(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((path, file)) if !path.is_empty() && !file.is_empty() => {
            Ok((path.to_owned(), file.into()))
        }
        _ => Err("write PATH=FILE".to_owned()),
    }
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Whoever installed one before wanted that one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments.command)),
        Err(error) => Err(BuildError::Tool {
            program: "tokio".to_owned(),
            reason: error.to_string(),
        }),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), BuildError> {
    match command {
        Command::Build(arguments) => build(arguments).await,
        Command::Firmware(arguments) => build_firmware(arguments).await,
        Command::Program(arguments) => {
            let tree = absolute(&arguments.tree)?;
            let tree = tree.canonicalize().map_err(BuildError::file(&tree))?;
            let target = arguments.target_dir.unwrap_or_else(|| tree.join("target"));
            tell("building the program, which takes some minutes the first time");
            let path = program::build(&tree, &absolute(&target)?)?;
            result(&path.display().to_string());
            Ok(())
        }
        Command::InitData(arguments) => init_data(&arguments),
        Command::Operator(arguments) => {
            let text = read_text(&arguments.document)?;
            write_disk(b"operator", &text, &arguments.out)
        }
        Command::HashTable(arguments) => {
            let image = read(&arguments.image)?;
            write(&arguments.out, &Loaded::uki(&image).hash_table())
        }
        Command::Lock(arguments) => lock(&arguments).await,
        Command::Vm(arguments) => {
            result(&arguments.run()?);
            Ok(())
        }
    }
}

async fn build(arguments: Build) -> Result<(), BuildError> {
    let begin = Instant::now();
    let program = read(&arguments.program)?;
    if let Some(reason) = elf::why_not_static(&program) {
        return Err(BuildError::Program {
            path: arguments.program,
            reason,
        });
    }
    let flavour = arguments.flavour;
    let lock = Lock::read(&arguments.parts.lock)?.of_flavour(flavour);
    let fetcher = arguments.parts.fetcher()?;
    let debug = match flavour {
        Flavour::Sealed => None,
        Flavour::Debug => Some(debug_packages(&lock, &fetcher).await?),
    };
    let kernel = fetcher.fetch(lock.part(KERNEL)?, &tell).await?;
    let stub = fetcher.fetch(lock.part(STUB)?, &tell).await?;
    let certificates = fetcher.fetch(lock.part(CERTIFICATES)?, &tell).await?;
    let extra = arguments
        .test_program
        .iter()
        .map(|(path, file)| Ok((path.clone(), read(file)?)))
        .collect::<Result<Vec<_>, BuildError>>()?;
    if !extra.is_empty() || !arguments.test_module.is_empty() {
        tell("warning: this is a TEST IMAGE, with programs or modules of your own in it");
    }
    tell("putting the image together");
    let image = assemble::image(&Ingredients {
        kernel: &kernel,
        stub: &stub,
        certificates: &certificates,
        program: &program,
        date: lock.date,
        extra: &extra,
        debug: debug.as_deref(),
        extra_modules: &arguments.test_module,
    })?;
    let (name, usual) = match flavour {
        Flavour::Sealed => ("proplet.efi", "target/image"),
        Flavour::Debug => ("proplet-debug.efi", "target/image-debug"),
    };
    if flavour.is_debug() {
        tell(
            "warning: this is the DEBUG FLAVOUR: whoever starts it gets in. Register its measurement nowhere where secrets \
             are released to it",
        );
    }
    let out = &arguments.out.unwrap_or_else(|| usual.into());
    fs::create_dir_all(out).map_err(BuildError::file(out))?;
    let path = out.join(name);
    write(&path, &image)?;
    tell(&format!(
        "{}: {:.1} MiB",
        path.display(),
        image.len() as f64 / f64::from(1 << 20)
    ));
    let firmware = arguments
        .firmware
        .as_deref()
        .map(|folder| {
            let (snp, tdx) = (folder.join(firmware::SNP), folder.join(firmware::TDX));
            Ok::<_, BuildError>((read(&snp)?, read(&tdx)?))
        })
        .transpose()?;
    let mut files = vec![("proplet", program.as_slice())];
    files.extend(
        extra
            .iter()
            .map(|(path, file)| (path.as_str(), file.as_slice())),
    );
    if let Some((snp, tdx)) = &firmware {
        files.extend([
            (firmware::SNP, snp.as_slice()),
            (firmware::TDX, tdx.as_slice()),
        ]);
    }
    let bill = sbom::bill(name, &image, &files, &lock, &sbom::crates(&arguments.tree)?);
    write_json(&out.join("sbom.cdx.json"), &bill)?;
    if let Some((snp, tdx)) = firmware {
        tell("measuring it");
        let measurements = assemble::measurements(&image, &snp, &tdx)?;
        write_json(&out.join("measurements.json"), &measurements)?;
        let values = assemble::reference_values(&measurements);
        write(
            &out.join("reference-values.toml"),
            values.to_toml().as_bytes(),
        )?;
        for (name, bytes) in [(firmware::SNP, snp), (firmware::TDX, tdx)] {
            write(&out.join(name), &bytes)?;
        }
        tell(&format!(
            "{0}/measurements.json says what it measures, {0}/reference-values.toml admits exactly that:\n  \
             proplet verify --reference-values {0}/reference-values.toml …\n  \
             proplet kbs register-reference-values {0}/reference-values.toml …",
            out.display()
        ));
    }
    tell(&format!("done in {:.1} s", begin.elapsed().as_secs_f64()));
    Ok(())
}

async fn debug_packages(lock: &Lock, fetcher: &Fetcher) -> Result<Vec<debug::Package>, BuildError> {
    let mut packages = Vec::new();
    for (name, _) in DEBUG_PARTS {
        let package = fetcher.fetch(lock.part(name)?, &tell).await?;
        packages.push(((*name).to_owned(), package));
    }
    Ok(packages)
}

async fn build_firmware(arguments: Firmware) -> Result<(), BuildError> {
    let lock = Lock::read(&arguments.parts.lock)?;
    let fetcher = arguments.parts.fetcher()?;
    let upstream = fetcher.fetch(lock.part(EDK2)?, &tell).await?;
    let debian = fetcher.fetch(lock.part(EDK2_DEBIAN)?, &tell).await?;
    tell("building the firmware, which takes some minutes");
    let work = absolute(&arguments.out)?.with_extension("work");
    let tools = arguments.tools.as_deref().map(absolute).transpose()?;
    firmware::build(
        &Sources {
            upstream: &upstream,
            debian: &debian,
            tools: tools.as_deref(),
            work: &work,
        },
        &arguments.out,
    )
}

fn init_data(arguments: &Document) -> Result<(), BuildError> {
    let text = read_text(&arguments.document)?;
    let document = InitData::parse(&text)?;
    write_disk(b"initdata", document.text(), &arguments.out)?;
    result(&format!(
        "digest      {}\nhost-data   {}\nmrconfigid  {}",
        hex::encode(document.digest()),
        STANDARD.encode(document.host_data()),
        STANDARD.encode(document.mrconfigid())
    ));
    Ok(())
}

async fn lock(arguments: &LockCommand) -> Result<(), BuildError> {
    let path = &arguments.parts.lock;
    if arguments.update {
        let cache = arguments.parts.cache()?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        // The day is enough, and the same for all who update on it.
        let lock = apt::newest(&absolute(&cache.join("apt"))?, now - now % 86_400)?;
        write(path, lock.to_toml().as_bytes())?;
        tell(&format!(
            "{} is new: images that are built with it measure something else",
            path.display()
        ));
    }
    for part in Lock::read(path)?.parts {
        result(&format!("{} {} {}", part.name, part.version, part.sha256));
    }
    Ok(())
}

impl PartsArguments {
    fn cache(&self) -> Result<PathBuf, BuildError> {
        if let Some(cache) = &self.cache {
            return Ok(cache.clone());
        }
        let folder = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        folder("XDG_CACHE_HOME")
            .or_else(|| folder("HOME").map(|home| home.join(".cache")))
            .map(|cache| cache.join("proplet-image"))
            .ok_or_else(|| BuildError::Tool {
                program: "the cache".to_owned(),
                reason: "neither XDG_CACHE_HOME nor HOME is set; give --cache".to_owned(),
            })
    }

    fn fetcher(&self) -> Result<Fetcher, BuildError> {
        Fetcher::new(self.cache()?, self.offline, self.proxy.as_ref())
    }
}

fn proxy(url: &str) -> Result<Proxy, ProxyError> {
    Proxy::new(url, &[])
}

fn write_disk(word: &[u8; 8], document: &str, path: &Path) -> Result<(), BuildError> {
    let disk = disk::write(word, document).map_err(BuildError::file(path))?;
    write(path, &disk)
}

fn write_json(path: &Path, document: &impl serde::Serialize) -> Result<(), BuildError> {
    let json = serde_json::to_string_pretty(document)
        .map_err(|error| BuildError::package("the document", error))?;
    write(path, format!("{json}\n").as_bytes())
}

fn absolute(path: &Path) -> Result<PathBuf, BuildError> {
    std::path::absolute(path).map_err(BuildError::file(path))
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    fs::read(path).map_err(BuildError::file(path))
}

fn read_text(path: &Path) -> Result<String, BuildError> {
    fs::read_to_string(path).map_err(BuildError::file(path))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    fs::write(path, bytes).map_err(BuildError::file(path))
}

/// A line for whoever waits.
#[allow(clippy::print_stderr, reason = "this is a program's output")]
fn tell(line: &str) {
    eprintln!("{line}");
}

/// What was asked for.
#[allow(clippy::print_stdout, reason = "this is a program's output")]
fn result(text: &str) {
    println!("{text}");
}
