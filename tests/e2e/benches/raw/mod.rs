//! The raw engine that tasks are compared with: it has the settings of `proplet-runtime` that matter for the price.

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// With the same pool, epochs and zeroed stacks, and without concurrency support.
pub(crate) fn engine() -> Engine {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(256)
        .total_tables(256)
        .total_stacks(128)
        .table_elements(100_000)
        .max_memories_per_component(4)
        .max_tables_per_component(16);
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .async_stack_zeroing(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).unwrap()
}
