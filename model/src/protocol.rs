//! Which protocol bytes came by, as the write-ahead log records it.

use bytes::Bytes;

/// An ingest protocol. The numbers are stored (FORMAT.md, "log entry") and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    OtlpMetricsProtobuf = 1,
    OtlpMetricsJson = 2,
    OtlpLogsProtobuf = 3,
    OtlpLogsJson = 4,
    OtlpTracesProtobuf = 5,
    OtlpTracesJson = 6,
    RemoteWrite1 = 7,
    LokiPushProtobuf = 8,
    LokiPushJson = 9,
}

impl Protocol {
    pub const ALL: [Protocol; 9] = [
        Protocol::OtlpMetricsProtobuf,
        Protocol::OtlpMetricsJson,
        Protocol::OtlpLogsProtobuf,
        Protocol::OtlpLogsJson,
        Protocol::OtlpTracesProtobuf,
        Protocol::OtlpTracesJson,
        Protocol::RemoteWrite1,
        Protocol::LokiPushProtobuf,
        Protocol::LokiPushJson,
    ];

    #[must_use]
    pub fn from_number(number: u8) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|protocol| *protocol as u8 == number)
    }
}

/// How a body was compressed. The numbers are stored and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Encoding {
    #[default]
    Identity = 0,
    Gzip = 1,
    Zstd = 2,
    /// The block format, not the framing format.
    Snappy = 3,
    Deflate = 4,
}

impl Encoding {
    pub const ALL: [Encoding; 5] =
        [Encoding::Identity, Encoding::Gzip, Encoding::Zstd, Encoding::Snappy, Encoding::Deflate];

    #[must_use]
    pub fn from_number(number: u8) -> Option<Encoding> {
        Encoding::ALL.into_iter().find(|encoding| *encoding as u8 == number)
    }
}

/// A request's body as it came, with all that is needed to decode it again.
#[derive(Debug, Clone)]
pub struct Wire {
    pub protocol: Protocol,
    pub encoding: Encoding,
    pub bytes: Bytes,
    /// When it arrived: stands in for times that the sender left out. Units: ns.
    pub received_ns: i64,
}
