//! The messages of OTLP as tables: JSON name, field number, kind.
//!
//! Source: opentelemetry-proto 1.9 (`common`, `resource`, `logs`, `trace`, `metrics`).

use model::Signal;

/// How a field's value is written in JSON and on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Messages nest in a circle, so that this is the place of a table.
    Message(&'static Fields),
    Text,
    Bool,
    /// Bytes of this length as hex.
    Id(u8),
    Base64,
    Double,
    Fixed64,
    SFixed64,
    Fixed32,
    Uint32,
    Uint64,
    Int64,
    Sint32,
    /// An integer; the names are what the Collector takes as well.
    Enum(&'static [(&'static str, i32)]),
}

impl Kind {
    /// Whether a repeated field of this kind is one length-delimited run (proto3's default).
    pub(super) fn is_packed(self) -> bool {
        matches!(self, Kind::Double | Kind::Fixed64 | Kind::Uint64)
    }
}

/// One field of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// In lowerCamelCase.
    pub(super) name: &'static str,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) is_repeated: bool,
}

const fn one(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, is_repeated: false }
}

const fn many(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, is_repeated: true }
}

/// A message.
pub(super) type Fields = &'static [Field];

/// The export request of a signal.
pub(super) fn request(signal: Signal) -> Fields {
    match signal {
        Signal::Logs => LOGS_REQUEST,
        Signal::Traces => TRACES_REQUEST,
        Signal::Metrics => METRICS_REQUEST,
    }
}

static LOGS_REQUEST: Fields = &[many("resourceLogs", 1, Kind::Message(&RESOURCE_LOGS))];
static TRACES_REQUEST: Fields = &[many("resourceSpans", 1, Kind::Message(&RESOURCE_SPANS))];
static METRICS_REQUEST: Fields = &[many("resourceMetrics", 1, Kind::Message(&RESOURCE_METRICS))];

// common.proto and resource.proto

static ANY_VALUE: Fields = &[
    one("stringValue", 1, Kind::Text),
    one("boolValue", 2, Kind::Bool),
    one("intValue", 3, Kind::Int64),
    one("doubleValue", 4, Kind::Double),
    one("arrayValue", 5, Kind::Message(&ARRAY_VALUE)),
    one("kvlistValue", 6, Kind::Message(&KEY_VALUE_LIST)),
    one("bytesValue", 7, Kind::Base64),
];

static ARRAY_VALUE: Fields = &[many("values", 1, Kind::Message(&ANY_VALUE))];

static KEY_VALUE_LIST: Fields = &[many("values", 1, Kind::Message(&KEY_VALUE))];

static KEY_VALUE: Fields = &[one("key", 1, Kind::Text), one("value", 2, Kind::Message(&ANY_VALUE))];

static SCOPE: Fields = &[
    one("name", 1, Kind::Text),
    one("version", 2, Kind::Text),
    many("attributes", 3, Kind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 4, Kind::Uint32),
];

static RESOURCE: Fields = &[
    many("attributes", 1, Kind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 2, Kind::Uint32),
    many("entityRefs", 3, Kind::Message(&ENTITY_REF)),
];

static ENTITY_REF: Fields = &[
    one("schemaUrl", 1, Kind::Text),
    one("type", 2, Kind::Text),
    many("idKeys", 3, Kind::Text),
    many("descriptionKeys", 4, Kind::Text),
];

// logs.proto

static RESOURCE_LOGS: Fields = &[
    one("resource", 1, Kind::Message(&RESOURCE)),
    many("scopeLogs", 2, Kind::Message(&SCOPE_LOGS)),
    one("schemaUrl", 3, Kind::Text),
];

static SCOPE_LOGS: Fields = &[
    one("scope", 1, Kind::Message(&SCOPE)),
    many("logRecords", 2, Kind::Message(&LOG_RECORD)),
    one("schemaUrl", 3, Kind::Text),
];

static LOG_RECORD: Fields = &[
    one("timeUnixNano", 1, Kind::Fixed64),
    one("severityNumber", 2, Kind::Enum(SEVERITIES)),
    one("severityText", 3, Kind::Text),
    one("body", 5, Kind::Message(&ANY_VALUE)),
    many("attributes", 6, Kind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 7, Kind::Uint32),
    one("flags", 8, Kind::Fixed32),
    one("traceId", 9, Kind::Id(16)),
    one("spanId", 10, Kind::Id(8)),
    one("observedTimeUnixNano", 11, Kind::Fixed64),
    one("eventName", 12, Kind::Text),
];

