//! Requests of the simulation: their bodies are a line of numbers, from which every record follows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use model::{
    Batch, Encoding, Labels, LogRow, LogsBatch, MetricsBatch, Protocol, Sample, Series, Signal,
    Slice, SpanRow, SpansBatch, Stream, StreamParts, TenantId, Wire,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::{
    Budget, Direction, LogScan, MsRange, Replay, SampleBuf, Snapshot, SpanScan, StorageError,
    TimeRange, Write,
};

/// Samples lie on a time scale of their own, so that no two batches share a time. Units: ms.
const SAMPLES_BEGIN_MS: i64 = 1_700_000_000_000;

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) number: u64,
    pub(super) signal: Signal,
    pub(super) tenant: u64,
    pub(super) records: u64,
    pub(super) time_ns: i64,
}

pub(super) fn tenant(number: u64) -> TenantId {
    let name = ["default", "team-a", "Team.B"][number as usize % 3];
    TenantId::parse(name).expect("they are names")
}

pub(super) const TENANTS: u64 = 3;

impl Request {
    fn body(&self) -> Bytes {
        let Request { number, signal, tenant, records, time_ns } = self;
        let signal = signal.as_str();
        format!("{signal} {number} {tenant} {records} {time_ns}").into()
    }

    pub(super) fn write(&self, received_ns: i64) -> Write {
        let protocol = match self.signal {
            Signal::Metrics => Protocol::RemoteWrite1,
            Signal::Logs => Protocol::LokiPushJson,
            Signal::Traces => Protocol::OtlpTracesProtobuf,
        };
        let bytes = self.body();
        let body_hash = xxh3_128(&bytes);
        let wire = Wire { protocol, encoding: Encoding::Identity, bytes, received_ns };
        Write { tenant: tenant(self.tenant), wire, batch: self.batch(), body_hash }
    }

    /// What it takes in the log.
    pub(super) fn frame_bytes(&self) -> usize {
        56 + tenant(self.tenant).as_str().len() + self.body().len()
    }

    fn parse(body: &[u8]) -> Option<Request> {
        let mut words = std::str::from_utf8(body).ok()?.split(' ');
        let signal = words.next()?;
        Some(Request {
            signal: Signal::ALL.into_iter().find(|it| it.as_str() == signal)?,
            number: words.next()?.parse().ok()?,
            tenant: words.next()?.parse().ok()?,
            records: words.next()?.parse().ok()?,
            time_ns: words.next()?.parse().ok()?,
        })
    }

    fn batch(&self) -> Batch {
        match self.signal {
            Signal::Metrics => Batch::Metrics(self.metrics()),
            Signal::Logs => Batch::Logs(self.logs()),
            Signal::Traces => Batch::Traces(self.traces()),
        }
    }

    fn stream(&self) -> Arc<Stream> {
        let name = format!("shop-{}", self.number % 2);
        let labels = Labels::from_pairs([("service_name", name.as_str())]);
        Stream::new(StreamParts { labels, ..StreamParts::default() })
    }

    /// The text of a record: its numbers, and a sum by which damage would show.
    fn text(&self, record: u64) -> String {
        let plain = format!("batch {} tenant {} record {record}", self.number, self.tenant);
        format!("{plain} sum {:016x}", xxh3_64(plain.as_bytes()))
    }

    fn logs(&self) -> LogsBatch {
        let mut arena = Vec::new();
        let rows = (0..self.records).map(|record| {
            let body = put(&mut arena, &self.text(record));
            LogRow { time_ns: self.time_ns + record as i64, body, ..LogRow::default() }
        });
        let rows = rows.collect();
        LogsBatch { rows, arena: arena.into(), streams: vec![self.stream()] }
    }

    fn traces(&self) -> SpansBatch {
        let mut arena = Vec::new();
        let rows = (0..self.records).map(|record| SpanRow {
            trace_id: u128::from(self.number + 1).to_be_bytes(),
            span_id: ((self.number << 16) | (record + 1)).to_be_bytes(),
            start_ns: self.time_ns + record as i64,
            end_ns: self.time_ns + record as i64 + 1000,
            name: put(&mut arena, &self.text(record)),
            ..SpanRow::default()
        });
        let rows = rows.collect();
        SpansBatch { rows, arena: arena.into(), streams: vec![self.stream()] }
    }

    fn metrics(&self) -> MetricsBatch {
        let time_ms = SAMPLES_BEGIN_MS + self.number as i64 * 7;
        let series = |record: u64| {
            let (tenant, record) = (self.tenant.to_string(), record.to_string());
            let pairs = [("__name__", "sim"), ("record", &record), ("tenant", &tenant)];
            Series::new(Labels::from_pairs(pairs))
        };
        let sample =
            |record: u64| Sample { series: record as u32, time_ms, value: self.number as f64 };
        MetricsBatch {
            series: (0..self.records).map(series).collect(),
            samples: (0..self.records).map(sample).collect(),
            ..MetricsBatch::default()
        }
    }
}

