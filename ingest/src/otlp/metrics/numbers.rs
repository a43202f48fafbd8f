//! Points of gauges, sums and summaries.

use model::Reason;
use model::stale_nan;
use model::wire::{Field, Reader, WireError};

use super::{Part, Place, Translator, exemplars};
use crate::series_cache::Refusal;

/// The flag of a point that says that there was no value.
pub(super) const NO_RECORDED_VALUE: u64 = 1;

impl Translator<'_> {
    /// A `NumberDataPoint`.
    pub(super) fn number(
        &mut self,
        place: Place<'_>,
        bytes: &[u8],
        time_ns: i64,
    ) -> Result<Result<(), Refusal>, WireError> {
        // A point without a value counts as 0, as the collector's data model has it.
        let (mut value, mut flags, mut has_exemplars) = (0.0, 0, false);
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (4, Field::Fixed64(bits)) => value = f64::from_bits(bits),
                (6, Field::Fixed64(bits)) => value = bits as i64 as f64,
                (8, field) => flags = field.number().unwrap_or(0),
                (5, Field::Bytes(_)) => has_exemplars = true,
                _ => {}
            }
        }
        if flags & NO_RECORDED_VALUE != 0 {
            value = stale_nan();
        } else if place.metric.accumulates(self.options) {
            match self.ctx.series.deltas().add_number(self.total_key(place), time_ns, value) {
                Ok(total) => value = total,
                Err(_) => return Ok(Err(older_delta(place))),
            }
        }
        let series = match self.sample(place, Part::Whole, time_ns, value) {
            Ok(series) => series,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if has_exemplars {
            let mut reader = Reader::new(bytes);
            while let Some((number, field)) = reader.next_field()? {
                if let (5, Field::Bytes(exemplar)) = (number, field) {
                    let exemplar = exemplars::read(exemplar, series, time_ns)?;
                    self.batch.exemplars.push(exemplar);
                }
            }
        }
        Ok(Ok(()))
    }

    /// A `SummaryDataPoint`.
    pub(super) fn summary(
        &mut self,
        place: Place<'_>,
        bytes: &[u8],
        time_ns: i64,
    ) -> Result<Result<(), Refusal>, WireError> {
        let (mut count, mut sum, mut flags) = (0u64, 0.0, 0);
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (4, field) => count = field.number().unwrap_or(0),
                (5, Field::Fixed64(bits)) => sum = f64::from_bits(bits),
                (8, field) => flags = field.number().unwrap_or(0),
                _ => {}
            }
        }
        let is_stale = flags & NO_RECORDED_VALUE != 0;
        let shown = |value: f64| if is_stale { stale_nan() } else { value };
        for (part, value) in [(Part::Sum, sum), (Part::Count, count as f64)] {
            if let Err(refusal) = self.sample(place, part, time_ns, shown(value)) {
                return Ok(Err(refusal));
            }
        }
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next_field()? {
            let (6, Field::Bytes(at_quantile)) = (number, field) else { continue };
            let (mut quantile, mut value) = (0.0, 0.0);
            let mut fields = Reader::new(at_quantile);
            while let Some((number, field)) = fields.next_field()? {
                match (number, field) {
                    (1, Field::Fixed64(bits)) => quantile = f64::from_bits(bits),
                    (2, Field::Fixed64(bits)) => value = f64::from_bits(bits),
                    _ => {}
                }
            }
            let part = Part::Quantile(quantile);
            if let Err(refusal) = self.sample(place, part, time_ns, shown(value)) {
                return Ok(Err(refusal));
            }
        }
        Ok(Ok(()))
    }

    /// The key of a point's total: that of its series and the tenant's.
    pub(super) fn total_key(&self, place: Place<'_>) -> u128 {
        place.key ^ crate::series_cache::tenant_hash(self.ctx.tenant)
    }
}

/// The refusal of a delta that is older than what was added before it.
pub(super) fn older_delta(place: Place<'_>) -> Refusal {
    let name = place.metric.name;
    (Reason::OutOfOrder, format!("a delta of metric {name:?} is older than the one before it"))
}
