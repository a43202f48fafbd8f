//! What people read in a terminal: characters that would steer it are shown, not obeyed.
//!
//! Data, file names and answers of other servers stand in our log and in what the commands print.
//! Source: RUSTSEC-2025-0055; Unicode TR 36, "Bidirectional Text Spoofing".

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

/// Standard error for the log: every line is made [`printable`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(printable(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// C0 and C1 characters and those that turn the direction of writing, but for the ends of lines and
/// tabulators.
fn steers(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && !matches!(c, '\n' | '\t'))
}

/// The text with such characters as `\u001b`, which also JSON understands.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) {
            let _infallible = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_steers_a_terminal_is_shown() {
        for (text, want) in [
            ("plain é 日本\n\tok", "plain é 日本\n\tok"),
            ("\u{1b}[31mred\u{7}", "\\u001b[31mred\\u0007"),
            ("\u{9b}31m\u{202e}txt\u{2069}\r\0", "\\u009b31m\\u202etxt\\u2069\\u000d\\u0000"),
        ] {
            assert_eq!(printable(text), want);
        }
    }
}
