//! `propeller:confidential/audit`: what the host has on record about the task.
//!
//! A call sees the chain of its own task, which holds nothing of another, and can add to it only by what it does.
//! Everything in it is the host's: kinds, codes and digests, so a component that reads it learns nothing that it could
//! not know.

use std::sync::Arc;

use bindings::propeller::confidential::audit::{self, AuditError, Host};
use wasmtime::component::{HasData, Linker};

use super::trappable::{Trappable, WitError};
use super::{Grant, Interface, PerTask, Start};
use crate::state::TaskState;

/// The record of one task.
pub trait TaskRecord: Send + Sync {
    /// How many entries there are so far.
    fn count(&self) -> u32;
    /// One entry, from 0, as it stands in the log.
    fn entry(&self, index: u32) -> Option<String>;
    /// The hash of the last one.
    fn head(&self) -> String;
}

/// Of a task that nobody keeps a record of.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unrecorded;

impl TaskRecord for Unrecorded {
    fn count(&self) -> u32 {
        0
    }

    fn entry(&self, _: u32) -> Option<String> {
        None
    }

    fn head(&self) -> String {
        String::new()
    }
}

pub(crate) const INTERFACE: Interface = Interface {
    names: &["propeller:confidential/audit"],
    grant: Grant::Always,
    add_to_linker,
};

/// What a task keeps: its record.
pub(crate) struct State(Arc<dyn TaskRecord>);

impl PerTask for State {
    fn new(start: &Start<'_>) -> Self {
        Self(Arc::clone(&start.services.record))
    }
}

/// What a call works on.
struct Record<'a>(&'a dyn TaskRecord);

impl HasData for Record<'static> {
    type Data<'a> = Record<'a>;
}

fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    audit::add_to_linker::<_, Record<'static>>(linker, |store| Record(&*store.interfaces.audit.0))
}

type Error = Trappable<AuditError>;

impl Host for Record<'_> {
    fn count(&mut self) -> wasmtime::Result<u32> {
        Ok(self.0.count())
    }

    fn read(&mut self, index: u32) -> Result<String, Error> {
        let entry = self.0.entry(index);
        Ok(entry.ok_or_else(|| AuditError::OutOfRange(self.0.count()))?)
    }

    fn head(&mut self) -> wasmtime::Result<String> {
        Ok(self.0.head())
    }

    fn convert_audit_error(&mut self, error: Error) -> wasmtime::Result<AuditError> {
        error.into_wit()
    }
}

impl WitError for AuditError {
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
            world host { import propeller:confidential/audit@0.1.0; }
        ",
        world: "proplet:host/host",
        imports: { default: trappable },
        trappable_error_type: { "propeller:confidential/audit.audit-error" => super::Error },
    });
}
