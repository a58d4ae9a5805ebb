//! The clock that cuts the slices of guests whose code watches the epoch.
//!
//! A thread advances the engines' epochs each [`TICK`] while guests run, and sleeps while none does: a host at rest has no timer. Who polls a
//! guest says so with [`Ticker::guest_runs`], which costs a load of a flag that is written once a tick.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;
use wasmtime::{Engine, EngineWeak};

/// A guest that does not stop by itself is stopped after at most so long. A wake-up costs some 5 us of a core, so this is half a hundredth of one.
const TICK: Duration = Duration::from_millis(1);

/// Ticks without a guest until the thread sleeps. A few, because to wake it costs a request as much as a tick does.
const IDLE_TICKS: u32 = 4;

/// A handle to the thread, which ends with the last one.
#[derive(Clone, Debug)]
pub(crate) struct Ticker {
    owner: Arc<Owner>,
}

/// Ends the thread when dropped.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    /// A guest was polled since the last tick.
    seen: AtomicBool,
    /// The thread ticks, or is about to.
    ticking: AtomicBool,
    closed: AtomicBool,
    engines: Mutex<Vec<Watched>>,
}

struct Watched(EngineWeak);

impl std::fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Engine")
    }
}

impl Ticker {
    pub(crate) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let ticking = shared.clone();
        let spawned = thread::Builder::new().name("epoch".to_owned()).spawn(move || ticking.run())?;
        let thread = spawned.thread().clone();
        Ok(Self { owner: Arc::new(Owner { shared, thread }) })
    }

    /// Advances `engine`'s epoch from now on, for as long as there is one.
    pub(crate) fn watch(&self, engine: &Engine) {
        self.owner.shared.engines().push(Watched(engine.weak()));
    }

    /// To be called before each poll of a guest. The next tick comes within [`TICK`].
    pub(crate) fn guest_runs(&self) {
        // A flag that is seen raised is lowered by a later tick, and some more follow that one before the thread sleeps: enough to stop
        // this guest, whose next poll raises it again.
        if !self.owner.shared.seen.load(Ordering::Relaxed) {
            self.owner.raise();
        }
    }
}

impl Owner {
    #[cold]
    fn raise(&self) {
        // Ordered with `Shared::sleep`: either this sees that the thread stopped ticking, or the thread sees the flag.
        self.shared.seen.store(true, Ordering::SeqCst);
        if !self.shared.ticking.swap(true, Ordering::SeqCst) {
            self.thread.unpark();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Shared {
    fn engines(&self) -> MutexGuard<'_, Vec<Watched>> {
        // Nothing that can panic is done under the lock.
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut idle = 0;
        while !self.closed.load(Ordering::SeqCst) {
            if idle >= IDLE_TICKS {
                self.sleep();
                idle = 0;
            }
            thread::sleep(TICK);
            self.engines().retain(|engine| {
                engine.0.upgrade().is_some_and(|engine| {
                    engine.increment_epoch();
                    true
                })
            });
            idle = if self.seen.swap(false, Ordering::SeqCst) { 0 } else { idle + 1 };
        }
    }

    /// Sleeps until a guest runs.
    fn sleep(&self) {
        self.ticking.store(false, Ordering::SeqCst);
        while !self.seen.load(Ordering::SeqCst) && !self.closed.load(Ordering::SeqCst) {
            thread::park();
        }
        self.ticking.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::{Config, Instance, Module, Store};

    /// Two calls of a guest that spins: the second ends only if the epoch goes on after the thread slept.
    #[test]
    fn a_guest_that_spins_is_stopped_and_so_is_one_that_comes_after_a_rest() {
        let engine = Engine::new(Config::new().epoch_interruption(true)).unwrap();
        let module = Module::new(&engine, r#"(module (func (export "spin") (loop (br 0))))"#).unwrap();
        let ticker = Ticker::start().unwrap();
        ticker.watch(&engine);
        for _ in 0..2 {
            let mut store = Store::new(&engine, ());
            store.set_epoch_deadline(1);
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let spin = instance.get_typed_func::<(), ()>(&mut store, "spin").unwrap();
            ticker.guest_runs();
            let trap = spin.call(&mut store, ()).unwrap_err();
            assert_eq!(trap.downcast_ref::<wasmtime::Trap>(), Some(&wasmtime::Trap::Interrupt));
            while ticker.owner.shared.ticking.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        }
    }
}
