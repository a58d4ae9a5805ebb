//! What the kernel is told of the guest threads: that the rest of the process goes before them.

/// The scheduling priority (`nice`): a request that wakes the data plane comes before a guest that spins. More would leave guests nothing beside
/// other busy programs.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// The time slice to ask for, in nanoseconds. Linux lets a thread that wakes with a shorter slice (any other has some 3 ms) go before one that
/// runs, from 6.12 on; without, it may wait until the other's slice is over. No longer than that takes: beside other busy programs a guest whose
/// thread waits for its next slice waits with it.
#[cfg(target_os = "linux")]
const SLICE: u64 = 10_000_000;

/// Linux keeps priorities per thread; elsewhere they would be the whole process', so nothing is done there. Lowering one's own
/// needs no privilege; where it fails all the same, guests just compete as equals.
pub(super) fn lower() {
    #[cfg(target_os = "linux")]
    if let Err(error) = set() {
        tracing::debug!(%error, "guest threads keep the normal priority");
    }
}

#[cfg(target_os = "linux")]
fn set() -> std::io::Result<()> {
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or(0),
        sched_policy: libc::SCHED_OTHER.unsigned_abs(),
        sched_flags: 0,
        sched_nice: NICE,
        sched_priority: 0,
        sched_runtime: SLICE,
        sched_deadline: 0,
        sched_period: 0,
    };
    let (this_thread, no_flags) = (0, 0);
    // SAFETY: the kernel reads `size` bytes from the pointer, which is to a whole value of that size, and keeps nothing of it.
    let done =
        unsafe { libc::syscall(libc::SYS_sched_setattr, this_thread, &raw const attributes, no_flags) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
