//! What the three signals of a store share.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use model::TenantId;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use xxhash_rust::xxh3::xxh3_128;

use crate::catalog::{CATALOG_VERSION, Catalog, Sidecar, seal};
use crate::objects::{ChunkCache, Health, Objects, Quarantine, StoredFile, checksums};
use crate::segment::{
    EncodeContext, EncodedSegment, FileMeta, OpenSegment, SegmentHandle, SegmentMeta, SegmentSource,
};
use crate::store::admission::Admission;
use crate::store::dedup::Moment;
use crate::store::pins::Pins;
use crate::store::replay::CatchingUp;
use crate::wal::Watermark;
use crate::{Components, Options, Pool, StorageError};

/// Numbers memtables in the whole process: a shared series' hint may meet several stores in tests.
static GENERATIONS: AtomicU32 = AtomicU32::new(1);

/// Events counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) flushes: AtomicU64,
    pub(crate) flush_failures: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) compaction_failures: AtomicU64,
    pub(crate) compacted_bytes: AtomicU64,
    pub(crate) replayed: AtomicU64,
    pub(crate) replay_failures: AtomicU64,
    pub(crate) retired_segments: AtomicU64,
    pub(crate) retention_refusals: AtomicU64,
    pub(crate) orphans_removed: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// See the module's docs.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) components: Components,
    pub(crate) objects: Objects,
    pub(crate) catalog: Catalog,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) cache: Arc<ChunkCache>,
    pub(crate) admission: Admission,
    pub(crate) counters: Counters,
    /// Queries.
    pub(crate) pool: Pool,
    /// Appending large batches, apart from queries so that those cannot starve it.
    pub(crate) ingest_pool: Pool,
    /// Flushes and merges, likewise.
    pub(crate) flush_pool: Pool,
    pub(crate) compaction_pool: Pool,
    pub(crate) id_fields: Arc<[String]>,
    pub(crate) catching_up: CatchingUp,
    /// True when everybody is to stop.
    pub(crate) stop: watch::Sender<bool>,
    /// Memory of memtables was given back.
    pub(crate) freed: Notify,
    /// Somebody else's commits have come in: views are to be made anew from the catalog.
    pub(crate) views_stale: AtomicBool,
    /// Segments being uploaded, which garbage collection leaves alone.
    pub(crate) uploading: Mutex<BTreeSet<String>>,
    /// Segments out of the catalog that snapshots may still hold.
    pub(crate) retired: Mutex<Vec<(String, Weak<dyn Any + Send + Sync>)>>,
    /// Segments that backups are reading.
    pub(crate) pins: Pins,
    /// Flushes and merges; begins higher in each life of the data folder.
    pub(crate) steps: AtomicU64,
    /// Entries of a log have no lower numbers in this life of the data folder: those that a power cut
    /// took before their sync may be in segments, so that their numbers are never given out again.
    pub(crate) first_entry: u64,
}

/// Segments that lie in the object store and not yet in the catalog.
#[derive(Debug, Default, Clone)]
pub(crate) struct Uploaded {
    pub(crate) metas: Vec<SegmentMeta>,
}

/// What is to be known of segments beside their bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    pub(crate) level: u8,
    pub(crate) replaces: Vec<String>,
    pub(crate) wal: Watermark,
    /// What segments held of the log before a flush.
    pub(crate) from: Option<Watermark>,
}

/// Encoded segments of one tenant.
pub(crate) struct Output {
    pub(crate) tenant: TenantId,
    pub(crate) received_max_ns: i64,
    pub(crate) segments: Vec<EncodedSegment>,
}

impl Core {
    pub(crate) fn generation(&self) -> u32 {
        // Zero is no generation: hints of memory never written to read as zero.
        loop {
            let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
            if generation != 0 {
                return generation;
            }
        }
    }

    pub(crate) fn now_ns(&self) -> i64 {
        self.components.clock.now_ns()
    }

