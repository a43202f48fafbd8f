use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    BitWriter, IdFields, IdIndex, IdIndexBuilder, OneId, hash_span_id, hash_text, hash_trace_id,
    read_bits, same_id,
};
use crate::StorageError;
use crate::segment::{MemorySource, SegmentSource};

fn open(bytes: Vec<u8>) -> Result<IdIndex, StorageError> {
    let source: Arc<dyn SegmentSource> =
        Arc::new(MemorySource { name: "test".to_owned(), bytes: Bytes::from(bytes) });
    IdIndex::open(&source, 0..source.len())
}

fn built(pairs: &[(u64, u32)]) -> Vec<u8> {
    let mut builder = IdIndexBuilder::with_capacity(pairs.len());
    for &(hash, target) in pairs {
        builder.push(hash, target);
    }
    builder.finish()
}

#[test]
fn text_and_binary_ids_meet() {
    let trace = *b"\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36";
    for text in [
        "4bf92f3577b34da6a3ce929d0e0e4736",
        " 4BF92F3577B34DA6A3CE929D0E0E4736 ",
        "4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
    ] {
        assert_eq!(hash_text(text), hash_trace_id(&trace), "{text}");
        assert!(same_id(text, "4bf92f3577b34da6a3ce929d0e0e4736"));
    }
    assert_eq!(hash_text("a3ce929d0e0e4736"), hash_span_id(trace.last_chunk::<8>().unwrap()));
    assert_eq!(hash_text("00ab"), hash_text("ab"));
    assert_eq!(hash_text("CLM-2024-77"), hash_text("clm-2024-77"));
    assert!(!same_id("clm-2024-77", "clm202477"));
    assert!(!same_id("clm-1", "ab"));
}

proptest! {
    /// An ID read once agrees with the comparison of two texts.
    #[test]
    fn an_id_read_once_compares_the_same(
        left in "[ ]?[0-2aAfF-]{0,3}[zZ]?[ ]?",
        right in "[ ]?[0-2aAfF-]{0,3}[zZ]?[ ]?",
    ) {
        prop_assert_eq!(OneId::new(&left).is(&right), same_id(&left, &right));
    }
}

#[test]
fn id_fields_are_compared_without_case_and_punctuation() {
    let fields = IdFields::new(&["X-Request-Id".to_owned(), "trace_id".to_owned()]);
    for (key, want) in [
        ("X-Request-Id", true),
        ("x_request_id", true),
        ("trace.id", true),
        ("traceid", true),
        ("trace", false),
        ("xrequestid2", false),
        ("x_request_id_", true),
        ("", false),
        ("d", false),
    ] {
        assert_eq!(fields.contains(key), want, "{key}");
    }
}

#[test]
fn an_empty_index_finds_nothing() {
    assert!(open(built(&[])).unwrap().lookup(17).unwrap().is_empty());
}

#[test]
fn absent_ids_seldom_look_present_and_entries_are_small() {
    let pairs: Vec<_> =
        (0..50_000u64).map(|i| (hash_text(&format!("id {i}")), i as u32 % 500)).collect();
    let bytes = built(&pairs);
    // 64 slots and a one an entry, 8 bits of key, 9 of target, 32 bits a bucket.
    assert!(bytes.len() < pairs.len() * 5 / 2, "{} bytes", bytes.len());
    let index = open(bytes).unwrap();
    let hits = (0..10_000)
        .filter(|i| !index.lookup(hash_text(&format!("absent {i}"))).unwrap().is_empty())
        .count();
    assert!(hits < 100, "{hits} of 10000");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn packed_bits_come_back(numbers in prop::collection::vec((any::<u32>(), 0u32..=32), 0..100)) {
        let mut writer = BitWriter::new();
        for &(number, bits) in &numbers {
            writer.push(number, bits);
        }
        let bytes = writer.finish();
        let mut at = 0;
        for (number, bits) in numbers {
            let want = (u64::from(number) & ((1u64 << bits) - 1)) as u32;
            prop_assert_eq!(read_bits(&bytes, at, bits), want);
            at += u64::from(bits);
        }
    }

    /// The index never hides a pair, also where fingerprints are crowded or equal.
    #[test]
    fn every_pair_is_found(
        spread in prop::collection::vec((any::<u64>(), 0u32..1000), 0..300),
        crowd in prop::collection::vec((0u64..8, any::<u32>()), 0..100),
    ) {
        let pairs: Vec<_> = spread.into_iter().chain(crowd).collect();
        let index = open(built(&pairs)).unwrap();
        for &(hash, _) in &pairs {
            let found = index.lookup(hash).unwrap();
            let want: BTreeSet<u32> =
                pairs.iter().filter(|pair| pair.0 == hash).map(|pair| pair.1).collect();
            prop_assert!(found.is_sorted());
            for target in want {
                prop_assert!(found.contains(&target));
            }
        }
    }

    #[test]
    fn garbage_is_refused_or_answered(
        pairs in prop::collection::vec((any::<u64>(), any::<u32>()), 1..200),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = built(&pairs);
        let index = at.index(bytes.len());
        bytes[index] = byte;
        bytes.truncate(cut.index(bytes.len()) + bytes.len() / 2);
        if let Ok(index) = open(bytes) {
            for (hash, _) in pairs {
                let _answered_or_refused = index.lookup(hash);
            }
        }
    }
}
