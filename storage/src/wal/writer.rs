//! The thread that writes the log: group after group, one sync each.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::components::give_way;
use crate::files::AppendFile;
use crate::wal::frame::{FILE_HEADER_BYTES, FileHeader, put_frame_header};
use crate::wal::{LogFile, Queue, Shared, Waiting, WalStats};
use crate::{Durability, ErrorKind, FaultPoint, StorageError};

/// With [`Durability::Os`], what was written is synced at least this often.
const OS_SYNC_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Active {
    file: Box<dyn AppendFile>,
    path: PathBuf,
    salt: u64,
    bytes: u64,
    /// The folder knows the file's name for good.
    named: bool,
}

struct Writer<'a> {
    shared: &'a Shared,
    active: Option<Active>,
    /// Everything in the file before the next one is durable.
    continues: bool,
    /// When the first of what is written and not synced was written, with [`Durability::Os`].
    /// Units: ns, monotonic.
    dirty_since: Option<u64>,
    /// Requests in the last group: so many are likely to come again.
    last_group: usize,
    headers: Vec<u8>,
}

/// Closes the queue however the thread ends, so that nobody waits for it in vain.
struct CloseOnDrop<'a>(&'a Shared);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.closed = true;
        queue.waiting.clear();
        queue.waiting_bytes = 0;
    }
}

/// Ends the process when the thread panics: what it has written and not answered is known to the
/// log alone, which the next start reads.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

pub(super) fn run(shared: &Shared) {
    let _abort = AbortOnPanic;
    let _close = CloseOnDrop(shared);
    let mut writer = Writer::new(shared);
    while let Some((group, roll)) = writer.next_group() {
        if roll {
            writer.leave_file();
        }
        if group.is_empty() {
            writer.sync_if_dirty();
            continue;
        }
        writer.commit(group);
    }
    writer.sync_if_dirty();
}

/// The same as a task, for simulations.
pub(super) async fn run_inline(shared: Arc<Shared>) {
    let _close = CloseOnDrop(&shared);
    let mut writer = Writer::new(&shared);
    loop {
        if shared.queue.lock().waiting.is_empty() {
            if shared.queue.lock().stopping {
                break;
            }
            let arrived = shared.arrived_inline.notified();
            let Some(left) = writer.until_sync() else {
                arrived.await;
                continue;
            };
            if tokio::time::timeout(left, arrived).await.is_err() {
                writer.sync_if_dirty();
            }
            continue;
        }
        // Whoever comes meanwhile is in the same group.
        give_way(shared.components.random.as_ref()).await;
        let (group, roll) = shared.queue.lock().take_group();
        if roll {
            writer.leave_file();
        }
        writer.commit(group);
    }
    writer.sync_if_dirty();
}

impl Queue {
    fn take_group(&mut self) -> (Vec<Waiting>, bool) {
        self.waiting_bytes = 0;
        (std::mem::take(&mut self.waiting), std::mem::take(&mut self.roll))
    }
}

