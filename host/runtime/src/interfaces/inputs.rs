//! `propeller:confidential/inputs`: the inputs of the task.

use crate::bindings::propeller::confidential::inputs::{Host, InputError};
use crate::state::TaskState;
use crate::task::Input;

impl Host for TaskState {
    fn count(&mut self) -> wasmtime::Result<u32> {
        Ok(self.input_count())
    }

    fn read(&mut self, index: u32) -> wasmtime::Result<Result<Vec<u8>, InputError>> {
        Ok(self.input(index).map(|input| input.bytes.to_vec()))
    }

    fn media_type(&mut self, index: u32) -> wasmtime::Result<Result<Option<String>, InputError>> {
        Ok(self.input(index).map(|input| input.media_type.clone()))
    }
}

impl TaskState {
    fn input_count(&self) -> u32 {
        u32::try_from(self.task.inputs.len()).unwrap_or(u32::MAX)
    }

    fn input(&self, index: u32) -> Result<&Input, InputError> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.task.inputs.get(index))
            .ok_or_else(|| InputError::OutOfRange(self.input_count()))
    }
}
