//! A proplet on a fake TEE with a key broker.

use std::{net::SocketAddr, sync::Arc};

use proplet_daemon::{Daemon, DaemonError};
use proplet_executor::{Host, harden::SwapRule};
use proplet_settings::{Settings, environment::Environment};
use proplet_testkit::{
    broker::{BrokerSetup, Manager, PATIENCE, Task, TestBroker},
    kbs::DevKeyBroker,
    ports::free_address,
    tee::FakeSnp,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

/// User name of the proplet at the broker.
pub const ENTITY: &str = "proplet-1";
/// Where its password is.
pub const PASSWORD: &str = "kbs:///fleet/host-credential/mqtt";

/// A running daemon.
pub struct Proplet {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), DaemonError>>,
    health: SocketAddr,
}

impl Proplet {
    /// Stops it as a signal would; it must end well, and soon.
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.running)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    /// Waits until `/health` says this of the broker.
    pub async fn wait_for_state(&self, wanted: &str) {
        let found = async {
            loop {
                let Some(report) = health(self.health).await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let components = report["components"].as_array().unwrap().clone();
                let broker = components.iter().find(|one| one["component"] == "broker");
                if broker.unwrap()["state"] == wanted {
                    return report;
                }
                tokio::task::yield_now().await;
            }
        };
        let report = timeout(PATIENCE, found).await.expect(wanted);
        let bad = wanted != "connected";
        assert_eq!(report["status"] == "failing", bad, "{report}");
    }
}

/// None before it is served.
async fn health(address: SocketAddr) -> Option<Value> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    Some(serde_json::from_str(body).unwrap())
}

/// The daemon of these settings, whose members of `[proplet]` and tables are given.
pub fn daemon(
    proplet: &str,
    tables: &str,
    key_broker: &str,
    tee: bool,
) -> (Result<Daemon, DaemonError>, SocketAddr) {
    let listen = free_address().unwrap();
    let text = format!(
        "[proplet]\ntenant_id = \"t\"\nchannel_id = \"c\"\nentity_id = \"{ENTITY}\"\n{proplet}\n{tables}\n\
         [kbs]\nurl = {key_broker:?}\nallow_http = true\ntimeout_seconds = 5\n\
         [health]\nlisten = \"{listen}\"\n"
    );
    let settings = Settings::parse(Some(&text), &Environment::default()).unwrap();
    let provider = tee.then(|| Arc::new(FakeSnp::new()) as _);
    let mut host = Host::new(Arc::new(settings), provider);
    host.swap_rule = SwapRule::Warn;
    (Daemon::new(host), listen)
}

/// Starts it.
pub fn start(proplet: &str, tables: &str, key_broker: &str) -> Proplet {
    let (daemon, health) = daemon(proplet, tables, key_broker, true);
    let daemon = daemon.unwrap();
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(daemon.run(async { drop(stopped.await) }));
    Proplet {
        stop,
        running,
        health,
    }
}

/// A broker that lets in the Manager and a proplet with this password.
pub async fn broker_on(port: u16, password: &str) -> TestBroker {
    let passwords = [("manager", "any"), (ENTITY, password)]
        .map(|(name, password)| (name.to_owned(), password.to_owned()));
    let setup = BrokerSetup {
        port,
        passwords: Some(passwords.into()),
        ..BrokerSetup::default()
    };
    TestBroker::with(setup).await.unwrap()
}

/// A key broker with this password.
pub async fn key_broker(password: Option<&str>) -> DevKeyBroker {
    let broker = DevKeyBroker::start().await.unwrap();
    if let Some(password) = password {
        broker.set_resource(&PASSWORD.parse().unwrap(), password.as_bytes());
    }
    broker
}

/// The members that name the password, and the broker.
pub fn by_password(broker: &TestBroker) -> (String, String) {
    let members = format!("api_key_resource = {PASSWORD:?}\n");
    (members, format!("[mqtt]\naddress = {:?}\n", broker.url()))
}

pub fn adder() -> Vec<u8> {
    wat::parse_str(
        "(module (func (export \"add\") (param i32 i32) (result i32)
           (i32.add (local.get 0) (local.get 1))))",
    )
    .unwrap()
}

/// Has a task run.
pub async fn works(manager: &Manager, id: &str) {
    let task = Task {
        inputs: vec!["10".into(), "20".into()],
        proplet_id: ENTITY.into(),
        ..Task::plain(id, "add", adder())
    };
    manager.start(&task).await.unwrap();
    assert_eq!(manager.result(id).await.unwrap().results, "30");
}
