//! The label set of a translated series: attributes, resource, scope, name and extras.
//!
//! Run on cache misses only. Attributes are taken in order of their keys, so that two orders of the
//! same attributes are one series; attributes whose names collide are joined with `;`.
//! Source: Prometheus 3.14 `storage/remote/otlptranslator/prometheusremotewrite/helper.go`.

use std::collections::BTreeMap;

use model::{AttributesRef, Labels, METRIC_NAME, Reason, Value};

use super::names::label_name;
use super::options::{Promote, TranslationOptions};
use crate::series_cache::Refusal;

/// Resource attributes that become `job` and `instance`.
const IDENTIFYING: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];

/// Resource and scope of the metrics that are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) resource: AttributesRef<'a>,
    pub(super) scope: ScopeRef<'a>,
}

/// An instrumentation scope on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScopeRef<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) schema_url: &'a str,
    pub(super) attributes: AttributesRef<'a>,
}

/// What a metric adds to the labels of its series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    /// With its suffix, such as `_bucket`.
    pub(super) metric: &'a str,
    pub(super) kind: &'a str,
    pub(super) unit: &'a str,
    /// `le` or `quantile`.
    pub(super) extra: Option<(&'a str, &'a str)>,
}

type Builder = BTreeMap<String, String>;

/// The labels of one point's series.
///
/// Errors: InvalidLabels where an attribute's key cannot become a label's name.
pub(super) fn of_point(
    context: Context<'_>,
    attributes: AttributesRef<'_>,
    names: Names<'_>,
    options: &TranslationOptions,
) -> Result<Labels, Refusal> {
    let mut builder = Builder::new();
    add_attributes(&mut builder, attributes, &[], options)?;
    add_promoted(&mut builder, context.resource, options)?;
    if options.scope_labels && !context.scope.name.is_empty() {
        add_scope(&mut builder, context.scope, options)?;
    }
    if options.type_and_unit_labels {
        if names.kind != "unknown" {
            set(&mut builder, "__type__", names.kind.to_owned());
        }
        set(&mut builder, "__unit__", names.unit.to_owned());
    }
    add_identity(&mut builder, context.resource);
    set(&mut builder, METRIC_NAME, names.metric.to_owned());
    if let Some((name, value)) = names.extra {
        set(&mut builder, name, value.to_owned());
    }
    Ok(finish(&builder))
}

/// Whether a resource has attributes that `job` and `instance` do not tell.
pub(super) fn has_more_than_identity(resource: AttributesRef<'_>) -> bool {
    resource.iter().any(|(key, _)| !IDENTIFYING.contains(&key))
}

/// The labels of a resource's `target_info`.
///
/// Errors: InvalidLabels where an attribute's key cannot become a label's name.
pub(super) fn of_target(
    resource: AttributesRef<'_>,
    options: &TranslationOptions,
) -> Result<Labels, Refusal> {
    let mut builder = Builder::new();
    let left_out: &[&str] = if options.keep_identifying_attributes { &[] } else { &IDENTIFYING };
    add_attributes(&mut builder, resource, left_out, options)?;
    add_identity(&mut builder, resource);
    set(&mut builder, METRIC_NAME, "target_info".to_owned());
    Ok(finish(&builder))
}

/// An empty value removes the label.
fn set(builder: &mut Builder, name: &str, value: String) {
    if value.is_empty() {
        builder.remove(name);
    } else {
        builder.insert(name.to_owned(), value);
    }
}

fn named(key: &str, options: &TranslationOptions) -> Result<String, Refusal> {
    label_name(key, options).map_err(|why| (Reason::InvalidLabels, why))
}

fn add_attributes(
    builder: &mut Builder,
    attributes: AttributesRef<'_>,
    left_out: &[&str],
    options: &TranslationOptions,
) -> Result<(), Refusal> {
    let mut sorted: Vec<(&str, Value<'_>)> =
        attributes.iter().filter(|(key, _)| !left_out.contains(key)).collect();
    sorted.sort_by_key(|(key, _)| *key);
    for (key, value) in sorted {
        let name = named(key, options)?;
        let value = value_text(value);
        match builder.get_mut(&name) {
            Some(known) if !known.is_empty() && !options.strategy.keeps_utf8() => {
                known.push(';');
                known.push_str(&value);
            }
            _ => set(builder, &name, value),
        }
    }
    Ok(())
}

fn add_promoted(
    builder: &mut Builder,
    resource: AttributesRef<'_>,
    options: &TranslationOptions,
) -> Result<(), Refusal> {
    let mut add = |key: &str, value: Value<'_>| -> Result<(), Refusal> {
        let name = named(key, options)?;
        if !builder.contains_key(&name) {
            set(builder, &name, value_text(value));
        }
        Ok(())
    };
    match &options.promote {
        Promote::Listed(keys) => {
            for key in keys {
                if let Some(value) = resource.get(key) {
                    add(key, value)?;
                }
            }
        }
        Promote::AllExcept(keys) => {
            for (key, value) in resource.iter() {
                if !keys.iter().any(|left_out| left_out == key) {
                    add(key, value)?;
                }
            }
        }
    }
    Ok(())
}

fn add_scope(
    builder: &mut Builder,
    scope: ScopeRef<'_>,
    options: &TranslationOptions,
) -> Result<(), Refusal> {
    for (key, value) in scope.attributes.iter() {
        let name = named(&format!("otel_scope_{key}"), options)?;
        set(builder, &name, value_text(value));
    }
    set(builder, "otel_scope_name", scope.name.to_owned());
    set(builder, "otel_scope_version", scope.version.to_owned());
    set(builder, "otel_scope_schema_url", scope.schema_url.to_owned());
    Ok(())
}

fn add_identity(builder: &mut Builder, resource: AttributesRef<'_>) {
    if let Some(name) = resource.get("service.name") {
        let name = value_text(name);
        let job = match resource.get("service.namespace") {
            Some(namespace) => format!("{}/{name}", value_text(namespace)),
            None => name,
        };
        set(builder, "job", job);
    }
    if let Some(instance) = resource.get("service.instance.id") {
        set(builder, "instance", value_text(instance));
    }
}

fn finish(builder: &Builder) -> Labels {
    Labels::from_pairs(builder.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// An attribute's value as a label's value.
pub(super) fn value_text(value: Value<'_>) -> String {
    match value {
        Value::Str(text) => text.to_owned(),
        Value::Empty => String::new(),
        Value::Bytes(bytes) => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(bytes)
        }
        Value::Double(double) => double_text(double),
        value => model::value_to_json(value),
    }
}

/// A double as JSON writes it: in plain notation unless it is very small or very large.
fn double_text(double: f64) -> String {
    let size = double.abs();
    if double.is_finite() && size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{double:e}");
        return match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                format!("{digits}e+{exponent}")
            }
            _ => text,
        };
    }
    plain_number(double)
}

/// A number as `le` and `quantile` show it: the shortest digits, no exponent.
pub(super) fn plain_number(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        number.to_string()
    }
}
