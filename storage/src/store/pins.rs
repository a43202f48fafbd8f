//! Segments that backups are reading: garbage collection leaves their files alone.
//!
//! A pin is a lease: each read renews it, and one whose reader is gone ends by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// A pin that nobody reads from ends after this. Units: ns.
const LEASE_NS: u64 = 600 * 1_000_000_000;
/// Backups under way at a time.
const PINS_MAX: usize = 4;

/// One snapshot that is being read.
#[derive(Debug)]
pub(crate) struct Pinned {
    pub(crate) segments: BTreeSet<String>,
    /// Files that may be read, with their size; nothing where it is not known.
    pub(crate) files: BTreeMap<String, Option<u64>>,
    /// Files that lie nowhere, such as a checkpoint made for the purpose.
    pub(crate) made: BTreeMap<String, Bytes>,
}

#[derive(Debug)]
struct Lease {
    pinned: Arc<Pinned>,
    ends_ns: u64,
}

/// All leases, by ID.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<BTreeMap<String, Lease>>);

impl Pins {
    /// Pins what `look` gives, which is asked under the lock. Nothing where there are too many.
    pub(crate) fn pin(
        &self,
        id: &str,
        now_ns: u64,
        look: impl FnOnce() -> Pinned,
    ) -> Option<Arc<Pinned>> {
        let mut leases = self.0.lock();
        leases.retain(|_, lease| lease.ends_ns > now_ns);
        if leases.len() >= PINS_MAX {
            return None;
        }
        let pinned = Arc::new(look());
        let ends_ns = now_ns.saturating_add(LEASE_NS);
        leases.insert(id.to_owned(), Lease { pinned: Arc::clone(&pinned), ends_ns });
        Some(pinned)
    }

    /// What is pinned under an ID, for another while.
    pub(crate) fn renew(&self, id: &str, now_ns: u64) -> Option<Arc<Pinned>> {
        let mut leases = self.0.lock();
        leases.retain(|_, lease| lease.ends_ns > now_ns);
        let lease = leases.get_mut(id)?;
        lease.ends_ns = now_ns.saturating_add(LEASE_NS);
        Some(Arc::clone(&lease.pinned))
    }

    pub(crate) fn unpin(&self, id: &str) -> bool {
        self.0.lock().remove(id).is_some()
    }

    /// All segments that are pinned.
    pub(crate) fn segments(&self, now_ns: u64) -> BTreeSet<String> {
        let mut leases = self.0.lock();
        leases.retain(|_, lease| lease.ends_ns > now_ns);
        leases.values().flat_map(|lease| lease.pinned.segments.iter().cloned()).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{LEASE_NS, PINS_MAX, Pinned, Pins};

    fn pinned(segment: &str) -> Pinned {
        let segments = BTreeSet::from([segment.to_owned()]);
        Pinned { segments, files: BTreeMap::new(), made: BTreeMap::new() }
    }

    #[test]
    fn a_pin_holds_while_it_is_read_and_ends_when_its_reader_is_gone() {
        let pins = Pins::default();
        assert!(pins.pin("a", 0, || pinned("one")).is_some());
        assert!(pins.renew("a", LEASE_NS - 1).is_some());
        assert_eq!(pins.segments(LEASE_NS + 5).len(), 1, "renewed");
        assert_eq!(pins.segments(3 * LEASE_NS).len(), 0, "left alone");
        assert!(pins.renew("a", 3 * LEASE_NS).is_none());
    }

    #[test]
    fn no_more_than_a_few_at_a_time() {
        let pins = Pins::default();
        for number in 0..PINS_MAX {
            assert!(pins.pin(&number.to_string(), 0, || pinned("one")).is_some());
        }
        assert!(pins.pin("more", 0, || pinned("one")).is_none());
        assert!(pins.unpin("0"));
        assert!(!pins.unpin("0"));
        assert!(pins.pin("more", 0, || pinned("one")).is_some());
    }
}
