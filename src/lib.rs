//! Tercet: logs, traces and metrics in one binary. This crate only introduces the rooms to each
//! other; see ARCHITECTURE.md.

mod admin;
mod assets;
pub mod canary;
mod cli;
mod components;
pub mod config;
mod demo;
mod descriptors;
mod doors;
mod epochs;
mod limits;
mod listen;
mod memory;
mod reload;
mod server;
mod stats;
mod terminal;
mod units;
mod upkeep;
mod wiring;

pub use cli::run;
pub use components::{SystemClock, SystemRandom};
pub use reload::Reloaded;
pub use server::{Server, StartError};
