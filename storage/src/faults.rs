//! Panics on purpose, so that what must survive one is tried on the very program that is shipped.
//!
//! Nothing happens unless whoever starts the process asks for it in the environment
//! (`TERCET_FAULTS`, read by the root); no setting, file or request reaches this. The cost without
//! it is an atomic load for a batch, a query, a flush.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where a panic can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultPoint {
    /// A query takes its snapshot.
    Query,
    /// A decoded request is handed to the store.
    Ingest,
    /// A memtable becomes a segment.
    Flush,
    /// Segments become one.
    Merge,
    /// The log has written a group and not answered it.
    Log,
}

impl FaultPoint {
    const ALL: [FaultPoint; 5] = [
        FaultPoint::Query,
        FaultPoint::Ingest,
        FaultPoint::Flush,
        FaultPoint::Merge,
        FaultPoint::Log,
    ];

    fn as_str(self) -> &'static str {
        match self {
            FaultPoint::Query => "query",
            FaultPoint::Ingest => "ingest",
            FaultPoint::Flush => "flush",
            FaultPoint::Merge => "merge",
            FaultPoint::Log => "log",
        }
    }
}

/// Which arrivals at a point panic.
#[derive(Debug, Default)]
struct Wanted {
    /// Those before are spared.
    first: u64,
    times: u64,
    arrived: AtomicU64,
}

/// The panics that were asked for; none by default.
#[derive(Debug, Default)]
pub struct Faults([Wanted; 5]);

impl Faults {
    /// Reads `point=times` or `point=spared+times`, several with commas between them.
    ///
    /// Errors: what cannot be read.
    pub fn parse(text: &str) -> Result<Faults, String> {
        let mut faults = Faults::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let wanted = part.split_once('=').and_then(|(name, times)| {
                let index = FaultPoint::ALL.iter().position(|point| point.as_str() == name)?;
                let (first, times) = times.split_once('+').unwrap_or(("0", times));
                Some((index, first.parse().ok()?, times.parse().ok()?))
            });
            let Some((index, first, times)) = wanted else {
                return Err(format!("{part:?} is no fault such as flush=2 or log=100+1"));
            };
            if let Some(wanted) = faults.0.get_mut(index) {
                *wanted = Wanted { first, times, arrived: AtomicU64::new(0) };
            }
        }
        Ok(faults)
    }

    /// Whether some panic was asked for.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0.iter().any(|wanted| wanted.times > 0)
    }

    /// Panics if that was asked for.
    ///
    /// Panics: because somebody wants to see what comes of it.
    #[expect(clippy::panic, reason = "it is what this is for")]
    pub fn meet(&self, point: FaultPoint) {
        let Some(wanted) = self.0.get(point as usize).filter(|wanted| wanted.times > 0) else {
            return;
        };
        let arrived = wanted.arrived.fetch_add(1, Ordering::Relaxed);
        if arrived >= wanted.first && arrived - wanted.first < wanted.times {
            panic!("a panic that TERCET_FAULTS asked for: {}", point.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn only_what_was_asked_for_panics() {
        let faults = Faults::parse("flush=2,log=3+1").unwrap();
        let panics = |point| catch_unwind(AssertUnwindSafe(|| faults.meet(point))).is_err();
        assert_eq!([0; 4].map(|_| panics(FaultPoint::Flush)), [true, true, false, false]);
        assert_eq!([0; 5].map(|_| panics(FaultPoint::Log)), [false, false, false, true, false]);
        assert!(!panics(FaultPoint::Merge));
        assert!(!Faults::default().is_any());
        assert!(faults.is_any());
        for wrong in ["flush", "flush=", "flush=x", "disk=1", "log=1+", "log=+1"] {
            assert!(Faults::parse(wrong).is_err(), "{wrong}");
        }
    }
}
