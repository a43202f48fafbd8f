//! OTLP: the OpenTelemetry protocol, in protobuf and JSON.
//!
//! A request is walked once (`envelope`), each record by the function of its signal. The batch's
//! arena is the body itself: rows hold slices of it and nothing is copied. What is wrong with one
//! record refuses that record; bytes that are no protobuf refuse the request. JSON becomes protobuf
//! first, so that both always mean the same.

// Lengths and times from outside are computed with here: what may overflow says what then.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod envelope;
pub(crate) mod json;
pub(crate) mod labels;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod response;
pub(crate) mod traces;
mod values;

#[cfg(test)]
mod tests;
