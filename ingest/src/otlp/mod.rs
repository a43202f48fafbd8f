//! OTLP: the OpenTelemetry protocol, in protobuf and JSON.

pub(crate) mod metrics;
pub(crate) mod response;
