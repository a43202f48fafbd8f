//! Functions on single values that are more than one call.

use crate::kernels::{ABSENT, Rollup};

pub(super) fn clamp(value: f64, bounds: &[f64]) -> f64 {
    let (min, max) = (bounds[0], bounds[1]);
    if max < min {
        return ABSENT;
    }
    largest(min, smallest(max, value))
}

pub(super) fn clamp_max(value: f64, bounds: &[f64]) -> f64 {
    smallest(bounds[0], value)
}

pub(super) fn clamp_min(value: f64, bounds: &[f64]) -> f64 {
    largest(bounds[0], value)
}

/// Unlike `f64::min`, NaN where either is NaN.
fn smallest(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

fn largest(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Halves go up; dividing by the inverse keeps `round(x, 0.1)` free of noise.
pub(super) fn round(value: f64, params: &[f64]) -> f64 {
    let inverse = 1.0 / params.first().copied().unwrap_or(1.0);
    (value * inverse + 0.5).floor() / inverse
}

pub(super) fn sign(value: f64, _: &[f64]) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

pub(super) fn smoothing(params: &[f64]) -> Rollup {
    Rollup::DoubleExponential(params[0], params[1])
}
