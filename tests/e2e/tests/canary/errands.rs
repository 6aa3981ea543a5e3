//! Tasks that carry canaries through every place that plaintext passes.

use proplet_lab::owner::open_result;
use proplet_results::verify::Expectations;
use proplet_testkit::broker::{Outcome, Task};
use proplet_testkit::guests::{GuestName, build};
use wasm_encoder::{CustomSection, Section as _};

use crate::search::Canary;
use crate::world::World;

/// Canaries of encrypted tasks. They may be where the Manager put them, and nowhere else in clear.
pub struct Secrets {
    /// In the component: a custom section, a name and its data.
    pub module: Canary,
    /// Name of an export.
    pub export: Canary,
    /// Name of an import.
    pub import: Canary,
    /// On standard output, which is the result of a program.
    pub result: Canary,
    /// On standard error.
    pub stderr: Canary,
    /// Input of a task, which the Manager sends in clear.
    pub input: Canary,
    /// Environment of a task, which the Manager sends in clear.
    pub environment: Canary,
    /// Secrets of the key broker, by what the component does with them.
    pub released: [Canary; 5],
}

/// Canaries of plain tasks, which go over the wire by their nature, and nowhere else.
pub struct Plain {
    pub input: Canary,
    pub result: Canary,
    pub stderr: Canary,
}

