use std::future::Future;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use tokio::task::JoinHandle;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    images: Arc<Images>,
    asked: mpsc::Receiver<String>,
}

impl Scene {
    fn set(most_bytes: u64) -> Self {
        let (images, asked) = Images::new(most_bytes, PATIENCE);
        Self { images, asked }
    }

    /// A task that waits, once it is known to.
    async fn waiter(&self, name: &'static str) -> JoinHandle<Result<Vec<u8>, Refusal>> {
        let waiters = |images: &Images| {
            let waited = images.lock();
            waited
                .get(name)
                .map_or(0, |image| image.ending.receiver_count())
        };
        let before = waiters(&self.images);
        let images = Arc::clone(&self.images);
        let waiter = tokio::spawn(async move { images.component(name).await });
        while waiters(&self.images) == before {
            tokio::task::yield_now().await;
        }
        waiter
    }

    fn chunk(&self, name: &str, index: u64, total: u64, data: &[u8]) {
        let message = json!({"app_name": name, "chunk_idx": index, "total_chunks": total,
                             "data": STANDARD.encode(data)});
        self.images.chunk(message.to_string().as_bytes());
    }

    /// Nothing is kept, and every place is free.
    fn assert_empty(&self) {
        assert!(self.images.lock().is_empty());
        assert_eq!(self.images.places.available_permits(), MAX_IMAGES);
    }
}

async fn ended(
    waiter: impl Future<Output = Result<Result<Vec<u8>, Refusal>, tokio::task::JoinError>>,
) -> Result<Vec<u8>, Refusal> {
    waiter.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn waiters_of_one_image_share_one_request_and_one_assembly() {
    let mut scene = Scene::set(100);
    let waiters = [
        scene.waiter("a").await,
        scene.waiter("a").await,
        scene.waiter("a").await,
    ];
    scene.chunk("a", 1, 2, b"b");
    scene.chunk("a", 0, 2, b"a");
    for waiter in waiters {
        assert_eq!(ended(waiter).await.unwrap(), b"ab");
    }
    assert_eq!(scene.asked.recv().await.unwrap(), "a");
    assert!(scene.asked.try_recv().is_err());
    scene.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn two_images_interleaved_stay_apart() {
    let scene = Scene::set(100);
    let (a, b) = (scene.waiter("a").await, scene.waiter("b").await);
    for index in 0..3 {
        scene.chunk("a", index, 3, b"a");
        scene.chunk("b", 2 - index, 3, b"b");
        scene.chunk("c", index, 3, b"c");
    }
    assert_eq!(ended(a).await.unwrap(), b"aaa");
    assert_eq!(ended(b).await.unwrap(), b"bbb");
    scene.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_is_not_kept() {
    let scene = Scene::set(100);
    scene.chunk("a", 0, 2, b"a");
    scene.assert_empty();
    let waiter = scene.waiter("b").await;
    scene.chunk("a", 0, 2, b"a");
    assert_eq!(scene.images.lock().len(), 1);
    // A task that is stopped waits no longer, and takes with it what came.
    waiter.abort();
    assert!(waiter.await.is_err());
    scene.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn one_that_gives_up_takes_nothing_from_the_others() {
    let scene = Scene::set(100);
    let (first, second) = (scene.waiter("a").await, scene.waiter("a").await);
    scene.chunk("a", 0, 2, b"a");
    first.abort();
    assert!(first.await.is_err());
    scene.chunk("a", 1, 2, b"b");
    assert_eq!(ended(second).await.unwrap(), b"ab");
    scene.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn chunks_without_end_do_not_outlast_the_patience() {
    let scene = Scene::set(1 << 20);
    let waiter = scene.waiter("a").await;
    let began = Instant::now();
    let images = Arc::clone(&scene.images);
    let endless = tokio::spawn(async move {
        for number in 0.. {
            let message = json!({"app_name": "a", "chunk_idx": number % 9, "total_chunks": 10,
                                 "data": "YQ=="});
            images.chunk(message.to_string().as_bytes());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let refusal = ended(waiter).await.unwrap_err();
    endless.abort();
    assert_eq!(refusal.code(), Code::RegistryUnavailable);
    assert!(refusal.words().contains("60 seconds"), "{refusal}");
    assert_eq!(began.elapsed(), PATIENCE);
    scene.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn a_silent_proxy_is_asked_again_and_a_missing_app_is_answered() {
    let mut scene = Scene::set(100);
    let refusal = scene.images.component("nothing").await.unwrap_err();
    assert_eq!(refusal.code(), Code::RegistryUnavailable);
    assert!(refusal.words().contains("nothing"), "{refusal}");
    let mut asked = 0;
    while scene.asked.try_recv().is_ok() {
        asked += 1;
    }
    assert!((4..=5).contains(&asked), "{asked}");
    scene.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn too_large_and_contradicting_images_are_refused_to_all_at_once() {
    let scene = Scene::set(4);
    let waiters = [scene.waiter("a").await, scene.waiter("a").await];
    scene.chunk("a", 0, 2, b"12345");
    for waiter in waiters {
        assert_eq!(ended(waiter).await.unwrap_err().code(), Code::ImageTooLarge);
    }
    let waiter = scene.waiter("a").await;
    scene.chunk("a", 0, 2, b"1");
    scene.chunk("a", 0, 2, b"2");
    let refusal = ended(waiter).await.unwrap_err();
    assert_eq!(refusal.code(), Code::RegistryUnavailable);
    assert!(refusal.words().contains("contradict"), "{refusal}");
    scene.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn a_few_images_at_once_and_the_others_wait_their_turn() {
    let scene = Scene::set(100);
    let mut waiters = Vec::new();
    for name in ["a", "b", "c", "d"] {
        waiters.push(scene.waiter(name).await);
    }
    let images = Arc::clone(&scene.images);
    let fifth = tokio::spawn(async move { images.component("e").await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.images.lock().len(), MAX_IMAGES);
    scene.chunk("a", 0, 1, b"a");
    while !scene.images.lock().contains_key("e") {
        tokio::task::yield_now().await;
    }
    scene.chunk("e", 0, 1, b"e");
    assert_eq!(ended(fifth).await.unwrap(), b"e");
    for name in ["b", "c", "d"] {
        scene.chunk(name, 0, 1, b"x");
    }
    for waiter in waiters {
        ended(waiter).await.unwrap();
    }
    scene.assert_empty();
}

/// What is written to the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_bad_chunks_is_a_few_lines() {
    let scene = Scene::set(100);
    let waiter = scene.waiter("a").await;
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(log, || {
        for _ in 0..1000 {
            scene.images.chunk(b"not a chunk");
            scene.chunk("a", 7, 2, b"beyond the last");
        }
    });
    let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let count = written.matches("is ignored").count();
    assert!((1..=100).contains(&count), "{count} lines");
    scene.chunk("a", 0, 1, b"a");
    assert_eq!(ended(waiter).await.unwrap(), b"a");
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_chunk_or_not(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let scene = Scene::set(100);
            let waiter = scene.waiter("a").await;
            scene.images.chunk(&bytes);
            waiter.abort();
        });
    }
}
