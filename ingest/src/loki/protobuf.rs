//! `logproto.PushRequest`: streams 1 { labels 1, entries 2 { timestamp 1, line 2, metadata 3 } }.

use model::NS_PER_S;
use model::wire::{Field, Reader, WireError};
use xxhash_rust::xxh3::xxh3_128;

use super::{Push, labels};

/// Reads a request into `push`.
pub(super) fn read(body: &[u8], push: &mut Push<'_>) -> Result<(), WireError> {
    let mut reader = Reader::new(body);
    while let Some((number, field)) = reader.next_field()? {
        if let (1, Field::Bytes(stream)) = (number, field) {
            read_stream(stream, push)?;
        }
    }
    Ok(())
}

fn read_stream(bytes: &[u8], push: &mut Push<'_>) -> Result<(), WireError> {
    let first_row = push.rows.len();
    let mut text: &[u8] = &[];
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(labels)) => text = labels,
            (2, Field::Bytes(entry)) => read_entry(entry, push)?,
            _ => {}
        }
    }
    push.close_stream(first_row, xxh3_128(text), || labels::parse(&String::from_utf8_lossy(text)));
    Ok(())
}

fn read_entry(bytes: &[u8], push: &mut Push<'_>) -> Result<(), WireError> {
    let (mut time_ns, mut line): (i64, &[u8]) = (0, &[]);
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(timestamp)) => time_ns = read_timestamp(timestamp)?,
            (2, Field::Bytes(text)) => line = text,
            _ => {}
        }
    }
    let mut entry = push.open_entry(time_ns, line);
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next_field()? {
        let (3, Field::Bytes(pair)) = (number, field) else { continue };
        let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
        let mut fields = Reader::new(pair);
        while let Some((number, field)) = fields.next_field()? {
            match (number, field) {
                (1, Field::Bytes(text)) => name = text,
                (2, Field::Bytes(text)) => value = text,
                _ => {}
            }
        }
        push.metadata(&mut entry, name, value);
    }
    push.close_entry(entry);
    Ok(())
}

/// A `google.protobuf.Timestamp`, held at the ends of what 64 bits can say. Units: ns.
fn read_timestamp(bytes: &[u8]) -> Result<i64, WireError> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Varint(number)) => seconds = number as i64,
            (2, Field::Varint(number)) => nanos = i64::from(number as i32),
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(NS_PER_S).saturating_add(nanos))
}
