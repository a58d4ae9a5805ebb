//! How guests' code is made to yield, and how much of it is counted.
//!
//! All guests yield, or one that spins would have its thread for itself, and the CPU time of each slice between two yields is measured. What differs is what the
//! compiler puts into their code for it, which is decided when an image is loaded. `docs/specification.md` has what each costs.

use wasmtime::{Config, Store};

/// Fuel after which a guest whose fuel is counted yields: some 30 to 100 us of its code.
pub(crate) const FUEL_SLICE: u64 = 100_000;

/// What an image's code does at its loops and calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Metering {
    /// It looks whether its slice is over, by a counter that the host advances each millisecond.
    #[default]
    Time,
    /// It counts fuel, about one unit an instruction, and its slice is over after 100,000 of them. Costs more, and is the same
    /// each time: what budgets of fuel need.
    Fuel,
}

impl Metering {
    /// What a container with this budget needs.
    pub fn for_budget(fuel: Option<u64>) -> Self {
        if fuel.is_some() { Self::Fuel } else { Self::Time }
    }

    pub(crate) fn configure(self, config: &mut Config) {
        match self {
            Self::Time => config.epoch_interruption(true),
            Self::Fuel => config.consume_fuel(true),
        };
    }

    /// Makes what runs in a new `store` yield. Its `budget` of fuel is kept where fuel is counted.
    pub(crate) fn prepare<T>(self, store: &mut Store<T>, budget: Option<u64>) -> wasmtime::Result<Gauge> {
        match self {
            Self::Time => {
                store.set_epoch_deadline(1);
                store.epoch_deadline_async_yield_and_update(1);
                Ok(Gauge { given: None })
            }
            Self::Fuel => {
                let given = budget.unwrap_or(u64::MAX);
                store.set_fuel(given)?;
                store.fuel_async_yield_interval(Some(FUEL_SLICE))?;
                Ok(Gauge { given: Some(given) })
            }
        }
    }
}

/// How much fuel of a store is used.
#[derive(Debug)]
pub(crate) struct Gauge {
    /// What the store had when it was last looked at; `None` where none is counted.
    given: Option<u64>,
}

impl Gauge {
    /// Fuel that was used since this was last asked.
    pub(crate) fn used<T>(&mut self, store: &Store<T>) -> u64 {
        let Some(given) = &mut self.given else { return 0 };
        let left = store.get_fuel().unwrap_or(*given);
        std::mem::replace(given, left).saturating_sub(left)
    }

    /// Begins a new slice, with a new budget. What was used of the last one has to have been asked for.
    pub(crate) fn refill<T>(&mut self, store: &mut Store<T>, budget: Option<u64>) -> wasmtime::Result<()> {
        match &mut self.given {
            None => store.set_epoch_deadline(1),
            Some(given) => {
                *given = budget.unwrap_or(u64::MAX);
                store.set_fuel(*given)?;
            }
        }
        Ok(())
    }
}
