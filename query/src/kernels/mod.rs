//! Functions over windows of samples, shared by PromQL and LogQL.
//!
//! A series is two slices, `times` (ascending) and `values`; a [`Windows`] says which left-open
//! windows `(t - range, t]` are wanted. [`roll`] moves both ends of the window along the slices, so
//! that a series is walked once for all steps of a query. Times may be of any unit, as long as all
//! are of the same one. Nothing here knows of labels, of languages or of native histograms.
//! Source: Prometheus `promql/functions.go` (3.14), whose results these match.

mod numbers;
mod rate;
mod roll;
mod starts;
#[cfg(test)]
mod tests;
mod windows;

pub(crate) use numbers::{Kahan, Mean, Variance, linear_regression, quantile};
pub(crate) use rate::{Extrapolation, counter_increase, extrapolate};
pub(crate) use roll::{Rollup, roll};
pub(crate) use starts::{
    Reading, Started, began_anew, began_inside, knows_starts, overlaps, roll_started,
};
pub(crate) use windows::{Steps, Windows};

/// Marks a step without a value in a dense row of results. Compare with [`is_absent`]. It is the
/// stale marker's bits, which no function can return: arithmetic turns them into another NaN.
pub(crate) const ABSENT: f64 = f64::from_bits(model::STALE_NAN_BITS);

/// Whether a step has no value.
#[inline]
pub(crate) fn is_absent(value: f64) -> bool {
    value.to_bits() == model::STALE_NAN_BITS
}
