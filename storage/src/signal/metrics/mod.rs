//! Metrics: series of samples, native histograms, exemplars, metadata.

mod arena;
pub(crate) mod encode;
mod exemplars;
mod histograms;
mod index;
pub(crate) mod memtable;
pub(crate) mod merge;
mod pages;
mod reader;
mod registry;
mod samples;
pub(crate) mod scan;
mod schema;
mod values;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use model::{Histogram, Labels, MetricMetadata};

use crate::segment::SegmentHandle;
use crate::{Budget, IdQuery, Matcher, MsRange, Notices, StorageError};

/// Reads one tenant's metrics.
#[derive(Debug)]
pub struct MetricsReader {
    memtables: Vec<Arc<memtable::Memtable>>,
    segments: Vec<Arc<SegmentHandle<scan::Segment>>>,
}

/// Samples of one series, ascending by time, one for each time. Reused between series.
#[derive(Debug, Default)]
pub struct SampleBuf {
    /// Shape: as long as `values`. Stale markers are included. Units: ms.
    pub times: Vec<i64>,
    pub values: Vec<f64>,
    /// When what each sample counts began; 0 where it is not known. Shape: as long as `times`, or
    /// empty where nothing is known of any. Units: ms.
    pub starts: Vec<i64>,
    /// Ascending by time; no time is in both lists.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
    /// As `starts`, of the histograms.
    pub histogram_starts: Vec<i64>,
}

impl SampleBuf {
    pub fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.starts.clear();
        self.histograms.clear();
        self.histogram_starts.clear();
    }
}

/// Series that matched, each once, whose samples can be read one by one and from several threads.
#[derive(Debug)]
pub struct Selection {
    series: Vec<Labels>,
    sources: reader::Sources,
    pub notices: Notices,
}

impl Selection {
    /// Labels of the series, ascending by canonical bytes.
    #[must_use]
    pub fn series(&self) -> &[Labels] {
        &self.series
    }

    /// Reads the samples of series `index` that lie in the selection's range into `buf`, which is
    /// cleared first. Counts them against the budget.
    ///
    /// Errors: those of the budget. Data that cannot be read is left out and comes back as a notice.
    pub fn read(
        &self,
        index: usize,
        buf: &mut SampleBuf,
        budget: &Budget,
    ) -> Result<Notices, StorageError> {
        self.sources.read(index, buf, budget)
    }
}

/// An exemplar with the series it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct ExemplarHit {
    pub series: Labels,
    pub labels: Labels,
    pub time_ms: i64,
    pub value: f64,
}

impl MetricsReader {
    /// Series with at least one sample in `range` (or that may have one) for which all matchers hold.
    pub fn select(
        &self,
        matchers: &[Matcher],
        range: MsRange,
        budget: &Budget,
    ) -> Result<Selection, StorageError> {
        self.run_select(matchers, range, budget)
    }

    /// Label names of the series that match any of `selectors` (no selectors: of all), sorted.
    pub fn label_names(
        &self,
        selectors: &[Vec<Matcher>],
        range: MsRange,
        budget: &Budget,
    ) -> Result<(Vec<String>, Notices), StorageError> {
        self.run_label_names(selectors, range, budget)
    }

    /// Values of label `name`, likewise, sorted.
    pub fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: MsRange,
        budget: &Budget,
    ) -> Result<(Vec<String>, Notices), StorageError> {
        self.run_label_values(name, selectors, range, budget)
    }

    /// Metadata of all metric families, or of one; sorted by family, newest of a family first.
    pub fn metadata(
        &self,
        family: Option<&str>,
        budget: &Budget,
    ) -> Result<(Vec<MetricMetadata>, Notices), StorageError> {
        self.run_metadata(family, budget)
    }

    /// Exemplars of the series that match, ascending by series and time.
    pub fn exemplars(
        &self,
        matchers: &[Matcher],
        range: MsRange,
        budget: &Budget,
    ) -> Result<(Vec<ExemplarHit>, Notices), StorageError> {
        self.run_exemplars(matchers, range, budget)
    }

    /// Exemplars any of whose label values is the ID.
    pub(crate) fn lookup(
        &self,
        id: &IdQuery,
        records_max: usize,
        budget: &Budget,
    ) -> Result<(Vec<ExemplarHit>, Notices), StorageError> {
        self.run_lookup(id, records_max, budget)
    }
}
