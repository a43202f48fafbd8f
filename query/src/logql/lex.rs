//! Text into tokens.
//!
//! Words are not told apart here: whether `json` is a parser or a label is for the parser to say.
//! Numbers carry their unit with them, because `5m` is a duration, `5MB` a size and `5e3` a number.
//! Source: Loki 3.7, `pkg/logql/syntax/lex.go`.

use super::error::{LogqlError, Result};
use super::number::{parse_bytes, parse_duration};

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// A name or a keyword.
    Word(String),
    /// A string, unescaped.
    Text(String),
    Number(String),
    /// Units: ns. The text is as it was written.
    Duration(i64, String),
    /// Units: bytes. The text is as it was written.
    Bytes(u64, String),
    /// `[5m]`. Units: ns.
    Range(i64),
    /// `--strict`, without the dashes.
    Flag(String),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// A token and where it starts. Lines and columns count from one.
#[derive(Debug, Clone)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// Longer ones first.
const SIGNS: [&str; 33] = [
    "|=", "|~", "|>", "!=", "!~", "!>", "=~", "==", ">=", "<=", "{", "}", "(", ")", ",", ".", "=",
    ">", "<", "|", "+", "-", "*", "/", "%", "^", "]", "[", "!", "~", "$", ":", ";",
];

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
    column: u32,
}

/// Splits a query into tokens; the last one is [`Token::End`].
///
/// Errors: Syntax where a string or a bracket does not end, or a character has no place in LogQL.
pub(crate) fn lex(text: &str) -> Result<Vec<Spanned>> {
    let mut lexer = Lexer { rest: text, line: 1, column: 1 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank();
        let (line, column) = (lexer.line, lexer.column);
        let token = lexer.next()?;
        let ended = token == Token::End;
        tokens.push(Spanned { token, line, column });
        if ended {
            return Ok(tokens);
        }
    }
}

