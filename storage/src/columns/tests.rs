use std::sync::Arc;

use model::{AttributesBuilder as ListBuilder, AttributesRef, Value};
use proptest::prelude::*;

use super::*;
use crate::segment::MemorySource;

/// More than the keys of any of these tests.
const COLUMNS_MAX: usize = 256;

#[derive(Debug, Clone)]
enum Given {
    Text(String),
    Int(i64),
    Double(u64),
    Bool(bool),
    Bytes(Vec<u8>),
    Map(i64),
    Empty,
}

fn given() -> impl Strategy<Value = Given> {
    prop_oneof![
        4 => "[a-z]{0,6}|é|GET|POST".prop_map(Given::Text),
        2 => prop_oneof![Just(200), Just(404), any::<i64>()].prop_map(Given::Int),
        1 => any::<u64>().prop_map(Given::Double),
        1 => any::<bool>().prop_map(Given::Bool),
        1 => proptest::collection::vec(any::<u8>(), 0..4).prop_map(Given::Bytes),
        1 => any::<i64>().prop_map(Given::Map),
        1 => Just(Given::Empty),
    ]
}

fn records() -> impl Strategy<Value = Vec<Vec<(String, Given)>>> {
    let pair = ("a|b|c|http.method|[a-z]{1,3}|", given());
    proptest::collection::vec(proptest::collection::vec(pair, 0..6), 1..60)
}

fn list(pairs: &[(String, Given)]) -> Vec<u8> {
    let mut builder = ListBuilder::new();
    for (key, value) in pairs {
        let mut inner = ListBuilder::new();
        let value = match value {
            Given::Text(text) => Value::Str(text),
            Given::Int(int) => Value::Int(*int),
            Given::Double(bits) => Value::Double(f64::from_bits(*bits)),
            Given::Bool(flag) => Value::Bool(*flag),
            Given::Bytes(bytes) => Value::Bytes(bytes),
            Given::Map(int) => {
                inner.push("x", Value::Int(*int));
                let bytes = inner.finish();
                builder.push(key, Value::Map(&bytes));
                continue;
            }
            Given::Empty => Value::Empty,
        };
        builder.push(key, value);
    }
    builder.finish()
}

/// Writes the lists as a file of blocks of `block` rows.
fn write(lists: &[Vec<u8>], block: usize) -> ColumnFile {
    write_with(lists, block, COLUMNS_MAX)
}

fn write_with(lists: &[Vec<u8>], block: usize, columns_max: usize) -> ColumnFile {
    let mut planner = AttributePlanner::default();
    for list in lists {
        planner.observe(AttributesRef::list(list));
    }
    let plan = planner.finish(columns_max);
    let mut writer = ColumnFileWriter::new(plan.specs(), 1).unwrap();
    let mut builder = AttributesBuilder::new(plan);
    for group in lists.chunks(block * 2) {
        for (row, list) in group.iter().enumerate() {
            builder.push(row, AttributesRef::list(list));
        }
        finish_group(&mut writer, &mut builder, group.len(), block);
    }
    finish_file(writer, &builder)
}

fn finish_group(
    writer: &mut ColumnFileWriter,
    builder: &mut AttributesBuilder,
    rows: usize,
    block: usize,
) {
    let mut ends: Vec<u32> = (1..=rows / block).map(|at| (at * block) as u32).collect();
    if !rows.is_multiple_of(block) {
        ends.push(rows as u32);
    }
    let mut columns: Vec<_> = builder.columns().map(Some).collect();
    writer.row_group(&mut columns, &ends).unwrap();
}

fn finish_file(mut writer: ColumnFileWriter, builder: &AttributesBuilder) -> ColumnFile {
    let (name, section) = builder.section();
    writer.section(name, section);
    let bytes = writer.finish().unwrap();
    ColumnFile::open(Arc::new(MemorySource { name: "test".into(), bytes })).unwrap()
}

