//! How the engine is set up.
//!
//! Every WebAssembly feature is named here, on or off, so that a new release of the engine does not change
//! what components this host accepts.

use wasmtime::{
    Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmFeatures,
};

use crate::error::RuntimeError;

/// How the runtime is set up.
///
/// What a component may have of instances, memories, tables and functions is fixed, so that a component that
/// runs on one host runs on another: 1000 core instances, 100 memories and 100 tables (fewer where more than
/// 100 tasks run at once), ten million elements in a table, and 64 MiB of the engine's records for its
/// instances, which is more than a million functions need. Below these, a task's own limit of memory decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Tasks that run at once, 1 to 1000. A further one waits for a place; waiting does not count against its limits.
    pub concurrent_tasks: u32,
    /// Requests to HTTP guests that are answered at once. They have places of their own, with tasks at most 1000.
    pub concurrent_requests: u32,
    /// Largest component that is compiled, in bytes.
    pub max_component_bytes: u64,
    /// Compilations that run at once, at least 1. Each uses every processor. One [owner](crate::Owner) has at most
    /// half of them.
    pub compilations: u32,
    /// How long a task waits for its component while it is compiled, in milliseconds. Waiting for its turn is not
    /// counted; that may take as long again. All of it comes before the task's own wall clock begins.
    pub compile_ms: u64,
    /// Compiled components that are kept. The one that was used longest ago goes first.
    pub cached_components: usize,
    /// Bytes of compiled code that are kept. What is larger is compiled for each task.
    pub cached_bytes: u64,
    /// Largest linear memory that any task may have, in bytes; at most 4 GiB. A task's own limit is in
    /// [`TaskLimits`](crate::TaskLimits).
    pub max_memory_bytes: u64,
}

impl Default for RuntimeConfig {
    /// 64 tasks at once and no HTTP requests, 64 MiB of component, two compilations at once of two minutes at most, 64 compiled
    /// components with 1 GiB of code, 4 GiB of linear memory.
    fn default() -> Self {
        Self {
            concurrent_tasks: 64,
            concurrent_requests: 0,
            max_component_bytes: 64 << 20,
            compilations: 2,
            compile_ms: 120_000,
            cached_components: 64,
            cached_bytes: 1 << 30,
            max_memory_bytes: 4 << 30,
        }
    }
}

/// Most tasks at once.
const MAX_TASKS: u32 = 1000;
/// Core instances that one component may have: its own modules and the adapters around them. Python's and its
/// libraries' are some forty.
const CORE_INSTANCES_PER_TASK: u32 = 1000;
/// Linear memories and tables that one component may have. Each place for a memory takes somewhat more than
/// 4 GiB of address space, of which there are 128 TiB, so there are fewer where more than a hundred tasks run
/// at once.
const MEMORIES_PER_TASK: u32 = 100;
const TABLES_PER_TASK: u32 = 100;
const MEMORIES: u32 = 10_000;
/// Elements of one table; 80 MiB of address space.
const TABLE_ELEMENTS: usize = 10_000_000;
/// Bytes of the engine's own records of a task's instances: 32 for each function that can be referred to or is
/// imported, 16 for each global. They come on top of the task's memory. The largest module that the engine
/// takes, with a million functions, needs some 32 MiB.
const INSTANCE_BYTES: usize = 64 << 20;
/// Bytes at the top of a stack that are wiped instead of being given back. Most calls use no more, and pages that
/// are there already cost less than wiping them.
const STACK_KEPT: usize = 32 << 10;

