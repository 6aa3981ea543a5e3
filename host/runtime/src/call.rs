//! Running one export of a component or a core module, up to its value.

mod ended;
mod module;

use wasmtime::component::{ComponentNamedList, ComponentType, Func, Lift, Lower, Val};
use wasmtime::{AsContextMut as _, Store};
use zeroize::Zeroizing;

pub(crate) use self::ended::Ended;
pub(crate) use self::module::core;
use crate::allowance::Allowance;
use crate::args;
use crate::capture::OutputBudget;
use crate::compiled::{ComponentExport, Form, Gives, TypedForm};
use crate::cpu::Watch;
use crate::error::{GuestText, MAX_GUEST_TEXT, RuntimeError};
use crate::signature;
use crate::state::TaskState;
use crate::task::{Content, Input, Value};
use crate::wave;

/// Reads the arguments of a component's export, instantiates the component and calls it.
pub(crate) async fn component(
    store: &mut Store<TaskState>,
    linked: &wasmtime::component::InstancePre<TaskState>,
    export: &ComponentExport,
    watch: &Watch,
) -> Result<Value, Ended> {
    let arguments = match export.form {
        Form::Dynamic => {
            let state = store.data_mut();
            let mut allowance = Allowance::new(watch, &mut state.memory);
            args::component(&export.name, &export.ty, &state.task.inputs, &mut allowance)?
        }
        Form::Command | Form::Typed(_) => Vec::new(),
    };
    let instance = linked.instantiate_async(&mut *store).await?;
    let Some(function) = instance.get_func(&mut *store, export.index) else {
        return Err(RuntimeError::Host("the export is gone after instantiation".to_owned()).into());
    };
    match export.form {
        Form::Command => command(store, function).await,
        Form::Typed(form) => typed(store, function, form).await,
        Form::Dynamic => dynamic(store, function, export, &arguments, watch).await,
    }
}

/// Checks that the export can be invoked with as many inputs as there are.
pub(crate) fn check_component(
    export: &ComponentExport,
    inputs: &[Input],
    surplus: bool,
) -> Result<(), RuntimeError> {
    let signature = || signature::component(&export.name, &export.ty);
    match export.form {
        Form::Command => Ok(()),
        // `run` of the world `task` gets no bytes when there is no input, and leaves further ones.
        Form::Typed(form) if form.takes_bytes && form.gives == Gives::BytesOrFailure => Ok(()),
        Form::Typed(form) => {
            args::check_count(form.takes_bytes.into(), inputs.len(), surplus, signature)
        }
        Form::Dynamic if !export.weight().is_plain => {
            Err(RuntimeError::ExportUnsupported(GuestText::new(signature())))
        }
        Form::Dynamic => {
            args::check_count(export.ty.params().len(), inputs.len(), surplus, signature)
        }
    }
}

async fn command(store: &mut Store<TaskState>, function: Func) -> Result<Value, Ended> {
    let run = function.typed::<(), (Result<(), ()>,)>(&*store)?;
    match run.call_async(store, ()).await? {
        (Ok(()),) => Ok(Value {
            content: Content::Stdout,
            in_ok: false,
        }),
        (Err(()),) => Err(exited(1).into()),
    }
}

/// `failure` of `propeller:worlds/outcome`.
#[derive(ComponentType, Lift)]
#[component(variant)]
enum Failure {
    #[component(name = "invalid-input")]
    InvalidInput(String),
    #[component(name = "host")]
    Host(String),
    #[component(name = "other")]
    Other(String),
}

async fn typed(
    store: &mut Store<TaskState>,
    function: Func,
    form: TypedForm,
) -> Result<Value, Ended> {
    if !form.takes_bytes {
        return typed_with(store, function, form.gives, ()).await;
    }
    let task = std::sync::Arc::clone(&store.data().task);
    let input = task
        .inputs
        .first()
        .map_or(&[][..], |input| input.bytes.as_slice());
    typed_with(store, function, form.gives, (input,)).await
}

async fn typed_with<P>(
    store: &mut Store<TaskState>,
    function: Func,
    gives: Gives,
    parameters: P,
) -> Result<Value, Ended>
where
    P: ComponentNamedList + Lower + Send + Sync,
{
    match gives {
        Gives::Bytes => {
            let function = function.typed::<P, (Vec<u8>,)>(&*store)?;
            let (bytes,) = function.call_async(store, parameters).await?;
            Ok(Value {
                content: Content::Bytes(Zeroizing::new(bytes)),
                in_ok: false,
            })
        }
        Gives::BytesOrText => {
            let function = function.typed::<P, (Result<Vec<u8>, String>,)>(&*store)?;
            let (result,) = function.call_async(store, parameters).await?;
            bytes_or(result, |text| quoted(&text))
        }
        Gives::BytesOrFailure => {
            let function = function.typed::<P, (Result<Vec<u8>, Failure>,)>(&*store)?;
            let (result,) = function.call_async(store, parameters).await?;
            bytes_or(result, |failure| {
                let (case, text) = match failure {
                    Failure::InvalidInput(text) => ("invalid-input", text),
                    Failure::Host(text) => ("host", text),
                    Failure::Other(text) => ("other", text),
                };
                Zeroizing::new(format!("{case}({})", *quoted(&text)))
            })
        }
    }
}

