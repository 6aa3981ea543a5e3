//! Plain images from the image proxy of the deployment, in chunks over the broker.
//!
//! The proxy pulls the image that it is asked for and sends its component in chunks to everybody on the channel. It
//! reports no error, answers no second request for an image while it sends it, and always takes the tag `latest`.
//! Whoever may publish on the channel can send chunks in its place. Nothing vouches for what comes, so none of it is
//! for encrypted tasks.
//!
//! What is kept is bounded: images that a task here waits for and no others, a few at once, each as large as a layer
//! may be and for as long as a pull may take. Chunks that cannot be a part of anything are ignored; chunks that
//! contradict each other end the wait, because a mixture of two senders' must not run.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use proplet_executor::{ImageProxy, Refusal, host_text, text::Known};
use proplet_settings::{PlainImages, Settings};
use proplet_types::{Code, text::short_line};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep_until, timeout_at},
};
use tracing::{info, warn};

use crate::{
    message::chunks::{Assembly, Broken, Chunk, Step},
    sparing::{Sparing, warn_sparingly},
};

/// Images that are put together at once. Tasks with others wait for a place.
const MAX_IMAGES: usize = 4;
/// An image is asked for again when nothing of it came for so long: the proxy may have been away, or busy with it
/// for somebody else.
const SILENCE: Duration = Duration::from_secs(15);
/// Requests that may wait for the connection.
const MAX_REQUESTS: usize = 64;
/// The longest text of a stranger in one line of the log, in characters.
const MAX_LOGGED: usize = 256;

/// How an image ended.
type Ending = Option<Result<Bytes, Refusal>>;

/// The images that tasks here wait for.
pub(super) struct Images {
    most_bytes: u64,
    patience: Duration,
    waited: Mutex<HashMap<String, Waited>>,
    places: Arc<Semaphore>,
    requests: mpsc::Sender<String>,
    /// Anybody on the channel can send chunks.
    sparing: Sparing,
}

struct Waited {
    assembly: Assembly,
    /// When it was asked for, or a chunk of it came.
    heard: Instant,
    ending: watch::Sender<Ending>,
    _place: OwnedSemaphorePermit,
}

impl Images {
    /// Where the settings leave plain images to the proxy; with the names of images to ask for.
    pub(super) fn of(settings: &Settings) -> Option<(Arc<Self>, mpsc::Receiver<String>)> {
        let registry = &settings.registry;
        (registry.plain_images == PlainImages::Proxy)
            .then(|| Self::new(registry.max_layer_bytes, registry.timeout))
    }

    fn new(most_bytes: u64, patience: Duration) -> (Arc<Self>, mpsc::Receiver<String>) {
        let (requests, asked) = mpsc::channel(MAX_REQUESTS);
        let images = Self {
            most_bytes,
            patience,
            waited: Mutex::default(),
            places: Arc::new(Semaphore::new(MAX_IMAGES)),
            requests,
            sparing: Sparing::default(),
        };
        (Arc::new(images), asked)
    }

    /// Takes a message on the topic of chunks.
    pub(super) fn chunk(&self, payload: &[u8]) {
        // Most are for others: they are not even read.
        if self.lock().is_empty() {
            return;
        }
        let Some(chunk) = Chunk::from_bytes(payload) else {
            warn_sparingly!(
                self.sparing,
                "A chunk of an image is ignored: it is not a JSON object with a chunk's members"
            );
            return;
        };
        let mut waited = self.lock();
        let Some(image) = waited.get_mut(chunk.app_name.as_ref()) else {
            return;
        };
        let ending = match image.assembly.add(&chunk) {
            Ok(Step::More) => {
                image.heard = Instant::now();
                return;
            }
            Ok(Step::Ignored(why)) => {
                let name = short_line(&chunk.app_name, MAX_LOGGED);
                warn_sparingly!(
                    self.sparing,
                    "A chunk of the image {name} is ignored: {why}"
                );
                return;
            }
            Ok(Step::Whole(bytes)) => Ok(Bytes::from(bytes)),
            Err(broken) => Err(refusal(&chunk.app_name, broken)),
        };
        if let Some(image) = waited.remove(chunk.app_name.as_ref()) {
            image.ending.send_replace(Some(ending));
        }
    }

