//! What users rely on, asked of the real binary over real sockets: senders, tools, crashes, and
//! the rules that the code itself keeps.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, looks at the real clock, and is read"
)]

mod bucket;
mod canary;
mod conformance;
mod crash;
mod deploy;
mod grafana;
mod prometheus;
mod query_tools;
mod senders;
mod tidy;
