//! File descriptors: as many as the system gives, and some of them kept from connections, so that
//! the log and the segments can always be opened.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Kept for files: logs, segments that queries read, merges.
const RESERVED_MIN: u64 = 64;
const RESERVED_MAX: u64 = 1024;

/// Raises the limit as far as the system lets a process raise it.
pub(crate) fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of descriptors stays as it is");
    }
}

/// How many connections there may be: as the settings say, or what descriptors there are for.
pub(crate) fn connections_max(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = for_connections(limit);
    if most < wanted as u64 {
        tracing::warn!(
            limit,
            wanted,
            most,
            "server.max_connections is more than the limit of descriptors (ulimit -n) leaves"
        );
    }
    wanted.min(usize::try_from(most).unwrap_or(usize::MAX))
}

fn for_connections(limit: u64) -> u64 {
    let reserved = (limit / 4).clamp(RESERVED_MIN, RESERVED_MAX);
    limit.saturating_sub(reserved).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_a_share_of_the_descriptors() {
        for (limit, want) in [(0, 1), (64, 1), (128, 64), (1024, 768), (20_000, 18_976)] {
            assert_eq!(for_connections(limit), want, "{limit}");
        }
        assert_eq!(for_connections(u64::MAX), u64::MAX - RESERVED_MAX);
        assert!(connections_max(1) == 1);
    }
}