    /// Joins those who wait for an image, or is the first of them.
    async fn join(&self, name: &str) -> Waiter<'_> {
        let receiver = |waited: &HashMap<String, Waited>| {
            let image = waited.get(name)?;
            Some(image.ending.subscribe())
        };
        // The lock must not be held while a place is waited for.
        let joined = receiver(&self.lock());
        let ending = match joined {
            Some(ending) => ending,
            None => {
                let place = Arc::clone(&self.places).acquire_owned().await;
                let mut waited = self.lock();
                match (receiver(&waited), place) {
                    (Some(ending), _) => ending,
                    // The places are never closed, and a closed one would wait until its time is over.
                    (None, Err(_)) => watch::channel(None).1,
                    (None, Ok(place)) => {
                        let (sender, ending) = watch::channel(None);
                        let image = Waited {
                            assembly: Assembly::new(self.most_bytes),
                            heard: Instant::now(),
                            ending: sender,
                            _place: place,
                        };
                        waited.insert(name.to_owned(), image);
                        drop(waited);
                        self.ask(name);
                        ending
                    }
                }
            }
        };
        Waiter {
            images: self,
            name: name.to_owned(),
            ending,
        }
    }

    /// Asks the proxy. What finds no place among the requests is asked for after the next silence.
    fn ask(&self, name: &str) {
        info!(
            "Asking the image proxy for {}",
            short_line(name, MAX_LOGGED)
        );
        if self.requests.try_send(name.to_owned()).is_err() {
            warn!("A request to the image proxy has to wait: no connection to the broker takes it");
        }
    }

    /// When it is time to ask again.
    fn silent_at(&self, name: &str) -> Option<Instant> {
        let waited = self.lock();
        waited.get(name).map(|image| image.heard + SILENCE)
    }

    /// Asks again, unless another waiter just did.
    fn ask_again(&self, name: &str) {
        let now = Instant::now();
        let is_due = match self.lock().get_mut(name) {
            Some(image) if image.heard + SILENCE <= now => {
                image.heard = now;
                true
            }
            _ => false,
        };
        if is_due {
            self.ask(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waited>> {
        self.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl ImageProxy for Images {
    async fn component(&self, image: &str) -> Result<Vec<u8>, Refusal> {
        let deadline = Instant::now() + self.patience;
        let waiting = async {
            let mut waiter = self.join(image).await;
            waiter.ended().await
        };
        match timeout_at(deadline, waiting).await {
            Ok(ended) => ended.map(|bytes| bytes.to_vec()),
            Err(_) => Err(Refusal::new(
                Code::RegistryUnavailable,
                host_text!(
                    "the image proxy did not send {} within {} seconds, and reports no errors: look into its log for \
                     whether it runs, knows the image and may pull it; or let this proplet pull images itself \
                     ([registry] plain_images = \"registry\")",
                    Known::of_request(image),
                    self.patience.as_secs()
                ),
            )),
        }
    }
}

/// Somebody who waits for an image. When the last one is gone, so is what came of it.
struct Waiter<'a> {
    images: &'a Images,
    name: String,
    ending: watch::Receiver<Ending>,
}

impl Waiter<'_> {
    async fn ended(&mut self) -> Result<Bytes, Refusal> {
        loop {
            let silent_at = self.images.silent_at(&self.name);
            let again = silent_at.unwrap_or_else(|| Instant::now() + SILENCE);
            tokio::select! {
                biased;
                ended = self.ending.wait_for(Option::is_some) => {
                    let ended = ended.ok().and_then(|ended| ended.clone());
                    return ended.unwrap_or_else(|| Err(given_up(&self.name)));
                }
                () = sleep_until(again) => self.images.ask_again(&self.name),
            }
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waited = self.images.lock();
        if let Some(image) = waited.get(&self.name)
            && image.ending.receiver_count() <= 1
            && self.ending.same_channel(&image.ending.subscribe())
        {
            waited.remove(&self.name);
        }
    }
}

fn refusal(image: &str, broken: Broken) -> Refusal {
    match broken {
        Broken::TooLarge(most) => Refusal::new(
            Code::ImageTooLarge,
            host_text!(
                "what the image proxy sends of {} is larger than {} bytes; make the component smaller, or raise \
                 [registry] max_layer_bytes",
                Known::of_request(image),
                most
            ),
        ),
        Broken::Contradiction => Refusal::new(
            Code::RegistryUnavailable,
            host_text!(
                "the chunks of {} contradict each other: the image changed while it was sent, or somebody else \
                 than the image proxy sends chunks on this channel; start the task again",
                Known::of_request(image)
            ),
        ),
    }
}

/// Cannot happen while the images live: who removes one either ends it or is its last waiter.
fn given_up(image: &str) -> Refusal {
    Refusal::new(
        Code::RegistryUnavailable,
        host_text!(
            "{} is waited for no longer; start the task again",
            Known::of_request(image)
        ),
    )
}
