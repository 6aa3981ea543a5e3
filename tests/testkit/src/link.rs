//! A line between an MQTT client and its broker that can be slow, be cut, fall silent, and be watched.
//!
//! What a bad network does to TCP comes out as this above it: round trips take long, a lost segment holds up all
//! that follows it until it was sent again, connections break, and peers vanish without a word. Bytes are never
//! reordered or lost within a connection. Every packet is seen whole before it goes on, so a test can act at a
//! point of the protocol that it names.

use std::{
    io,
    net::Ipv4Addr,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};

/// The largest packet that is looked at, in bytes.
const MAX_PACKET: usize = 64 << 20;

/// Who sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The client.
    Client,
    /// The broker.
    Broker,
}

/// The kinds of packets, by the names of MQTT 3.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the standard's names")]
pub enum Kind {
    Connect,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Other,
}

/// A packet on the line.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Who sent it.
    pub sender: Sender,
    /// What it is.
    pub kind: Kind,
    /// The topic of a publish.
    pub topic: Option<String>,
    /// Its identifier, if it has one.
    pub id: Option<u16>,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Passes,
    /// It is lost, and its connection with it.
    Breaks,
}

/// How long a byte takes in one direction.
#[derive(Debug, Clone)]
pub struct Weather {
    /// Ordinarily.
    pub delay: RangeInclusive<Duration>,
    /// One packet in so many is held up as if it had been lost and sent again; 0 for none.
    pub stall_every: u32,
    /// For how long.
    pub stall: Duration,
}

impl Default for Weather {
    /// No delay at all.
    fn default() -> Self {
        Self {
            delay: Duration::ZERO..=Duration::ZERO,
            stall_every: 0,
            stall: Duration::ZERO,
        }
    }
}

type Watcher = Arc<dyn Fn(&Packet) -> Fate + Send + Sync>;

/// The line. Dropping it breaks all connections.
pub struct Link {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    broker: u16,
    weather: Mutex<Weather>,
    watcher: Mutex<Option<Watcher>>,
    /// Rises with every cut; connections of an earlier age end.
    age: watch::Sender<u64>,
    /// Connections up to this age say nothing any more, and stay open.
    silent: watch::Sender<Option<u64>>,
    random: Mutex<u64>,
}

impl Link {
    /// A line to the broker at this port. `seed` makes its delays the same every time.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub async fn to(broker: u16, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            broker,
            weather: Mutex::default(),
            watcher: Mutex::default(),
            age: watch::Sender::new(0),
            silent: watch::Sender::new(None),
            random: Mutex::new(seed | 1),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            port,
            shared,
            accepting,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Sets the delays of packets from now on.
    pub fn set_weather(&self, weather: Weather) {
        *lock(&self.shared.weather) = weather;
    }

    /// Has every packet looked at before it goes on.
    pub fn watch(&self, watcher: impl Fn(&Packet) -> Fate + Send + Sync + 'static) {
        *lock(&self.shared.watcher) = Some(Arc::new(watcher));
    }

    /// Breaks all connections. What was under way is lost.
    pub fn cut(&self) {
        self.shared.age.send_modify(|age| *age += 1);
    }

    /// Lets all connections fall silent without ending them, as when the other side's machine is gone. Later
    /// connections are as before.
    pub fn fall_silent(&self) {
        let age = *self.shared.age.borrow();
        self.shared.silent.send_replace(Some(age));
        // Later ones are of a later age; those of this one stay, because they are silent.
        self.shared.age.send_modify(|age| *age += 1);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Xorshift: good enough for weather.
    fn random(&self, below: u64) -> u64 {
        let mut state = lock(&self.random);
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % below.max(1)
    }

    fn delay(&self) -> Duration {
        let weather = lock(&self.weather).clone();
        let (least, most) = weather.delay.into_inner();
        let spread = u64::try_from((most.saturating_sub(least)).as_micros()).unwrap_or(0);
        let mut delay = least + Duration::from_micros(self.random(spread + 1));
        if weather.stall_every > 0 && self.random(weather.stall_every.into()) == 0 {
            delay += weather.stall;
        }
        delay
    }

    fn is_silent(&self, age: u64) -> bool {
        self.silent.borrow().is_some_and(|silent| age <= silent)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            let age = *shared.age.borrow();
            // A broker that is away looks as it does without a line between.
            let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.broker)).await else {
                return;
            };
            let _ = (client.set_nodelay(true), broker.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_broker, to_broker) = broker.into_split();
            let mut ages = shared.age.subscribe();
            let cut = async {
                loop {
                    if *ages.borrow_and_update() != age && !shared.is_silent(age) {
                        return;
                    }
                    if ages.changed().await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = cut => {}
                () = carry(&shared, age, Sender::Client, from_client, to_broker) => {}
                () = carry(&shared, age, Sender::Broker, from_broker, to_client) => {}
            }
        });
    }
}

