//! Text in, answer out: PromQL, LogQL, traces, ID lookup, and the HTTP dialects that ask for them.
//!
//! Storage is seen through [`storage::Snapshot`] alone, which a [`Source`] hands out for a tenant.
//! Each language has the same rooms (lex, parse, ast, check, plan, exec); range functions of all of
//! them share `kernels`.

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod kernels;
mod limits;
mod logql;
mod lookup;
mod promql;
mod source;
mod traces;
mod turns;

pub use http::{BuildInfo, Figure, Query, QueryOptions, QueryStats};
pub use source::Source;
