//! OTLP.

pub(crate) mod metrics;
