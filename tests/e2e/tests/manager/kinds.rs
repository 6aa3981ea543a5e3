//! Each kind of task stopped, started again, and started twice.

use proplet_jose::jwk::PrivateKey;
use proplet_lab::{KEY_ID, workload::with_recipients};
use proplet_testkit::{
    broker::Outcome,
    guests::{GuestName, build},
    ports::free_address,
    tee::FakeSnp,
};
use tokio::net::TcpStream;

use super::*;

/// A task of a kind, which goes on until it is stopped.
struct Kind {
    task: Task,
    /// How it ends when it is stopped: with this code, or well.
    code: Option<&'static str>,
    is_sealed: bool,
}

impl Kind {
    fn plain(task: Task) -> Self {
        Self {
            task,
            code: Some("stopped"),
            is_sealed: false,
        }
    }

    fn check(&self, outcome: &Outcome) {
        let error = outcome.error.as_deref();
        let code = error.and_then(|error| error.split_once(": "));
        assert_eq!(code.map(|(code, _)| code), self.code, "{outcome:?}");
        let is_sealed = outcome.results.starts_with("{\"");
        assert_eq!(is_sealed, self.is_sealed, "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_start_again_and_start_twice() {
    let address = free_address().unwrap();
    let images = HashMap::from([("spinner".to_owned(), spinner())]);
    let more = format!("[http]\nlisten = \"{address}\"\n");
    let scene = Scene::set(Some(Arc::new(FakeSnp::new())), images, "", &more).await;
    let services = &scene.services;
    let manager = &services.manager;

    let reader = PrivateKey::generate_p256().unwrap();
    let policy = with_recipients(
        "version = 1\nexports = [\"spin\"]\n",
        &[reader.public().clone()],
    );
    let key_id = KEY_ID.parse().unwrap();
    let component = spinner();
    let published = services.publish("team/spin", &component, Some(&policy), key_id);
    let (_, encrypted) = published.await.unwrap();
    let server = tokio::task::spawn_blocking(|| build(GuestName::WebServer).unwrap());
    let server = server.await.unwrap().bytes.clone();

    let of = |task: Task| Task {
        proplet_id: PROPLET.into(),
        ..task
    };
    let kinds = [
        Kind::plain(of(Task::plain("file", "spin", spinner()))),
        Kind::plain(plain_image("chunks", "spin", "spinner", &[])),
        Kind {
            code: None,
            ..Kind::plain(of(Task::plain("http", "serve", server)))
        },
        Kind {
            is_sealed: true,
            ..Kind::plain(of(Task::encrypted(
                "sealed",
                "spin",
                &encrypted.to_string(),
            )))
        },
    ];
    for kind in &kinds {
        let id = &kind.task.id;
        let is_served = kind.code.is_none();
        for round in 1..=2 {
            manager.start(&kind.task).await.unwrap();
            if is_served {
                // It is told, with the words of its end.
                while manager.results_so_far(id) < 2 * round - 1 {
                    tokio::task::yield_now().await;
                }
                TcpStream::connect(address).await.unwrap();
            }
            let wanted = if is_served { 2 * round } else { round };
            // The same start once more, and one that cannot be read: the answer to the first is theirs too.
            manager.start(&kind.task).await.unwrap();
            let unreadable = format!("{{\"id\":\"{id}\",\"name\":");
            manager
                .send("control/manager/start", unreadable)
                .await
                .unwrap();
            if kind.is_sealed {
                // Recipients are known once the key was released.
                while services.key_broker.counts().attested == 0 {
                    tokio::task::yield_now().await;
                }
            }
            manager.stop(&kind.task).await.unwrap();
            let outcomes = loop {
                let all = manager
                    .messages("control/proplet/results", 1)
                    .await
                    .unwrap();
                let ours: Vec<_> = all.into_iter().filter(|m| m["task_id"] == **id).collect();
                if ours.len() >= wanted {
                    break ours;
                }
                tokio::task::yield_now().await;
            };
            let outcome = serde_json::from_value(outcomes[wanted - 1].clone()).unwrap();
            let outcome: Outcome = outcome;
            if !kind.is_sealed {
                kind.check(&outcome);
            } else {
                // A stop may come before the recipients are known; then there is nobody to seal to.
                let error = outcome.error.unwrap();
                assert!(error.starts_with("stopped: "), "{error}");
            }
            assert_eq!(manager.results_so_far(id), wanted);
        }
    }
    scene.end().await;
}

/// A daemon is said to run and then to have ended; a latent task says nothing until it is stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_and_latent_tasks_stop_start_again_and_start_twice() {
    let scene = Scene::set(None, HashMap::new(), "", "").await;
    let manager = &scene.services.manager;
    let of = |id: &str| Task {
        proplet_id: PROPLET.into(),
        ..Task::plain(id, "spin", spinner())
    };
    let daemon = Task {
        daemon: true,
        ..of("daemon")
    };
    let latent = Task {
        latent: true,
        ..of("latent")
    };
    let results = async |id: &str, count: usize| loop {
        let all = manager
            .messages("control/proplet/results", 1)
            .await
            .unwrap();
        let ours: Vec<_> = all.into_iter().filter(|m| m["task_id"] == id).collect();
        if ours.len() >= count {
            break ours;
        }
        tokio::task::yield_now().await;
    };
    for round in 1..=2 {
        for _ in 0..2 {
            manager.start(&daemon).await.unwrap();
        }
        let unreadable = "{\"id\":\"daemon\",\"name\":";
        let said = results("daemon", 2 * round - 1).await;
        let runs = &said[2 * round - 2];
        assert_eq!(
            (&runs["results"], &runs["error"]),
            (&"".into(), &serde_json::Value::Null)
        );
        manager
            .send("control/manager/start", unreadable)
            .await
            .unwrap();
        manager.stop(&daemon).await.unwrap();
        let said = results("daemon", 2 * round).await;
        let error = said[2 * round - 1]["error"].as_str().unwrap();
        assert!(error.starts_with("stopped: "), "{error}");

        for _ in 0..2 {
            manager.start(&latent).await.unwrap();
        }
        let mut number = 0;
        loop {
            number += 1;
            let id = format!("{round}-{number}");
            manager.invoke(&latent, &id, Some(&["x"])).await.unwrap();
            let error = manager.invoked(&id).await.unwrap().error.unwrap();
            if error.starts_with("arguments-invalid: ") {
                break;
            }
            assert!(error.contains("has not been precompiled"), "{error}");
        }
        assert_eq!(manager.results_so_far("latent"), round - 1);
        manager.stop(&latent).await.unwrap();
        let said = results("latent", round).await;
        let error = said[round - 1]["error"].as_str().unwrap();
        assert!(error.starts_with("stopped: "), "{error}");
    }
    scene.end().await;
}
