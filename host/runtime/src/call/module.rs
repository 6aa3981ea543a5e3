//! Running one export of a core module, up to its value.

use wasmtime::Store;
use zeroize::Zeroizing;

use super::ended::Ended;
use crate::compiled::CoreExport;
use crate::error::{GuestText, RuntimeError};
use crate::export::INITIALIZE;
use crate::signature;
use crate::state::CoreState;
use crate::task::{Content, Value};

/// Instantiates a core module, initialises it and calls an export.
pub(crate) async fn core(
    store: &mut Store<CoreState>,
    linked: &wasmtime::InstancePre<CoreState>,
    initializes: bool,
    export: &CoreExport,
    arguments: Vec<wasmtime::Val>,
) -> Result<Value, Ended> {
    let instance = linked.instantiate_async(&mut *store).await?;
    if initializes && export.name != INITIALIZE {
        let initialize = instance.get_typed_func::<(), ()>(&mut *store, INITIALIZE)?;
        initialize.call_async(&mut *store, ()).await?;
    }
    let Some(function) = instance.get_func(&mut *store, &export.name) else {
        return Err(RuntimeError::Host("the export is gone after instantiation".to_owned()).into());
    };
    let mut results = vec![wasmtime::Val::I32(0); export.ty.results().len()];
    function
        .call_async(&mut *store, &arguments, &mut results)
        .await?;
    let text = match results.first() {
        None => {
            return Ok(Value {
                content: Content::Stdout,
                in_ok: false,
            });
        }
        Some(wasmtime::Val::I32(value)) => value.to_string(),
        Some(wasmtime::Val::I64(value)) => value.to_string(),
        Some(wasmtime::Val::F32(bits)) => f32::from_bits(*bits).to_string(),
        Some(wasmtime::Val::F64(bits)) => f64::from_bits(*bits).to_string(),
        Some(_) => {
            let signature = signature::core(&export.name, &export.ty);
            return Err(RuntimeError::ExportUnsupported(GuestText::new(signature)).into());
        }
    };
    Ok(Value {
        content: Content::Wave(Zeroizing::new(text)),
        in_ok: false,
    })
}
