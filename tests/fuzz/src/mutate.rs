//! Makes new cases of old ones: bytes, words of a language, and fields of protobuf messages.

use model::wire::{Field, Reader, put_varint};

use crate::random::Random;

/// What the input of a target is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Bytes,
    /// With the words of its language, in one list or several.
    Text(&'static [&'static [&'static str]]),
    Protobuf,
}

/// No case is longer. Units: bytes.
pub const CASE_BYTES_MAX: usize = 64 << 10;
/// Changes to one case.
const CHANGES_MAX: usize = 6;

const NUMBERS: [u64; 14] = [
    0,
    1,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// A new case from `case`; `others` lend their parts.
pub fn mutate(random: &mut Random, shape: Shape, case: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..=random.below(CHANGES_MAX) {
        match shape {
            Shape::Protobuf if random.below(4) != 0 => {
                if let Some(changed) = change_message(random, case, 0) {
                    *case = changed;
                }
            }
            Shape::Text(lists) if random.below(2) == 0 => {
                let count = lists.iter().map(|list| list.len()).sum();
                let word = lists.iter().copied().flatten().nth(random.below(count));
                change_text(random, word.copied().unwrap_or_default(), case);
            }
            _ => change_bytes(random, case, others),
        }
        case.truncate(CASE_BYTES_MAX);
    }
}

fn change_bytes(random: &mut Random, case: &mut Vec<u8>, others: &[Vec<u8>]) {
    let at = random.below(case.len() + 1);
    let count = random.length(case.len() - at).min(case.len() - at);
    match random.below(11) {
        0 => {
            if let Some(byte) = case.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(byte) = case.get_mut(at) {
                *byte = random.number() as u8;
            }
        }
        2 => {
            let bytes: Vec<u8> = (0..random.length(8)).map(|_| random.number() as u8).collect();
            case.splice(at..at, bytes);
        }
        3 => drop(case.drain(at..at + count)),
        4 => {
            // A part again and again: nesting, long lists.
            let part = case[at..at + count].to_vec();
            let times = random.length(CASE_BYTES_MAX / part.len().max(1));
            case.splice(at..at, part.repeat(times));
        }
        5 => {
            let number = random.pick(&NUMBERS).to_le_bytes();
            let width = [1, 2, 4, 8][random.below(4)];
            for (place, byte) in case[at..].iter_mut().zip(&number[..width]) {
                *place = *byte;
            }
        }
        6 => {
            let number = random.pick(&NUMBERS).to_be_bytes();
            for (place, byte) in case[at..].iter_mut().zip(&number[4..]) {
                *place = *byte;
            }
        }
        7 => {
            let mut number = Vec::new();
            put_varint(&mut number, *random.pick(&NUMBERS));
            case.splice(at..at, number);
        }
        8 => case.truncate(at),
        9 => {
            let other = random.pick(others);
            let from = random.below(other.len() + 1);
            let end = from + random.length(other.len() - from).min(other.len() - from);
            case.splice(at..at + count, other[from..end].iter().copied());
        }
        _ => {
            let to = random.below(case.len() + 1 - count);
            let part: Vec<u8> = case.drain(at..at + count).collect();
            case.splice(to..to, part);
        }
    }
}

fn change_text(random: &mut Random, word: &str, case: &mut Vec<u8>) {
    let at = random.below(case.len() + 1);
    let word = word.as_bytes();
    match random.below(5) {
        0 => {
            let times = random.length(CASE_BYTES_MAX / word.len().max(1));
            case.splice(at..at, word.repeat(times));
        }
        1 => {
            // A digit becomes a number that is hard to hold.
            let numbers =
                ["0", "-1", "1e308", "9223372036854775807", "18446744073709551616", "NaN"];
            let number = random.pick(&numbers).as_bytes();
            let place = case.iter().skip(at).position(u8::is_ascii_digit).map(|place| at + place);
            let place = place.unwrap_or(at);
            let end = case[place..].iter().take_while(|byte| byte.is_ascii_digit()).count() + place;
            case.splice(place..end, number.iter().copied());
        }
        2 => {
            let text = ["\u{202e}", "\0", "\u{feff}", "é", "\u{10ffff}", "\r\n", "\\", "\"", "`"];
            case.splice(at..at, random.pick(&text).bytes());
        }
        _ => drop(case.splice(at..at, word.iter().copied())),
    }
}

/// A field of a message: its bytes with tag, and its content where it has a length.
struct Part<'a> {
    number: u32,
    whole: &'a [u8],
    content: Option<&'a [u8]>,
}

fn parts(message: &[u8]) -> Option<Vec<Part<'_>>> {
    let mut reader = Reader::new(message);
    let mut parts = Vec::new();
    loop {
        let start = reader.offset();
        let Some((number, field)) = reader.next_field().ok()? else { return Some(parts) };
        let content = if let Field::Bytes(content) = field { Some(content) } else { None };
        parts.push(Part { number, whole: &message[start..reader.offset()], content });
    }
}

