//! One plugin, and one call of it.

use std::{fs::File, io::Read as _, path::Path, time::Duration};

use proplet_types::Digest;
use thiserror::Error;
use tokio::time::timeout;
use wasmtime::{
    Config, Engine, ResourceLimiter, Store,
    component::{
        Component, ComponentExportIndex, InstancePre, Linker, ResourceTable, Type, Val,
        types::ComponentItem,
    },
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::{
    MAX_BYTES,
    error::PluginError,
    info::{Ended, TaskInfo},
    values::Members,
};

/// The interface that a plugin exports.
const INTERFACE: &str = "propeller:proplet-plugin/lifecycle@0.1.0";
/// How long a call may take. It is over in less than a millisecond, most of the time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Instructions of a call, about: a second's worth.
const FUEL: u64 = 1_000_000_000;
/// Instructions after which others have their turn.
const FUEL_OF_A_TURN: u64 = 1_000_000;
/// Linear memory of a call, in bytes, over all its memories.
const MEMORY: usize = 64 << 20;
/// Elements of its tables, over all of them.
const ELEMENTS: usize = 100_000;
/// Instances, memories and tables of a call, of each.
const PARTS: usize = 100;
/// Bytes of what a plugin passes to the host in one call.
const PASSED: usize = 4 << 20;

/// A function of the interface.
#[derive(Clone, Copy)]
pub(crate) enum Function {
    Authorize,
    Enrich,
    OnTaskStart,
    OnTaskComplete,
}

impl Function {
    const ALL: [Self; 4] = [
        Self::Authorize,
        Self::Enrich,
        Self::OnTaskStart,
        Self::OnTaskComplete,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Enrich => "enrich",
            Self::OnTaskStart => "on-task-start",
            Self::OnTaskComplete => "on-task-complete",
        }
    }
}

/// Why a call came to nothing.
#[derive(Debug, Error)]
pub(crate) enum CallError {
    #[error("it took longer than {} seconds", PATIENCE.as_secs())]
    Late,
    #[error("it used more than a call may")]
    Fuel,
    #[error("it ended with an error of its own")]
    Trapped,
    #[error("{0}")]
    Type(String),
}

/// A plugin, compiled and checked.
pub(crate) struct Plugin {
    pub(crate) name: String,
    ready: InstancePre<State>,
    functions: Vec<Exported>,
}

struct Exported {
    index: ComponentExportIndex,
    argument: Type,
    results: usize,
}

/// What a call keeps.
struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    bounds: Bounds,
}

/// What the memories and tables of a call still may take.
struct Bounds {
    bytes: usize,
    elements: usize,
}

impl ResourceLimiter for Bounds {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        grow(&mut self.bytes, current, desired)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        grow(&mut self.elements, current, desired)
    }

    fn instances(&self) -> usize {
        PARTS
    }

    fn memories(&self) -> usize {
        PARTS
    }

    fn tables(&self) -> usize {
        PARTS
    }
}

