//! A signal of lines of text, simple enough to see through, and a store of it alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use model::{
    Batch, Encoding, LogRow, LogsBatch, Protocol, Rejections, Signal, Slice, TenantId, Wire,
};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::segment::{
    Append, EncodeContext, EncodedFile, EncodedSegment, OpenSegment, SegmentHandle, SegmentMeta,
    SegmentSource,
};
use crate::store::core::Core;
use crate::store::engine::SignalEngine;
use crate::store::open::{DataFolder, open_core, spawn};
use crate::store::shard::{Shard, Stage};
use crate::{Ack, Components, Options, Replay, StorageError};

/// Lines.
#[derive(Debug)]
pub(super) struct Fake;

#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<Vec<String>>);

#[derive(Debug)]
pub(super) struct LinesFile(Vec<String>);

impl OpenSegment for LinesFile {
    fn open(_meta: &SegmentMeta, sources: &[Arc<dyn SegmentSource>]) -> Result<Self, StorageError> {
        let source = &sources[0];
        let content = source.read(0..source.len())?;
        let text = std::str::from_utf8(&content)
            .map_err(|error| StorageError::corrupt(source.name(), error))?;
        Ok(LinesFile(text.lines().map(str::to_owned).collect()))
    }
}

/// What a reader saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) lines: Vec<String>,
    pub(super) unread: Vec<String>,
    pub(super) levels: Vec<u8>,
}

impl SignalEngine for Fake {
    const SIGNAL: Signal = Signal::Logs;
    type Batch = LogsBatch;
    type Memtable = Lines;
    type Segment = LinesFile;
    type Reader = Seen;

    fn memtable(_generation: u32, _limits: model::LimitsOf, _options: &Options) -> Lines {
        Lines::default()
    }

    fn successor(_memtable: &Lines, _generation: u32) -> Lines {
        Lines::default()
    }

    fn append(memtable: &Lines, batch: LogsBatch, _received: i64, _append: Append) -> Rejections {
        let lines = batch.rows.iter().map(|row| batch.line(row).into_owned());
        memtable.0.lock().extend(lines);
        Rejections::default()
    }

    fn heap_bytes(memtable: &Lines) -> usize {
        memtable.0.lock().iter().map(String::len).sum()
    }

    fn active(_memtable: &Lines) -> usize {
        0
    }

    fn rows(memtable: &Lines) -> u64 {
        memtable.0.lock().len() as u64
    }

    fn encode(memtable: &Lines, _: &EncodeContext) -> Result<Vec<EncodedSegment>, StorageError> {
        Ok(segment(memtable.0.lock().clone()))
    }

    fn merge(
        inputs: &[Arc<LinesFile>],
        _: &EncodeContext,
    ) -> Result<Vec<EncodedSegment>, StorageError> {
        let lines: Vec<String> = inputs.iter().flat_map(|input| input.0.iter().cloned()).collect();
        assert!(!lines.iter().any(|line| line == "panic"), "a line that merges cannot take");
        Ok(segment(lines))
    }

    fn reader(memtables: Vec<Arc<Lines>>, segments: Vec<Arc<SegmentHandle<LinesFile>>>) -> Seen {
        let mut seen = Seen::default();
        for handle in segments {
            match handle.get() {
                Ok(file) => seen.lines.extend(file.0.iter().cloned()),
                Err(error) => seen.unread.push(error.to_string()),
            }
            seen.levels.push(handle.meta.level);
        }
        for memtable in memtables {
            seen.lines.extend(memtable.0.lock().iter().cloned());
        }
        seen.lines.sort();
        seen
    }
}

fn segment(lines: Vec<String>) -> Vec<EncodedSegment> {
    if lines.is_empty() {
        return Vec::new();
    }
    vec![EncodedSegment {
        rows: lines.len() as u64,
        files: vec![EncodedFile { extension: "lines", bytes: Bytes::from(lines.join("\n")) }],
        time_min_ns: 0,
        time_max_ns: 0,
        stats: Bytes::new(),
    }]
}

/// The body is the line; `!` at its start cannot be decoded.
#[derive(Debug)]
pub(super) struct LinesReplay;

impl Replay for LinesReplay {
    fn replay(&self, _tenant: &TenantId, wire: &Wire) -> Result<Batch, String> {
        let text = String::from_utf8(wire.bytes.to_vec()).map_err(|error| error.to_string())?;
        if text.starts_with('!') {
            return Err("it begins with an exclamation mark".to_owned());
        }
        Ok(Batch::Logs(batch(&text)))
    }
}

fn batch(line: &str) -> LogsBatch {
    let body = Slice { start: 0, len: line.len() as u32 };
    LogsBatch {
        arena: Bytes::from(line.to_owned()),
        streams: Vec::new(),
        rows: vec![LogRow { body, ..LogRow::default() }],
    }
}

/// A store of one signal.
pub(super) struct FakeStore {
    pub(super) core: Arc<Core>,
    pub(super) shard: Arc<Shard<Fake>>,
    tasks: Vec<JoinHandle<()>>,
    _folder: DataFolder,
}

impl FakeStore {
    pub(super) async fn try_open(
        options: Options,
        components: Components,
    ) -> Result<FakeStore, StorageError> {
        let (core, folder) = open_core(options, components).await?;
        let shard = Shard::<Fake>::new(Arc::clone(&core));
        let mut tasks = Vec::new();
        let replay: Arc<dyn Replay> = Arc::new(LinesReplay);
        let unwrap = |batch| if let Batch::Logs(batch) = batch { Some(batch) } else { None };
        spawn(&shard, &replay, unwrap, &mut tasks);
        let store = FakeStore { core, shard, tasks, _folder: folder };
        let mut stages = store.shard.stage.subscribe();
        let over = |stage: &Stage| matches!(stage, Stage::Ready | Stage::Failed(_));
        drop(stages.wait_for(over).await.unwrap());
        Ok(store)
    }

    pub(super) async fn open(folder: &Path, components: &Components) -> FakeStore {
        FakeStore::try_open(Options::new(folder.to_owned()), components.clone()).await.unwrap()
    }

    pub(super) async fn try_write(&self, line: &str) -> Result<Ack, StorageError> {
        let _entered = self.core.admission.enter(&self.core).await?;
        let wire = Wire {
            protocol: Protocol::LokiPushJson,
            encoding: Encoding::Identity,
            bytes: Bytes::from(line.to_owned()),
            received_ns: self.core.now_ns(),
        };
        let hash = xxhash_rust::xxh3::xxh3_128(line.as_bytes());
        self.shard.write(TenantId::default(), wire, hash, (batch(line), 1)).await
    }

    pub(super) async fn write(&self, line: &str) -> Ack {
        self.try_write(line).await.unwrap()
    }

    pub(super) fn seen(&self) -> Seen {
        self.shard.reader(&TenantId::default())
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().lines
    }

    /// Ends as a killed process does, as far as that goes inside one: nothing is flushed.
    pub(super) async fn crash(mut self) {
        self.core.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            // Replay and pauses end by themselves; a flush under way is cut off.
            task.abort();
            let _cancelled = task.await;
        }
        self.shard.wal.stop();
    }

    /// Paths of all files of the store, with their content.
    pub(super) async fn objects(&self) -> BTreeMap<String, Bytes> {
        let mut found = BTreeMap::new();
        for folder in ["catalog", "segments"] {
            for entry in self.core.objects.list(folder).await.unwrap() {
                let content = self.core.objects.get(&entry.path).await.unwrap().unwrap();
                found.insert(entry.path, content);
            }
        }
        found
    }
}