fn put(arena: &mut Vec<u8>, text: &str) -> Slice {
    let start = arena.len() as u32;
    arena.extend_from_slice(text.as_bytes());
    Slice { start, len: text.len() as u32 }
}

/// Decodes bodies again.
#[derive(Debug)]
pub(super) struct Bodies;

impl Replay for Bodies {
    fn replay(&self, _tenant: &TenantId, wire: &Wire) -> Result<Batch, String> {
        let request = Request::parse(&wire.bytes).ok_or("it is no request of the simulation")?;
        Ok(request.batch())
    }
}

/// All records of one tenant as a query gets them.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Signal and batch to its records.
    pub(super) batches: BTreeMap<(Signal, u64), BTreeSet<u64>>,
    /// By signal, in the order of [`Signal::ALL`]: what the answer says that it could not read.
    pub(super) unread: [Vec<String>; 3],
    /// What is wrong with single records.
    pub(super) wrong: Vec<String>,
}

impl Stored {
    /// Reads everything.
    pub(super) fn read(
        snapshot: &Snapshot,
        tenant: u64,
        budget: &Budget,
    ) -> Result<Stored, StorageError> {
        let mut stored = Stored::default();
        stored.read_metrics(snapshot, tenant, budget)?;
        stored.read_logs(snapshot, tenant, budget)?;
        stored.read_traces(snapshot, tenant, budget)?;
        for (index, signal) in Signal::ALL.into_iter().enumerate() {
            stored.note(index, snapshot.notices(signal));
        }
        Ok(stored)
    }

    fn add(&mut self, signal: Signal, number: u64, record: u64) {
        if !self.batches.entry((signal, number)).or_default().insert(record) {
            self.wrong.push(format!("{} {number} record {record} comes twice", signal.as_str()));
        }
    }

    /// Takes in a record by its text.
    fn add_text(&mut self, signal: Signal, tenant: u64, text: &str) {
        let words: Vec<&str> = text.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        let (Some(batch), Some(owner), Some(record)) = (number(1), number(3), number(5)) else {
            self.wrong.push(format!("{text:?} was never sent"));
            return;
        };
        let request = Request { number: batch, signal, tenant: owner, records: 0, time_ns: 0 };
        if request.text(record) != text || owner != tenant {
            self.wrong.push(format!("{text:?} is not what tenant {tenant} sent"));
        }
        self.add(signal, batch, record);
    }

    fn note(&mut self, index: usize, notices: &crate::Notices) {
        let parts = notices.unread.iter().map(|part| format!("{}: {}", part.name, part.why));
        self.unread[index].extend(parts);
    }

    fn read_logs(
        &mut self,
        snapshot: &Snapshot,
        tenant: u64,
        budget: &Budget,
    ) -> Result<(), StorageError> {
        let scan = LogScan {
            matchers: Vec::new(),
            range: TimeRange::ALL,
            line_contains: Vec::new(),
            attribute_hints: Vec::new(),
            trace_id: None,
            direction: Direction::Forward,
        };
        let notices = snapshot.logs().scan(&scan, budget, &mut |block, _bound| {
            for row in block.iter() {
                self.add_text(Signal::Logs, tenant, &block.batch.line(row));
            }
            ControlFlow::Continue(())
        })?;
        self.note(1, &notices);
        Ok(())
    }

    fn read_traces(
        &mut self,
        snapshot: &Snapshot,
        tenant: u64,
        budget: &Budget,
    ) -> Result<(), StorageError> {
        let scan = SpanScan {
            range: TimeRange::ALL,
            service: None,
            name: None,
            attribute_hints: Vec::new(),
            duration_min_ns: None,
            duration_max_ns: None,
        };
        let notices = snapshot.traces().scan(&scan, budget, &mut |block| {
            for row in block.iter() {
                self.add_text(Signal::Traces, tenant, block.batch.text(row.name));
            }
            ControlFlow::Continue(())
        })?;
        self.note(2, &notices);
        Ok(())
    }

    fn read_metrics(
        &mut self,
        snapshot: &Snapshot,
        tenant: u64,
        budget: &Budget,
    ) -> Result<(), StorageError> {
        let selection = snapshot.metrics().select(&[], MsRange::ALL, budget)?;
        self.note(0, &selection.notices);
        let mut buf = SampleBuf::default();
        for (index, labels) in selection.series().iter().enumerate() {
            let notices = selection.read(index, &mut buf, budget)?;
            self.note(0, &notices);
            let number = |name| labels.get(name).and_then(|value| value.parse::<u64>().ok());
            if number("tenant") != Some(tenant) {
                self.wrong
                    .push(format!("a series of tenant {:?} is at {tenant}", number("tenant")));
            }
            for (time_ms, value) in buf.times.iter().zip(&buf.values) {
                let batch = ((time_ms - SAMPLES_BEGIN_MS) / 7) as u64;
                if (batch as f64).to_bits() != value.to_bits() {
                    self.wrong.push(format!("sample {value} at batch {batch}"));
                }
                self.add(Signal::Metrics, batch, number("record").unwrap_or(u64::MAX));
            }
        }
        Ok(())
    }
}
