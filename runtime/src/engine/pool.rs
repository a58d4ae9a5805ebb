//! The pool that instances come from.

use wasmtime::{Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Address space of a memory, with the pages behind it that catch what reaches beyond: wasmtime's defaults.
const SLOT: u64 = (4 << 30) + (32 << 20);

/// A pool takes this part of the address space that is left, so that a process may have any number of them: several hosts, each with an
/// engine for each kind of program. The first five of 128 TiB are of the default size.
const SHARE: u64 = 4;

/// The smallest pool there is any use for, where less is left.
pub(super) const FEWEST: u32 = 16;

/// Heaps of programs that have garbage collection, which are few. They are as large as memories.
const MAX_GC_HEAPS: u32 = 64;
const INSTANCES_PER_GC_HEAP: u32 = 4;

/// How many of the instances that are wanted fit into the address space that is left, where that is known.
pub(super) fn fitting(wanted: u32, left: Option<u64>) -> u32 {
    let Some(left) = left else { return wanted };
    let slots = u32::try_from(left / SHARE / SLOT).unwrap_or(u32::MAX);
    wanted.min(FEWEST.max(slots.saturating_sub(gc_heaps(slots))))
}

fn gc_heaps(instances: u32) -> u32 {
    if cfg!(feature = "gc") { (instances / INSTANCES_PER_GC_HEAP).clamp(1, MAX_GC_HEAPS) } else { 0 }
}

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
        .max_memories_per_module(16)
        .max_tables_per_module(16)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        .table_elements(MAX_TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .pagemap_scan(if swap_is_off() { Enabled::Auto } else { Enabled::No });
    #[cfg(feature = "gc")]
    pool.total_gc_heaps(gc_heaps(instances));
    InstanceAllocationStrategy::Pooling(pool)
}

/// Whether `PAGEMAP_SCAN` may decide which pages the next instance must find cleared: a page that was swapped out
/// while dirty could be missed, so only where nothing is ever swapped. (`Auto` then asks the kernel, which has it from 6.7 on.)
fn swap_is_off() -> bool {
    std::fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIB: u64 = 1 << 40;

    #[test]
    fn a_pool_is_as_large_as_is_wanted_while_there_is_room_and_takes_a_share_of_what_is_left_then() {
        assert_eq!(fitting(4096, None), 4096);
        assert_eq!(fitting(4096, Some(127 * TIB)), 4096);
        assert_eq!(fitting(64, Some(2 * TIB)), 64);
        assert_eq!(fitting(64, Some(TIB)), 48);
        assert_eq!(fitting(3, Some(0)), 3);
        // 39 bits, as small aarch64 hosts have.
        assert_eq!(fitting(4096, Some(TIB / 2)), 24);
        assert_eq!(fitting(4096, Some(0)), FEWEST);
    }

    #[test]
    fn twenty_pools_fit_into_the_address_space_of_a_process() {
        let mut left = 127 * TIB;
        let mut sizes = Vec::new();
        for _ in 0..20 {
            let instances = fitting(4096, Some(left));
            let taken = u64::from(instances + gc_heaps(instances)) * SLOT;
            left = left.checked_sub(taken).unwrap_or_else(|| panic!("no room after {sizes:?}"));
            sizes.push(instances);
        }
        assert_eq!(sizes[..4], [4096; 4]);
        assert!(sizes.is_sorted_by(|one, next| one >= next), "{sizes:?}");
    }
}