/// Carries packets of one direction, in order, until the connection ends.
async fn carry(
    shared: &Shared,
    age: u64,
    sender: Sender,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
) {
    let (queue, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async {
        let mut bytes = Vec::new();
        let mut last = Instant::now();
        while from.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
            while let Some(packet) = take_packet(sender, &mut bytes) {
                if shared.is_silent(age) {
                    continue;
                }
                let watcher = lock(&shared.watcher).clone();
                if watcher.is_some_and(|watch| watch(&packet) == Fate::Breaks) {
                    return;
                }
                last = last.max(Instant::now() + shared.delay());
                if queue.send((last, packet.bytes)).is_err() {
                    return;
                }
            }
            if bytes.len() > MAX_PACKET {
                return;
            }
        }
        if shared.is_silent(age) {
            // Nobody is there to notice that the other side left.
            std::future::pending::<()>().await;
        }
    };
    let write = async {
        while let Some((when, bytes)) = due.recv().await {
            sleep_until(when).await;
            if shared.is_silent(age) {
                continue;
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}

/// Takes the first packet off, once it is there whole.
fn take_packet(sender: Sender, bytes: &mut Vec<u8>) -> Option<Packet> {
    let first = *bytes.first()?;
    let (mut length, mut header) = (0_usize, 1);
    for place in 0..4 {
        let byte = *bytes.get(1 + place)?;
        length |= usize::from(byte & 0x7f) << (7 * place);
        header += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if bytes.len() < header + length {
        return None;
    }
    let rest = bytes.split_off(header + length);
    let packet = std::mem::replace(bytes, rest);
    let kind = match first >> 4 {
        1 => Kind::Connect,
        2 => Kind::ConnAck,
        3 => Kind::Publish,
        4 => Kind::PubAck,
        5 => Kind::PubRec,
        6 => Kind::PubRel,
        7 => Kind::PubComp,
        8 => Kind::Subscribe,
        9 => Kind::SubAck,
        _ => Kind::Other,
    };
    let number = |at: usize| {
        let bytes = packet.get(at..at + 2)?;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    };
    let (topic, id) = match kind {
        Kind::Publish => {
            let end = header + 2 + usize::from(number(header)?);
            let topic = packet.get(header + 2..end)?;
            let has_id = first & 0b110 != 0;
            (
                Some(String::from_utf8_lossy(topic).into_owned()),
                number(end).filter(|_| has_id),
            )
        }
        Kind::PubAck
        | Kind::PubRec
        | Kind::PubRel
        | Kind::PubComp
        | Kind::Subscribe
        | Kind::SubAck => (None, number(header)),
        Kind::Connect | Kind::ConnAck | Kind::Other => (None, None),
    };
    Some(Packet {
        sender,
        kind,
        topic,
        id,
        bytes: packet,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_taken_off_one_by_one() {
        // A publish of QoS 1 on "a/b" with id 7, an acknowledgement, and the start of something.
        let mut bytes = vec![0x32, 8, 0, 3, b'a', b'/', b'b', 0, 7, b'x'];
        bytes.extend([0x40, 2, 0, 7, 0x30, 200]);
        let publish = take_packet(Sender::Client, &mut bytes).unwrap();
        assert_eq!(
            (publish.kind, publish.topic.as_deref(), publish.id),
            (Kind::Publish, Some("a/b"), Some(7))
        );
        assert_eq!(publish.bytes.len(), 10);
        let acknowledged = take_packet(Sender::Broker, &mut bytes).unwrap();
        assert_eq!(
            (acknowledged.kind, acknowledged.id),
            (Kind::PubAck, Some(7))
        );
        assert!(take_packet(Sender::Client, &mut bytes).is_none());
        assert_eq!(bytes, [0x30, 200]);
    }
}