impl RuntimeConfig {
    /// The engine's configuration.
    pub(crate) fn engine(&self) -> Result<Config, RuntimeError> {
        if !(1..=MAX_TASKS).contains(&self.concurrent_tasks) {
            return Err(RuntimeError::Host(format!(
                "{} tasks at once are not possible; allow 1 to {MAX_TASKS} in the settings",
                self.concurrent_tasks
            )));
        }
        if self.instances() > MAX_TASKS {
            return Err(RuntimeError::Host(format!(
                "{} tasks and {} HTTP requests at once are not possible; allow {MAX_TASKS} together in the \
                 settings",
                self.concurrent_tasks, self.concurrent_requests
            )));
        }
        if self.compilations == 0 {
            return Err(RuntimeError::Host(
                "no compilation is allowed; allow at least one at once".to_owned(),
            ));
        }
        let mut config = Config::new();
        config.wasm_features(WasmFeatures::all(), false);
        config.wasm_features(ENABLED, true);
        // Nothing here uses concurrent tasks inside one instance, and their bookkeeping doubles the price
        // of a call.
        config.concurrency_support(false);
        config.epoch_interruption(true);
        config.cranelift_opt_level(OptLevel::Speed);
        config.memory_init_cow(true);
        // The stack of a guest call holds copies of secrets and inputs; it is wiped before the next task
        // gets it.
        config.async_stack_zeroing(true);
        config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20));
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(self.pool()));
        Ok(config)
    }

    /// Components that run at once.
    fn instances(&self) -> u32 {
        self.concurrent_tasks
            .saturating_add(self.concurrent_requests)
    }

    /// Instances come from a pool, which costs about a third of mapping memory for each. A slot's memory is
    /// handed back to the kernel when the instance is dropped (none of it is kept resident and nothing is
    /// batched), and so is its stack but for the top, which is overwritten with zeroes. So no byte of one task is
    /// in the slot when the next gets it.
    fn pool(&self) -> PoolingAllocationConfig {
        let tasks = self.instances();
        let each = MEMORIES / tasks.max(1);
        let (memories, tables) = (each.min(MEMORIES_PER_TASK), each.min(TABLES_PER_TASK));
        let mut pool = PoolingAllocationConfig::new();
        pool.linear_memory_keep_resident(0)
            .table_keep_resident(0)
            .async_stack_keep_resident(STACK_KEPT)
            .decommit_batch_size(1)
            .total_component_instances(tasks)
            .total_core_instances(tasks.saturating_mul(CORE_INSTANCES_PER_TASK))
            .max_core_instances_per_component(CORE_INSTANCES_PER_TASK)
            .max_core_instance_size(INSTANCE_BYTES)
            .max_component_instance_size(INSTANCE_BYTES)
            .total_memories(tasks.saturating_mul(memories))
            .max_memories_per_component(memories)
            .total_tables(tasks.saturating_mul(tables))
            .max_tables_per_component(tables)
            .max_tables_per_module(tables)
            .table_elements(TABLE_ELEMENTS)
            .total_stacks(tasks.saturating_mul(2))
            .max_memory_size(
                usize::try_from(self.max_memory_bytes.min(4 << 30)).unwrap_or(usize::MAX),
            );
        pool
    }
}

