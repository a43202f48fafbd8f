//! Attributes, kept as the OTLP `KeyValue` messages that they arrive as.
//!
//! Inside Tercet a set of attributes is a slice of protobuf in which some field (its number is kept
//! beside it) repeats `opentelemetry.proto.common.v1.KeyValue`. Bytes that came by OTLP/protobuf are
//! borrowed from the request body; every other protocol writes the same form with
//! [`AttributesBuilder`] (field 1, so that the slice is a `KeyValueList`). Nothing is decoded until
//! somebody asks, and nothing that was sent is lost.
//! Source: opentelemetry-proto `common/v1/common.proto`.

use crate::wire::{self, Field, Reader};

/// An attribute's value, borrowed from the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// No value was set.
    Empty,
    Str(&'a str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
    /// The wire bytes of an `ArrayValue`; walk with [`Value::items`].
    Array(&'a [u8]),
    /// The wire bytes of a `KeyValueList`; walk with [`Value::entries`].
    Map(&'a [u8]),
}

impl<'a> Value<'a> {
    /// Reads an `AnyValue` message. What cannot be understood is [`Value::Empty`]: decoders have
    /// refused such bytes before, so only a newer sender's value kinds end up here.
    #[must_use]
    pub fn parse(any_value: &'a [u8]) -> Value<'a> {
        let mut reader = Reader::new(any_value);
        let mut value = Value::Empty;
        while let Ok(Some((number, field))) = reader.next_field() {
            value = match (number, field) {
                (1, Field::Bytes(text)) => std::str::from_utf8(text).map_or(value, Value::Str),
                (2, Field::Varint(flag)) => Value::Bool(flag != 0),
                (3, Field::Varint(int)) => Value::Int(int as i64),
                (4, Field::Fixed64(bits)) => Value::Double(f64::from_bits(bits)),
                (5, Field::Bytes(array)) => Value::Array(array),
                (6, Field::Bytes(map)) => Value::Map(map),
                (7, Field::Bytes(bytes)) => Value::Bytes(bytes),
                _ => value,
            };
        }
        value
    }

    /// The items of an array; nothing for any other kind.
    pub fn items(self) -> impl Iterator<Item = Value<'a>> {
        let bytes = if let Value::Array(bytes) = self { bytes } else { &[] };
        fields(bytes, 1).map(Value::parse)
    }

    /// The entries of a map; none for any other kind.
    #[must_use]
    pub fn entries(self) -> AttributesRef<'a> {
        let bytes = if let Value::Map(bytes) = self { bytes } else { &[] };
        AttributesRef { bytes, field: 1 }
    }

    /// The text of a string value.
    #[must_use]
    pub fn as_str(self) -> Option<&'a str> {
        if let Value::Str(text) = self { Some(text) } else { None }
    }

    /// Appends this value as the content of an `AnyValue` message.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Value::Empty => {}
            Value::Str(text) => wire::put_bytes(out, 1, text.as_bytes()),
            Value::Bool(flag) => wire::put_uint(out, 2, u64::from(flag)),
            Value::Int(int) => wire::put_uint(out, 3, int as u64),
            Value::Double(double) => wire::put_fixed64(out, 4, double.to_bits()),
            Value::Array(bytes) => wire::put_bytes(out, 5, bytes),
            Value::Map(bytes) => wire::put_bytes(out, 6, bytes),
            Value::Bytes(bytes) => wire::put_bytes(out, 7, bytes),
        }
    }
}

fn fields(bytes: &[u8], wanted: u32) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::new(bytes);
    std::iter::from_fn(move || {
        loop {
            match reader.next_field() {
                Ok(Some((number, Field::Bytes(content)))) if number == wanted => {
                    return Some(content);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    })
}

/// A set of attributes in the order in which they were sent, duplicates included.
#[derive(Debug, Clone, Copy)]
pub struct AttributesRef<'a> {
    /// Wire bytes in which `field` repeats `KeyValue`; other fields in between are passed over.
    pub bytes: &'a [u8],
    pub field: u32,
}

impl<'a> AttributesRef<'a> {
    /// No attributes.
    #[must_use]
    pub fn empty() -> AttributesRef<'static> {
        AttributesRef { bytes: &[], field: 1 }
    }

    /// A `KeyValueList`, as [`AttributesBuilder`] writes it.
    #[must_use]
    pub fn list(bytes: &'a [u8]) -> Self {
        AttributesRef { bytes, field: 1 }
    }

    /// Keys and values in sending order.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        fields(self.bytes, self.field).map(|key_value| {
            let mut key = "";
            let mut value = Value::Empty;
            let mut reader = Reader::new(key_value);
            while let Ok(Some((number, field))) = reader.next_field() {
                match (number, field) {
                    (1, Field::Bytes(text)) => key = std::str::from_utf8(text).unwrap_or(""),
                    (2, Field::Bytes(any_value)) => value = Value::parse(any_value),
                    _ => {}
                }
            }
            (key, value)
        })
    }

    /// The first value under `key`.
    #[must_use]
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }
}

/// Writes attributes as a `KeyValueList` message (field 1).
#[derive(Debug, Default)]
pub struct AttributesBuilder {
    bytes: Vec<u8>,
}

impl AttributesBuilder {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one attribute.
    pub fn push(&mut self, key: &str, value: Value<'_>) {
        push_attribute(&mut self.bytes, key, value);
    }

    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Appends one `KeyValue` as field 1 of the list that ends at the end of `out`.
pub(crate) fn push_attribute(out: &mut Vec<u8>, key: &str, value: Value<'_>) {
    wire::put_message(out, 1, |out| {
        wire::put_bytes(out, 1, key.as_bytes());
        wire::put_message(out, 2, |out| value.write(out));
    });
}
