//! An address of its own for each task: on Linux all of 127.0.0.0/8 is this host's. Other systems have 127.0.0.1, and those that
//! somebody gave to their loopback interface (`ifconfig lo0 alias 127.1.0.1`).

use std::collections::HashSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

/// The first and the last address given: 127.0.0.0/16 is left to people and other programs. Where each has to be set up by hand there are 254.
const FIRST: u32 = 0x7f01_0001;
const LAST: u32 = if cfg!(target_os = "linux") { 0x7fff_fffe } else { 0x7f01_00fe };

/// Gives addresses, the longest unused first, so that a connection to a task that is gone does not reach the next one.
#[derive(Clone, Debug)]
pub(super) struct Addresses(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    next: u32,
    used: HashSet<u32>,
}

/// An address that is given back when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    address: u32,
    addresses: Addresses,
}

impl Addresses {
    /// `start` chooses where to begin: two processes on a host begin at different places and meet only by bad luck.
    pub(super) fn new(start: u32) -> Self {
        let next = FIRST + start % (LAST - FIRST + 1);
        Self(Arc::new(Mutex::new(State { next, used: HashSet::new() })))
    }

    /// An unused address; `None` when all 16 million are used, or none of this host's is left.
    pub(super) fn lease(&self) -> Option<Lease> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in FIRST..=LAST {
            let address = state.next;
            state.next = if address == LAST { FIRST } else { address + 1 };
            // .0 and .255 are unusual for a host, and some programs refuse them.
            if !matches!(address & 0xff, 0 | 0xff) && is_this_hosts(address) && state.used.insert(address) {
                return Some(Lease { address, addresses: self.clone() });
            }
        }
        None
    }
}

fn is_this_hosts(address: u32) -> bool {
    cfg!(target_os = "linux") || UdpSocket::bind((Ipv4Addr::from(address), 0)).is_ok()
}

/// An address as a task has it, for one that runs by itself.
pub fn lone_address() -> Ipv4Addr {
    // The driver it is leased from ends here, and gives it to nobody else.
    Addresses::new(rand::random()).lease().map_or_else(|| Ipv4Addr::from(FIRST), |lease| lease.address())
}

impl Lease {
    pub(super) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.address)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.used.remove(&self.address);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn each_lease_is_an_address_of_its_own_on_the_loopback_network() {
        let addresses = Addresses::new(u32::MAX);
        let leases: Vec<Lease> = (0..2000).filter_map(|_| addresses.lease()).collect();
        let distinct: HashSet<Ipv4Addr> = leases.iter().map(Lease::address).collect();
        assert_eq!(distinct.len(), 2000);
        assert!(distinct.iter().all(|address| address.is_loopback() && address.octets()[1] > 0));
    }

    #[test]
    fn an_address_given_back_is_not_the_next_one_given() {
        let addresses = Addresses::new(7);
        let first = addresses.lease().unwrap().address();
        let second = addresses.lease().unwrap().address();
        assert_ne!(first, second);
    }
}
