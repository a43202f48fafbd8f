//! How much memory there is, how much of it is used, and what the parts may take of it.
//!
//! The limit is that of the setting, else four fifths of what the machine or its control group has
//! (version 1 and 2 are read). What is used is the process's anonymous memory as the kernel counts
//! it, for that is what a control group ends processes for; pages of files can be dropped.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::Memory;

use crate::config::Config;

/// How often the process looks at itself.
const MEASURE_EVERY: Duration = Duration::from_millis(50);

/// What the machine, or the control group around this process, has. Units: bytes.
pub(crate) fn available_bytes() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let machine = kib_of(&machine, "MemTotal:").unwrap_or(u64::MAX);
    machine.min(group_limit_bytes(Path::new("/sys/fs/cgroup"), &groups))
}

/// The least limit of the control groups named in `groups`, their parents included. In a container
/// the names may be those of the host and the mount the container's own: then its root counts.
fn group_limit_bytes(root: &Path, groups: &str) -> u64 {
    let mut least = u64::MAX;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (mount, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            named if named.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mut folder = mount.join(path.trim_start_matches('/'));
        while folder.starts_with(&mount) {
            // "max" and a folder that is not there are no limit.
            let limit = fs::read_to_string(folder.join(file)).unwrap_or_default();
            least = least.min(limit.trim().parse().unwrap_or(u64::MAX));
            if !folder.pop() {
                break;
            }
        }
    }
    least
}

/// A line such as `RssAnon:  1234 kB`. Units: bytes.
fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Settles what depends on the memory there is, where no setting says otherwise.
pub(crate) fn fit(config: &mut Config, available_bytes: u64) {
    let limit = match config.memory_bytes_max {
        0 => available_bytes / 5 * 4,
        given => given,
    };
    config.memory_bytes_max = limit;
    let memory = Arc::new(Memory::new(limit));
    config.storage.memory = Arc::clone(&memory);
    config.ingest.memory = memory;
    if config.ingest.inflight_bytes_max == 0 {
        config.ingest.inflight_bytes_max = usize::try_from(limit / 5).unwrap_or(usize::MAX);
    }
    if config.storage.replay_memory_max == 0 {
        config.storage.replay_memory_max = limit / 4;
    }
    let shares = [
        ("storage.memtable_max_bytes", &mut config.storage.memtable_bytes_max, limit / 8),
        ("storage.flush_memory_bytes", &mut config.storage.flush_memory_bytes, limit / 32),
        ("storage.flush_wal_bytes", &mut config.storage.flush_wal_bytes, limit / 32),
        ("storage.cache_bytes", &mut config.storage.cache_bytes_max, limit / 32),
    ];
    for (name, value, share) in shares {
        if config.sources.origin(name).is_none() {
            *value = (*value).min(share);
        }
    }
    let work = &mut config.storage.work_bytes_max;
    *work = (*work).min(limit / 8);
    let target = &mut config.storage.segment_bytes_target;
    *target = (*target).min(limit / 48).max(1 << 20);
}

/// Keeps the process's figure fresh until it is aborted.
pub(crate) async fn measure(memory: Arc<Memory>) {
    let Some(anonymous) = Anonymous::open() else { return };
    let mut tick = tokio::time::interval(MEASURE_EVERY);
    loop {
        tick.tick().await;
        if let Some(bytes) = anonymous.bytes() {
            memory.measured(bytes);
        }
    }
}

/// The anonymous memory of this process. `/proc/self/status` has it too, and costs a hundred times as much.
struct Anonymous {
    statm: fs::File,
    page_bytes: u64,
}

impl Anonymous {
    /// Nothing where the kernel does not tell.
    fn open() -> Option<Anonymous> {
        let statm = fs::File::open("/proc/self/statm").ok()?;
        let page_bytes = page_bytes(&fs::read("/proc/self/auxv").ok()?)?;
        Some(Anonymous { statm, page_bytes })
    }

    fn bytes(&self) -> Option<u64> {
        let mut text = [0; 128];
        let length = self.statm.read_at(&mut text, 0).ok()?;
        // Size, resident, shared, and more. Units: pages.
        let mut pages = std::str::from_utf8(text.get(..length)?).ok()?.split(' ').skip(1);
        let mut next = || pages.next()?.parse::<u64>().ok();
        let (resident, shared) = (next()?, next()?);
        resident.checked_sub(shared)?.checked_mul(self.page_bytes)
    }
}

/// The size of a page, out of what the kernel tells a program at its start: pairs of words.
/// Source: getauxval(3), `AT_PAGESZ`.
fn page_bytes(auxv: &[u8]) -> Option<u64> {
    const AT_PAGESZ: usize = 6;
    let (words, _) = auxv.as_chunks::<{ size_of::<usize>() }>();
    let (pairs, _) = words.as_chunks::<2>();
    let pair = pairs.iter().find(|[name, _]| usize::from_ne_bytes(*name) == AT_PAGESZ);
    pair.map(|[_, value]| usize::from_ne_bytes(*value) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_the_groups_around_counts_in_both_versions() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let check = |groups: &str, want| assert_eq!(group_limit_bytes(root.path(), groups), want);
        check("0::/a/b\n", u64::MAX);
        write("a/memory.max", "1000\n");
        write("a/b/memory.max", "max\n");
        check("0::/a/b\n", 1000);
        write("memory/c/memory.limit_in_bytes", "700\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        check("5:cpu,memory:/c\n0::/a/b\n", 700);
        check("5:memory:/not/here\n", 9_223_372_036_854_771_712);
        check("nonsense\n7:cpuset:/\n", u64::MAX);
    }

    #[test]
    fn anonymous_memory_is_what_the_kernel_says_in_words() {
        let anonymous = Anonymous::open().unwrap();
        let kept = vec![1_u8; 64 << 20];
        let bytes = anonymous.bytes().unwrap();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let told = kib_of(&status, "RssAnon:").unwrap();
        assert!(bytes.abs_diff(told) < 16 << 20, "{bytes} against {told}");
        assert!(bytes > kept.len() as u64, "{bytes}");
    }

    #[test]
    fn parts_shrink_with_the_limit_unless_they_are_set() {
        let mut config = Config::default();
        fit(&mut config, 500 << 20);
        assert_eq!(config.memory_bytes_max, 400 << 20);
        assert_eq!(config.ingest.inflight_bytes_max, 80 << 20);
        assert_eq!(config.storage.replay_memory_max, 100 << 20);
        assert_eq!(config.storage.memtable_bytes_max, 50 << 20);
        let flags = [("storage.memtable_max_bytes", "512MiB"), ("memory.limit", "1GiB")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut config =
            crate::config::read(&flags.into(), &std::collections::BTreeMap::new(), None).unwrap();
        fit(&mut config, 500 << 20);
        assert_eq!(
            (config.memory_bytes_max, config.storage.memtable_bytes_max),
            (1 << 30, 512 << 20)
        );
        assert_eq!(config.storage.cache_bytes_max, 32 << 20);
    }
}