impl Secrets {
    pub fn new() -> Self {
        Self {
            module: Canary::new("module"),
            export: Canary::new("export"),
            import: Canary::new("import"),
            result: Canary::new("result"),
            stderr: Canary::new("stderr"),
            input: Canary::new("input"),
            environment: Canary::new("environment"),
            released: ["reveal", "publish", "print", "fail", "panic"].map(Canary::new),
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<&Canary> {
        self.hidden()
            .into_iter()
            .chain([&self.input, &self.environment])
            .collect()
    }

    /// Those that the Manager never knew.
    pub fn hidden(&self) -> Vec<&Canary> {
        let own = [
            &self.module,
            &self.export,
            &self.import,
            &self.result,
            &self.stderr,
        ];
        own.into_iter().chain(&self.released).collect()
    }
}

impl Plain {
    pub fn new() -> Self {
        Self {
            input: Canary::new("plain input"),
            result: Canary::new("plain result"),
            stderr: Canary::new("plain stderr"),
        }
    }

    pub fn all(&self) -> Vec<&Canary> {
        vec![&self.input, &self.result, &self.stderr]
    }
}

/// How a parrot ends.
const ENDINGS: [(&str, &str, &str); 3] = [
    ("well", "", ""),
    ("trap", "unreachable", "guest-trapped"),
    ("exit", "(call $exit (i32.const 3))", "guest-failed"),
];

/// Runs every task and gives what the proplet said about them. Each is checked: it ended as it should,
/// and its recipient got what it was to carry, so a canary that is not found elsewhere was there.
pub async fn run(world: &World, secrets: &Secrets, plain: &Plain) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (ending, end, code) in ENDINGS {
        let parrot = marked(parrot(secrets, end), &secrets.module);
        let image = world.publish(ending, &parrot, Some("version = 1")).await;
        let task = carrying(Task::encrypted(ending, "parrot", &image), secrets);
        let carried = [&secrets.stderr, &secrets.input, &secrets.result];
        let carried = if code.is_empty() {
            &carried[1..]
        } else {
            &carried[..2]
        };
        outcomes.push(errand(world, &task, code, carried).await);
    }

    let policy = "version = 1\nexports = [\"nothing\"]";
    let image = world
        .publish("lost", &parrot(secrets, ""), Some(policy))
        .await;
    let lost = Task {
        cli_args: Some(vec!["--invoke".into(), "nothing".into()]),
        ..Task::encrypted("lost", "parrot", &image)
    };
    outcomes.push(errand(world, &lost, "export-not-found", &[&secrets.export]).await);

    let importer = format!(
        "(module (import \"{0}\" \"{0}\" (func)) (func (export \"run\")))",
        secrets.import.text
    );
    let image = world
        .publish("importer", &wat::parse_str(importer).unwrap(), None)
        .await;
    let task = Task::encrypted("importer", "run", &image);
    outcomes.push(errand(world, &task, "import-not-granted", &[&secrets.import]).await);

    let mut broken = marked(parrot(secrets, ""), &secrets.module);
    broken.extend_from_slice(secrets.module.text.as_bytes());
    let image = world.publish("broken", &broken, None).await;
    let task = carrying(Task::encrypted("broken", "parrot", &image), secrets);
    outcomes.push(errand(world, &task, "component-invalid", &[]).await);

    let greeter = marked(guest(GuestName::GreetCommand).await, &secrets.module);
    let image = world
        .publish("greeter", &greeter, Some("version = 1"))
        .await;
    let task = carrying(Task::encrypted("greeter", "greet", &image), secrets);
    outcomes.push(errand(world, &task, "", &[&secrets.input]).await);

    let image = probe(world, secrets.released.as_slice(), &secrets.module).await;
    for canary in &secrets.released {
        let word = canary.name;
        let (code, carried) = match word {
            "reveal" | "publish" => ("", &[canary][..]),
            // What a component prints beside its result is nobody's.
            "print" => ("", &[][..]),
            "fail" => ("guest-failed", &[canary][..]),
            _ => ("guest-trapped", &[canary][..]),
        };
        outcomes.push(errand(world, &asking(&image, word), code, carried).await);
    }
    let task = Task {
        inputs: vec![secrets.input.text.clone()],
        ..Task::encrypted("confused", "run", &image)
    };
    outcomes.push(errand(world, &task, "guest-failed", &[&secrets.input]).await);

    for (ending, end, code) in ENDINGS {
        let words = Secrets {
            module: Canary::new("plain module"),
            export: Canary::new("plain export"),
            result: plain.result.clone(),
            stderr: plain.stderr.clone(),
            ..Secrets::new()
        };
        let task = Task {
            inputs: vec![plain.input.text.clone()],
            ..Task::plain(&format!("plain-{ending}"), "parrot", parrot(&words, end))
        };
        let outcome = world.run(&task).await;
        let error = outcome.error.unwrap_or_default();
        assert!(error.starts_with(code), "{ending}: {error}");
        assert!(
            format!("{error}{}", outcome.results).contains(&plain.input.text),
            "{ending}: {error}"
        );
    }
    outcomes
}

/// Has a component reveal a secret.
pub async fn reveal(world: &World, secret: &Canary) {
    let image = probe(world, std::slice::from_ref(secret), &Canary::new("module")).await;
    errand(world, &asking(&image, secret.name), "", &[secret]).await;
}

/// Publishes a component that does with each of these secrets what its name says.
async fn probe(world: &World, secrets: &[Canary], mark: &Canary) -> String {
    let mut policy = String::from("version = 1\n");
    for canary in secrets {
        let uri = secret_uri(canary.name);
        policy.push_str(&format!("[[secrets]]\nuri = {uri:?}\nreveal = true\n"));
        let key_broker = &world.services.key_broker;
        key_broker.set_resource(&uri.parse().unwrap(), canary.text.as_bytes());
    }
    let component = marked(guest(GuestName::SecretProbe).await, mark);
    world.publish("probe", &component, Some(&policy)).await
}

fn asking(image: &str, word: &str) -> Task {
    Task {
        inputs: vec![format!("{word} {}", secret_uri(word))],
        ..Task::encrypted(word, "run", image)
    }
}

fn secret_uri(name: &str) -> String {
    format!("kbs:///default/canary/{name}")
}

async fn guest(name: GuestName) -> Vec<u8> {
    let built = tokio::task::spawn_blocking(move || build(name)).await;
    built.unwrap().unwrap().bytes.clone()
}

/// Runs an encrypted task and checks its code and what its recipient reads.
async fn errand(world: &World, task: &Task, code: &str, carried: &[&Canary]) -> Outcome {
    let outcome = world.run(task).await;
    let error = outcome.error.clone().unwrap_or_default();
    assert_eq!(
        error.split(':').next().unwrap(),
        code,
        "{}: {error}",
        task.id
    );
    let expected = Expectations::of_any_measurement();
    let opened = open_result(&world.reader, &outcome.results, &expected).unwrap();
    let content = String::from_utf8_lossy(&opened.content);
    for canary in carried {
        assert!(
            content.contains(&canary.text),
            "{}: no {} in {content}",
            task.id,
            canary.name
        );
    }
    outcome
}

fn carrying(task: Task, secrets: &Secrets) -> Task {
    Task {
        inputs: vec![secrets.input.text.clone()],
        env: [("CANARY".to_owned(), secrets.environment.text.clone())].into(),
        ..task
    }
}

/// Adds a custom section with a canary.
fn marked(mut component: Vec<u8>, canary: &Canary) -> Vec<u8> {
    let section = CustomSection {
        name: "mark".into(),
        data: canary.text.as_bytes().into(),
    };
    section.append_to(&mut component);
    component
}

/// A program that repeats its arguments and says its canaries, on both outputs, before it ends.
fn parrot(secrets: &Secrets, end: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
          (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (data (i32.const 1024) "{result}")
          (data (i32.const 1056) "{stderr}")
          (func ${module} (export "{export}"))
          (func $say (param $to i32) (param $at i32) (param $length i32)
            (i32.store (i32.const 0) (local.get $at))
            (i32.store (i32.const 4) (local.get $length))
            (drop (call $write (local.get $to) (i32.const 0) (i32.const 1) (i32.const 8))))
          (func (export "_start")
            (drop (call $sizes (i32.const 16) (i32.const 20)))
            (drop (call $args (i32.const 2048) (i32.const 4096)))
            (call $say (i32.const 1) (i32.const 1024) (i32.const 32))
            (call $say (i32.const 1) (i32.const 4096) (i32.load (i32.const 20)))
            (call $say (i32.const 2) (i32.const 1056) (i32.const 32))
            (call $say (i32.const 2) (i32.const 4096) (i32.load (i32.const 20)))
            {end}))"#,
        result = secrets.result.text,
        stderr = secrets.stderr.text,
        module = secrets.module.text,
        export = secrets.export.text,
    );
    wat::parse_str(text).unwrap()
}
