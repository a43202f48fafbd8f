//! What users rely on, asked of the real binary over real sockets: senders, tools, crashes, and
//! the rules that the code itself keeps.

mod conformance;
mod crash;
mod load;
mod server;
mod tidy;
