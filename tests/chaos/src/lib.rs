//! Faults on purpose: the matrix of what can go wrong, a row each, with what must come of it.
//!
//! The `chaos` binary runs the rows against the real `tercet` and prints a line for each case: what
//! was done, what was expected, what came, and the seed. The integration tests share its server,
//! its load and its tools.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, looks at the real clock, and is read"
)]

pub mod dice;
pub mod identity;
pub mod load;
pub mod proxy;
pub mod report;
pub mod row;
pub mod rows;
pub mod sender;
pub mod server;
pub mod system;
pub mod tools;
pub mod witness;