/// Ends the call when there is not so much left.
fn grow(left: &mut usize, current: usize, desired: usize) -> wasmtime::Result<bool> {
    *left = left
        .checked_sub(desired.saturating_sub(current))
        .ok_or_else(|| wasmtime::Error::msg("it grew larger than a call may"))?;
    Ok(true)
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// The engine of plugins: none of what tasks share with one another is theirs.
pub(crate) fn engine() -> Result<Engine, PluginError> {
    let mut config = Config::new();
    config.consume_fuel(true).concurrency_support(false);
    Engine::new(&config).map_err(|error| PluginError::Engine(format!("{error:#}")))
}

impl Plugin {
    pub(crate) fn load(
        engine: &Engine,
        path: &Path,
        expected: Digest,
    ) -> Result<Self, PluginError> {
        let bytes = read(path)?;
        let found = Digest::of(&bytes);
        if found != expected {
            return Err(PluginError::Digest {
                path: path.to_owned(),
                expected,
                found,
            });
        }
        let name = path.file_stem().unwrap_or(path.as_os_str());
        Self::new(engine, &name.to_string_lossy(), &bytes).map_err(|why| PluginError::NotAPlugin {
            path: path.to_owned(),
            why,
        })
    }

    fn new(engine: &Engine, name: &str, bytes: &[u8]) -> Result<Self, String> {
        let words = |error: wasmtime::Error| format!("{error:#}");
        let component = Component::from_binary(engine, bytes).map_err(words)?;
        let (_, interface) = component
            .get_export(None, INTERFACE)
            .ok_or_else(|| format!("it does not export {INTERFACE}"))?;
        let functions = Function::ALL.map(|function| {
            let name = function.name();
            let Some((ComponentItem::ComponentFunc(ty), index)) =
                component.get_export(Some(&interface), name)
            else {
                return Err(format!("it does not export `{name}`"));
            };
            let mut arguments = ty.params();
            let (Some((_, argument)), None) = (arguments.next(), arguments.next()) else {
                return Err(format!("`{name}` does not take one argument"));
            };
            let results = ty.results().len();
            Ok(Exported {
                index,
                argument,
                results,
            })
        });
        let functions: Result<Vec<_>, String> = functions.into_iter().collect();
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(words)?;
        let plugin = Self {
            name: name.to_owned(),
            ready: linker.instantiate_pre(&component).map_err(words)?,
            functions: functions?,
        };
        plugin.check_types()?;
        Ok(plugin)
    }

    /// Tries what every call will do, with arguments that say nothing.
    fn check_types(&self) -> Result<(), String> {
        let (task, ended) = (TaskInfo::default(), Ended::default());
        for (function, exported) in Function::ALL.into_iter().zip(&self.functions) {
            let members: Members<'_> = match function {
                Function::OnTaskComplete => Members::from(&ended),
                _ => Members::from(&task),
            };
            let checked = members.argument(&exported.argument);
            checked.map_err(|why| format!("`{}`: {why}", function.name()))?;
        }
        Ok(())
    }

    /// Calls a function, and gives what it returns, if it returns something.
    pub(crate) async fn call(
        &self,
        function: Function,
        members: Members<'_>,
    ) -> Result<Option<Val>, CallError> {
        let Some(exported) = self.functions.get(function as usize) else {
            return Err(CallError::Type("it has no such function".to_owned()));
        };
        let argument = members
            .argument(&exported.argument)
            .map_err(CallError::Type)?;
        match timeout(PATIENCE, self.run(exported, argument)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.downcast_ref() == Some(&wasmtime::Trap::OutOfFuel) => {
                Err(CallError::Fuel)
            }
            Ok(Err(error)) => {
                // Its own words stay here: it was told what a task's sender wrote.
                tracing::debug!("The plugin {} ended with an error: {error:#}", self.name);
                Err(CallError::Trapped)
            }
            Err(_) => Err(CallError::Late),
        }
    }

    async fn run(&self, exported: &Exported, argument: Val) -> wasmtime::Result<Option<Val>> {
        let state = State {
            wasi: WasiCtx::builder()
                .allow_tcp(false)
                .allow_udp(false)
                .allow_ip_name_lookup(false)
                .build(),
            table: ResourceTable::new(),
            bounds: Bounds {
                bytes: MEMORY,
                elements: ELEMENTS,
            },
        };
        let mut store = Store::new(self.ready.engine(), state);
        store.limiter(|state| &mut state.bounds);
        store.set_hostcall_fuel(PASSED);
        store.set_fuel(FUEL)?;
        store.fuel_async_yield_interval(Some(FUEL_OF_A_TURN))?;
        let instance = self.ready.instantiate_async(&mut store).await?;
        let function = instance
            .get_func(&mut store, exported.index)
            .ok_or_else(|| wasmtime::Error::msg("an export is gone"))?;
        let mut answers = vec![Val::Bool(false); exported.results];
        function
            .call_async(&mut store, &[argument], &mut answers)
            .await?;
        Ok(answers.into_iter().next())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PluginError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| PluginError::Read {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(PluginError::TooLarge {
            path: path.to_owned(),
            limit: MAX_BYTES,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(bytes: &[u8], digest: Option<Digest>) -> PluginError {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.wasm");
        std::fs::write(&path, bytes).unwrap();
        let digest = digest.unwrap_or_else(|| Digest::of(bytes));
        Plugin::load(&engine().unwrap(), &path, digest)
            .err()
            .unwrap()
    }

    #[test]
    fn what_is_not_the_plugin_of_the_settings_is_refused() {
        let component = wat::parse_str("(component)").unwrap();
        let error = load(&component, Some(Digest::of(b"another")));
        assert!(matches!(error, PluginError::Digest { .. }), "{error}");
        let missing = Plugin::load(&engine().unwrap(), Path::new("/nowhere"), Digest::of(b""));
        assert!(matches!(missing.err().unwrap(), PluginError::Read { .. }));
    }

    #[test]
    fn what_a_call_takes_counts_over_all_its_memories() {
        let mut left = 100;
        grow(&mut left, 0, 60).unwrap();
        grow(&mut left, 0, 30).unwrap();
        grow(&mut left, 60, 70).unwrap();
        assert_eq!(left, 0);
        grow(&mut left, 70, 71).unwrap_err();
    }

    #[test]
    fn what_is_no_plugin_is_refused_by_what_it_lacks() {
        let component = |text: &str| wat::parse_str(text).unwrap();
        for (bytes, words) in [
            (b"no wasm".to_vec(), "is no plugin"),
            (component("(module)"), "is no plugin"),
            (component("(component)"), "does not export propeller:"),
            (
                component(&format!(
                    "(component (instance $i) (export \"{INTERFACE}\" (instance $i)))"
                )),
                "`authorize`",
            ),
        ] {
            let error = load(&bytes, None).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
