//! A daemon in a network namespace of its own, whose cable is pulled: both ends of the connection stay open, and nothing
//! that either says arrives.

use std::net::IpAddr;

use proplet_testkit::broker::Manager;

use crate::machine::{Daemon, Mosquitto, add, present, settings, spin, system};

/// A network namespace, and a cable to it.
struct Cable {
    name: String,
}

const OUTSIDE: &str = "10.213.77.1";

impl Cable {
    fn new() -> Self {
        let name = format!("pl{}", std::process::id());
        let cable = Self { name };
        let name = cable.name.as_str();
        let inside = format!("{name}i");
        system(&["ip", "netns", "add", name]);
        system(&[
            "ip", "link", "add", name, "type", "veth", "peer", "name", &inside,
        ]);
        system(&["ip", "link", "set", &inside, "netns", name]);
        system(&["ip", "addr", "add", &format!("{OUTSIDE}/24"), "dev", name]);
        system(&["ip", "link", "set", name, "up"]);
        let within = ["ip", "-n", name];
        let address = "10.213.77.2/24";
        system(&[&within[..], &["addr", "add", address, "dev", &inside]].concat());
        system(&[&within[..], &["link", "set", &inside, "up"]].concat());
        cable
    }

    fn pull(&self) {
        system(&["ip", "link", "set", &self.name, "down"]);
    }

    fn plug_in(&self) {
        system(&["ip", "link", "set", &self.name, "up"]);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // The link goes with its other end.
        let _ = std::process::Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, mosquitto and iproute2; .ci/run runs it"]
async fn a_pulled_cable_loses_nothing_and_runs_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let cable = Cable::new();
    let outside: IpAddr = OUTSIDE.parse().unwrap();
    let mosquitto = Mosquitto::start(folder.path(), &[outside]).await;
    let manager = Manager::connect_to(mosquitto.port, "t", "c").await.unwrap();
    let more = format!(
        "keep_alive_seconds = 2\n[outbox]\npath = \"{}\"\n[limits]\nwall_clock_ms = 3000\n",
        folder.path().join("outbox").display()
    );
    let settings = settings(&format!("mqtt://{OUTSIDE}:{}", mosquitto.port), &more);
    let before = ["ip", "netns", "exec", &cable.name];
    let mut daemon = Daemon::start(&before, folder.path(), &settings);
    present(&manager, 0).await;
    for round in 0..2 {
        let (runs, later) = (format!("runs-{round}"), format!("later-{round}"));
        manager.start(&spin(&runs)).await.unwrap();
        daemon.says(&format!("Executing task {runs}"));
        cable.pull();
        // It ends while nobody can be told, and the silence is noticed by the keep-alive.
        daemon.says(&format!("Task {runs} failed"));
        daemon.says("No connection to the MQTT broker");
        let times = manager.on("control/proplet/create").len();
        cable.plug_in();
        present(&manager, times).await;
        let error = manager.result(&runs).await.unwrap().error.unwrap();
        assert!(error.starts_with("limit-wall-clock: "), "{error}");
        manager.start(&add(&later)).await.unwrap();
        assert_eq!(manager.result(&later).await.unwrap().results, "30");
        assert_eq!(manager.results_so_far(&later), 1);
        // What lay in the connection that nobody could use may arrive through it once the cable is back.
        let answers = manager.on("control/proplet/results");
        let copies: Vec<_> = answers
            .iter()
            .filter(|answer| answer["task_id"] == *runs)
            .collect();
        assert!(copies.len() <= 2, "{copies:?}");
        assert!(copies.iter().all(|copy| *copy == copies[0]), "{copies:?}");
    }
    daemon.terminate();
    daemon.ended();
}
