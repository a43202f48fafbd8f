//! Traces as wholes: spans from storage's blocks, their tree, and the shapes in which they leave.
//!
//! `assemble` collects and orders, `tree` finds parents, self time and the critical path, `otlp`,
//! `jaeger` and `zipkin` write the wire shapes. What a trace lacks is said, never guessed.

pub(crate) mod assemble;
pub(crate) mod dependencies;
pub(crate) mod id;
pub(crate) mod jaeger;
pub(crate) mod otlp;
pub(crate) mod search;
pub(crate) mod tree;
pub(crate) mod zipkin;

#[cfg(test)]
mod tests;