/// The message with one field changed, at whatever depth; nothing where it is no message.
fn change_message(random: &mut Random, message: &[u8], depth: usize) -> Option<Vec<u8>> {
    const DEPTH_MAX: usize = 12;
    let parts = parts(message)?;
    if parts.is_empty() {
        return None;
    }
    let chosen = random.below(parts.len());
    let mut out = Vec::with_capacity(message.len() + 16);
    for (index, part) in parts.iter().enumerate() {
        if index != chosen {
            out.extend_from_slice(part.whole);
            continue;
        }
        if let (Some(content), true) = (part.content, depth < DEPTH_MAX && random.below(5) != 0)
            && let Some(changed) = change_message(random, content, depth + 1)
        {
            put_content(&mut out, part.number, &changed);
            continue;
        }
        change_field(random, part, &mut out);
    }
    Some(out)
}

fn put_content(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn change_field(random: &mut Random, part: &Part<'_>, out: &mut Vec<u8>) {
    match random.below(8) {
        0 => {}
        1 => {
            let times = random.length(2000);
            for _ in 0..times.min(CASE_BYTES_MAX / part.whole.len().max(1)) {
                out.extend_from_slice(part.whole);
            }
        }
        2 => {
            // Another number, another type of field.
            let kind = [0, 1, 2, 3, 4, 5][random.below(6)];
            put_varint(out, (random.below(20) as u64) << 3 | kind);
            let number = *random.pick(&NUMBERS);
            match kind {
                0 | 2 => put_varint(out, number),
                1 => out.extend_from_slice(&number.to_le_bytes()),
                5 => out.extend_from_slice(&number.to_le_bytes()[..4]),
                _ => {}
            }
        }
        3 => {
            // Deeper and deeper into itself.
            let mut inner = part.content.unwrap_or(part.whole).to_vec();
            for _ in 0..random.length(3000) {
                let mut outer = Vec::with_capacity(inner.len() + 8);
                put_content(&mut outer, part.number, &inner);
                inner = outer;
                if inner.len() > CASE_BYTES_MAX / 2 {
                    break;
                }
            }
            out.extend_from_slice(&inner);
        }
        4 => {
            let mut content = part.content.unwrap_or_default().to_vec();
            let at = random.below(content.len() + 1);
            let texts: [&[u8]; 6] =
                [b"\xff", b"\0", "\u{202e}".as_bytes(), b"\"", b"\xed\xa0\x80", b""];
            let text = random.pick(&texts);
            content.splice(at..at, text.iter().copied());
            put_content(out, part.number, &content);
        }
        5 => {
            let length = random.length(CASE_BYTES_MAX / 4);
            put_content(out, part.number, &vec![b'a' + random.below(26) as u8; length]);
        }
        6 => {
            // Its length is a lie.
            put_varint(out, u64::from(part.number) << 3 | 2);
            put_varint(out, *random.pick(&NUMBERS));
            out.extend_from_slice(part.content.unwrap_or_default());
        }
        _ => {
            put_varint(out, u64::from(part.number) << 3);
            put_varint(out, *random.pick(&NUMBERS));
        }
    }
}