const SEVERITIES: &[(&str, i32)] = &[
    ("SEVERITY_NUMBER_UNSPECIFIED", 0),
    ("SEVERITY_NUMBER_TRACE", 1),
    ("SEVERITY_NUMBER_TRACE2", 2),
    ("SEVERITY_NUMBER_TRACE3", 3),
    ("SEVERITY_NUMBER_TRACE4", 4),
    ("SEVERITY_NUMBER_DEBUG", 5),
    ("SEVERITY_NUMBER_DEBUG2", 6),
    ("SEVERITY_NUMBER_DEBUG3", 7),
    ("SEVERITY_NUMBER_DEBUG4", 8),
    ("SEVERITY_NUMBER_INFO", 9),
    ("SEVERITY_NUMBER_INFO2", 10),
    ("SEVERITY_NUMBER_INFO3", 11),
    ("SEVERITY_NUMBER_INFO4", 12),
    ("SEVERITY_NUMBER_WARN", 13),
    ("SEVERITY_NUMBER_WARN2", 14),
    ("SEVERITY_NUMBER_WARN3", 15),
    ("SEVERITY_NUMBER_WARN4", 16),
    ("SEVERITY_NUMBER_ERROR", 17),
    ("SEVERITY_NUMBER_ERROR2", 18),
    ("SEVERITY_NUMBER_ERROR3", 19),
    ("SEVERITY_NUMBER_ERROR4", 20),
    ("SEVERITY_NUMBER_FATAL", 21),
    ("SEVERITY_NUMBER_FATAL2", 22),
    ("SEVERITY_NUMBER_FATAL3", 23),
    ("SEVERITY_NUMBER_FATAL4", 24),
];

// trace.proto

static RESOURCE_SPANS: Fields = &[
    one("resource", 1, Kind::Message(&RESOURCE)),
    many("scopeSpans", 2, Kind::Message(&SCOPE_SPANS)),
    one("schemaUrl", 3, Kind::Text),
];

static SCOPE_SPANS: Fields = &[
    one("scope", 1, Kind::Message(&SCOPE)),
    many("spans", 2, Kind::Message(&SPAN)),
    one("schemaUrl", 3, Kind::Text),
];

static SPAN: Fields = &[
    one("traceId", 1, Kind::Id(16)),
    one("spanId", 2, Kind::Id(8)),
    one("traceState", 3, Kind::Text),
    one("parentSpanId", 4, Kind::Id(8)),
    one("name", 5, Kind::Text),
    one("kind", 6, Kind::Enum(SPAN_KINDS)),
    one("startTimeUnixNano", 7, Kind::Fixed64),
    one("endTimeUnixNano", 8, Kind::Fixed64),
    many("attributes", 9, Kind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 10, Kind::Uint32),
    many("events", 11, Kind::Message(&EVENT)),
    one("droppedEventsCount", 12, Kind::Uint32),
    many("links", 13, Kind::Message(&LINK)),
    one("droppedLinksCount", 14, Kind::Uint32),
    one("status", 15, Kind::Message(&STATUS)),
    one("flags", 16, Kind::Fixed32),
];

const SPAN_KINDS: &[(&str, i32)] = &[
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
];

static EVENT: Fields = &[
    one("timeUnixNano", 1, Kind::Fixed64),
    one("name", 2, Kind::Text),
    many("attributes", 3, Kind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 4, Kind::Uint32),
];

static LINK: Fields = &[
    one("traceId", 1, Kind::Id(16)),
    one("spanId", 2, Kind::Id(8)),
    one("traceState", 3, Kind::Text),
    many("attributes", 4, Kind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 5, Kind::Uint32),
    one("flags", 6, Kind::Fixed32),
];

static STATUS: Fields = &[one("message", 2, Kind::Text), one("code", 3, Kind::Enum(STATUS_CODES))];

const STATUS_CODES: &[(&str, i32)] =
    &[("STATUS_CODE_UNSET", 0), ("STATUS_CODE_OK", 1), ("STATUS_CODE_ERROR", 2)];

// metrics.proto

static RESOURCE_METRICS: Fields = &[
    one("resource", 1, Kind::Message(&RESOURCE)),
    many("scopeMetrics", 2, Kind::Message(&SCOPE_METRICS)),
    one("schemaUrl", 3, Kind::Text),
];

static SCOPE_METRICS: Fields = &[
    one("scope", 1, Kind::Message(&SCOPE)),
    many("metrics", 2, Kind::Message(&METRIC)),
    one("schemaUrl", 3, Kind::Text),
];

