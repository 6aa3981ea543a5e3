//! What ends is answered once, by what ended it.

use super::*;

/// Waits for all these answers, in any order: the task and the code of each.
async fn answers(scene: &Scene, count: usize) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    for _ in 0..count {
        let answer = scene.answer().await;
        let task = answer["task_id"].as_str().unwrap().to_owned();
        answers.push((task, code(&answer).to_owned()));
    }
    answers
}

fn stop(id: &str) -> Received {
    message("stop", &json!({"id": id, "proplet_id": ENTITY}))
}

/// A copy that the broker marks as one.
fn copy(message: Received) -> Received {
    Received {
        duplicate: true,
        ..message
    }
}

/// The answer to the start of a latent task that is stopped.
fn stopped(id: &str) -> (String, String) {
    (id.to_owned(), "stopped".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stop_of_a_latent_task_is_answered_however_many_starts_are_refused() {
    let mut scene = Scene::new("", bounds(8));
    prepare(&mut scene, seven("latent")).await;
    for number in 0..50 {
        scene.receive(bad(&number.to_string())).await.unwrap();
    }
    // Half of the room is theirs, and the stop is not held up by those that wait for it.
    let ready = scene.receive(stop("latent")).await;
    let ready = ready.expect("the answer was lost");
    timeout(LONG, ready).await.unwrap().unwrap_err();
    let first = answers(&scene, 5).await;
    assert!(first.contains(&stopped("latent")), "{first:?}");
    answers(&scene, 46).await;
    assert!(scene.outbox.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stop_of_a_latent_task_is_answered_when_there_is_room_again() {
    let mut scene = Scene::new("", bounds(2));
    prepare(&mut scene, seven("latent")).await;
    for id in ["a", "b"] {
        scene.receive(seven(id)).await.unwrap().await.unwrap();
    }
    scene.service.tasks.ended().await;
    // Nothing waits for the acknowledgement of such a stop, and its answer does all the same.
    let without = Received {
        receipt: None,
        ..stop("latent")
    };
    let ready = scene.receive(without).await;
    let mut ready = ready.expect("the answer was lost");
    assert_eq!(
        ready.try_recv(),
        Err(oneshot::error::TryRecvError::Empty),
        "there was room"
    );
    // A later start of its id does not overtake it.
    assert!(scene.receive(seven("latent")).await.is_none());
    let mut all = answers(&scene, 3).await;
    all.sort();
    let well = |id: &str| (id.to_owned(), String::new());
    assert_eq!(all, [well("a"), well("b"), stopped("latent")]);
    timeout(LONG, ready).await.unwrap().unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_repeated_while_its_task_ends_has_no_answer_of_its_own() {
    let mut scene = Scene::new("", bounds(100));
    scene.receive(spin("spins")).await.unwrap().await.unwrap();
    scene.receive(seven("done")).await.unwrap().await.unwrap();
    while !scene.outbox.is_waiting("done") {
        tokio::task::yield_now().await;
    }
    for again in [
        spin("spins"),
        copy(spin("spins")),
        seven("done"),
        copy(seven("done")),
    ] {
        assert!(scene.service.obey(&again, true).await.is_none());
    }
    // Nothing more than that is said of it.
    assert_eq!(scene.outbox.tasks(), ["done"]);
    assert_eq!(scene.answer().await["results"], "7");
    // A copy of what was answered well is none of its own either.
    assert!(
        scene
            .service
            .obey(&copy(seven("done")), true)
            .await
            .is_none()
    );
    // Others are told.
    assert!(scene.service.obey(&seven("new"), true).await.is_some());
    assert_eq!(code(&scene.answer().await), "proplet-stopping");
    scene.service.tasks.stop_all();
    let last = answers(&scene, 1).await;
    assert_eq!(last, [("spins".to_owned(), "proplet-stopping".to_owned())]);
    assert!(scene.outbox.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invocation_that_is_repeated_while_it_ends_has_no_answer_of_its_own() {
    let mut scene = Scene::new("", bounds(100));
    prepare(&mut scene, spin("a")).await;
    assert!(scene.receive(invoke("a", "1")).await.is_none());
    for again in [invoke("a", "1"), copy(invoke("a", "1"))] {
        assert!(scene.service.obey(&again, true).await.is_none());
    }
    assert!(scene.outbox.is_empty());
    scene.service.tasks.stop_all();
    assert_eq!(code(&scene.answer().await), "proplet-stopping");
    // It was answered, and a copy of it is none of its own.
    let late = copy(invoke("a", "1"));
    assert!(scene.service.obey(&late, true).await.is_none());
    assert!(scene.outbox.is_empty());
}
