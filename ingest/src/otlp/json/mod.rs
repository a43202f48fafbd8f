//! OTLP/JSON to OTLP/protobuf: one converter for all messages, driven by the tables in `schema`.
//!
//! Whatever the protobuf decoders check and limit holds for JSON too, because they read what is
//! written here. Text is read as a stream, without a tree. Nesting is bounded by serde_json (128).
//! Source: OTLP specification, "JSON Protobuf Encoding"; where it leaves room, what the
//! OpenTelemetry Collector accepts: names of enum values, keys in `snake_case`, `null` for absent.

mod schema;

use std::fmt;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use model::Signal;
use model::wire::{put_bytes, put_message, put_varint};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use self::schema::{Field, Kind};
use crate::DecodeError;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Rewrites an export request.
///
/// Errors: Undecodable where the text is no JSON or a value is not of its field's type.
pub(crate) fn to_protobuf(signal: Signal, text: &[u8]) -> Result<Bytes, DecodeError> {
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let request = Message { fields: schema::request(signal), out: &mut out };
    deserializer
        .deserialize_map(request)
        .and_then(|()| deserializer.end())
        .map_err(|error| DecodeError::Undecodable(format!("invalid OTLP/JSON: {error}")))?;
    Ok(Bytes::from(out))
}

/// Reads an object and writes the content of a message.
struct Message<'a> {
    fields: &'static [Field],
    out: &'a mut Vec<u8>,
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(Key { fields: self.fields })? {
            match field {
                Some(field) => {
                    map.next_value_seed(Content { field, out: self.out, place: Place::Field })?;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Finds a key's field; nothing for unknown keys, which are passed over.
struct Key {
    fields: &'static [Field],
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        let exact = self.fields.iter().find(|field| field.name == key);
        Ok(exact.or_else(|| self.fields.iter().find(|field| is_snake_of(key, field.name))))
    }
}

/// Whether `snake` is the `snake_case` form of `camel`.
fn is_snake_of(snake: &str, camel: &str) -> bool {
    let mut rest = snake.bytes();
    for byte in camel.bytes() {
        let same = if byte.is_ascii_uppercase() {
            rest.next() == Some(b'_') && rest.next() == Some(byte.to_ascii_lowercase())
        } else {
            rest.next() == Some(byte)
        };
        if !same {
            return false;
        }
    }
    rest.next().is_none()
}

/// Where a value stands, which decides how it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind a key.
    Field,
    /// In the list of a repeated field: with its tag.
    Item,
    /// In the list of a packed field: without one.
    Packed,
}

/// Reads a field's value and writes it.
struct Content<'a> {
    field: &'static Field,
    out: &'a mut Vec<u8>,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Content<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Content<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = if self.is_list() { "a list for " } else { "a value of the right type for " };
        write!(f, "{list}{}", self.field.name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        // `null` is absent, but in a list of messages it is an empty one: it has a place there.
        if self.place == Place::Item && matches!(self.field.kind, Kind::Message(_)) {
            put_bytes(self.out, self.field.number, &[]);
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool if !self.is_list() => self.put_varint(u64::from(flag)),
            _ => return Err(E::invalid_type(serde::de::Unexpected::Bool(flag), &self)),
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.number(Number::Int(i128::from(number)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.number(Number::Int(i128::from(number)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.number(Number::Float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if self.is_list() {
            return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self));
        }
        match self.field.kind {
            Kind::Text => put_bytes(self.out, self.field.number, text.as_bytes()),
            Kind::Id(length) => {
                let id = hex::decode(text)
                    .ok()
                    .filter(|id| id.is_empty() || id.len() == usize::from(length))
                    .ok_or_else(|| {
                        E::custom(format_args!("{} is not {length} bytes in hex", self.field.name))
                    })?;
                put_bytes(self.out, self.field.number, &id);
            }
            Kind::Base64 => {
                let bytes = BASE64.decode(text).map_err(|error| {
                    E::custom(format_args!("{} is not base64: {error}", self.field.name))
                })?;
                put_bytes(self.out, self.field.number, &bytes);
            }
            Kind::Enum(names) => {
                let known = names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
                let value = known.map_or_else(
                    || parse_number(text),
                    |value| Ok(Number::Int(i128::from(value))),
                )?;
                return self.number(value);
            }
            Kind::Bool | Kind::Message(_) => {
                return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self));
            }
            _ => return self.number(parse_number(text)?),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Content { field, out, .. } = self;
        if !field.is_repeated || self.place != Place::Field {
            return Err(A::Error::custom(format_args!("{} is no list", field.name)));
        }
        if !field.kind.is_packed() {
            while seq.next_element_seed(Content { field, out, place: Place::Item })?.is_some() {}
            return Ok(());
        }
        let mut outcome = Ok(());
        put_message(out, field.number, |out| {
            outcome = loop {
                match seq.next_element_seed(Content { field, out, place: Place::Packed }) {
                    Ok(Some(())) => {}
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
        });
        outcome
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Kind::Message(fields) = self.field.kind else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        };
        if self.is_list() {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        }
        let mut outcome = Ok(());
        put_message(self.out, self.field.number, |out| {
            outcome = Message { fields, out }.visit_map(map);
        });
        outcome
    }
}

impl Content<'_> {
    /// Whether a list is expected here.
    fn is_list(&self) -> bool {
        self.field.is_repeated && self.place == Place::Field
    }

    fn put_tag(&mut self, wire_type: u64) {
        if self.place != Place::Packed {
            put_varint(self.out, u64::from(self.field.number) << 3 | wire_type);
        }
    }

    fn put_varint(mut self, value: u64) {
        self.put_tag(0);
        put_varint(self.out, value);
    }

    fn put_fixed64(mut self, value: u64) {
        self.put_tag(1);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn number<E: Error>(mut self, number: Number) -> Result<(), E> {
        let name = self.field.name;
        let out_of_range = || E::custom(format_args!("{name} is out of its type's range"));
        if self.is_list() {
            return Err(E::custom(format_args!("{name} is a list")));
        }
        let int = || number.int().ok_or_else(out_of_range);
        match self.field.kind {
            Kind::Double => self.put_fixed64(number.float().to_bits()),
            Kind::Fixed64 => {
                let value = u64::try_from(int()?).map_err(|_| out_of_range())?;
                self.put_fixed64(value);
            }
            Kind::SFixed64 => {
                let value = i64::try_from(int()?).map_err(|_| out_of_range())?;
                self.put_fixed64(value as u64);
            }
            Kind::Fixed32 => {
                let value = u32::try_from(int()?).map_err(|_| out_of_range())?;
                self.put_tag(5);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            Kind::Uint32 => {
                let value = u32::try_from(int()?).map_err(|_| out_of_range())?;
                self.put_varint(u64::from(value));
            }
            Kind::Uint64 => {
                let value = u64::try_from(int()?).map_err(|_| out_of_range())?;
                self.put_varint(value);
            }
            Kind::Int64 => {
                let value = i64::try_from(int()?).map_err(|_| out_of_range())?;
                self.put_varint(value as u64);
            }
            Kind::Enum(_) => {
                let value = i32::try_from(int()?).map_err(|_| out_of_range())?;
                self.put_varint(i64::from(value) as u64);
            }
            Kind::Sint32 => {
                let value = i32::try_from(int()?).map_err(|_| out_of_range())?;
                self.put_varint(u64::from((value << 1 ^ value >> 31) as u32));
            }
            Kind::Text | Kind::Id(_) | Kind::Base64 | Kind::Bool | Kind::Message(_) => {
                return Err(E::custom(format_args!("{name} is no number")));
            }
        }
        Ok(())
    }
}

/// A number as JSON or a string spelled it.
#[derive(Clone, Copy)]
enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    /// The integer, also of a float that is one (`1.0`, `1e3`).
    fn int(self) -> Option<i128> {
        match self {
            Number::Int(int) => Some(int),
            Number::Float(float) if float.fract() == 0.0 && float.abs() < 1e19 => {
                Some(float as i128)
            }
            Number::Float(_) => None,
        }
    }

    fn float(self) -> f64 {
        match self {
            Number::Int(int) => int as f64,
            Number::Float(float) => float,
        }
    }
}

fn parse_number<E: Error>(text: &str) -> Result<Number, E> {
    if let Ok(int) = text.parse() {
        return Ok(Number::Int(int));
    }
    match text {
        "NaN" => Ok(Number::Float(f64::NAN)),
        "Infinity" => Ok(Number::Float(f64::INFINITY)),
        "-Infinity" => Ok(Number::Float(f64::NEG_INFINITY)),
        _ => text
            .parse()
            .map(Number::Float)
            .map_err(|_| E::custom(format_args!("{text:?} is no number"))),
    }
}
