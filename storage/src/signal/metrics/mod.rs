//! Metrics: series of samples, native histograms, exemplars, metadata.

mod encode;
mod index;
mod memtable;
mod merge;
mod scan;
mod schema;

use std::sync::Arc;

use model::{Histogram, Labels, MetricMetadata};

use crate::{Budget, IdQuery, Matcher, MsRange, Notices, StorageError};

/// Reads one tenant's metrics.
#[derive(Debug)]
pub struct MetricsReader {}

/// Samples of one series, ascending by time, one for each time. Reused between series.
#[derive(Debug, Default)]
pub struct SampleBuf {
    /// Shape: as long as `values`. Stale markers are included. Units: ms.
    pub times: Vec<i64>,
    pub values: Vec<f64>,
    /// Ascending by time; no time is in both lists.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

impl SampleBuf {
    pub fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
    }
}

/// Series that matched, each once, whose samples can be read one by one and from several threads.
#[derive(Debug)]
pub struct Selection {
    series: Vec<Labels>,
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
        _index: usize,
        buf: &mut SampleBuf,
        _budget: &Budget,
    ) -> Result<Notices, StorageError> {
        buf.clear();
        Ok(Notices::default())
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
        _matchers: &[Matcher],
        _range: MsRange,
        _budget: &Budget,
    ) -> Result<Selection, StorageError> {
        Ok(Selection { series: Vec::new(), notices: Notices::default() })
    }

    /// Label names of the series that match any of `selectors` (no selectors: of all), sorted.
    pub fn label_names(
        &self,
        _selectors: &[Vec<Matcher>],
        _range: MsRange,
        _budget: &Budget,
    ) -> Result<(Vec<String>, Notices), StorageError> {
        Ok(Default::default())
    }

    /// Values of label `name`, likewise, sorted.
    pub fn label_values(
        &self,
        _name: &str,
        _selectors: &[Vec<Matcher>],
        _range: MsRange,
        _budget: &Budget,
    ) -> Result<(Vec<String>, Notices), StorageError> {
        Ok(Default::default())
    }

    /// Metadata of all metric families, or of one; sorted by family, newest of a family first.
    pub fn metadata(
        &self,
        _family: Option<&str>,
        _budget: &Budget,
    ) -> Result<(Vec<MetricMetadata>, Notices), StorageError> {
        Ok(Default::default())
    }

    /// Exemplars of the series that match, ascending by series and time.
    pub fn exemplars(
        &self,
        _matchers: &[Matcher],
        _range: MsRange,
        _budget: &Budget,
    ) -> Result<(Vec<ExemplarHit>, Notices), StorageError> {
        Ok(Default::default())
    }

    /// Exemplars any of whose label values is the ID.
    pub(crate) fn lookup(
        &self,
        _id: &IdQuery,
        _records_max: usize,
        _budget: &Budget,
    ) -> Result<(Vec<ExemplarHit>, Notices), StorageError> {
        Ok(Default::default())
    }
}
