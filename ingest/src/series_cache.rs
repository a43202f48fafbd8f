//! From the raw bytes of a series' labels to the series.

use std::sync::Arc;

use model::{Labels, Series, TenantId};

use crate::raw_cache::RawCache;

/// Series kept at most, each with its labels.
const SERIES_MAX: usize = 1 << 20;

/// Bounded and shared by all requests.
#[derive(Debug)]
pub(crate) struct SeriesCache(RawCache<Series>);

impl Default for SeriesCache {
    fn default() -> Self {
        SeriesCache(RawCache::new(SERIES_MAX))
    }
}

impl SeriesCache {
    /// The series that `raw_hash` stands for; `make` gives its labels where it is not known.
    ///
    /// Errors: what `make` says.
    pub(crate) fn get_or_make<E>(
        &self,
        tenant: &TenantId,
        raw_hash: u128,
        make: impl FnOnce() -> Result<Labels, E>,
    ) -> Result<Arc<Series>, E> {
        self.0.get_or_make(tenant, raw_hash, || make().map(Series::new))
    }
}
