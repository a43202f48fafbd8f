//! The JSON forms of a push, read straight into the batch.
//!
//! Today's: `{"streams":[{"stream":{..},"values":[["<ns>","line",{..}],..]}]}`; the legacy one:
//! `{"streams":[{"labels":"{..}","entries":[{"ts":"<RFC 3339>","line":".."}]}]}`. A stream's values
//! may stand before its labels. Like Loki's reader this one takes a label of any JSON type (its text
//! is the value), but wants strings for times, lines and metadata.

use std::borrow::Cow;
use std::fmt;

use model::{Labels, LabelsBuilder, Reason};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

use super::{Entry, Push, labels, time};
use crate::series_cache::{Refusal, mix};

/// Reads a request into `push`.
pub(super) fn read(body: &[u8], push: &mut Push<'_>) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(body);
    Root(push).deserialize(&mut json)?;
    json.end()
}

/// Implements [`DeserializeSeed`] and the words of [`Visitor::expecting`] for a seed.
macro_rules! seed {
    ($name:ident, $value:ty, $method:ident, $expecting:literal, $visit:item) => {
        impl<'de> DeserializeSeed<'de> for $name<'_, '_> {
            type Value = $value;

            fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<$value, D::Error> {
                from.$method(self)
            }
        }

        impl<'de> Visitor<'de> for $name<'_, '_> {
            type Value = $value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($expecting)
            }

            $visit
        }
    };
}

struct Root<'p, 'a>(&'p mut Push<'a>);

seed!(
    Root,
    (),
    deserialize_map,
    "an object with streams",
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if &*key.0 == b"streams" {
                map.next_value_seed(Streams(&mut *self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
);

struct Streams<'p, 'a>(&'p mut Push<'a>);

seed!(
    Streams,
    (),
    deserialize_seq,
    "a list of streams",
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(OneStream(&mut *self.0))?.is_some() {}
        Ok(())
    }
);

struct OneStream<'p, 'a>(&'p mut Push<'a>);

seed!(
    OneStream,
    (),
    deserialize_map,
    "a stream",
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let push = self.0;
        let first_row = push.rows.len();
        let mut object: Option<&'de RawValue> = None;
        let mut text: Option<Cow<'de, str>> = None;
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key.0 {
                b"stream" => object = Some(map.next_value()?),
                b"labels" => text = Some(Cow::Owned(map.next_value::<String>()?)),
                b"values" => map.next_value_seed(Values(&mut *push))?,
                b"entries" => map.next_value_seed(LegacyEntries(&mut *push))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        match (object, text) {
            (Some(object), _) => {
                let object = object.get();
                // An object and a text of the same bytes would mean different labels.
                let hash = mix(1, xxh3_128(object.as_bytes()));
                push.close_stream(first_row, hash, || labels_of_object(object));
            }
            (None, text) => {
                let text = text.unwrap_or(Cow::Borrowed("{}"));
                push.close_stream(first_row, xxh3_128(text.as_bytes()), || labels::parse(&text));
            }
        }
        Ok(())
    }
);

/// The labels of a stream's JSON object. Of two of one name the last counts, as in Loki.
fn labels_of_object(object: &str) -> Result<Labels, Refusal> {
    let invalid = |error: serde_json::Error| (Reason::InvalidLabels, error.to_string());
    let map: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_str(object).map_err(invalid)?;
    let mut builder = LabelsBuilder::default();
    for (name, raw) in &map {
        if !labels::is_name(name) {
            return Err((Reason::InvalidLabels, format!("label name {name:?} is not valid")));
        }
        let text = raw.get();
        if text.starts_with('"') {
            let value: String = serde_json::from_str(text).map_err(invalid)?;
            builder.push(name, &value);
        } else {
            builder.push(name, text);
        }
    }
    Ok(builder.finish())
}

struct Values<'p, 'a>(&'p mut Push<'a>);

seed!(
    Values,
    (),
    deserialize_seq,
    "a list of values",
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(OneValue(&mut *self.0))?.is_some() {}
        Ok(())
    }
);

struct OneValue<'p, 'a>(&'p mut Push<'a>);

seed!(
    OneValue,
    (),
    deserialize_seq,
    "[\"<ns>\", \"line\", {metadata}]",
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let push = self.0;
        let time = list
            .next_element::<Text<'de>>()?
            .ok_or_else(|| A::Error::custom("a value has no time"))?;
        let time_ns: i64 = time.as_str().parse().map_err(|_| {
            A::Error::custom(format_args!("{:?} is no time in nanoseconds", time.as_str()))
        })?;
        let line = list.next_element::<Text<'de>>()?;
        let mut entry = push.open_entry(time_ns, line.as_ref().map_or(&[], |line| &line.0));
        let metadata = Metadata { push: &mut *push, entry: &mut entry };
        if list.next_element_seed(metadata)?.is_some() {
            while list.next_element::<IgnoredAny>()?.is_some() {}
        }
        push.close_entry(entry);
        Ok(())
    }
);

struct Metadata<'p, 'a> {
    push: &'p mut Push<'a>,
    entry: &'p mut Entry,
}

seed!(
    Metadata,
    (),
    deserialize_map,
    "an object of structured metadata",
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Text<'de>>()? {
            let value = map.next_value::<Text<'de>>()?;
            self.push.metadata(self.entry, &name.0, &value.0);
        }
        Ok(())
    }
);

struct LegacyEntries<'p, 'a>(&'p mut Push<'a>);

seed!(
    LegacyEntries,
    (),
    deserialize_seq,
    "a list of entries",
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(LegacyEntry(&mut *self.0))?.is_some() {}
        Ok(())
    }
);

struct LegacyEntry<'p, 'a>(&'p mut Push<'a>);

seed!(
    LegacyEntry,
    (),
    deserialize_map,
    "an entry",
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut time_ns = None;
        let mut line = Text(Cow::Borrowed(&[]));
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key.0 {
                b"ts" | b"timestamp" => {
                    let text = map.next_value::<Text<'de>>()?;
                    let time = time::rfc3339_ns(text.as_str());
                    time_ns = Some(time.ok_or_else(|| {
                        A::Error::custom(format_args!("{:?} is no RFC 3339 time", text.as_str()))
                    })?);
                }
                b"line" => line = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let time_ns = time_ns.ok_or_else(|| A::Error::custom("an entry has no time"))?;
        let entry = self.0.open_entry(time_ns, &line.0);
        self.0.close_entry(entry);
        Ok(())
    }
);

/// A JSON string that may hold lone surrogates, which a `str` cannot.
struct Text<'de>(Cow<'de, [u8]>);

impl Text<'_> {
    /// The text, or nothing where it is not UTF-8.
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl<'de> serde::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(bytes)))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text.as_bytes())))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.as_bytes().to_owned())))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(bytes.to_owned())))
            }
        }

        from.deserialize_bytes(TextVisitor)
    }
}
