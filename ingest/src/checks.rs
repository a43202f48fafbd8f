//! What every protocol checks in the same way: label limits and times.

use model::{Labels, Limits, Reason, Rejections, ns_to_ms};

use crate::decoder::DecodeContext;
use crate::series_cache::Refusal;

/// The times that a request may carry. Units: ms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeWindow {
    oldest_ms: i64,
    newest_ms: i64,
}

impl TimeWindow {
    /// The window around a request's arrival.
    pub(crate) fn of(ctx: &DecodeContext<'_>) -> TimeWindow {
        let limits = ctx.limits;
        let oldest_ms = match limits.age_max_ns {
            0 => i64::MIN,
            age => ns_to_ms(ctx.received_ns.saturating_sub(age)),
        };
        let newest_ms = match limits.future_max_ns {
            0 => i64::MAX,
            future => ns_to_ms(ctx.received_ns.saturating_add(future)),
        };
        TimeWindow { oldest_ms, newest_ms }
    }

    /// Whether a record of this time is taken; counts a refusal where it is not.
    #[inline]
    pub(crate) fn takes(self, time_ms: i64, rejections: &mut Rejections, limits: &Limits) -> bool {
        if time_ms >= self.oldest_ms && time_ms <= self.newest_ms {
            return true;
        }
        let (reason, what, key, limit_ns) = if time_ms > self.newest_ms {
            (Reason::TooFarInFuture, "too far in the future", "max_future", limits.future_max_ns)
        } else {
            (Reason::TooOld, "too old", "max_age", limits.age_max_ns)
        };
        let limit_s = limit_ns / model::NS_PER_S;
        rejections.add(reason, 1, || {
            format!("time {time_ms} ms is {what}; limit limits.ingest.{key}={limit_s}s")
        });
        false
    }

    /// The part of a span that lies in the window.
    pub(crate) fn clamp(self, first_ms: i64, last_ms: i64) -> (i64, i64) {
        let held = |time_ms: i64| time_ms.max(self.oldest_ms).min(self.newest_ms);
        (held(first_ms), held(last_ms))
    }
}

/// The longest start of a text that has at most `bytes_max` bytes and ends with a whole character.
pub(crate) fn cut_text(text: &[u8], bytes_max: usize) -> &[u8] {
    let is_boundary = |at: &usize| text.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    let end = (0..=bytes_max.min(text.len())).rev().find(is_boundary).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// Checks a label set against the tenant's limits.
///
/// Errors: TooManyLabels, LabelNameTooLong, LabelValueTooLong.
pub(crate) fn check_limits(labels: &Labels, limits: &Limits) -> Result<(), Refusal> {
    let metric = || labels.metric_name().to_owned();
    let exceeds = |length: usize, limit: usize| limit != 0 && length > limit;
    let mut count = 0;
    for (name, value) in labels.iter() {
        count += 1;
        if exceeds(name.len(), limits.label_name_bytes_max) {
            let text = format!(
                "label name of {} bytes in series {:?}; limit limits.ingest.max_label_name_bytes={}",
                name.len(),
                metric(),
                limits.label_name_bytes_max
            );
            return Err((Reason::LabelNameTooLong, text));
        }
        if exceeds(value.len(), limits.label_value_bytes_max) {
            let text = format!(
                "label {name:?} of series {:?} has a value of {} bytes; limit \
                 limits.ingest.max_label_value_bytes={}",
                metric(),
                value.len(),
                limits.label_value_bytes_max
            );
            return Err((Reason::LabelValueTooLong, text));
        }
    }
    if exceeds(count, limits.labels_max) {
        let text = format!(
            "series {:?} has {count} labels; limit limits.ingest.max_labels={}",
            metric(),
            limits.labels_max
        );
        return Err((Reason::TooManyLabels, text));
    }
    Ok(())
}
