//! Streams of residuals: written in chunks that share their statistics, read page by page.
//!
//! Each class of vectors (values.rs) has two streams, one for the values of series and one for
//! everything else (timelines, histograms). A stream is cut into pages at the end of a vector, so
//! that a vector lies in one page, and pages into chunks; a chunk is one pco chunk (bins and tables
//! once), a page one pco page. Format: FORMAT.md "Metric segment", "pages".

use std::sync::Arc;

use model::wire::put_varint;
use parking_lot::Mutex;
use pco::wrapped::{ChunkDecompressor, FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DecompressorScratch, DeltaSpec, ModeSpec, PagingSpec};

use super::schema::{Cursor, Malformed, put_string, read_range};
use super::values::CLASSES;
use crate::StorageError;
use crate::segment::SegmentSource;

/// All streams: values of series first, then the rest.
pub(crate) const STREAMS: usize = 2 * CLASSES;
/// A page is closed when it holds as many residuals.
const PAGE_RESIDUALS: usize = 2048;
/// A chunk is closed when it holds as many residuals.
const CHUNK_RESIDUALS: usize = 1 << 16;
/// Residuals that a reader accepts in one page.
const PAGE_RESIDUALS_MAX: u64 = 1 << 21;
/// How a chunk begins: classic mode, no differences (FORMAT.md).
const PLAIN_CHUNK: u8 = 0;

#[derive(Debug, Default, Clone)]
struct PageEntry {
    /// Position after the last residual of the page.
    end: u64,
    chunk: u32,
    offset: u64,
    bytes: u32,
}

#[derive(Debug, Clone)]
struct ChunkEntry {
    offset: u64,
    meta_bytes: u32,
}

#[derive(Debug, Default)]
struct OpenStream {
    residuals: Vec<i64>,
    /// Lengths of the closed pages among `residuals`.
    pages: Vec<usize>,
    page_start: usize,
    /// Residuals in finished chunks.
    finished: u64,
    directory: Vec<u8>,
    chunks: u64,
}

/// Writes streams.
#[derive(Debug)]
pub(crate) struct PageWriter {
    streams: Vec<OpenStream>,
    level: usize,
}

#[expect(clippy::indexing_slicing, reason = "streams are fewer than STREAMS")]
impl PageWriter {
    /// `level` is pco's compression level.
    pub(crate) fn new(level: usize) -> Self {
        PageWriter { streams: (0..STREAMS).map(|_| OpenStream::default()).collect(), level }
    }

    /// Position of the next residual of `stream`.
    pub(crate) fn position(&self, stream: usize) -> u64 {
        let stream = &self.streams[stream];
        stream.finished + stream.residuals.len() as u64
    }

    /// Appends the residuals of one vector and returns where they start; finished chunks go to `out`.
    pub(crate) fn push(
        &mut self,
        stream: usize,
        residuals: &[i64],
        out: &mut Vec<u8>,
    ) -> Result<u64, StorageError> {
        let start = self.position(stream);
        let open = &mut self.streams[stream];
        open.residuals.extend_from_slice(residuals);
        if open.residuals.len() - open.page_start >= PAGE_RESIDUALS {
            open.close_page();
        }
        if open.residuals.len() >= CHUNK_RESIDUALS {
            open.close_chunk(self.level, out)?;
        }
        Ok(start)
    }

    /// Closes everything and returns the page directory.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) -> Result<Vec<u8>, StorageError> {
        let mut header = Vec::new();
        FileCompressor::default()
            .write_header(&mut header)
            .map_err(|error| StorageError::io("compressing metric values", error))?;
        let mut directory = Vec::new();
        put_string(&mut directory, &header);
        for open in &mut self.streams {
            open.close_page();
            open.close_chunk(self.level, out)?;
            put_varint(&mut directory, open.chunks);
            directory.extend_from_slice(&open.directory);
        }
        Ok(directory)
    }
}

impl OpenStream {
    fn close_page(&mut self) {
        let length = self.residuals.len() - self.page_start;
        if length > 0 {
            self.pages.push(length);
            self.page_start = self.residuals.len();
        }
    }

    fn close_chunk(&mut self, level: usize, out: &mut Vec<u8>) -> Result<(), StorageError> {
        self.close_page();
        if self.pages.is_empty() {
            return Ok(());
        }
        let failed = |error| StorageError::io("compressing metric values", error);
        let config = ChunkConfig::default()
            .with_compression_level(level)
            .with_mode_spec(ModeSpec::Classic)
            .with_delta_spec(DeltaSpec::NoOp)
            .with_paging_spec(PagingSpec::Exact(self.pages.clone()));
        let mut chunk =
            FileCompressor::default().chunk_compressor(&self.residuals, &config).map_err(failed)?;
        let directory = &mut self.directory;
        let mut start = out.len();
        put_varint(directory, start as u64);
        chunk.write_meta(&mut *out).map_err(failed)?;
        put_varint(directory, (out.len() - start) as u64);
        put_varint(directory, self.pages.len() as u64);
        for (index, &length) in self.pages.iter().enumerate() {
            start = out.len();
            chunk.write_page(index, &mut *out).map_err(failed)?;
            put_varint(directory, length as u64);
            put_varint(directory, (out.len() - start) as u64);
        }
        self.chunks += 1;
        self.finished += self.residuals.len() as u64;
        self.residuals.clear();
        self.pages.clear();
        self.page_start = 0;
        Ok(())
    }
}

/// Where the pages of a segment lie.
#[derive(Debug, Default)]
pub(crate) struct PageDirectory {
    /// pco's own header, which names the version of its format.
    header: Vec<u8>,
    chunks: Vec<ChunkEntry>,
    streams: Vec<Vec<PageEntry>>,
}

