//! What a hostile Manager sends, and a thread that sends it without a client library, so that it takes little of the
//! machine that is measured.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::machine::{ENTITY, PATIENCE, add, spin};

/// Between two batches.
const TICK: Duration = Duration::from_millis(1);
/// Of so many messages one is another: a task that runs as long as it may, or one that waits for chunks.
const EVERY: u64 = 500;

/// A kind of flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Starts that cannot be read and name no task.
    Unreadable,
    /// Starts with an id that are refused.
    Refused,
    /// Starts for another proplet.
    Others,
    /// Stops of tasks that are not there.
    Stops,
    /// Starts of small plain tasks, which run.
    Small,
    /// Chunks of images that a task here waits for, and that contradict each other.
    Chunks,
    /// One of each, and now and then a task that runs as long as it may.
    Mixed,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Unreadable,
        Self::Refused,
        Self::Others,
        Self::Stops,
        Self::Small,
        Self::Chunks,
        Self::Mixed,
    ];

    /// Which one the message of this number is.
    fn of_message(self, number: u64) -> Self {
        match self {
            Self::Mixed => match number % 4 {
                0 => Self::Stops,
                1 => Self::Unreadable,
                2 => Self::Refused,
                _ => Self::Others,
            },
            other => other,
        }
    }

    /// Whether the message of this number gets an answer.
    fn is_answered(self, number: u64) -> bool {
        let is_special = number.is_multiple_of(EVERY);
        match self {
            Self::Chunks | Self::Mixed if is_special => true,
            kind => matches!(kind.of_message(number), Self::Refused | Self::Small),
        }
    }
}

/// The messages of one kind.
struct Messages {
    kind: Kind,
    adder: Value,
    spinner: Value,
}

impl Messages {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            adder: add("adder").start_message(),
            spinner: spin("spinner").start_message(),
        }
    }

    /// The topic and the body of the message of this number.
    fn message(&self, number: u64) -> (&'static str, String) {
        let id = format!("flood-{number}");
        let start = |message: &Value| {
            let mut message = message.clone();
            message["id"] = json!(id);
            ("control/manager/start", message.to_string())
        };
        if number.is_multiple_of(EVERY) {
            match self.kind {
                Kind::Mixed => return start(&self.spinner),
                Kind::Chunks => {
                    let image = format!("registry.example/flood-{number}:latest");
                    return start(
                        &json!({"name": "run", "proplet_id": ENTITY, "image_url": image}),
                    );
                }
                _ => {}
            }
        }
        match self.kind.of_message(number) {
            Kind::Unreadable => ("control/manager/start", "{\"name\":\"no id\"".to_owned()),
            Kind::Refused => start(&json!({"name": "a", "proplet_id": ENTITY, "file": "%"})),
            Kind::Others => start(&json!({"name": "a", "proplet_id": "another", "file": "AAAA"})),
            Kind::Small => start(&self.adder),
            Kind::Chunks => {
                let image = number - number % EVERY;
                let chunk = json!({
                    "app_name": format!("registry.example/flood-{image}:latest"),
                    "chunk_idx": number % 100,
                    "total_chunks": 1000,
                    "data": "AAAA".repeat(1 + (number % EVERY / 250) as usize),
                });
                ("registry/server", chunk.to_string())
            }
            Kind::Stops | Kind::Mixed => (
                "control/manager/stop",
                json!({"id": id, "proplet_id": ENTITY}).to_string(),
            ),
        }
    }
}

/// A flood, from [`Flood::begin`] to [`Flood::end`].
pub(super) struct Flood {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Sent>,
}

/// What was sent, and the broker has.
pub(super) struct Sent {
    /// All messages.
    pub(super) messages: u64,
    /// Those that are to be answered.
    pub(super) answered: u64,
}

impl Flood {
    /// Sends so many messages in a second, on topics that begin with this. Ids have numbers from the first one on.
    pub(super) fn begin(port: u16, kind: Kind, base: &'static str, rate: u64, first: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || send(port, kind, base, rate, first, &stopped));
        Self { stop, thread }
    }

    /// Ends it, once the broker has acknowledged everything.
    pub(super) fn end(self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn send(port: u16, kind: Kind, base: &str, rate: u64, first: u64, stop: &AtomicBool) -> Sent {
    let mut stream = connect(port);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let reading = std::thread::spawn({
        let (mut stream, acknowledged) = (stream.try_clone().unwrap(), acknowledged.clone());
        move || {
            let mut buffer = [0; 4096];
            let mut bytes = 0;
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                // Nothing but acknowledgements comes, of four bytes each.
                bytes += read as u64;
                acknowledged.store(bytes / 4, Ordering::Relaxed);
            }
        }
    });
    let messages = Messages::new(kind);
    let began = Instant::now();
    let mut sent = Sent {
        messages: 0,
        answered: 0,
    };
    let mut batch = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let due = u64::try_from(began.elapsed().as_micros()).unwrap() * rate / 1_000_000;
        while sent.messages < due {
            let number = first + sent.messages;
            let (topic, body) = messages.message(number);
            let packet = (number % 60_000 + 1) as u16;
            publish(&mut batch, &format!("{base}/{topic}"), packet, &body);
            sent.messages += 1;
            sent.answered += u64::from(kind.is_answered(number));
        }
        stream.write_all(&batch).unwrap();
        batch.clear();
        std::thread::sleep(TICK);
    }
    let ended = Instant::now();
    while acknowledged.load(Ordering::Relaxed) < sent.messages {
        assert!(ended.elapsed() < PATIENCE, "the broker lost some");
        std::thread::sleep(TICK);
    }
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    reading.join().unwrap();
    sent
}

/// A session of MQTT 3.1.1 without a keep-alive.
fn connect(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let name = b"flood";
    let mut packet = vec![0x10, 12 + name.len() as u8];
    packet.extend(b"\x00\x04MQTT\x04\x02\x00\x00\x00");
    packet.push(name.len() as u8);
    packet.extend(name);
    stream.write_all(&packet).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0], "the broker refused the flood");
    stream
}

/// A message of quality 1.
fn publish(into: &mut Vec<u8>, topic: &str, packet: u16, body: &str) {
    into.push(0x32);
    let mut length = 2 + topic.len() + 2 + body.len();
    while length >= 0x80 {
        into.push((length % 0x80) as u8 | 0x80);
        length /= 0x80;
    }
    into.push(length as u8);
    into.extend((topic.len() as u16).to_be_bytes());
    into.extend(topic.as_bytes());
    into.extend(packet.to_be_bytes());
    into.extend(body.as_bytes());
}