fn read(file: &ColumnFile) -> Vec<Vec<u8>> {
    let attributes = AttributeFile::open(file).unwrap();
    let mut scratch = ReadScratch::new().unwrap();
    let mut lists = Vec::new();
    for &at in file.blocks() {
        for row in 0..at.rows {
            let block = attributes.load(file, at, Some(&[row]), &mut scratch).unwrap();
            let mut out = Vec::new();
            attributes.write(&block, row as usize, &mut out);
            lists.push(out);
        }
    }
    lists
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records_come_back_as_they_were_sent(records in records(), block in 1usize..20) {
        let lists: Vec<Vec<u8>> = records.iter().map(|pairs| list(pairs)).collect();
        prop_assert_eq!(read(&write(&lists, block)), lists);
    }

    #[test]
    fn what_has_no_column_of_its_own_is_kept_as_well(
        records in records(), columns_max in 1usize..4,
    ) {
        let lists: Vec<Vec<u8>> = records.iter().map(|pairs| list(pairs)).collect();
        let file = write_with(&lists, 8, columns_max);
        prop_assert!(AttributeFile::open(&file).unwrap().keys().count() <= columns_max);
        prop_assert_eq!(read(&file), lists);
    }

    #[test]
    fn files_merge_column_by_column(
        left in records(), right in records(), columns_max in 0usize..6,
    ) {
        let left: Vec<Vec<u8>> = left.iter().map(|pairs| list(pairs)).collect();
        let right: Vec<Vec<u8>> = right.iter().map(|pairs| list(pairs)).collect();
        let files = [write(&left, 7), write(&right, 5)];
        let opened: Vec<_> =
            files.iter().map(|file| AttributeFile::open(file).unwrap()).collect();
        let mut planner = AttributePlanner::default();
        for (file, attributes) in files.iter().zip(&opened) {
            let rows = file.blocks().iter().map(|block| u64::from(block.rows)).sum();
            planner.observe_file(attributes, rows);
        }
        let plan = planner.finish(columns_max);
        let mut writer = ColumnFileWriter::new(plan.specs(), 3).unwrap();
        let mut builder = AttributesBuilder::new(plan);
        let mut scratch = ReadScratch::new().unwrap();
        let mut row = 0;
        for (file, attributes) in files.iter().zip(&opened) {
            let mut remap = builder.remap(attributes);
            for &at in file.blocks() {
                let block = attributes.load(file, at, None, &mut scratch).unwrap();
                if let Some(remap) = &mut remap {
                    remap.next_row_group();
                    builder.append(row, &block, 0..at.rows as usize, remap);
                } else {
                    for offset in 0..at.rows as usize {
                        let mut out = Vec::new();
                        attributes.write(&block, offset, &mut out);
                        builder.push(row + offset, AttributesRef::list(&out));
                    }
                }
                row += at.rows as usize;
            }
            scratch = ReadScratch::new().unwrap();
        }
        finish_group(&mut writer, &mut builder, row, 8);
        let want: Vec<Vec<u8>> = left.into_iter().chain(right).collect();
        prop_assert_eq!(read(&finish_file(writer, &builder)), want);
    }

    #[test]
    fn hybrid_numbers_come_back(
        values in proptest::collection::vec(prop_oneof![3 => Just(5u32), 1 => 0u32..1000], 0..200),
    ) {
        let mut out = Vec::new();
        packing::put_hybrid(&mut out, &values, 10);
        prop_assert_eq!(packing::get_hybrid(&out, values.len(), 10), Some(values));
    }

    #[test]
    fn deltas_come_back(
        values in proptest::collection::vec(prop_oneof![any::<i64>(), 0i64..9], 0..300),
    ) {
        let mut out = Vec::new();
        delta::put_delta(&mut out, values.iter().copied());
        let length = out.len();
        out.push(7);
        prop_assert_eq!(delta::get_delta(&out, values.len()), Some((values, length)));
    }

    #[test]
    fn garbage_is_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _maybe = packing::get_hybrid(&bytes, 100, 7);
        let _maybe = delta::get_delta(&bytes, 1000);
        let _maybe = page::PageHeader::parse(&bytes);
        let _maybe = shapes::ShapeTable::decode(&bytes);
        for kind in [Kind::Int, Kind::Double, Kind::Bool, Kind::Text, Kind::Fixed(8)] {
            for encoding in [0, 5, 6, 8] {
                let dictionary = page::decode_dictionary(bytes.clone(), 3, kind);
                let _maybe = page::decode_page(
                    bytes.clone(), 20, (kind, true), encoding, dictionary.as_ref(),
                );
            }
        }
        let source = MemorySource { name: "garbage".into(), bytes: bytes.into() };
        prop_assert!(ColumnFile::open(Arc::new(source)).is_err());
    }
}