static METRIC: Fields = &[
    one("name", 1, Kind::Text),
    one("description", 2, Kind::Text),
    one("unit", 3, Kind::Text),
    one("gauge", 5, Kind::Message(&GAUGE)),
    one("sum", 7, Kind::Message(&SUM)),
    one("histogram", 9, Kind::Message(&HISTOGRAM)),
    one("exponentialHistogram", 10, Kind::Message(&EXPONENTIAL_HISTOGRAM)),
    one("summary", 11, Kind::Message(&SUMMARY)),
    many("metadata", 12, Kind::Message(&KEY_VALUE)),
];

const TEMPORALITIES: &[(&str, i32)] = &[
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
];

static GAUGE: Fields = &[many("dataPoints", 1, Kind::Message(&NUMBER_DATA_POINT))];

static SUM: Fields = &[
    many("dataPoints", 1, Kind::Message(&NUMBER_DATA_POINT)),
    one("aggregationTemporality", 2, Kind::Enum(TEMPORALITIES)),
    one("isMonotonic", 3, Kind::Bool),
];

static HISTOGRAM: Fields = &[
    many("dataPoints", 1, Kind::Message(&HISTOGRAM_DATA_POINT)),
    one("aggregationTemporality", 2, Kind::Enum(TEMPORALITIES)),
];

static EXPONENTIAL_HISTOGRAM: Fields = &[
    many("dataPoints", 1, Kind::Message(&EXPONENTIAL_HISTOGRAM_DATA_POINT)),
    one("aggregationTemporality", 2, Kind::Enum(TEMPORALITIES)),
];

static SUMMARY: Fields = &[many("dataPoints", 1, Kind::Message(&SUMMARY_DATA_POINT))];

static NUMBER_DATA_POINT: Fields = &[
    one("startTimeUnixNano", 2, Kind::Fixed64),
    one("timeUnixNano", 3, Kind::Fixed64),
    one("asDouble", 4, Kind::Double),
    many("exemplars", 5, Kind::Message(&EXEMPLAR)),
    one("asInt", 6, Kind::SFixed64),
    many("attributes", 7, Kind::Message(&KEY_VALUE)),
    one("flags", 8, Kind::Uint32),
];

static HISTOGRAM_DATA_POINT: Fields = &[
    one("startTimeUnixNano", 2, Kind::Fixed64),
    one("timeUnixNano", 3, Kind::Fixed64),
    one("count", 4, Kind::Fixed64),
    one("sum", 5, Kind::Double),
    many("bucketCounts", 6, Kind::Fixed64),
    many("explicitBounds", 7, Kind::Double),
    many("exemplars", 8, Kind::Message(&EXEMPLAR)),
    many("attributes", 9, Kind::Message(&KEY_VALUE)),
    one("flags", 10, Kind::Uint32),
    one("min", 11, Kind::Double),
    one("max", 12, Kind::Double),
];

static EXPONENTIAL_HISTOGRAM_DATA_POINT: Fields = &[
    many("attributes", 1, Kind::Message(&KEY_VALUE)),
    one("startTimeUnixNano", 2, Kind::Fixed64),
    one("timeUnixNano", 3, Kind::Fixed64),
    one("count", 4, Kind::Fixed64),
    one("sum", 5, Kind::Double),
    one("scale", 6, Kind::Sint32),
    one("zeroCount", 7, Kind::Fixed64),
    one("positive", 8, Kind::Message(&BUCKETS)),
    one("negative", 9, Kind::Message(&BUCKETS)),
    one("flags", 10, Kind::Uint32),
    many("exemplars", 11, Kind::Message(&EXEMPLAR)),
    one("min", 12, Kind::Double),
    one("max", 13, Kind::Double),
    one("zeroThreshold", 14, Kind::Double),
];

static BUCKETS: Fields = &[one("offset", 1, Kind::Sint32), many("bucketCounts", 2, Kind::Uint64)];

static SUMMARY_DATA_POINT: Fields = &[
    one("startTimeUnixNano", 2, Kind::Fixed64),
    one("timeUnixNano", 3, Kind::Fixed64),
    one("count", 4, Kind::Fixed64),
    one("sum", 5, Kind::Double),
    many("quantileValues", 6, Kind::Message(&QUANTILE)),
    many("attributes", 7, Kind::Message(&KEY_VALUE)),
    one("flags", 8, Kind::Uint32),
];

static QUANTILE: Fields = &[one("quantile", 1, Kind::Double), one("value", 2, Kind::Double)];

static EXEMPLAR: Fields = &[
    one("timeUnixNano", 2, Kind::Fixed64),
    one("asDouble", 3, Kind::Double),
    one("spanId", 4, Kind::Id(8)),
    one("traceId", 5, Kind::Id(16)),
    one("asInt", 6, Kind::SFixed64),
    many("filteredAttributes", 7, Kind::Message(&KEY_VALUE)),
];
