//! A source that keeps samples in a map.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Histogram, Labels};
use storage::{Budget, Clock, Matcher, MsRange, Notices, SampleBuf, StorageError};

use super::super::histogram::{GAUGE, NOT_RESET, UNKNOWN, is_reset};
use super::super::source::{SampleSource, SeriesSet};

/// Samples of one series by time, each with its start timestamp or 0.
type Samples = (BTreeMap<i64, (f64, i64)>, BTreeMap<i64, (Arc<Histogram>, i64)>);

#[derive(Debug, Default)]
pub(crate) struct MemorySource {
    pub(crate) series: BTreeMap<Labels, Samples>,
}

impl MemorySource {
    pub(crate) fn float(&mut self, labels: &Labels, time: i64, value: f64) {
        self.float_since(labels, time, value, 0);
    }

    pub(crate) fn float_since(&mut self, labels: &Labels, time: i64, value: f64, start: i64) {
        self.series.entry(labels.clone()).or_default().0.insert(time, (value, start));
    }

    /// Keeps a histogram. Like Prometheus' storage, says of a counter whether it was reset.
    pub(crate) fn histogram(
        &mut self,
        labels: &Labels,
        time: i64,
        histogram: &Arc<Histogram>,
        start: i64,
    ) {
        let samples = &mut self.series.entry(labels.clone()).or_default().1;
        let mut kept = Histogram::clone(histogram);
        if kept.reset_hint == UNKNOWN
            && let Some((_, (before, _))) = samples.range(..time).next_back()
            && before.reset_hint != GAUGE
        {
            // After a reset comes a new chunk, of whose first sample nothing is said.
            kept.reset_hint = if is_reset(&kept, before) { UNKNOWN } else { NOT_RESET };
        }
        samples.insert(time, (Arc::new(kept), start));
    }
}

impl SampleSource for MemorySource {
    fn select(
        &self,
        matchers: &[Matcher],
        range: MsRange,
        _: &Budget,
    ) -> Result<Box<dyn SeriesSet>, StorageError> {
        let mut set =
            MemorySet { labels: Vec::new(), samples: Vec::new(), notices: Notices::default() };
        for (labels, (floats, histograms)) in &self.series {
            let matches = |m: &Matcher| m.matches(labels.get(&m.name).unwrap_or(""));
            if !matchers.iter().all(matches) || range.start_ms > range.end_ms {
                continue;
            }
            let mut buf = SampleBuf::default();
            for (&time, &(value, start)) in floats.range(range.start_ms..=range.end_ms) {
                buf.times.push(time);
                buf.values.push(value);
                buf.starts.push(start);
            }
            for (&time, (h, start)) in histograms.range(range.start_ms..=range.end_ms) {
                buf.histograms.push((time, Arc::clone(h)));
                buf.histogram_starts.push(*start);
            }
            for starts in [&mut buf.starts, &mut buf.histogram_starts] {
                if starts.iter().all(|&start| start == 0) {
                    starts.clear();
                }
            }
            set.labels.push(labels.clone());
            set.samples.push(buf);
        }
        Ok(Box::new(set))
    }
}

#[derive(Debug)]
struct MemorySet {
    labels: Vec<Labels>,
    samples: Vec<SampleBuf>,
    notices: Notices,
}

impl SeriesSet for MemorySet {
    fn series(&self) -> &[Labels] {
        &self.labels
    }

    fn notices(&self) -> &Notices {
        &self.notices
    }

    fn read(&self, index: usize, buf: &mut SampleBuf, _: &Budget) -> Result<Notices, StorageError> {
        buf.clear();
        buf.times.extend_from_slice(&self.samples[index].times);
        buf.values.extend_from_slice(&self.samples[index].values);
        buf.starts.extend_from_slice(&self.samples[index].starts);
        buf.histograms.extend_from_slice(&self.samples[index].histograms);
        buf.histogram_starts.extend_from_slice(&self.samples[index].histogram_starts);
        Ok(Notices::default())
    }
}

/// A clock that stands still.
#[derive(Debug)]
pub(crate) struct StillClock;

impl Clock for StillClock {
    fn now_ns(&self) -> i64 {
        0
    }

    fn monotonic_ns(&self) -> u64 {
        0
    }
}

/// A budget that never ends.
pub(crate) fn budget() -> Budget {
    Budget::new(Arc::new(StillClock), 1, 0)
}
