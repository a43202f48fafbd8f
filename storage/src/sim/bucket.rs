//! A bucket that answers late, wrongly, or not at all.
//!
//! What it has taken is never lost. A write may fail before or after it was done, a listing may be
//! some seconds old, and bytes that come out may be cut or flipped on their way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};
use parking_lot::Mutex;

use crate::Clock;
use crate::sim::world::World;

/// A stale listing does not know what happened since, by the bucket's own time: the clock of the
/// machine may be set back. Units: ns.
const STALE_NS: u64 = 5_000_000_000;
/// Units: ms.
const LATENCY_MS_MAX: u64 = 150;

#[derive(Debug, Clone)]
struct Object {
    content: Bytes,
    since_ns: i64,
    /// Time of the world, which nobody sets.
    put_ns: u64,
}

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Bucket {
    world: Arc<World>,
    objects: Arc<Mutex<BTreeMap<String, Object>>>,
}

/// The crash points of the commit path on a bucket.
pub(super) const POINTS: [&str; 3] = ["segment put", "commit put", "object delete"];

fn failed(why: &str) -> Error {
    Error::Generic { store: "simulated", source: why.into() }
}

fn missing(path: &Path) -> Error {
    Error::NotFound { path: path.to_string(), source: "there is none".into() }
}

impl Bucket {
    pub(super) fn new(world: Arc<World>) -> Arc<Bucket> {
        Arc::new(Bucket { world, objects: Arc::default() })
    }

    /// Removes all objects below a prefix, as a careless hand does.
    pub(super) fn wipe(&self, prefix: &str) -> usize {
        let mut objects = self.objects.lock();
        let before = objects.len();
        objects.retain(|path, _| !path.starts_with(prefix));
        before - objects.len()
    }

    /// What a product would do that takes what its catalog does not list for rubbish.
    pub(super) fn delete_orphans(&self) {
        let mut objects = self.objects.lock();
        let listed: Vec<u8> = objects
            .iter()
            .filter(|(path, _)| path.starts_with("catalog/"))
            .flat_map(|(_, object)| object.content.to_vec())
            .collect();
        objects.retain(|path, _| {
            let stem = path.rsplit('/').next().and_then(|name| name.split('.').next());
            !path.starts_with("segments/")
                || memchr::memmem::find(&listed, stem.unwrap_or_default().as_bytes()).is_some()
        });
    }

    async fn wait(&self) {
        let pause = self.world.dice(|dice| dice.duration(LATENCY_MS_MAX));
        tokio::time::sleep(pause).await;
    }

    fn meta(path: &str, object: &Object) -> ObjectMeta {
        ObjectMeta {
            location: Path::from(path),
            last_modified: DateTime::from_timestamp_nanos(object.since_ns),
            size: object.content.len() as u64,
            e_tag: None,
            version: None,
        }
    }

    fn insert(&self, path: &Path, content: Bytes, mode: &PutMode) -> Result<()> {
        let mut objects = self.objects.lock();
        if *mode == PutMode::Create && objects.contains_key(path.as_ref()) {
            let source = "it is there".into();
            return Err(Error::AlreadyExists { path: path.to_string(), source });
        }
        let (since_ns, put_ns) = (self.world.now_ns(), self.world.monotonic_ns());
        objects.insert(path.to_string(), Object { content, since_ns, put_ns });
        Ok(())
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated")
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.wait().await;
        let is_commit = location.as_ref().starts_with("catalog/");
        let point = if is_commit { "commit put" } else { "segment put" };
        self.world.enter(point, location.as_ref()).map_err(|e| failed(&e.to_string()))?;
        if self.world.bucket_fails() {
            return Err(failed("503 before"));
        }
        self.insert(location, payload.into(), &options.mode)?;
        self.world.leave(point).map_err(|e| failed(&e.to_string()))?;
        self.wait().await;
        if self.world.is_down() || self.world.bucket_fails() {
            return Err(failed("the answer was lost"));
        }
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(failed("no uploads in parts"))
    }

    /// Answers at once: reads block the one thread that there is.
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if self.world.is_down() || self.world.bucket_fails() {
            return Err(failed("503"));
        }
        let object = self.objects.lock().get(location.as_ref()).cloned();
        let object = object.ok_or_else(|| missing(location))?;
        let meta = Bucket::meta(location.as_ref(), &object);
        let length = object.content.len() as u64;
        let range = match options.range {
            Some(range) => range.as_range(length).map_err(|e| failed(&e.to_string()))?,
            None => 0..length,
        };
        let mut content = object.content.slice(range.start as usize..range.end as usize);
        if self.world.bucket_fails() && !content.is_empty() {
            let at = self.world.dice(|dice| dice.below(content.len() as u64)) as usize;
            if self.world.dice(|dice| dice.one_in(2)) {
                content.truncate(at);
            } else {
                let mut flipped = content.to_vec();
                flipped[at] ^= 0x10;
                content = flipped.into();
            }
        }
        let payload = stream::once(async move { Ok(content) }).boxed();
        Ok(GetResult {
            payload: GetResultPayload::Stream(payload),
            meta,
            range,
            attributes: object_store::Attributes::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (world, objects) = (Arc::clone(&self.world), Arc::clone(&self.objects));
        let delete = move |location: Result<Path>| {
            let location = location?;
            let down = |error: std::io::Error| failed(&error.to_string());
            world.enter("object delete", location.as_ref()).map_err(down)?;
            if world.bucket_fails() {
                return Err(failed("503"));
            }
            objects.lock().remove(location.as_ref());
            world.leave("object delete").map_err(down)?;
            Ok(location)
        };
        locations.map(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.world.is_down() || self.world.bucket_fails() {
            return stream::once(async { Err(failed("503")) }).boxed();
        }
        let until = match self.world.bucket_fails() {
            true => self.world.monotonic_ns().saturating_sub(STALE_NS),
            false => u64::MAX,
        };
        let prefix = prefix.map(ToString::to_string).unwrap_or_default();
        let objects = self.objects.lock();
        let found: Vec<Result<ObjectMeta>> = objects
            .iter()
            .filter(|(path, object)| path.starts_with(&prefix) && object.put_ns <= until)
            .map(|(path, object)| Ok(Bucket::meta(path, object)))
            .collect();
        stream::iter(found).boxed()
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> Result<ListResult> {
        Err(failed("no listing by folder"))
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(failed("no copies"))
    }
}
