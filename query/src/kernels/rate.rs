//! Increase of a counter over a window, extrapolated to the window's ends as Prometheus does.

/// What [`extrapolate`] needs to know of a window. Units: ms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extrapolation {
    pub(crate) window_start: i64,
    pub(crate) window_end: i64,
    pub(crate) first_time: i64,
    pub(crate) last_time: i64,
    /// At least 2, or 1 where it is known when the counter began.
    pub(crate) sample_count: usize,
    /// When the counter began, where that is inside the window and before the first sample.
    pub(crate) began: Option<i64>,
}

/// The factor by which the increase between the first and the last sample grows when it is
/// extrapolated to the window. A counter (`counter` holds its first value and the increase) is not
/// extrapolated below zero; of one that began inside the window the factor is that of the increase
/// since then.
pub(crate) fn extrapolate(window: Extrapolation, counter: Option<(f64, f64)>) -> f64 {
    let mut to_start = (window.first_time - window.window_start) as f64 / 1000.0;
    let mut to_end = (window.window_end - window.last_time) as f64 / 1000.0;
    let mut sampled = (window.last_time - window.first_time) as f64 / 1000.0;
    // Of one sample no gap is known, so nothing is added behind it.
    let gap =
        if window.sample_count > 1 { sampled / (window.sample_count - 1) as f64 } else { 0.0 };
    let threshold = gap * 1.1;
    if to_start >= threshold {
        to_start = gap / 2.0;
    }
    if let Some(began) = window.began {
        to_start = 0.0;
        sampled = (window.last_time - began) as f64 / 1000.0;
    } else if let Some((first, increase)) = counter
        && increase > 0.0
        && first >= 0.0
    {
        let to_zero = sampled * (first / increase);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= threshold {
        to_end = gap / 2.0;
    }
    (sampled + to_start + to_end) / sampled
}

/// Last minus first value plus what was lost at each reset. Shape: `values` is not empty.
pub(crate) fn counter_increase(values: &[f64]) -> f64 {
    let mut increase = values[values.len() - 1] - values[0];
    let mut previous = values[0];
    for &value in &values[1..] {
        if value < previous {
            increase += previous;
        }
        previous = value;
    }
    increase
}
