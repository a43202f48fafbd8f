//! The binary: see [`tercet::run`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The allocator's settings: freed memory goes back to the system within a second, by threads of the
/// allocator's own, for near `memory.limit` its ten seconds are too long. What the variable
/// `_RJEM_MALLOC_CONF` says comes after it.
#[used]
#[expect(unsafe_code, reason = "the allocator looks for its settings by this name")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 60] =
    b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    tercet::run()
}
