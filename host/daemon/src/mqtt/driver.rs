//! Polling the event loop.

use std::time::Instant;

use proplet_types::Code;
use rumqttc::{ConnectionError, Event, EventLoop, Outgoing, Packet};
use tokio::sync::{mpsc, watch};
use tracing::{info, trace, warn};

use super::{
    backoff::{Backoff, GOOD_CONNECTION},
    credentials::Credentials,
    receipt::{Receipt, Unacknowledged},
    trouble::{self, Parties},
};

/// Whether there is a connection, and its number, counted from the start of the process. Every
/// connection is a new session for the broker, so what belongs to a session is done anew when the number
/// changes.
pub type Connection = Option<u64>;

/// A message that arrived.
#[derive(Debug)]
pub struct Received {
    /// Its topic.
    pub topic: String,
    /// Its bytes. Whoever may publish on the channel wrote them.
    pub payload: bytes::Bytes,
    /// The broker kept it from an earlier time and gives it to whoever subscribes.
    pub retained: bool,
    /// The broker sends it once more, since it missed the acknowledgement (DUP).
    pub duplicate: bool,
    /// What it is acknowledged with, when it wants to be.
    pub receipt: Option<Receipt>,
    /// When it arrived.
    pub at: tokio::time::Instant,
}

/// Does the work of a connection: polls, reconnects, and passes messages on.
///
/// It waits for the receiver of messages, which is the only bound on their number in memory. The
/// receiver never waits for the connection, so the two cannot block each other.
pub struct Driver {
    events: EventLoop,
    connection: watch::Sender<Connection>,
    parties: Parties,
    credentials: Credentials,
    trouble: watch::Sender<Option<Code>>,
}

impl Driver {
    pub(super) fn new(
        events: EventLoop,
        connection: watch::Sender<Connection>,
        parties: Parties,
        credentials: Credentials,
        trouble: watch::Sender<Option<Code>>,
    ) -> Self {
        Self {
            events,
            connection,
            parties,
            credentials,
            trouble,
        }
    }

    /// Runs until the client disconnects on purpose, or nobody receives messages any more.
    pub async fn run(mut self, messages: mpsc::Sender<Received>) {
        let mut backoff = Backoff::new();
        let mut connections = 0;
        let mut since = None::<Instant>;
        let mut unacknowledged = Unacknowledged::default();
        loop {
            if self.credentials.is_wanted && !self.fetch_credentials(&mut backoff, &messages).await
            {
                break;
            }
            match self.events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    self.trouble.send_replace(None);
                    connections += 1;
                    since = Some(Instant::now());
                    info!("Connected to the MQTT broker");
                    self.connection.send_replace(Some(connections));
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    // No topic of ours has other characters; the message is acknowledged like any other.
                    let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                    trace!("A message of {} bytes on {topic}", publish.payload.len());
                    let receipt = unacknowledged.receipt(&publish, connections);
                    let at = tokio::time::Instant::now();
                    let received = Received {
                        topic,
                        payload: publish.payload,
                        retained: publish.retain,
                        duplicate: publish.dup,
                        receipt,
                        at,
                    };
                    if messages.send(received).await.is_err() {
                        break;
                    }
                }
                Ok(Event::Outgoing(Outgoing::PubAck(id) | Outgoing::PubRec(id))) => {
                    unacknowledged.sent(id);
                }
                Ok(Event::Outgoing(Outgoing::Disconnect))
                | Err(ConnectionError::RequestsDone | ConnectionError::DisconnectTimeout) => break,
                Ok(_) => {}
                Err(error) => {
                    self.connection.send_replace(None);
                    // Acknowledgements that were queued since the library did so itself belong to the session
                    // that is gone; from here on none is queued.
                    self.events.clean();
                    unacknowledged.clear();
                    let lasted = since.take().map(|since| since.elapsed());
                    if lasted.is_some_and(|lasted| lasted >= GOOD_CONNECTION) {
                        backoff.reset();
                    }
                    let wait = backoff.wait();
                    let words = self.parties.words(&error, lasted.is_some());
                    warn!("No connection to the MQTT broker: {words}. Next attempt in {wait:.1?}");
                    if lasted.is_none() && self.is_refusal(&error) {
                        info!("What the broker refuses is fetched from the key broker again");
                        self.credentials.is_wanted = true;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = messages.closed() => break,
                    }
                }
            }
        }
        self.connection.send_replace(None);
    }

    /// Fetches what the broker is to be shown, until it is there. False when nobody receives messages any more.
    async fn fetch_credentials(
        &mut self,
        backoff: &mut Backoff,
        messages: &mpsc::Sender<Received>,
    ) -> bool {
        loop {
            let fetched = tokio::select! {
                fetched = self.credentials.fetch() => fetched,
                () = messages.closed() => return false,
            };
            let error = match fetched {
                Ok(shown) => {
                    shown.put_into(&mut self.events.mqtt_options);
                    self.trouble.send_replace(None);
                    self.credentials.is_wanted = false;
                    self.credentials.is_here = true;
                    info!("The key broker gave the credentials for the MQTT broker");
                    return true;
                }
                Err(error) => error,
            };
            self.trouble.send_replace(Some(error.code));
            if self.credentials.is_here {
                warn!(code = %error.code, "No newer credentials for the MQTT broker: {error}. Those at hand are tried again");
                self.credentials.is_wanted = false;
                return true;
            }
            let wait = backoff.wait();
            warn!(code = %error.code, "No credentials for the MQTT broker: {error}. Next attempt in {wait:.1?}");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = messages.closed() => return false,
            }
        }
    }

    /// Whether a broker that accepted no connection refused something that is fetched.
    fn is_refusal(&self, error: &ConnectionError) -> bool {
        let credentials = &self.credentials;
        credentials.has_api_key() && trouble::is_refused(error)
            || credentials.has_client_key() && trouble::is_refused_by_tls(error)
    }
}
