//! A daemon on a bad line: slow, held up, cut, silent, with its broker gone or its id taken. Subscriptions come
//! back, and every result arrives once.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use proplet_daemon::{
    Daemon,
    mqtt::outbox::{About, Answer, Kind as OutboxKind, Letter, Outbox, Owner},
};
use proplet_executor::Host;
use proplet_settings::{Settings, environment::Environment};
use proplet_testkit::{
    broker::{BrokerSetup, Manager, PATIENCE, Task, TestBroker, Visit},
    link::{Fate, Kind, Link, Sender, Weather},
};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

const ENTITY: &str = "proplet-1";

struct Proplet {
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
    outbox: Outbox,
    _folder: tempfile::TempDir,
}

impl Proplet {
    /// A daemon with an outbox on disk.
    fn start(address: &str, qos: u8) -> Self {
        // Whoever gets no processor for a while has not lost its connection.
        Self::noticing_silence(address, qos, 60)
    }

    /// One whose keep-alive finds a line that was silent for so many seconds.
    fn noticing_silence(address: &str, qos: u8, seconds: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[proplet]\ntenant_id = \"t\"\nchannel_id = \"c\"\nentity_id = \"{ENTITY}\"\n\
             api_key = \"k\"\nheartbeat_seconds = 1\n\
             [mqtt]\naddress = \"{address}\"\nkeep_alive_seconds = {seconds}\nqos = {qos}\n\
             [outbox]\npath = \"{}\"\n",
            folder.path().join("outbox").display()
        );
        let settings = Settings::parse(Some(&text), &Environment::default()).unwrap();
        let daemon = Daemon::new(Host::new(Arc::new(settings), None)).unwrap();
        let outbox = daemon.outbox();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            daemon.run(async { drop(stopped.await) }).await.unwrap();
        });
        Self {
            stop,
            running,
            outbox,
            _folder: folder,
        }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.running).await.unwrap().unwrap();
    }
}

fn add(id: &str) -> Task {
    let adder = wat::parse_str(
        "(module (func (export \"add\") (param i32 i32) (result i32)
           (i32.add (local.get 0) (local.get 1))))",
    )
    .unwrap();
    Task {
        inputs: vec!["10".into(), "20".into()],
        proplet_id: ENTITY.into(),
        ..Task::plain(id, "add", adder)
    }
}

/// Waits until a proplet announced itself so often.
async fn announced(manager: &Manager, times: usize) {
    manager
        .messages("control/proplet/create", times)
        .await
        .unwrap();
    let beats = manager.on("control/proplet/alive").len();
    manager
        .messages("control/proplet/alive", beats + 1)
        .await
        .unwrap();
}

async fn run(manager: &Manager, ids: &[String]) {
    for id in ids {
        manager.start(&add(id)).await.unwrap();
    }
    for id in ids {
        assert_eq!(manager.result(id).await.unwrap().results, "30", "{id}");
    }
}

