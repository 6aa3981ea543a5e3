//! What the process uses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use proplet_executor::Host;
use proplet_lab::{API_KEY, CHANNEL, Lab, PROPLET, RunningProplet, TENANT};
use proplet_settings::{Settings, environment::Environment};
use proplet_testkit::{
    broker::{Manager, TestBroker},
    link::{Fate, Kind, Link, Sender},
};
use proplet_types::Clock;
use serde_json::Value;
use tokio::sync::watch;

const TOPIC: &str = "control/proplet/metrics";

/// A clock that is set by hand.
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

fn number(message: &Value, path: &str) -> f64 {
    let value = message.pointer(path).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("{path} in {message}"))
}

/// Uses the processor until the system has counted some of it, which it does in steps of 10 ms.
fn compute() {
    loop {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (_, values) = stat.rsplit_once(')').unwrap();
        // The third value of all is the first here; utime is the 14th.
        if values.split_whitespace().nth(11) != Some("0") {
            return;
        }
        for number in 0..1_000_000 {
            std::hint::black_box(number);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_process_uses_is_told_at_the_interval() {
    tokio::task::spawn_blocking(compute).await.unwrap();
    let lab = Lab::start(None, "[metrics]\ninterval_seconds = 1\n")
        .await
        .unwrap();
    let messages = lab.services.manager.messages(TOPIC, 2).await.unwrap();
    for message in &messages {
        assert_eq!(message["proplet_id"], PROPLET);
        assert_eq!(message["namespace"], "default");
        let timestamp = message["timestamp"].as_str().unwrap();
        assert!(
            timestamp.starts_with("20") && timestamp.ends_with('Z'),
            "{timestamp}"
        );
        assert!(number(message, "/cpu_metrics/user_seconds") > 0.0);
        assert!(number(message, "/cpu_metrics/system_seconds") >= 0.0);
        assert!(number(message, "/cpu_metrics/percent") >= 0.0);
        let rss = number(message, "/memory_metrics/rss_bytes");
        // A process with Wasmtime in it has megabytes, and no machine of ours a terabyte.
        assert!((1e6..1e12).contains(&rss), "{rss}");
        assert!(number(message, "/memory_metrics/heap_alloc_bytes") <= rss);
        assert!(number(message, "/memory_metrics/heap_sys_bytes") > 0.0);
        assert!(number(message, "/memory_metrics/heap_inuse_bytes") > 0.0);
    }
    assert_ne!(messages[0]["timestamp"], messages[1]["timestamp"]);
    lab.proplet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_measured_without_a_connection_is_never_sent_and_each_message_goes_once() {
    const BEFORE: u64 = 1_000_000_000;
    const DOWN: u64 = 1_100_000_000;
    const AFTER: u64 = 1_200_000_000;
    let broker = TestBroker::start().await.unwrap();
    let manager = Manager::connect(&broker, TENANT, CHANNEL).await.unwrap();
    let link = Link::to(broker.port(), 1).await.unwrap();
    let is_down = Arc::new(AtomicBool::new(false));
    let (attempts, mut attempted) = watch::channel(0);
    let qualities = Arc::new(AtomicU64::new(0));
    let (down, seen) = (Arc::clone(&is_down), Arc::clone(&qualities));
    link.watch(move |packet| {
        if packet
            .topic
            .as_deref()
            .is_some_and(|topic| topic.ends_with(TOPIC))
        {
            let quality = packet.bytes[0] >> 1 & 3;
            seen.fetch_max(quality.into(), Ordering::SeqCst);
        }
        let connects = packet.sender == Sender::Client && packet.kind == Kind::Connect;
        if connects && down.load(Ordering::SeqCst) {
            attempts.send_modify(|attempts| *attempts += 1);
            return Fate::Breaks;
        }
        Fate::Passes
    });

    let text = format!(
        "[proplet]\ntenant_id = \"{TENANT}\"\nchannel_id = \"{CHANNEL}\"\nentity_id = \"{PROPLET}\"\n\
         api_key = \"{API_KEY}\"\nheartbeat_seconds = 1\n[mqtt]\naddress = \"{}\"\nqos = 2\n\
         [metrics]\ninterval_seconds = 1\n",
        link.url()
    );
    let settings = Settings::parse(Some(&text), &Environment::default()).unwrap();
    let clock = Arc::new(Hand(AtomicU64::new(BEFORE)));
    let mut host = Host::new(Arc::new(settings), None);
    host.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let proplet = RunningProplet::on(host).unwrap();
    manager.messages(TOPIC, 1).await.unwrap();

    is_down.store(true, Ordering::SeqCst);
    link.cut();
    attempted.wait_for(|attempts| *attempts >= 1).await.unwrap();
    clock.0.store(DOWN, Ordering::SeqCst);
    // With the pauses between attempts, that is longer than an interval.
    attempted.wait_for(|attempts| *attempts >= 3).await.unwrap();
    clock.0.store(AFTER, Ordering::SeqCst);
    is_down.store(false, Ordering::SeqCst);

    let before = manager.on(TOPIC).len();
    let messages = manager.messages(TOPIC, before + 2).await.unwrap();
    let at = |message: &Value| message["timestamp"].as_str().unwrap()[..4].to_owned();
    let years: Vec<_> = messages.iter().map(at).collect();
    assert!(!years.contains(&"2004".to_owned()), "{years:?}");
    assert_eq!(years.last().unwrap(), "2008");
    assert_eq!(qualities.load(Ordering::SeqCst), 0);
    proplet.stop().await.unwrap();
}
