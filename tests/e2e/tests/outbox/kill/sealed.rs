//! Encrypted tasks for the ordeal: a registry and a key broker beside the daemon, which is killed in the middle of
//! attestations, releases and results.

use std::sync::atomic::{AtomicUsize, Ordering};

use proplet_image::ImageReference;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::{KEY_ID, Sources, owner::open_result, workload::with_recipients};
use proplet_results::{ResultDocument, verify::Expectations};
use proplet_testkit::broker::Task;

use super::{ENTITY, INPUT, MARKER};

/// In the component, and in no file.
pub(crate) const CANARY: &str = "a-canary-in-the-component-0815";
const ROOT: &str = "kbs:///fleet/host-credential/outbox";
/// One result in so many is verified and opened; the rest is only seen to be sealed.
const OPENED: usize = 10;

pub(crate) struct Sealed {
    sources: Sources,
    image: ImageReference,
    reader: PrivateKey,
    seen: AtomicUsize,
}

impl Sealed {
    pub(crate) async fn start() -> Self {
        let sources = Sources::start().await.unwrap();
        let reader = PrivateKey::generate_p256().unwrap();
        let adder = wat::parse_str(format!(
            "(module (memory 1) (data (i32.const 0) \"{CANARY}\")
               (func (export \"add\") (param i64 i64) (result i64)
                 (i64.add (local.get 0) (local.get 1))))"
        ))
        .unwrap();
        let policy = with_recipients(
            "version = 1\nexports = [\"add\"]\n",
            &[reader.public().clone()],
        );
        let key = KEY_ID.parse().unwrap();
        let published = sources.publish("adder", &adder, Some(&policy), key);
        let (_, image) = published.await.unwrap();
        Self {
            sources,
            image,
            reader,
            seen: AtomicUsize::new(0),
        }
    }

    pub(crate) fn task(&self, id: &str) -> Task {
        Task {
            inputs: vec![INPUT.into(), "7".into()],
            proplet_id: ENTITY.into(),
            ..Task::encrypted(id, "add", &self.image.to_string())
        }
    }

    pub(crate) fn settings(&self) -> String {
        format!(
            "[registry]\nhttp_hosts = [\"{}\"]\n[kbs]\nurl = \"{}\"\nallow_http = true\n",
            self.sources.registry.host(),
            self.sources.key_broker.url()
        )
    }

    /// The same with a sealing root for the outbox, whose table these begin in.
    pub(crate) fn settings_with_a_root(&self) -> String {
        let root = ROOT.parse().unwrap();
        self.sources.key_broker.set_resource(&root, &[7; 32]);
        format!("sealing_root_resource = {ROOT:?}\n{}", self.settings())
    }

    /// A result is sealed, and holds what it should.
    pub(crate) fn look(&self, results: &str) {
        assert!(!results.contains(MARKER), "{results}");
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        if seen.is_multiple_of(OPENED) {
            let expected = Expectations::of_any_measurement();
            let opened = open_result(&self.reader, results, &expected).unwrap();
            assert_eq!(opened.content.as_slice(), MARKER.as_bytes());
        } else {
            ResultDocument::from_text(results).unwrap();
        }
    }
}
