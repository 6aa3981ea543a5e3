//! The client as a whole, over loopback connections, with the development key broker: as it is, with
//! answers that a test rewrites, and with the recorded answers of Trustee.
//!
//! The broker is built with the ordinary build of this crate, so only addresses and types of other crates
//! pass between it and the client.

mod bound;
mod handshake;
mod replay;
mod sessions;
mod transport;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proplet_testkit::kbs::{Asked, DevKeyBroker, DevKeyBrokerBuilder, Policy, Reply};
use proplet_testkit::tee::Sample;
use proplet_types::ResourceUri;
use url::Url;

use crate::{KbsClient, KbsConfig};

/// What the broker has under [`uri`].
const RESOURCE: &[u8] = b"the resource";

/// Longer than any test's time: the token decides how long a session lasts, and not the cookie.
const SESSION_LIFETIME: Duration = Duration::from_secs(1 << 33);

fn uri() -> ResourceUri {
    "kbs:///default/key/one".parse().unwrap()
}

fn sample() -> Arc<Sample> {
    Arc::new(Sample::new())
}

/// Settings for a test server: plain http, and short waits between tries.
fn config(url: &str) -> KbsConfig {
    let mut config = KbsConfig::new(Url::parse(url).unwrap());
    config.allow_http = true;
    config.retry_delay = Duration::from_millis(1);
    config.timeout = Duration::from_secs(20);
    config
}

fn client(broker: &DevKeyBroker) -> KbsClient {
    KbsClient::new(config(&broker.url()), sample()).unwrap()
}

/// A broker that accepts the sample TEE and releases everything, with tokens that last `seconds`.
fn amiable(seconds: u64) -> DevKeyBrokerBuilder {
    DevKeyBroker::builder()
        .accept_sample()
        .policy(Policy::AllowAll)
        .token_lifetime(Duration::from_secs(seconds))
        .session_lifetime(SESSION_LIFETIME)
        .remember_requests()
}

async fn started(builder: DevKeyBrokerBuilder) -> DevKeyBroker {
    let broker = builder.start().await.unwrap();
    broker.set_resource(&uri(), RESOURCE);
    broker
}

/// An amiable broker whose answers a test rewrites.
async fn rewriting(
    rewrite: impl Fn(&Asked, Reply) -> Reply + Send + Sync + 'static,
) -> DevKeyBroker {
    started(amiable(300).rewrite(rewrite)).await
}

/// An amiable broker that answers requests for resources so.
async fn answering_resources(reply: Reply) -> DevKeyBroker {
    rewriting(move |asked, good| {
        if asked.endpoint().starts_with("resource") {
            reply.clone()
        } else {
            good
        }
    })
    .await
}

/// How often an endpoint was asked.
fn count(broker: &DevKeyBroker, endpoint: &str) -> usize {
    let requests = broker.requests();
    let these = requests.iter().map(Asked::endpoint);
    these.filter(|path| path.starts_with(endpoint)).count()
}

/// How often each was asked: `auth`, `attest`, resources.
fn counts(broker: &DevKeyBroker) -> [usize; 3] {
    ["auth", "attest", "resource"].map(|endpoint| count(broker, endpoint))
}

/// A refusal with this error type.
fn refusal(variant: &str) -> Reply {
    Reply::error(variant, "words")
}

/// A good first answer of a handshake.
fn challenge() -> Reply {
    let body = serde_json::json!({
        "nonce": "wPv5T97AKclzuJGIx5JjadfAZrYl/S9+W5FSlgOywY0=", "extra-params": "",
    });
    Reply::json(&body).with("set-cookie", "kbs-session-id=c00c1e")
}

/// Cookie and token of the last session, as a broker gave them.
#[derive(Clone, Default)]
struct Credentials {
    last: Arc<Mutex<(String, String)>>,
}

impl Credentials {
    /// Looks at a broker's answer.
    fn see(&self, asked: &Asked, reply: &Reply) {
        if asked.endpoint() != "attest" {
            return;
        }
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        let token = body["token"].as_str().unwrap().to_owned();
        let cookie = asked.header("cookie").unwrap().to_owned();
        *self.last.lock().unwrap() = (cookie, token);
    }

    /// `kbs-session-id=…`
    fn cookie(&self) -> String {
        self.last.lock().unwrap().0.clone()
    }

    fn token(&self) -> String {
        self.last.lock().unwrap().1.clone()
    }
}
