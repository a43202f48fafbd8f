//! A stream's labels as text, `{name="value", ...}`, after LogQL's grammar.

use model::{Labels, LabelsBuilder, Reason};

use crate::series_cache::Refusal;

/// Parses the text of a stream's labels.
///
/// Errors: InvalidLabels, DuplicateLabelNames.
pub(super) fn parse(text: &str) -> Result<Labels, Refusal> {
    let mut parser = Parser { text, at: 0 };
    let pairs = parser.pairs().map_err(|what| {
        let text = format!("error parsing labels {text:?}: {what} at byte {}", parser.at);
        (Reason::InvalidLabels, text)
    })?;
    let mut names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err((Reason::DuplicateLabelNames, format!("stream {text} names a label twice")));
    }
    let mut builder = LabelsBuilder::default();
    for (name, value) in &pairs {
        builder.push(name, value);
    }
    Ok(builder.finish())
}

/// Whether LogQL can say this label's name.
pub(super) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    fn space(&mut self) {
        self.at = self.text.len().saturating_sub(self.rest().trim_start().len());
    }

    fn take(&mut self, wanted: char) -> bool {
        self.space();
        let found = self.rest().starts_with(wanted);
        if found {
            self.skip(wanted.len_utf8());
        }
        found
    }

    fn pairs(&mut self) -> Result<Vec<(&'a str, String)>, &'static str> {
        if !self.take('{') {
            return Err("'{' is missing");
        }
        let mut pairs = Vec::new();
        while !self.take('}') {
            if !pairs.is_empty() && !self.take(',') {
                return Err("',' or '}' is missing");
            }
            if self.take('}') {
                break;
            }
            let name = self.name()?;
            if !self.take('=') {
                return Err("'=' is missing");
            }
            pairs.push((name, self.value()?));
        }
        self.space();
        if self.rest().is_empty() { Ok(pairs) } else { Err("text follows the labels") }
    }

    fn name(&mut self) -> Result<&'a str, &'static str> {
        self.space();
        let rest = self.rest();
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default();
        if !is_name(name) {
            return Err("a label's name is missing");
        }
        self.skip(end);
        Ok(name)
    }

    fn value(&mut self) -> Result<String, &'static str> {
        if self.take('`') {
            let end = self.rest().find('`').ok_or("a value is not closed")?;
            let value = self.rest().get(..end).unwrap_or_default().to_owned();
            self.skip(end);
            self.skip(1);
            return Ok(value);
        }
        if !self.take('"') {
            return Err("a value is missing");
        }
        let mut value: Vec<u8> = Vec::new();
        loop {
            let mut chars = self.rest().chars();
            let c = chars.next().ok_or("a value is not closed")?;
            self.skip(c.len_utf8());
            match c {
                '"' => break,
                '\n' => return Err("a value holds a line break"),
                '\\' => self.escape(&mut value)?,
                c => value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        String::from_utf8(value).map_err(|_| "a value is not UTF-8")
    }

    /// One escape of a Go string, after its backslash.
    fn escape(&mut self, value: &mut Vec<u8>) -> Result<(), &'static str> {
        const UNKNOWN: &str = "a value holds an unknown escape";
        let c = self.rest().chars().next().ok_or(UNKNOWN)?;
        let plain = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '"' | '\'' => c as u8,
            _ => 0,
        };
        if plain != 0 {
            self.skip(1);
            value.push(plain);
            return Ok(());
        }
        let (skip, digits, radix) = match c {
            'x' => (1, 2, 16),
            'u' => (1, 4, 16),
            'U' => (1, 8, 16),
            '0'..='7' => (0, 3, 8),
            _ => return Err(UNKNOWN),
        };
        let text = self.rest().get(skip..).and_then(|text| text.get(..digits)).ok_or(UNKNOWN)?;
        let is_number = text.chars().all(|c| c.is_digit(radix));
        let code = u32::from_str_radix(text, radix).ok().filter(|_| is_number).ok_or(UNKNOWN)?;
        self.skip(skip);
        self.skip(digits);
        if matches!(c, 'u' | 'U') {
            let c = char::from_u32(code).ok_or(UNKNOWN)?;
            value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            value.push(u8::try_from(code).map_err(|_| UNKNOWN)?);
        }
        Ok(())
    }
}
