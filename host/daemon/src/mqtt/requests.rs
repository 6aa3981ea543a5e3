//! Requests to the image proxy.

use rumqttc::PublishOptions;
use tokio::sync::mpsc;
use tracing::warn;

use super::link::Link;
use crate::message::Fetch;

/// Publishes the requests until the link is closed. Nobody waits for them to arrive: who asked asks again when
/// nothing comes.
pub async fn run(link: Link, topic: String, mut requests: mpsc::Receiver<String>) {
    let mut connection = link.connection();
    while let Some(image) = requests.recv().await {
        if connection.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let request = serde_json::to_vec(&Fetch { app_name: &image });
        let options = PublishOptions::new(link.qos);
        let client = &link.client;
        // Strings always make JSON.
        let sending = client.publish_tracked(&topic, request.unwrap_or_default(), options);
        if sending.await.is_err() {
            warn!("A request to the image proxy was not sent; it is repeated when nothing comes");
        }
    }
}
