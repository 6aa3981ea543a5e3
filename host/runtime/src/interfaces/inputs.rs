//! `propeller:confidential/inputs`: the inputs of the task.
//!
//! A call sees the inputs of its own task and nothing else of it. They are read-only: what a receipt says
//! about them cannot change while the task runs.

use std::sync::Arc;

use bindings::propeller::confidential::inputs::{self, Host, InputError};
use wasmtime::component::{HasData, Linker};

use super::trappable::{Trappable, WitError};
use super::{Grant, Interface, PerTask, Start};
use crate::state::TaskState;
use crate::task::{Input, TaskSpec};

pub(crate) const INTERFACE: Interface = Interface {
    names: &["propeller:confidential/inputs"],
    grant: Grant::Always,
    add_to_linker,
};

/// What a task keeps: its inputs, which its arguments share.
pub(crate) struct State(Arc<TaskSpec>);

impl PerTask for State {
    fn new(start: &Start<'_>) -> Self {
        Self(Arc::clone(start.task))
    }
}

/// What a call works on.
struct Inputs<'a>(&'a [Input]);

impl HasData for Inputs<'static> {
    type Data<'a> = Inputs<'a>;
}

fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    inputs::add_to_linker::<_, Inputs<'static>>(linker, |store| {
        Inputs(&store.interfaces.inputs.0.inputs)
    })
}

type Error = Trappable<InputError>;

impl Host for Inputs<'_> {
    fn count(&mut self) -> wasmtime::Result<u32> {
        Ok(self.len())
    }

    fn read(&mut self, index: u32) -> Result<Vec<u8>, Error> {
        Ok(self.get(index)?.bytes.to_vec())
    }

    fn media_type(&mut self, index: u32) -> Result<Option<String>, Error> {
        Ok(self.get(index)?.media_type.clone())
    }

    fn convert_input_error(&mut self, error: Error) -> wasmtime::Result<InputError> {
        error.into_wit()
    }
}

impl Inputs<'_> {
    fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn get(&self, index: u32) -> Result<&Input, InputError> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.0.get(index))
            .ok_or_else(|| InputError::OutOfRange(self.len()))
    }
}

impl WitError for InputError {
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
            world host { import propeller:confidential/inputs@0.1.0; }
        ",
        world: "proplet:host/host",
        imports: { default: trappable },
        trappable_error_type: { "propeller:confidential/inputs.input-error" => super::Error },
    });
}
