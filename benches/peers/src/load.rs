//! What is sent: bodies made before the clock starts, and how many records they hold.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::http::Kind;

/// Connections that send at once; each sends its bodies in their order.
pub(crate) const CONNECTIONS: usize = 4;

pub(crate) const REMOTE_WRITE: Kind = Kind {
    path: "/api/v1/write",
    headers: "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
              X-Prometheus-Remote-Write-Version: 0.1.0\r\n",
};
pub(crate) const OTLP_GZIP: Kind = Kind {
    path: "",
    headers: "Content-Type: application/x-protobuf\r\nContent-Encoding: gzip\r\n",
};

/// Bodies for each connection.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) kind: Kind,
    pub(crate) bodies: [Vec<Vec<u8>>; CONNECTIONS],
    pub(crate) records: u64,
    /// Protobuf before compression. Units: bytes.
    pub(crate) plain_bytes: u64,
}

impl Load {
    pub(crate) fn new(kind: Kind) -> Load {
        Load { kind, bodies: Default::default(), records: 0, plain_bytes: 0 }
    }

    pub(crate) fn push(&mut self, connection: usize, records: u64, plain: &[u8]) {
        let body = match self.kind.path {
            "/api/v1/write" => snap::raw::Encoder::new().compress_vec(plain).expect("fits snappy"),
            _ => gzip(plain),
        };
        self.bodies[connection % CONNECTIONS].push(body);
        self.records += records;
        self.plain_bytes += plain.len() as u64;
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        self.bodies.iter().flatten().map(|body| body.len() as u64).sum()
    }

    pub(crate) fn requests(&self) -> usize {
        self.bodies.iter().map(Vec::len).sum()
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).and_then(|()| encoder.finish()).expect("writes to memory")
}
