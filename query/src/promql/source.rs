//! Where samples come from.

use std::fmt;

use model::{Labels, Signal};
use storage::{Budget, Matcher, MsRange, Notices, SampleBuf, Selection, Snapshot, StorageError};

/// Finds series.
pub(crate) trait SampleSource: fmt::Debug {
    /// Series with samples in `range` for which all matchers hold.
    fn select(
        &self,
        matchers: &[Matcher],
        range: MsRange,
        budget: &Budget,
    ) -> Result<Box<dyn SeriesSet>, StorageError>;
}

/// Series that matched.
pub(crate) trait SeriesSet: fmt::Debug {
    fn series(&self) -> &[Labels];
    /// What is known to be missing already.
    fn notices(&self) -> &Notices;
    /// Reads one series' samples into `buf`, stale markers included.
    fn read(
        &self,
        index: usize,
        buf: &mut SampleBuf,
        budget: &Budget,
    ) -> Result<Notices, StorageError>;
}

/// One tenant's stored metrics.
#[derive(Debug, Clone)]
pub(crate) struct StoredMetrics(pub(crate) Snapshot);

impl SampleSource for StoredMetrics {
    fn select(
        &self,
        matchers: &[Matcher],
        range: MsRange,
        budget: &Budget,
    ) -> Result<Box<dyn SeriesSet>, StorageError> {
        let mut selection = self.0.metrics().select(matchers, range, budget)?;
        selection.notices.merge(self.0.notices(Signal::Metrics).clone());
        Ok(Box::new(selection))
    }
}

impl SeriesSet for Selection {
    fn series(&self) -> &[Labels] {
        Selection::series(self)
    }

    fn notices(&self) -> &Notices {
        &self.notices
    }

    fn read(
        &self,
        index: usize,
        buf: &mut SampleBuf,
        budget: &Budget,
    ) -> Result<Notices, StorageError> {
        Selection::read(self, index, buf, budget)
    }
}