/// A page of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageId {
    pub(crate) stream: u32,
    pub(crate) page: u32,
}

impl PageDirectory {
    pub(crate) fn parse(bytes: &[u8]) -> Result<PageDirectory, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let header = cursor.string()?.to_vec();
        let mut directory = PageDirectory { header, ..PageDirectory::default() };
        for _ in 0..STREAMS {
            let mut pages = Vec::new();
            let mut end = 0u64;
            for _ in 0..cursor.count()? {
                let mut offset = cursor.varint()?;
                let meta_bytes = cursor.u32()?;
                let chunk = directory.chunks.len() as u32;
                directory.chunks.push(ChunkEntry { offset, meta_bytes });
                offset = offset.saturating_add(u64::from(meta_bytes));
                for _ in 0..cursor.count()? {
                    let length = cursor.varint()?;
                    if length > PAGE_RESIDUALS_MAX {
                        return Err(Malformed("a page is too long"));
                    }
                    end += length;
                    let bytes = cursor.u32()?;
                    pages.push(PageEntry { end, chunk, offset, bytes });
                    offset = offset.saturating_add(u64::from(bytes));
                }
            }
            directory.streams.push(pages);
        }
        Ok(directory)
    }

    /// The page that holds position `start` of `stream`, and where that is inside the page.
    pub(crate) fn find(&self, stream: usize, start: u64) -> Result<(PageId, usize), Malformed> {
        let pages = self.streams.get(stream).ok_or(Malformed("a stream is unknown"))?;
        let page = pages.partition_point(|page| page.end <= start);
        let before = page.checked_sub(1).and_then(|i| pages.get(i)).map_or(0, |page| page.end);
        if page >= pages.len() {
            return Err(Malformed("a vector lies behind its stream"));
        }
        Ok((PageId { stream: stream as u32, page: page as u32 }, (start - before) as usize))
    }

    /// Decodes one page.
    ///
    /// Errors: Corrupt, Io.
    pub(crate) fn decode(
        &self,
        id: PageId,
        source: &Arc<dyn SegmentSource>,
        chunks: &ChunkCache,
    ) -> Result<Vec<i64>, StorageError> {
        let corrupt = |error: &dyn std::fmt::Display| StorageError::corrupt(source.name(), error);
        let pages = self.streams.get(id.stream as usize);
        let entry = pages.and_then(|pages| pages.get(id.page as usize));
        let entry = entry.ok_or_else(|| corrupt(&"a page is unknown"))?;
        let before = (id.page as usize).checked_sub(1);
        let before = before.and_then(|i| pages?.get(i)).map_or(0, |page| page.end);
        let length = (entry.end - before) as usize;
        let chunk = self.chunk(entry.chunk, source, chunks)?;
        let bytes =
            read_range(source, entry.offset..entry.offset.saturating_add(u64::from(entry.bytes)))?;
        let mut residuals = vec![0i64; length];
        let mut scratch = DecompressorScratch::default();
        let mut page = chunk
            .page_decompressor_with_scratch(bytes.as_ref(), length, &mut scratch)
            .map_err(|error| corrupt(&error))?;
        let progress = page.read(&mut residuals).map_err(|error| corrupt(&error))?;
        if progress.n_processed != length {
            return Err(corrupt(&"a page is shorter than announced"));
        }
        Ok(residuals)
    }

    fn chunk(
        &self,
        index: u32,
        source: &Arc<dyn SegmentSource>,
        cache: &ChunkCache,
    ) -> Result<Arc<ChunkDecompressor<i64>>, StorageError> {
        if let Some(chunk) = cache.get(index) {
            return Ok(chunk);
        }
        let entry = self.chunks.get(index as usize);
        let entry = entry.ok_or_else(|| StorageError::corrupt(source.name(), "unknown chunk"))?;
        let bytes = read_range(
            source,
            entry.offset..entry.offset.saturating_add(u64::from(entry.meta_bytes)),
        )?;
        let corrupt = |error| StorageError::corrupt(source.name(), error);
        let (file, _) = FileDecompressor::new(self.header.as_slice()).map_err(corrupt)?;
        // The first half byte is pco's mode, the second its way to make differences. Others than ours
        // have tables and windows for which a few bytes may claim 256 MiB.
        if bytes.first() != Some(&PLAIN_CHUNK) {
            return Err(StorageError::corrupt(source.name(), "a chunk in a foreign mode"));
        }
        let (chunk, _) = file.chunk_decompressor::<i64, _>(bytes.as_ref()).map_err(corrupt)?;
        let chunk = Arc::new(chunk);
        cache.put(index, Arc::clone(&chunk));
        Ok(chunk)
    }
}

/// Number and table of a chunk.
type KeptChunk = (u32, Arc<ChunkDecompressor<i64>>);

/// Chunk tables that were used lately.
#[derive(Debug)]
pub(crate) struct ChunkCache {
    slots: Vec<Mutex<Option<KeptChunk>>>,
}

impl ChunkCache {
    /// Tables kept.
    const SLOTS: usize = 64;

    pub(crate) fn new() -> Self {
        ChunkCache { slots: (0..Self::SLOTS).map(|_| Mutex::new(None)).collect() }
    }

    fn get(&self, index: u32) -> Option<Arc<ChunkDecompressor<i64>>> {
        let slot = self.slots.get(index as usize % Self::SLOTS)?.lock();
        slot.as_ref().filter(|(kept, _)| *kept == index).map(|(_, chunk)| Arc::clone(chunk))
    }

    fn put(&self, index: u32, chunk: Arc<ChunkDecompressor<i64>>) {
        if let Some(slot) = self.slots.get(index as usize % Self::SLOTS) {
            *slot.lock() = Some((index, chunk));
        }
    }
}