/// What guests may use: WebAssembly 2.0 without reference-typed garbage collection, plus tail calls and
/// extended constants. Not threads (no shared memory between guests), 64-bit or several memories,
/// exceptions, or relaxed SIMD, whose results differ between machines. `docs/guests.md` has the list.
const ENABLED: WasmFeatures = WasmFeatures::WASM2
    .difference(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::COMPONENT_MODEL);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        wasmtime::Engine::new(&RuntimeConfig::default().engine().unwrap()).unwrap();
    }

    #[test]
    fn the_number_of_tasks_is_checked() {
        let config = |concurrent_tasks| RuntimeConfig {
            concurrent_tasks,
            ..RuntimeConfig::default()
        };
        for tasks in [0, MAX_TASKS + 1, u32::MAX] {
            assert_eq!(config(tasks).engine().unwrap_err().code(), "host-failed");
        }
        for tasks in [1, MAX_TASKS] {
            wasmtime::Engine::new(&config(tasks).engine().unwrap()).unwrap();
        }
    }

    #[tokio::test]
    async fn nothing_is_left_on_a_stack() {
        use std::os::unix::fs::FileExt as _;
        use std::sync::Mutex;

        const MARK: u8 = 0xa5;
        fn mark<const N: usize>(marked: &Mutex<Vec<(usize, usize)>>) {
            let bytes = std::hint::black_box([MARK; N]);
            marked.lock().unwrap().push((bytes.as_ptr() as usize, N));
        }
        let engine = wasmtime::Engine::new(&RuntimeConfig::default().engine().unwrap()).unwrap();
        let wasm = wat::parse_str(
            r#"(module (import "host" "mark" (func $mark)) (func (export "run") call $mark))"#,
        );
        let module = wasmtime::Module::new(&engine, wasm.unwrap()).unwrap();
        let mut linker = wasmtime::Linker::<Mutex<Vec<(usize, usize)>>>::new(&engine);
        // One of them lies in what is kept of a stack, the other goes far below that.
        let marks = |caller: wasmtime::Caller<'_, _>| {
            mark::<1024>(caller.data());
            mark::<{ 4 * STACK_KEPT }>(caller.data());
        };
        linker.func_wrap("host", "mark", marks).unwrap();
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let marked = |(address, length): (usize, usize)| {
            let mut bytes = vec![0; length];
            memory.read_exact_at(&mut bytes, address as u64).unwrap();
            bytes.iter().filter(|byte| **byte == MARK).count()
        };

        let mut store = wasmtime::Store::new(&engine, Mutex::default());
        store.set_epoch_deadline(1);
        let instance = linker.instantiate_async(&mut store, &module).await.unwrap();
        let run = instance
            .get_typed_func::<(), ()>(&mut store, "run")
            .unwrap();
        run.call_async(&mut store, ()).await.unwrap();
        let ranges = store.data().lock().unwrap().clone();
        // The stack belongs to the store until that is dropped. What was called since may have written over some.
        assert_eq!(ranges.len(), 2);
        assert!(ranges.iter().all(|range| marked(*range) > range.1 / 4));
        drop(store);
        let left: Vec<usize> = ranges.into_iter().map(marked).collect();
        assert_eq!(left, [0, 0]);
    }

    #[test]
    fn features_are_as_documented() {
        let guests = include_str!("../../../docs/guests.md");
        let listed = |heading: &str| {
            let (_, list) = guests.split_once(heading).unwrap();
            let list = list.split_once("\n\n").map_or(list, |(list, _)| list);
            let mut names: Vec<String> = list
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect();
            names.sort();
            names
        };
        let named = |features: WasmFeatures| {
            let mut names: Vec<String> = features
                .iter_names()
                .map(|(name, _)| name.to_lowercase().replace('_', "-"))
                .collect();
            names.sort();
            names
        };
        assert_eq!(listed("Accepted:"), named(ENABLED));
        assert_eq!(
            listed("Not accepted:"),
            named(WasmFeatures::all().difference(ENABLED))
        );
    }

    #[test]
    fn features_are_as_listed() {
        let config = RuntimeConfig::default();
        let engine = wasmtime::Engine::new(&config.engine().unwrap()).unwrap();
        for (wat, accepted) in [
            ("(module (memory 1))", true),
            (
                "(module (func (result i32 i32) i32.const 1 i32.const 2))",
                true,
            ),
            ("(module (func (param v128)))", true),
            ("(module (func $f return_call $f))", true),
            ("(module (table 1 funcref) (table 1 funcref))", true),
            ("(module (memory i64 1))", false),
            ("(module (memory 1) (memory 1))", false),
            ("(module (memory 1 1 shared))", false),
            ("(module (tag))", false),
            (
                "(module (func (param v128) (result v128) local.get 0 i32x4.relaxed_trunc_f32x4_s))",
                false,
            ),
        ] {
            let wasm = wat::parse_str(wat).unwrap();
            assert_eq!(
                wasmtime::Module::new(&engine, wasm).is_ok(),
                accepted,
                "{wat}"
            );
        }
    }
}