fn once(manager: &Manager, ids: &[String]) {
    for id in ids {
        assert_eq!(manager.results_so_far(id), 1, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_round_trips_and_stalls_lose_and_repeat_nothing() {
    for qos in [1, 2] {
        let broker = TestBroker::start().await.unwrap();
        let manager = Manager::connect(&broker, "t", "c").await.unwrap();
        let link = Link::to(broker.port(), 8).await.unwrap();
        // Round trips of 30 to 300 ms.
        link.set_weather(Weather {
            delay: Duration::from_millis(15)..=Duration::from_millis(150),
            stall_every: 20,
            stall: Duration::from_millis(400),
        });
        let proplet = Proplet::start(&link.url(), qos);
        announced(&manager, 1).await;
        let ids: Vec<_> = (0..30).map(|number| format!("{qos}-{number}")).collect();
        run(&manager, &ids).await;
        proplet.stop().await;
        once(&manager, &ids);
    }
}

/// The broker's acknowledgement of a result is on the line before the next start is: whoever is told of the
/// result later than of the start inside this process must not take the start for a repetition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_may_start_again_as_soon_as_its_result_is_acknowledged() {
    let broker = TestBroker::start().await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let link = Link::to(broker.port(), 11).await.unwrap();
    let acknowledged = watch::Sender::new(0);
    let (counted, results) = (acknowledged.clone(), watch::Sender::new(None::<u16>));
    link.watch(move |packet| {
        let of_results = |topic: &String| topic.ends_with("/results");
        if packet.sender == Sender::Client && packet.topic.as_ref().is_some_and(of_results) {
            results.send_replace(packet.id);
        }
        if (packet.sender, packet.kind) == (Sender::Broker, Kind::PubAck)
            && packet.id == *results.borrow()
        {
            counted.send_modify(|count| *count += 1);
        }
        Fate::Passes
    });
    let proplet = Proplet::start(&link.url(), 1);
    announced(&manager, 1).await;
    let mut acknowledged = acknowledged.subscribe();
    for round in 1..=40 {
        manager.start(&add("again")).await.unwrap();
        let done = acknowledged.wait_for(|count| *count >= round);
        drop(timeout(PATIENCE, done).await.unwrap().unwrap());
    }
    manager
        .messages("control/proplet/results", 40)
        .await
        .unwrap();
    proplet.stop().await;
    assert_eq!(manager.results_so_far("again"), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_cut_or_silent_comes_back_with_its_subscriptions() {
    let broker = TestBroker::start().await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let link = Link::to(broker.port(), 9).await.unwrap();
    let proplet = Proplet::noticing_silence(&link.url(), 2, 5);
    announced(&manager, 1).await;
    let mut all = Vec::new();
    for (round, silent) in [false, true].into_iter().enumerate() {
        // What is not acknowledged by then comes twice, and has to.
        timeout(PATIENCE, proplet.outbox.emptied()).await.unwrap();
        if silent {
            link.fall_silent();
        } else {
            link.cut();
        }
        announced(&manager, round + 2).await;
        let ids: Vec<_> = (0..5).map(|number| format!("{round}-{number}")).collect();
        run(&manager, &ids).await;
        all.extend(ids);
    }
    proplet.stop().await;
    once(&manager, &all);
}

/// The line breaks at each packet of a result's way, once each: the result arrives, and only a repetition of the
/// same bytes is allowed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_arrives_wherever_its_line_breaks() {
    let points = [
        (1, Sender::Client, Kind::Publish),
        (1, Sender::Broker, Kind::PubAck),
        (2, Sender::Client, Kind::Publish),
        (2, Sender::Broker, Kind::PubRec),
        (2, Sender::Client, Kind::PubRel),
        (2, Sender::Broker, Kind::PubComp),
    ];
    for (qos, sender, kind) in points {
        let broker = TestBroker::start().await.unwrap();
        let manager = Manager::connect(&broker, "t", "c").await.unwrap();
        let link = Link::to(broker.port(), 10).await.unwrap();
        let broken = watch::Sender::new(false);
        let (breaks, armed) = (broken.clone(), watch::Sender::new(None::<u16>));
        link.watch(move |packet| {
            let is_result = packet
                .topic
                .as_ref()
                .is_some_and(|topic| topic.ends_with("/results"));
            if is_result && packet.sender == Sender::Client {
                armed.send_replace(packet.id);
            }
            let is_point = packet.sender == sender
                && packet.kind == kind
                && packet.id.is_some()
                && packet.id == *armed.borrow();
            if is_point && !breaks.send_replace(true) {
                Fate::Breaks
            } else {
                Fate::Passes
            }
        });
        let proplet = Proplet::start(&link.url(), qos);
        announced(&manager, 1).await;
        run(&manager, &["a".to_owned()]).await;
        // The next task comes on the next connection, after whatever was sent again.
        announced(&manager, 2).await;
        run(&manager, &["b".to_owned()]).await;
        proplet.stop().await;
        assert!(*broken.borrow(), "{qos} {sender:?} {kind:?}");
        let results = manager.on("control/proplet/results");
        let of_a: Vec<_> = results.iter().filter(|m| m["task_id"] == "a").collect();
        assert!(
            of_a.len() <= 2 && of_a.iter().all(|m| *m == of_a[0]),
            "{of_a:?}"
        );
        assert_eq!(manager.results_so_far("b"), 1);
    }
}

/// A broker drops the connection at one large result of one owner, with results of others in flight: large ones, which may
/// be the reason as well, and small ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_the_broker_never_takes_takes_nobody_elses_down() {
    const SMALL: usize = 200;
    let broker = TestBroker::start().await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let link = Link::to(broker.port(), 14).await.unwrap();
    let drops = watch::Sender::new(0_usize);
    let dropped = drops.clone();
    link.watch(move |packet| {
        let is_result = packet.sender == Sender::Client && packet.kind == Kind::Publish;
        let mut windows = packet.bytes.windows(10);
        if is_result && windows.any(|window| window == b"never-take") {
            drops.send_modify(|drops| *drops += 1);
            return Fate::Breaks;
        }
        Fate::Passes
    });
    let proplet = Proplet::start(&link.url(), 2);
    announced(&manager, 1).await;
    let named = |name: &str| Owner::Named(name.into());
    let large = "x".repeat(20_000);
    let mut letters = vec![(named("a"), "bad".to_owned(), format!("never-take{large}"))];
    letters.extend((0..SMALL).map(|number| (Owner::Plain, number.to_string(), "small".into())));
    letters.push((named("c"), "good".to_owned(), large.clone()));
    // All of them are due at once.
    let not_before = tokio::time::Instant::now() + Duration::from_millis(500);
    for (owner, task, results) in letters {
        let payload = serde_json::json!({
            "task_id": task, "proplet_id": ENTITY, "results": results,
        });
        let letter = Letter {
            task,
            about: About::Task,
            owner,
            payload: Bytes::from(payload.to_string()),
            not_before,
            number: None,
            on_disk: Answer::Unkept(None),
        };
        let size = letter.payload.len();
        let place = proplet.outbox.reserve(OutboxKind::Result, size).unwrap();
        assert!(place.put(letter, ()).await);
    }
    let good = manager.result("good").await.unwrap();
    assert_eq!((good.results, good.error), (large, None));
    for number in 0..SMALL {
        let small = manager.result(&number.to_string()).await.unwrap();
        assert_eq!((small.results.as_str(), small.error), ("small", None));
    }
    // Once with the others, and once alone at least.
    assert!(*dropped.borrow() >= 2);
    assert_eq!(manager.results_so_far("bad"), 0);
    proplet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_restarts_is_found_again() {
    let mut broker = TestBroker::start().await.unwrap();
    let port = broker.port();
    let proplet = Proplet::start(&broker.url(), 1);
    for round in 0..2 {
        let manager = Manager::connect(&broker, "t", "c").await.unwrap();
        // Whoever came first, the manager or the proplet, which announces itself once: a proplet that beats is subscribed.
        manager.messages("control/proplet/alive", 2).await.unwrap();
        let ids = [format!("{round}")];
        run(&manager, &ids).await;
        once(&manager, &ids);
        broker.stop().await;
        broker = TestBroker::with(BrokerSetup {
            port,
            ..BrokerSetup::default()
        })
        .await
        .unwrap();
    }
    proplet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_client_with_our_id_is_outlived() {
    let broker = TestBroker::start().await.unwrap();
    let manager = Manager::connect(&broker, "t", "c").await.unwrap();
    let proplet = Proplet::start(&broker.url(), 2);
    announced(&manager, 1).await;
    // The other one takes our place, and goes when it was thrown out in turn.
    let mut options = MqttOptions::new(ENTITY, ("127.0.0.1", broker.port()));
    options.set_credentials(ENTITY, "k");
    let (_client, mut events) = AsyncClient::builder(options).capacity(8).build();
    let other = tokio::spawn(async move {
        let mut connected = false;
        while let Ok(event) = events.poll().await {
            connected |= matches!(event, Event::Incoming(Packet::ConnAck(_)));
        }
        connected
    });
    assert!(timeout(PATIENCE, other).await.unwrap().unwrap());
    announced(&manager, 2).await;
    let visits = |visits: &Vec<Visit>| {
        let ours = Visit::Connected(ENTITY.into());
        visits.iter().filter(|visit| **visit == ours).count() >= 3
    };
    broker
        .wait_for_visits("three visits", visits)
        .await
        .unwrap();
    let ids = ["a".to_owned(), "b".to_owned()];
    run(&manager, &ids).await;
    proplet.stop().await;
    once(&manager, &ids);
}