/// Values of one column for `rows` rows: numbers, few and many words, lines, digits.
fn column(kind: Kind, wide: bool, presence: &[bool]) -> ColumnBuilder {
    let mut builder = ColumnBuilder::new(kind);
    let mut number = 0x9e37_79b9_7f4a_7c15u64;
    for (row, _) in presence.iter().enumerate().filter(|(_, present)| **present) {
        number = number.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(row as u64);
        let word = number >> if wide { 24 } else { 61 };
        match kind {
            Kind::Int => builder.push_int(row, word as i64 - 3),
            Kind::Double => builder.push_double(row, word as f64 / 7.0),
            Kind::Bool => builder.push_bool(row, word & 1 == 1),
            Kind::Fixed(width) => {
                builder.push_bytes(row, &word.to_be_bytes()[8 - usize::from(width)..]);
            }
            Kind::Text | Kind::Bytes => {
                let line = "a line of some length ".repeat(word as usize % 9);
                builder.push_bytes(row, format!("{line}{word:x}").as_bytes());
            }
        }
    }
    builder
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn single_rows_are_those_of_the_whole_block(
        kind in 0usize..6,
        wide in any::<bool>(),
        presence in (any::<u64>(), 1usize..9000, 0u32..4),
        wanted in proptest::collection::btree_set(0usize..9000, 1..12),
    ) {
        let kind = [Kind::Int, Kind::Double, Kind::Bool, Kind::Fixed(5), Kind::Text, Kind::Bytes][kind];
        let (seed, rows, gaps) = presence;
        let presence: Vec<bool> = (0..rows)
            .map(|row| gaps == 0 || (seed.rotate_left((row * row / 7) as u32) & 3) >= u64::from(gaps - 1))
            .collect();
        let wanted: Vec<u32> = wanted.into_iter().filter(|&row| row < rows).map(|row| row as u32).collect();
        let spec = ColumnSpec::optional("x", kind);
        let mut writer = ColumnFileWriter::new(vec![spec], 1).unwrap();
        let mut builder = column(kind, wide, &presence);
        let ends = [rows as u32 / 3, rows as u32];
        writer.row_group(&mut [Some(&mut builder)], &ends).unwrap();
        writer.section("x", Vec::new());
        let bytes = writer.finish().unwrap();
        let file = ColumnFile::open(Arc::new(MemorySource { name: "x".into(), bytes })).unwrap();
        let mut scratch = ReadScratch::new().unwrap();
        for at in file.blocks() {
            let here: Vec<u32> = wanted.iter().copied().filter(|&row| row < at.rows).collect();
            let whole = file.read(0, *at, &mut scratch).unwrap();
            let single = file.read_rows(0, *at, &here, &mut scratch).unwrap();
            let picked = whole.pick(&here);
            prop_assert_eq!(single.rows, here.len());
            for (index, &row) in here.iter().enumerate() {
                for few in [&single, &picked] {
                    prop_assert_eq!(few.int(index), whole.int(row as usize));
                    prop_assert_eq!(few.double(index), whole.double(row as usize));
                    prop_assert_eq!(few.bool(index), whole.bool(row as usize));
                    prop_assert_eq!(few.bytes(index), whole.bytes(row as usize));
                    prop_assert_eq!(few.has(index), whole.has(row as usize));
                }
                if let Some(value) = whole.bytes(row as usize) {
                    let mut hits = vec![false; at.rows as usize];
                    whole.mark_equal(value, &mut hits);
                    for (row, hit) in hits.into_iter().enumerate() {
                        prop_assert_eq!(hit, whole.bytes(row) == Some(value));
                    }
                }
            }
        }
    }
}

