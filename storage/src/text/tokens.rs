//! Tokens: what a text is made of, for indexes.
//!
//! A token is a longest run of ASCII letters, ASCII digits, `_` and bytes above 0x7f, in the case in
//! which it was written. Because a byte is in a token or not whatever surrounds it, the tokens that
//! stand inside a needle between two other bytes are tokens of every text that holds the needle.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

/// 1 for bytes that tokens are made of.
#[expect(clippy::indexing_slicing, reason = "a byte is below 256")]
static IN_TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let ascii = byte as u8;
        table[byte] = ascii.is_ascii_alphanumeric() || ascii == b'_' || ascii >= 0x80;
        byte += 1;
    }
    table
};

#[inline]
#[expect(clippy::indexing_slicing, reason = "a byte is below 256")]
pub(crate) fn in_token(byte: u8) -> bool {
    IN_TOKEN[byte as usize]
}

/// Calls `take` with the place of each token of `text`.
#[inline]
pub(crate) fn for_each_token(text: &[u8], mut take: impl FnMut(Range<usize>)) {
    let is_in = |at: usize| text.get(at).is_some_and(|&byte| in_token(byte));
    let mut at = 0;
    while at < text.len() {
        if !is_in(at) {
            at += 1;
            continue;
        }
        let start = at;
        while is_in(at) {
            at += 1;
        }
        take(start..at);
    }
}

/// The number by which tokens are told apart; never 0.
#[inline]
pub(crate) fn token_hash(token: &[u8]) -> u64 {
    xxh3_64(token).max(1)
}

/// What a needle says about the tokens of the texts that hold it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NeedleTokens {
    /// Tokens that every such text has.
    pub(crate) whole: Vec<Vec<u8>>,
    /// Every such text has a token that ends with this, or (`inside`) contains it.
    pub(crate) first: Option<Vec<u8>>,
    /// Every such text has a token that starts with this.
    pub(crate) last: Option<Vec<u8>>,
    /// The needle is one fragment: some token contains it.
    pub(crate) inside: Option<Vec<u8>>,
}

impl NeedleTokens {
    /// Of a needle that may stand anywhere in the text, also in the middle of a token.
    pub(crate) fn of_substring(needle: &[u8]) -> NeedleTokens {
        let mut tokens = NeedleTokens::default();
        for_each_token(needle, |range| {
            let token = needle.get(range.clone()).unwrap_or_default().to_vec();
            match (range.start == 0, range.end == needle.len()) {
                (true, true) => tokens.inside = Some(token),
                (true, false) => tokens.first = Some(token),
                (false, true) => tokens.last = Some(token),
                (false, false) => tokens.whole.push(token),
            }
        });
        tokens
    }

    /// Of a text that is known as a whole.
    pub(crate) fn of_text(text: &[u8]) -> NeedleTokens {
        let mut tokens = NeedleTokens::default();
        for_each_token(text, |range| tokens.whole.extend(text.get(range).map(<[u8]>::to_vec)));
        tokens
    }
}
