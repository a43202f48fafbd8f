use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::segment::MemorySource;

/// An index of blocks of lines.
fn index(blocks: &[Vec<String>], level: u8) -> TextIndex {
    let mut builder = TextIndexBuilder::new(level).unwrap();
    for block in blocks {
        for line in block {
            builder.add(line.as_bytes());
        }
        builder.end_block().unwrap();
    }
    let mut writer = SectionFileWriter::default();
    builder.finish(&mut writer).unwrap();
    let source = MemorySource { name: "index".into(), bytes: writer.finish() };
    TextIndex::open(SectionFile::open(Arc::new(source)).unwrap(), blocks.len()).unwrap()
}

fn candidates(index: &TextIndex, needle: &NeedleTokens, blocks: usize) -> Vec<bool> {
    let mut candidates = vec![true; blocks];
    index.retain(needle, &mut candidates).unwrap();
    candidates
}

fn line() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[a-f0-9]{1,12}",
        "[a-z_]{1,8}",
        "user_[0-9]{1,5}",
        "[0-9]{1,4}",
        "é[a-z]?",
        "(a|b)-?",
        "[a-zA-Z0-9]{40,50}",
        "x[0-9]y[0-9]z",
    ];
    proptest::collection::vec(word, 0..6).prop_map(|words| words.join(" "))
}

#[test]
fn a_fragment_prunes_in_a_merged_segment() {
    let blocks = vec![vec!["user_17 accepted".to_owned()], vec!["4bf92f denied".to_owned()]];
    let index = index(&blocks, 1);
    let find = |text: &str| candidates(&index, &NeedleTokens::of_substring(text.as_bytes()), 2);
    assert_eq!(find("ccep"), [true, false]);
    assert_eq!(find("ser_1"), [true, false]);
    assert_eq!(find("_17 acc"), [true, false]);
    assert_eq!(find("nied"), [false, true]);
    assert_eq!(find("nowhere"), [false, false]);
    // It may be a part of an identifier, which no dictionary knows.
    assert_eq!(find("92"), [true, true]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_index_never_hides_a_line(
        blocks in proptest::collection::vec(proptest::collection::vec(line(), 0..6), 1..5),
        level in 0u8..2,
        cut in any::<proptest::sample::Index>(),
        length in 0usize..14,
    ) {
        let index = index(&blocks, level);
        for (number, line) in
            blocks.iter().enumerate().flat_map(|(n, block)| block.iter().map(move |l| (n, l)))
        {
            let bytes = line.as_bytes();
            let whole = candidates(&index, &NeedleTokens::of_text(bytes), blocks.len());
            prop_assert!(whole[number], "{line:?} as a text");
            if bytes.is_empty() {
                continue;
            }
            let start = cut.index(bytes.len());
            let needle = &bytes[start..(start + length).min(bytes.len())];
            let found = candidates(&index, &NeedleTokens::of_substring(needle), blocks.len());
            prop_assert!(found[number], "{:?} in {line:?}", String::from_utf8_lossy(needle));
        }
    }
}

#[test]
fn a_token_that_is_nowhere_prunes() {
    for level in [0, 1] {
        let blocks = vec![vec!["GET /a 200".to_owned()], vec!["POST /b 4bf92f".to_owned()]];
        let index = index(&blocks, level);
        let find = |text: &str| candidates(&index, &NeedleTokens::of_text(text.as_bytes()), 2);
        assert_eq!(find("GET"), [true, false]);
        assert_eq!(find("4bf92f"), [false, true]);
        assert_eq!(find("absent"), [false, false]);
    }
}

#[test]
fn needles_know_which_tokens_are_whole() {
    let tokens = NeedleTokens::of_substring(b"rror: disk full on s");
    assert_eq!(tokens.first.as_deref(), Some(&b"rror"[..]));
    assert_eq!(tokens.last.as_deref(), Some(&b"s"[..]));
    assert_eq!(tokens.whole, [b"disk".to_vec(), b"full".to_vec(), b"on".to_vec()]);
    assert_eq!(NeedleTokens::of_substring(b"abc").inside.as_deref(), Some(&b"abc"[..]));
}