impl<'a> Writer<'a> {
    fn new(shared: &'a Shared) -> Writer<'a> {
        Writer {
            shared,
            active: None,
            continues: false,
            dirty_since: None,
            last_group: 0,
            headers: Vec::new(),
        }
    }

    /// Waits for requests; an empty group means that it is time to sync. None at the end.
    fn next_group(&mut self) -> Option<(Vec<Waiting>, bool)> {
        let mut queue = self.shared.queue.lock();
        while queue.waiting.is_empty() && !queue.stopping {
            match self.until_sync() {
                Some(left) if self.shared.arrived.wait_for(&mut queue, left).timed_out() => {
                    return Some((Vec::new(), false));
                }
                Some(_) => {}
                None => self.shared.arrived.wait(&mut queue),
            }
        }
        // A lone request never waits: only a group of several makes the next one wait for as many.
        if self.last_group > 1 {
            let wait = self.shared.settings.group_wait;
            let wanted = self.last_group;
            let lonely = |queue: &mut Queue| queue.waiting.len() < wanted && !queue.stopping;
            // As many as were in the last group, or all that come in time.
            let _timed_out = self.shared.arrived.wait_while_for(&mut queue, lonely, wait);
        }
        if queue.waiting.is_empty() {
            return None;
        }
        Some(queue.take_group())
    }

    fn commit(&mut self, group: Vec<Waiting>) {
        self.last_group = group.len();
        let outcome = self.write(&group);
        let stats = &self.shared.stats;
        stats.failed.store(outcome.is_err(), Ordering::Relaxed);
        if let Err(error) = &outcome {
            WalStats::add(&stats.write_errors, 1);
            tracing::error!(%error, "the log could not be written; it goes on in a new file");
            // With Durability::Os no sync has failed: what the file held before is synced as ever.
            self.sync_if_dirty();
            // What the file holds now is unknown: it is not synced again, and the next does not
            // claim to continue it.
            self.active = None;
            self.continues = false;
            self.dirty_since = None;
            let mut queue = self.shared.queue.lock();
            for waiting in &group {
                queue.outstanding.remove(&waiting.sequence);
            }
        }
        self.shared.components.faults.meet(FaultPoint::Log);
        for waiting in group {
            // The caller may have gone; what is logged stays logged.
            let _unwanted = waiting.answer.send(outcome.clone());
        }
        // Also where requests never cease.
        if self.until_sync().is_some_and(|left| left.is_zero()) {
            self.sync_if_dirty();
        }
    }

    fn write(&mut self, group: &[Waiting]) -> Result<(), StorageError> {
        let Some(first) = group.first() else { return Ok(()) };
        let group_bytes: u64 = group.iter().map(|waiting| waiting.entry.logged_bytes()).sum();
        let full = |active: &Active| {
            active.bytes > FILE_HEADER_BYTES as u64
                && active.bytes + group_bytes > self.shared.settings.segment_bytes
        };
        if self.active.as_ref().is_some_and(full) {
            self.leave_file();
        }
        if self.active.is_none() {
            self.active = Some(self.open_file(first.sequence, group_bytes)?);
        }
        let Some(active) = &mut self.active else { return Ok(()) };

        self.headers.clear();
        let mut ends = Vec::with_capacity(group.len());
        for waiting in group {
            put_frame_header(&mut self.headers, active.salt, waiting.sequence, &waiting.entry);
            ends.push(self.headers.len());
        }
        let mut parts: Vec<&[u8]> = Vec::with_capacity(2 * group.len());
        let mut start = 0;
        for (waiting, end) in group.iter().zip(ends) {
            parts.push(&self.headers[start..end]);
            parts.push(&waiting.entry.wire.bytes);
            start = end;
        }
        let context = |error| {
            let why = format!("{}: {error}", active.path.display());
            StorageError::new(ErrorKind::Unavailable, why)
        };
        active.file.append(&parts).map_err(context)?;
        active.bytes += group_bytes;
        match self.shared.settings.durability {
            Durability::Fsync => sync(self.shared, active.file.as_mut()).map_err(context)?,
            Durability::Os => {
                let now = self.shared.components.clock.monotonic_ns();
                self.dirty_since.get_or_insert(now);
            }
        }
        if !active.named {
            let folder = &self.shared.settings.folder;
            let synced = self.shared.components.files.sync_folder(folder);
            note_failure(self.shared, &synced);
            synced.map_err(context)?;
            active.named = true;
        }
        self.count(group, group_bytes);
        Ok(())
    }

    fn count(&self, group: &[Waiting], group_bytes: u64) {
        let stats = &self.shared.stats;
        WalStats::add(&stats.frames, group.len() as u64);
        WalStats::add(&stats.appended_bytes, group_bytes);
        let mut files = self.shared.files.lock();
        if let (Some(file), Some(last)) = (files.last_mut(), group.last()) {
            file.last_sequence = last.sequence;
            file.bytes += group_bytes;
        }
    }

    fn open_file(&self, first_sequence: u64, group_bytes: u64) -> Result<Active, StorageError> {
        let shared = self.shared;
        let salt = shared.components.random.next_u64();
        let path = shared.settings.folder.join(file_name(first_sequence, salt));
        let context = |error| {
            let why = format!("{}: {error}", path.display());
            StorageError::new(ErrorKind::Unavailable, why)
        };
        let reserve = shared.settings.segment_bytes.max(group_bytes);
        let mut file = shared.components.files.create(&path, reserve).map_err(context)?;
        let header = FileHeader { salt, first_sequence, continues: self.continues };
        file.append(&[&header.encode()]).map_err(context)?;
        let bytes = FILE_HEADER_BYTES as u64;
        let last_sequence = first_sequence.saturating_sub(1);
        let path_listed = path.clone();
        let listed = LogFile { path: path_listed, first_sequence, last_sequence, bytes };
        shared.files.lock().push(listed);
        Ok(Active { file, path, salt, bytes, named: false })
    }

    /// Ends the present file; the next group begins a new one.
    fn leave_file(&mut self) {
        self.sync_if_dirty();
        // Without a file the last one failed, or this is the first since the start.
        if self.active.take().is_some() {
            self.continues = true;
        }
    }

    /// How long what is written may still wait for its sync; nothing where all is synced.
    fn until_sync(&self) -> Option<Duration> {
        let since = self.dirty_since?;
        let waited = self.shared.components.clock.monotonic_ns().saturating_sub(since);
        Some(OS_SYNC_INTERVAL.saturating_sub(Duration::from_nanos(waited)))
    }

    fn sync_if_dirty(&mut self) {
        if self.dirty_since.take().is_none() {
            return;
        }
        let Some(active) = &mut self.active else { return };
        if let Err(error) = sync(self.shared, active.file.as_mut()) {
            tracing::error!(%error, "the log could not be synced; it goes on in a new file");
            WalStats::add(&self.shared.stats.write_errors, 1);
            self.active = None;
            self.continues = false;
        }
    }
}

fn sync(shared: &Shared, file: &mut dyn AppendFile) -> std::io::Result<()> {
    let clock = &shared.components.clock;
    let start = clock.monotonic_ns();
    let synced = file.sync_data();
    note_failure(shared, &synced);
    synced?;
    WalStats::add(&shared.stats.syncs, 1);
    WalStats::add(&shared.stats.sync_ns, clock.monotonic_ns().saturating_sub(start));
    Ok(())
}

/// Tells the owner of the store that a sync has failed.
fn note_failure(shared: &Shared, synced: &std::io::Result<()>) {
    if let Err(error) = synced {
        shared.sync_failed.send_replace(Some(error.to_string()));
    }
}

/// `<first sequence, 20 digits>-<salt, 16 hex digits>.log`
pub(super) fn file_name(first_sequence: u64, salt: u64) -> String {
    format!("{first_sequence:020}-{salt:016x}.log")
}
