//! `propeller:confidential/results`: the result of the task.
//!
//! The runtime holds a task to one result, to its output limit and to a media type that is one; the host's
//! [`ResultSink`](crate::ResultSink) seals it and makes the receipt. Whether a published result goes out
//! is decided when the task has ended.

use std::sync::Arc;

use bindings::propeller::confidential::results::{self, Host, HostReceipt};
use proplet_types::MediaType;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use zeroize::Zeroizing;

pub use bindings::propeller::confidential::results::PublishError;

use super::trappable::{self, Trappable, WitError};
use super::{Grant, Interface, PerTask, Start};
use crate::capture::OutputBudget;
use crate::state::TaskState;

pub(crate) const INTERFACE: Interface = Interface {
    names: &["propeller:confidential/results"],
    grant: Grant::Always,
    add_to_linker,
};

/// Where the result of one task goes.
pub trait ResultSink: Send + Sync + 'static {
    /// Takes the result. The runtime has checked that it is the first, its size and its media type. It is
    /// to be sent only when the task ends well.
    ///
    /// # Errors
    /// [`PublishError`]; the guest gets it as it is, and may try again with something else.
    fn publish(&self, content: &[u8], media_type: &str) -> Result<PublishedReceipt, PublishError>;

    /// RFC 7638 thumbprints of the recipients; empty for a plain task.
    fn recipients(&self) -> Vec<String>;
}

/// What the host says about a published result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedReceipt {
    /// The receipt as a compact JWS; none for a plain task.
    pub jws: Option<String>,
    /// `sha256:…` of what goes out.
    pub digest: String,
}

/// What a task keeps: where its result goes, how large it may be, and whether it went.
pub(crate) struct State {
    sink: Arc<dyn ResultSink>,
    limit: u64,
    published: bool,
}

impl State {
    /// Whether the guest published its result.
    pub(crate) fn published(&self) -> bool {
        self.published
    }
}

impl PerTask for State {
    fn new(start: &Start<'_>) -> Self {
        Self {
            sink: Arc::clone(&start.services.results),
            limit: start.task.limits.output_bytes,
            published: false,
        }
    }
}

/// What a call works on.
struct Results<'a> {
    state: &'a mut State,
    table: &'a mut ResourceTable,
    output: &'a OutputBudget,
}

impl HasData for Results<'static> {
    type Data<'a> = Results<'a>;
}

fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    results::add_to_linker::<_, Results<'static>>(linker, |store| Results {
        state: &mut store.interfaces.results,
        table: &mut store.table,
        output: &store.output,
    })
}

type Error = Trappable<PublishError>;

impl Host for Results<'_> {
    fn publish(
        &mut self,
        content: Vec<u8>,
        media_type: String,
    ) -> Result<Resource<PublishedReceipt>, Error> {
        let content = Zeroizing::new(content);
        if self.state.published {
            return Err(PublishError::AlreadyPublished.into());
        }
        media_type
            .parse::<MediaType>()
            .map_err(|error| PublishError::InvalidMediaType(error.to_string()))?;
        // A place for the receipt comes first: with the result taken and no handle for its receipt, the
        // guest would know less than happened.
        let empty = PublishedReceipt {
            jws: None,
            digest: String::new(),
        };
        let handle = trappable::push::<_, PublishError>(self.table, empty)?;
        match self.hand_over(&content, &media_type) {
            Ok(receipt) => {
                *self.table.get_mut(&handle)? = receipt;
                Ok(handle)
            }
            Err(error) => {
                self.table.delete(handle)?;
                Err(error.into())
            }
        }
    }

    fn recipients(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.state.sink.recipients())
    }

    fn convert_publish_error(&mut self, error: Error) -> wasmtime::Result<PublishError> {
        error.into_wit()
    }
}

impl Results<'_> {
    fn hand_over(
        &mut self,
        content: &[u8],
        media_type: &str,
    ) -> Result<PublishedReceipt, PublishError> {
        if !self.output.reserve(content.len()) {
            return Err(PublishError::TooLarge(self.state.limit));
        }
        let receipt = self
            .state
            .sink
            .publish(content, media_type)
            .inspect_err(|_| self.output.release(content.len()))?;
        self.state.published = true;
        Ok(receipt)
    }
}

impl HostReceipt for Results<'_> {
    fn jws(&mut self, receipt: Resource<PublishedReceipt>) -> wasmtime::Result<Option<String>> {
        Ok(self.table.get(&receipt)?.jws.clone())
    }

    fn result_digest(&mut self, receipt: Resource<PublishedReceipt>) -> wasmtime::Result<String> {
        Ok(self.table.get(&receipt)?.digest.clone())
    }

    fn drop(&mut self, receipt: Resource<PublishedReceipt>) -> wasmtime::Result<()> {
        self.table.delete(receipt)?;
        Ok(())
    }
}

impl WitError for PublishError {
    fn other(words: String) -> Self {
        Self::Other(words)
    }
}

mod bindings {
    #![allow(missing_docs, clippy::all, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: "../../wit/confidential",
        inline: "
            package proplet:host;
            world host { import propeller:confidential/results@0.1.0; }
        ",
        world: "proplet:host/host",
        imports: { default: trappable },
        with: { "propeller:confidential/results.receipt": super::PublishedReceipt },
        trappable_error_type: { "propeller:confidential/results.publish-error" => super::Error },
    });
}
