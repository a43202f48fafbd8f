//! Counts failed logins, so that guessing is slow.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};

use parking_lot::Mutex;

/// Units: ns.
const WINDOW_NS: u64 = 60_000_000_000;
/// Addresses and names that are counted at one time; beyond them the oldest is forgotten.
const COUNTED_MAX: usize = 10_000;

/// How many times more an address may fail with whatever names.
const NAMES: u32 = 10;

/// Failed logins of the last minute, by address and name.
#[derive(Debug, Default)]
pub(super) struct Failures {
    hasher: RandomState,
    counts: Mutex<Counts>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    begin: u64,
    count: u32,
}

impl Failures {
    /// What a try counts for: its address and name, and its address with any name.
    fn keys(&self, address: IpAddr, name: &str) -> [(IpAddr, Option<u64>); 2] {
        let address = network(address);
        [(address, Some(self.hasher.hash_one(name))), (address, None)]
    }

    /// Counts a try before its outcome is known, so that many at once count as many. `rate` in a
    /// minute may fail, more of an address with any name; 0 counts nothing.
    ///
    /// Errors: seconds until the next try, if there were too many.
    pub(super) fn enter(
        &self,
        address: IpAddr,
        name: &str,
        now: u64,
        rate: u32,
    ) -> Result<(), u64> {
        if rate == 0 {
            return Ok(());
        }
        let keys = self.keys(address, name);
        let mut counts = self.counts.lock();
        for (key, rate) in keys.into_iter().zip([rate, rate.saturating_mul(NAMES)]) {
            let Some(window) = counts.get(&key) else { continue };
            let age = now.saturating_sub(window.begin);
            if age < WINDOW_NS && window.count >= rate {
                return Err((WINDOW_NS - age).div_ceil(1_000_000_000).max(1));
            }
        }
        for key in keys {
            make_room(&mut counts, key, now);
            let window = counts.entry(key).or_insert(Window { begin: now, count: 0 });
            if now.saturating_sub(window.begin) >= WINDOW_NS {
                *window = Window { begin: now, count: 0 };
            }
            window.count += 1;
        }
        Ok(())
    }

    /// Takes back a try that succeeded.
    pub(super) fn forgive(&self, address: IpAddr, name: &str) {
        let mut counts = self.counts.lock();
        for key in self.keys(address, name) {
            if let Some(window) = counts.get_mut(&key) {
                window.count = window.count.saturating_sub(1);
            }
        }
    }
}

type Counts = HashMap<(IpAddr, Option<u64>), Window>;

/// Forgets what is over, or else the oldest, where a new key would be one too many.
fn make_room(counts: &mut Counts, key: (IpAddr, Option<u64>), now: u64) {
    if counts.len() < COUNTED_MAX || counts.contains_key(&key) {
        return;
    }
    counts.retain(|_, window| now.saturating_sub(window.begin) < WINDOW_NS);
    if counts.len() >= COUNTED_MAX {
        let oldest = counts.iter().min_by_key(|(_, window)| window.begin);
        if let Some(oldest) = oldest.map(|(key, _)| *key) {
            counts.remove(&oldest);
        }
    }
}

/// Whoever has one IPv6 address has all of its /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(inner) => IpAddr::V4(inner),
            None => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_try_of_a_minute_waits_and_others_do_not() {
        let failures = Failures::default();
        let (here, there): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..10 {
            assert_eq!(failures.enter(here, "ann", 1, 10), Ok(()));
        }
        assert_eq!(failures.enter(here, "ann", 30_000_000_001, 10), Err(30));
        assert_eq!(failures.enter(here, "bob", 1, 10), Ok(()));
        assert_eq!(failures.enter(there, "ann", 1, 10), Ok(()));
        failures.forgive(here, "ann");
        assert_eq!(failures.enter(here, "ann", 1, 10), Ok(()));
        assert_eq!(failures.enter(here, "ann", 60_000_000_001, 10), Ok(()));
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let failures = Failures::default();
        for number in 0..=COUNTED_MAX as u32 {
            let address = IpAddr::V4(std::net::Ipv4Addr::from(number));
            assert_eq!(failures.enter(address, "ann", u64::from(number) + 1, 1), Ok(()));
        }
        assert_eq!(failures.counts.lock().len(), COUNTED_MAX);
    }

    #[test]
    fn many_names_from_one_address_wait_too() {
        let failures = Failures::default();
        let address = "192.0.2.1".parse().unwrap();
        let tried = (0..30).filter(|n| failures.enter(address, &n.to_string(), 1, 2).is_ok());
        assert_eq!(tried.count(), 20);
        assert_eq!(failures.enter("192.0.2.2".parse().unwrap(), "0", 1, 2), Ok(()));
    }

    #[test]
    fn neighbours_in_ipv6_are_one() {
        let failures = Failures::default();
        assert_eq!(failures.enter("2001:db8::1".parse().unwrap(), "", 1, 1), Ok(()));
        assert!(failures.enter("2001:db8::2".parse().unwrap(), "", 1, 1).is_err());
        assert_eq!(failures.enter("2001:db8:0:1::1".parse().unwrap(), "", 1, 1), Ok(()));
    }
}