#[test]
fn equal_values_are_found_where_they_overlap_others() {
    let mut builder = ColumnBuilder::new(Kind::Text);
    let values = ["baaa", "aaa", "aaaa", "aa", "aaa", "", "aaab", "aaa"];
    for (row, value) in values.iter().enumerate() {
        builder.push_bytes(row * 2, value.as_bytes());
    }
    let spec = ColumnSpec::optional("x", Kind::Text);
    let mut writer = ColumnFileWriter::new(vec![spec], 1).unwrap();
    writer.row_group(&mut [Some(&mut builder)], &[16]).unwrap();
    writer.section("x", Vec::new());
    let bytes = writer.finish().unwrap();
    let file = ColumnFile::open(Arc::new(MemorySource { name: "x".into(), bytes })).unwrap();
    let block = file.read(0, file.blocks()[0], &mut ReadScratch::new().unwrap()).unwrap();
    let mut hits = vec![false; 16];
    block.mark_equal(b"aaa", &mut hits);
    let rows: Vec<usize> = (0..16).filter(|&row| hits[row]).collect();
    assert_eq!(rows, [2, 8, 14]);
}

#[test]
fn random_digits_take_little_more_than_half_a_byte_each() {
    let mut builder = ColumnBuilder::new(Kind::Text);
    let mut number = 1u64;
    let mut next = || {
        number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    for row in 0..8192 {
        builder.push_bytes(row, format!("{:016x}{:016x}", next(), next()).as_bytes());
    }
    let mut writer = ColumnFileWriter::new(vec![ColumnSpec::optional("x", Kind::Text)], 6).unwrap();
    writer.row_group(&mut [Some(&mut builder)], &[8192]).unwrap();
    let bytes = writer.finish().unwrap().len();
    assert!(bytes < 8192 * 16 * 102 / 100, "{bytes} bytes");
}

#[test]
fn a_flipped_byte_in_a_file_never_panics() {
    let lists: Vec<Vec<u8>> = (0..50)
        .map(|row| {
            list(&[("k".into(), Given::Int(row % 3)), ("t".into(), Given::Text("x".into()))])
        })
        .collect();
    let mut planner = AttributePlanner::default();
    lists.iter().for_each(|list| planner.observe(AttributesRef::list(list)));
    let plan = planner.finish(COLUMNS_MAX);
    let mut writer = ColumnFileWriter::new(plan.specs(), 1).unwrap();
    let mut builder = AttributesBuilder::new(plan);
    lists.iter().enumerate().for_each(|(row, list)| builder.push(row, AttributesRef::list(list)));
    finish_group(&mut writer, &mut builder, 50, 16);
    let (name, section) = builder.section();
    writer.section(name, section);
    let good = writer.finish().unwrap();
    for at in 0..good.len() {
        let mut bytes = good.to_vec();
        bytes[at] ^= 0x55;
        let source = MemorySource { name: "flipped".into(), bytes: bytes.into() };
        let Ok(file) = ColumnFile::open(Arc::new(source)) else { continue };
        let Ok(attributes) = AttributeFile::open(&file) else { continue };
        let mut scratch = ReadScratch::new().unwrap();
        for &block in file.blocks() {
            let Ok(block) = attributes.load(&file, block, None, &mut scratch) else { continue };
            let mut out = Vec::new();
            attributes.write(&block, 0, &mut out);
        }
    }
}
