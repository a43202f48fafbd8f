//! What users rely on, asked of the real binary over real sockets: senders, tools, crashes, and
//! the rules that the code itself keeps.

mod grafana;
mod prometheus;
mod query_tools;
mod senders;
mod server;
mod tools;