impl Lexer<'_> {
    fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        let (line, column) = (self.line, self.column);
        Err(LogqlError::Syntax { line, column, message: message.into() })
    }

    fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        for c in passed.chars() {
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.rest = rest;
    }

    fn skip_blank(&mut self) {
        loop {
            let trimmed = self.rest.trim_start();
            self.advance(self.rest.len() - trimmed.len());
            if !self.rest.starts_with('#') {
                return;
            }
            self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    fn next(&mut self) -> Result<Token> {
        let Some(first) = self.rest.chars().next() else { return Ok(Token::End) };
        let second = self.rest.chars().nth(1).unwrap_or(' ');
        match first {
            '"' => return self.quoted(),
            '`' => return self.raw(),
            '[' => return self.range(),
            '0'..='9' => return self.number(),
            '.' if second.is_ascii_digit() => return self.number(),
            '-' if second == '-'
                && self.rest[2..].starts_with(|c: char| c.is_ascii_alphabetic()) =>
            {
                return self.flag();
            }
            '-' if second.is_ascii_digit() => {
                if let Some(token) = self.negative_duration() {
                    return Ok(token);
                }
            }
            c if c == '_' || c.is_alphabetic() => return Ok(self.word()),
            _ => {}
        }
        for sign in SIGNS {
            if self.rest.starts_with(sign) {
                self.advance(sign.len());
                return Ok(Token::Sign(sign));
            }
        }
        self.error(format!("syntax error: unexpected {first:?}"))
    }

    fn word(&mut self) -> Token {
        let end =
            self.rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(self.rest.len());
        let word = self.rest[..end].to_owned();
        self.advance(end);
        Token::Word(word)
    }

    fn raw(&mut self) -> Result<Token> {
        let inside = self.rest.get(1..).unwrap_or("");
        let Some(end) = inside.find('`') else { return self.error("literal not terminated") };
        let text = inside[..end].replace('\r', "");
        self.advance(end + 2);
        Ok(Token::Text(text))
    }

    fn quoted(&mut self) -> Result<Token> {
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    let Some(text) = unescape(&self.rest[1..at]) else {
                        return self.error("invalid syntax");
                    };
                    self.advance(at + 1);
                    return Ok(Token::Text(text));
                }
                _ => {}
            }
        }
        self.error("literal not terminated")
    }

    fn range(&mut self) -> Result<Token> {
        let Some(end) = self.rest.find(']') else {
            return self.error("missing closing ']' in duration");
        };
        let inside = self.rest[1..end].trim();
        let Some(ns) = parse_duration(inside) else {
            return self.error(format!("not a valid duration string: {inside:?}"));
        };
        self.advance(end + 1);
        Ok(Token::Range(ns))
    }

    fn flag(&mut self) -> Result<Token> {
        let rest = &self.rest[2..];
        let end = rest.find(|c: char| c != '-' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let flag = rest[..end].to_owned();
        if !matches!(flag.as_str(), "strict" | "keep-empty") {
            return self.error("syntax error: unexpected -");
        }
        self.advance(end + 2);
        Ok(Token::Flag(flag))
    }

    fn negative_duration(&mut self) -> Option<Token> {
        let end = 1 + unit_number_end(&self.rest[1..]);
        let text = self.rest[..end].to_owned();
        if text[1..].parse::<f64>().is_ok() {
            return None;
        }
        let ns = parse_duration(&text)?;
        self.advance(end);
        Some(Token::Duration(ns, text))
    }

    fn number(&mut self) -> Result<Token> {
        let end = unit_number_end(self.rest);
        let text = self.rest[..end].to_owned();
        let has_exponent = text.ends_with(['e', 'E'])
            && self.rest[end..].starts_with(['+', '-'])
            && is_float(&text[..text.len() - 1]);
        if is_float(&text) || has_exponent {
            return self.plain_number();
        }
        if let Some(ns) = parse_duration(&text) {
            self.advance(end);
            return Ok(Token::Duration(ns, text));
        }
        if let Some(bytes) = parse_bytes(&text) {
            self.advance(end);
            return Ok(Token::Bytes(bytes, text));
        }
        self.plain_number()
    }

    /// The longest number at the front; `0x1A` and the like are taken whole, the parser refuses them.
    fn plain_number(&mut self) -> Result<Token> {
        let prefixed =
            ["0x", "0X", "0b", "0B", "0o", "0O"].iter().any(|p| self.rest.starts_with(p));
        if prefixed {
            let end = unit_number_end(self.rest);
            let text = self.rest[..end].to_owned();
            self.advance(end);
            return Ok(Token::Number(text));
        }
        let mut end = 0;
        loop {
            let mut next = self.rest[end..].chars();
            match (next.next(), next.next(), next.next()) {
                (Some('0'..='9' | '.' | '_'), ..) => end += 1,
                (Some('e' | 'E'), Some('0'..='9'), _) => end += 2,
                (Some('e' | 'E'), Some('+' | '-'), Some('0'..='9')) => end += 3,
                _ => break,
            }
        }
        let text = self.rest[..end].to_owned();
        self.advance(end);
        Ok(Token::Number(text))
    }
}

fn is_float(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E'))
        && text.parse::<f64>().is_ok()
}

fn unit_number_end(text: &str) -> usize {
    text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | 'µ' | 'μ')))
        .unwrap_or(text.len())
}

/// Undoes Go's escapes of a double-quoted string; nothing where they are wrong.
pub(crate) fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let digits = |chars: &mut std::str::Chars<'_>, count: usize, radix: u32| {
            let mut value = 0u32;
            for _ in 0..count {
                value = value.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?)?;
            }
            Some(value)
        };
        match chars.next()? {
            'a' => out.push('\u{7}'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\u{b}'),
            '\\' => out.push('\\'),
            '"' => out.push('"'),
            'x' => out.push(byte_as_char(digits(&mut chars, 2, 16)?)),
            'u' => out.push(char::from_u32(digits(&mut chars, 4, 16)?)?),
            'U' => out.push(char::from_u32(digits(&mut chars, 8, 16)?)?),
            first @ '0'..='7' => {
                let rest = digits(&mut chars, 2, 8)?;
                out.push(byte_as_char(first.to_digit(8)? * 64 + rest));
            }
            _ => return None,
        }
    }
    Some(out)
}

/// Lines are UTF-8 here, so a byte beyond ASCII cannot stand alone.
fn byte_as_char(byte: u32) -> char {
    if byte < 0x80 { char::from_u32(byte).unwrap_or('\u{fffd}') } else { '\u{fffd}' }
}