/// The beginning of a text in quotes: what is longer than an error may be is not worth quoting.
fn quoted(text: &str) -> Zeroizing<String> {
    let end = text.floor_char_boundary(MAX_GUEST_TEXT);
    wave::string(text.get(..end).unwrap_or_default())
}

fn bytes_or<E>(
    result: Result<Vec<u8>, E>,
    wave: impl FnOnce(E) -> Zeroizing<String>,
) -> Result<Value, Ended> {
    match result {
        Ok(bytes) => Ok(Value {
            content: Content::Bytes(Zeroizing::new(bytes)),
            in_ok: true,
        }),
        Err(error) => Err(failed(&wave(error)).into()),
    }
}

async fn dynamic(
    store: &mut Store<TaskState>,
    function: Func,
    export: &ComponentExport,
    arguments: &[Val],
    watch: &Watch,
) -> Result<Value, Ended> {
    let mut results = vec![Val::Bool(false); export.ty.results().len()];
    function
        .call_async(store.as_context_mut(), arguments, &mut results)
        .await?;
    let state = store.data_mut();
    // What was published takes the place of the value, which is not part of the output then.
    let output = if state.interfaces.results.published() {
        u64::MAX
    } else {
        state.output.left()
    };
    let allowance = &mut Allowance::new(watch, &mut state.memory);
    match results.into_iter().next() {
        None => Ok(Value {
            content: Content::Nothing,
            in_ok: false,
        }),
        Some(Val::Result(Ok(None))) => Ok(Value {
            content: Content::Nothing,
            in_ok: true,
        }),
        Some(Val::Result(Ok(Some(value)))) => Ok(Value {
            content: content(*value, output, allowance)?,
            in_ok: true,
        }),
        Some(Val::Result(Err(None))) => Err(failed("err").into()),
        Some(Val::Result(Err(Some(error)))) => {
            let text = wave::write_cut(&error, MAX_GUEST_TEXT as u64 + 1, allowance);
            Err(failed(&text.map_err(unwritten)?).into())
        }
        Some(value) => Ok(Value {
            content: content(value, output, allowance)?,
            in_ok: false,
        }),
    }
}

fn content(value: Val, output: u64, allowance: &mut Allowance<'_>) -> Result<Content, Ended> {
    if let Val::List(elements) = &value {
        let byte = |element: &Val| match element {
            Val::U8(byte) => Some(*byte),
            _ => None,
        };
        // An empty list has lost its type; as bytes or as WAVE text it says the same.
        if let Some(bytes) = elements.iter().map(byte).collect::<Option<Vec<u8>>>() {
            return Ok(Content::Bytes(Zeroizing::new(bytes)));
        }
    }
    match value {
        Val::String(text) => Ok(Content::Text(Zeroizing::new(text))),
        value => wave::write(&value, output, allowance)
            .map(Content::Wave)
            .map_err(unwritten),
    }
}

fn unwritten(failed: wave::Failed) -> Ended {
    match failed {
        wave::Failed::Passed(passed) => passed.into(),
        wave::Failed::Invalid(error) => RuntimeError::ExportUnsupported(GuestText::new(format!(
            "a result that WAVE cannot write: {error}"
        )))
        .into(),
    }
}

/// Counts the value against the output limit.
pub(crate) fn spend(value: &Value, output: &OutputBudget) -> wasmtime::Result<()> {
    match &value.content {
        Content::Nothing | Content::Stdout => Ok(()),
        Content::Bytes(bytes) => output.spend(bytes.len()),
        Content::Text(text) | Content::Wave(text) => output.spend(text.len()),
    }
}

/// The failure of a command that ended with this status.
pub(crate) fn exited(status: i32) -> RuntimeError {
    RuntimeError::GuestFailed {
        exit_code: Some(status),
        text: GuestText::new(format!("exit status {status}")),
    }
}

fn failed(wave: &str) -> RuntimeError {
    RuntimeError::GuestFailed {
        exit_code: None,
        text: GuestText::new(wave),
    }
}
