//! What a Manager of either generation and an image proxy see of a proplet: every form of every message, every kind
//! of task started, stopped, started again and started twice, and each answer against its schema.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod images;
mod kinds;
mod metrics;
mod page;
mod plugins;
mod replay;
mod schema;

use std::{collections::HashMap, sync::Arc};

use proplet_hal::TeeProvider;
use proplet_lab::{CHANNEL, PROPLET, RunningProplet, Services, TENANT};
use proplet_testkit::broker::{ImageProxy, Task};

/// A deployment with an image proxy.
struct Scene {
    services: Services,
    proxy: ImageProxy,
    proplet: RunningProplet,
}

impl Scene {
    /// With these images at the proxy, in chunks of ten bytes; `registry` is added to `[registry]`, `more` comes
    /// after the document.
    async fn set(
        provider: Option<Arc<dyn TeeProvider>>,
        images: HashMap<String, Vec<u8>>,
        registry: &str,
        more: &str,
    ) -> Self {
        let services = Services::start().await.unwrap();
        let port = services.broker.port();
        let proxy = ImageProxy::connect_to(port, TENANT, CHANNEL, images, 10);
        let proxy = proxy.await.unwrap();
        let text = services.settings(more).replace(
            "[registry]\n",
            &format!("[registry]\nplain_images = \"proxy\"\n{registry}\n"),
        );
        let proplet = RunningProplet::start(&text, provider).unwrap();
        let manager = &services.manager;
        manager.messages("control/proplet/alive", 1).await.unwrap();
        Self {
            services,
            proxy,
            proplet,
        }
    }

    /// Stops the proplet, and holds all that it has said against the schemas.
    async fn end(self) {
        self.proplet.stop().await.unwrap();
        let prefix = format!("m/{TENANT}/c/{CHANNEL}/");
        let mut said = 0;
        for record in self.services.broker.recorded() {
            if record.client_id == PROPLET {
                let topic = record.topic.strip_prefix(&prefix).unwrap();
                schema::check(topic, &record.payload);
                said += 1;
            }
        }
        assert!(said >= 2, "a discovery and a heartbeat at least");
    }
}

fn adder() -> Vec<u8> {
    wat::parse_str(
        "(module (func (export \"add\") (param i32 i32) (result i32)
           (i32.add (local.get 0) (local.get 1))))",
    )
    .unwrap()
}

fn spinner() -> Vec<u8> {
    wat::parse_str("(module (func (export \"spin\") (loop $again (br $again))))").unwrap()
}

/// A plain task of an image.
fn plain_image(id: &str, name: &str, image: &str, inputs: &[&str]) -> Task {
    Task {
        id: id.into(),
        name: name.into(),
        image_url: image.into(),
        inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
        proplet_id: PROPLET.into(),
        ..Task::default()
    }
}
