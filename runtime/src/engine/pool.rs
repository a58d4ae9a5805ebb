//! The pool that instances come from.

use wasmtime::{Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Elements a table may have. Language runtimes (JavaScript, Python) need some ten thousand; 8 bytes each.
const MAX_TABLE_ELEMENTS: usize = 200_000;

/// Memory of a finished instance that is cleared in place instead of being returned to the kernel, so that the next
/// instance does not fault it in again. Measured: twice the requests per second of an instance-per-request handler. Each slot keeps as
/// much for good, so it is no more than is of use: where the kernel tells which pages were written, 4 MiB gave neither `hello` nor a JavaScript
/// image more requests than 1 MiB, and two hundred guests that leaked left four times the memory behind.
const KEEP_RESIDENT: usize = 1 << 20;
const TABLE_KEEP_RESIDENT: usize = 256 << 10;

/// A component is several core instances and may have several tables; a few in ten thousand have a second memory.
pub(super) fn strategy(instances: u32) -> InstanceAllocationStrategy {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .total_stacks(instances)
        .total_gc_heaps(64)
        .max_memories_per_module(16)
        .max_tables_per_module(16)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        .table_elements(MAX_TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .pagemap_scan(if swap_is_off() { Enabled::Auto } else { Enabled::No });
    InstanceAllocationStrategy::Pooling(pool)
}

/// Whether `PAGEMAP_SCAN` may decide which pages the next instance must find cleared: a page that was swapped out
/// while dirty could be missed, so only where nothing is ever swapped. (`Auto` then asks the kernel, which has it from 6.7 on.)
fn swap_is_off() -> bool {
    std::fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() <= 1)
}