    pub(super) fn moment(&self) -> Moment {
        let clock = &self.components.clock;
        Moment { wall_ns: clock.now_ns(), monotonic_ns: clock.monotonic_ns() }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    pub(crate) fn encode_context(&self, level: u8, tenant: &TenantId) -> EncodeContext {
        let id_fields = Arc::clone(&self.id_fields);
        let target = self.options.segment_bytes_target;
        let segment_bytes_target = usize::try_from(target).unwrap_or(usize::MAX);
        let work_bytes_max = usize::try_from(self.options.work_bytes_max).unwrap_or(usize::MAX);
        let columns_max = self.options.limits.of(tenant).columns_max;
        EncodeContext { id_fields, level, segment_bytes_target, work_bytes_max, columns_max }
    }

    /// Identifiers sort by creation.
    fn segment_id(&self) -> String {
        let now = self.now_ns().max(0);
        format!("{now:016x}-{:016x}", self.components.random.next_u64())
    }

    /// A handle on a listed segment.
    pub(crate) fn handle<S: OpenSegment>(&self, meta: SegmentMeta) -> Arc<SegmentHandle<S>> {
        let health = Health::new(meta.id.clone(), Arc::clone(&self.quarantine));
        let base = segment_base(&meta);
        let source = |file: &FileMeta| -> Arc<dyn SegmentSource> {
            let path = format!("{base}.{}", file.extension);
            let (objects, cache) = (self.objects.clone(), Arc::clone(&self.cache));
            Arc::new(StoredFile::new(path, file, objects, cache, Arc::clone(&health)))
        };
        let sources = meta.files.iter().map(source).collect();
        Arc::new(SegmentHandle::new(meta, sources))
    }

    /// Puts the files of all outputs of one step, then their sidecars. They count once committed.
    pub(crate) async fn upload(
        &self,
        signal: &'static str,
        outputs: Vec<Output>,
        origin: &Origin,
    ) -> Result<Uploaded, StorageError> {
        let mut metas = Vec::new();
        let outcome = self.put_segments(signal, outputs, origin, &mut metas).await;
        if let Err(error) = outcome {
            // What was put is an orphan now.
            self.uploaded(&metas);
            return Err(error);
        }
        Ok(Uploaded { metas })
    }

    async fn put_segments(
        &self,
        signal: &'static str,
        outputs: Vec<Output>,
        origin: &Origin,
        metas: &mut Vec<SegmentMeta>,
    ) -> Result<(), StorageError> {
        for output in outputs {
            for segment in output.segments {
                let mut meta = SegmentMeta {
                    id: self.segment_id(),
                    signal: signal.to_owned(),
                    tenant: output.tenant.as_str().to_owned(),
                    level: origin.level,
                    rows: segment.rows,
                    time_min_ns: segment.time_min_ns,
                    time_max_ns: segment.time_max_ns,
                    received_max_ns: output.received_max_ns,
                    files: Vec::new(),
                    stats: hex::encode(&segment.stats),
                    wal_sequence_max: if origin.level == 0 { origin.wal.sequence } else { 0 },
                };
                self.uploading.lock().insert(meta.id.clone());
                metas.push(meta.clone());
                let base = segment_base(&meta);
                for file in segment.files {
                    meta.files.push(FileMeta {
                        extension: file.extension.to_owned(),
                        bytes: file.bytes.len() as u64,
                        checksums: checksums(&file.bytes),
                    });
                    let path = format!("{base}.{}", file.extension);
                    self.objects.put(&path, file.bytes).await?;
                }
                metas.pop();
                metas.push(meta);
            }
        }
        self.put_sidecars(metas, origin).await
    }

    async fn put_sidecars(
        &self,
        metas: &[SegmentMeta],
        origin: &Origin,
    ) -> Result<(), StorageError> {
        let made = self.steps.fetch_add(1, Ordering::Relaxed);
        let siblings: Vec<String> = metas.iter().map(|meta| meta.id.clone()).collect();
        for meta in metas {
            let content: Bytes = seal(&Sidecar {
                version: CATALOG_VERSION,
                meta: meta.clone(),
                siblings: siblings.clone(),
                replaces: origin.replaces.clone(),
                writer: self.catalog.writer().to_owned(),
                wal: origin.wal.clone(),
                from: origin.from.clone(),
                made,
            })?;
            self.objects.put(&format!("{}.meta", segment_base(meta)), content).await?;
        }
        Ok(())
    }

    /// The catalog lists them now, or never will: garbage collection may look at them again.
    pub(crate) fn uploaded(&self, metas: &[SegmentMeta]) {
        let mut uploading = self.uploading.lock();
        for meta in metas {
            uploading.remove(&meta.id);
        }
    }
}

/// The path of a segment's files without the extension. A tenant's name becomes a folder as it is
/// where that is safe on every file system, else as a hash: it is never read back from the path.
pub(crate) fn segment_base(meta: &SegmentMeta) -> String {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
    let tenant = &meta.tenant;
    let folder = if tenant.len() <= 100 && tenant.bytes().all(plain) {
        format!("t-{tenant}")
    } else {
        format!("h-{:032x}", xxh3_128(tenant.as_bytes()))
    };
    format!("segments/{folder}/{}/{}", meta.signal, meta.id)
}
