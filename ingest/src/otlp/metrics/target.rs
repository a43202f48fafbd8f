//! `target_info`: the attributes of a resource that its series do not carry.

use model::{AttributesRef, NS_PER_S, Reason, Sample};

use super::{Translator, attributes, labels};
use crate::checks::check_limits;
use crate::series_cache::mix;

/// Time between two samples of one request: half of PromQL's lookback. Units: ns.
const INTERVAL_NS: i64 = 150 * NS_PER_S;
/// Samples that one resource of one request gets at most; the newest count.
const SAMPLES_MAX: i64 = 1000;
/// Sets the key of `target_info` apart from those of the resource's points.
const TARGET_INFO: u128 = 0x7461_7267_6574_5f69_6e66_6f00_0000_0001;

/// The first and the last time of a resource's points. Units: ns.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span(Option<(i64, i64)>);

impl Span {
    pub(super) fn add(&mut self, time_ns: i64) {
        let (first, last) = self.0.unwrap_or((time_ns, time_ns));
        self.0 = Some((first.min(time_ns), last.max(time_ns)));
    }
}

impl Translator<'_> {
    /// Adds the samples of `target_info` for a resource whose points span `span`.
    pub(super) fn target_info(
        &mut self,
        resource: AttributesRef<'_>,
        resource_key: u128,
        span: Span,
    ) {
        let Some((first, last)) = span.0 else { return };
        let has_identity =
            resource.get("service.name").is_some() || resource.get("service.instance.id").is_some();
        if !self.options.target_info || !has_identity || !labels::has_more_than_identity(resource) {
            return;
        }
        let ctx = self.ctx;
        let options = self.options;
        let make = || {
            attributes::check(resource, ctx.limits)?;
            let labels = labels::of_target(resource, options)?;
            check_limits(&labels, ctx.limits)?;
            Ok(labels)
        };
        let key = mix(resource_key, TARGET_INFO);
        let series = match self.series.get_or_make(key, make) {
            Ok(series) => series,
            Err((reason, example)) => {
                self.rejections.add(reason, 0, || format!("target_info: {example}"));
                return;
            }
        };
        if series.labels.get("job").is_none() && series.labels.get("instance").is_none() {
            return;
        }
        let index = self.batch.series.len() as u32;
        self.batch.series.push(series);
        let (first_ms, last_ms) = self.window.clamp(model::ns_to_ms(first), model::ns_to_ms(last));
        let interval_ms = model::ns_to_ms(INTERVAL_NS);
        let oldest_ms = last_ms.saturating_sub(interval_ms.saturating_mul(SAMPLES_MAX - 1));
        let mut time_ms = first_ms.max(oldest_ms);
        if time_ms > first_ms {
            self.rejections.add(Reason::TooOld, 0, || {
                format!("target_info covers the last {SAMPLES_MAX} intervals of a request only")
            });
        }
        while time_ms < last_ms {
            self.batch.samples.push(Sample { series: index, time_ms, value: 1.0 });
            time_ms = time_ms.saturating_add(interval_ms);
        }
        self.batch.samples.push(Sample { series: index, time_ms: last_ms, value: 1.0 });
        if ctx.series.metadata_is_due(ctx.tenant, TARGET_INFO, ctx.received_ns) {
            self.batch.metadata.push(model::MetricMetadata {
                family: "target_info".to_owned(),
                kind: model::MetricKind::Gauge,
                help: "Target metadata".to_owned(),
                unit: String::new(),
            });
        }
    }
}
