//! Text to tokens, with positions. Inside braces and brackets other rules hold than outside, as in
//! Prometheus' lexer, so this keeps track of both.
//! Source: Prometheus `promql/parser/lex.go` (3.14).

use super::ast::{AggregateOp, BinaryOp};
use super::error::ParseError;

/// What a token is. Its text is the span's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    End,
    Identifier,
    /// An identifier with a colon in it.
    MetricIdentifier,
    Number,
    Duration,
    Text,
    LeftBrace,
    RightBrace,
    LeftParen,
    RightParen,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`, in matchers alone.
    Assign,
    MatchRegex,
    MatchNotRegex,
    At,
    Operator(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
}

/// Words with a meaning of their own; most may be metric names too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    Bool,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Offset,
    Smoothed,
    Anchored,
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// A token and where it lies. Units: bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lexeme {
    pub(crate) token: Token,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// All tokens up to the first error, which is the last entry's.
///
/// Errors: what cannot be a token, at its place. Tokens before it are returned too, so that the
/// parser reports whichever error comes first.
pub(crate) fn lex(input: &str) -> (Vec<Lexeme>, Option<ParseError>) {
    let mut lexer = Lexer {
        input,
        at: 0,
        out: Vec::new(),
        parens: 0,
        in_braces: false,
        in_brackets: false,
        colon: false,
        number: false,
    };
    let failure = lexer.run().err();
    let end = failure.as_ref().map_or(input.len(), |error| error.at);
    lexer.out.push(Lexeme { token: Token::End, start: end, end });
    (lexer.out, failure)
}

struct Lexer<'a> {
    input: &'a str,
    at: usize,
    out: Vec<Lexeme>,
    parens: usize,
    in_braces: bool,
    in_brackets: bool,
    /// Whether the bracket has had its colon.
    colon: bool,
    /// Whether the bracket has had a number.
    number: bool,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.input.get(self.at..).and_then(|rest| rest.chars().next())
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.input.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn push(&mut self, token: Token, start: usize) {
        self.out.push(Lexeme { token, start, end: self.at });
    }

    fn simple(&mut self, token: Token, length: usize) {
        let start = self.at;
        self.at += length;
        self.push(token, start);
    }

    fn run(&mut self) -> Result<(), ParseError> {
        while let Some(c) = self.peek() {
            if c.is_ascii_whitespace() {
                self.at += 1;
            } else if c == '#' {
                let rest = self.input.get(self.at..).unwrap_or("");
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if self.in_braces {
                self.inside_braces(c)?;
            } else if self.in_brackets {
                self.inside_brackets(c)?;
            } else {
                self.statement(c)?;
            }
        }
        let message = if self.in_braces {
            "unexpected end of input inside braces"
        } else if self.in_brackets {
            "unclosed left bracket"
        } else if self.parens > 0 {
            "unclosed left parenthesis"
        } else {
            return Ok(());
        };
        Err(ParseError::new(self.at, message))
    }

    fn statement(&mut self, c: char) -> Result<(), ParseError> {
        if self.operator(c)? {
            return Ok(());
        }
        match c {
            ',' => self.simple(Token::Comma, 1),
            '@' => self.simple(Token::At, 1),
            '(' => {
                self.parens += 1;
                self.simple(Token::LeftParen, 1);
            }
            ')' => {
                if self.parens == 0 {
                    return Err(self.error("unexpected right parenthesis ')'"));
                }
                self.parens -= 1;
                self.simple(Token::RightParen, 1);
            }
            '{' => {
                self.in_braces = true;
                self.simple(Token::LeftBrace, 1);
            }
            '[' => {
                self.in_brackets = true;
                self.colon = false;
                self.number = false;
                self.simple(Token::LeftBracket, 1);
            }
            ']' => return Err(self.error("unexpected right bracket ']'")),
            '"' | '\'' | '`' => self.string(c)?,
            '0'..='9' => self.number()?,
            '.' if self.byte(1).is_ascii_digit() => self.number()?,
            'a'..='z' | 'A'..='Z' | '_' | ':' => self.word(),
            _ => return Err(self.unexpected(c)),
        }
        Ok(())
    }

    /// An operator outside of braces.
    fn operator(&mut self, c: char) -> Result<bool, ParseError> {
        let next = self.byte(1);
        let (token, length) = match (c, next) {
            ('+', _) => (Token::Operator(BinaryOp::Add), 1),
            ('-', _) => (Token::Operator(BinaryOp::Sub), 1),
            ('*', _) => (Token::Operator(BinaryOp::Mul), 1),
            ('/', _) => (Token::Operator(BinaryOp::Div), 1),
            ('%', _) => (Token::Operator(BinaryOp::Mod), 1),
            ('^', _) => (Token::Operator(BinaryOp::Pow), 1),
            ('=', b'=') => (Token::Operator(BinaryOp::Equal), 2),
            ('=', b'~') => return Err(self.error("unexpected character after '=': '~'")),
            ('=', _) => (Token::Assign, 1),
            ('!', b'=') => (Token::Operator(BinaryOp::NotEqual), 2),
            ('!', _) => {
                self.at += 1;
                let after = self.peek().map_or_else(String::new, |c| format!(": {c:?}"));
                self.at -= 1;
                return Err(self.error(format!("unexpected character after '!'{after}")));
            }
            ('<', b'/') => (Token::Operator(BinaryOp::TrimUpper), 2),
            ('>', b'/') => (Token::Operator(BinaryOp::TrimLower), 2),
            ('<', b'=') => (Token::Operator(BinaryOp::LessEqual), 2),
            ('<', _) => (Token::Operator(BinaryOp::Less), 1),
            ('>', b'=') => (Token::Operator(BinaryOp::GreaterEqual), 2),
            ('>', _) => (Token::Operator(BinaryOp::Greater), 1),
            _ => return Ok(false),
        };
        self.simple(token, length);
        Ok(true)
    }

    fn inside_braces(&mut self, c: char) -> Result<(), ParseError> {
        match (c, self.byte(1)) {
            ('{', _) => return Err(self.error("unexpected left brace '{'")),
            ('}', _) => {
                self.in_braces = false;
                self.simple(Token::RightBrace, 1);
            }
            (',', _) => self.simple(Token::Comma, 1),
            ('=', b'~') => self.simple(Token::MatchRegex, 2),
            ('=', _) => self.simple(Token::Assign, 1),
            ('!', b'=') => self.simple(Token::Operator(BinaryOp::NotEqual), 2),
            ('!', b'~') => self.simple(Token::MatchNotRegex, 2),
            ('!', _) => {
                self.at += 1;
                let after = self.peek().map_or_else(String::new, |c| format!(": {c:?}"));
                self.at -= 1;
                return Err(
                    self.error(format!("unexpected character after '!' inside braces{after}"))
                );
            }
            ('"' | '\'' | '`', _) => self.string(c)?,
            ('a'..='z' | 'A'..='Z' | '_', _) => {
                let start = self.at;
                self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
                self.push(Token::Identifier, start);
            }
            _ => return Err(self.error(format!("unexpected character inside braces: {c:?}"))),
        }
        Ok(())
    }

    fn inside_brackets(&mut self, c: char) -> Result<(), ParseError> {
        match c {
            ']' => {
                self.in_brackets = false;
                self.simple(Token::RightBracket, 1);
            }
            ':' => {
                if self.colon {
                    return Err(self.error("unexpected colon ':'"));
                }
                self.colon = true;
                self.simple(Token::Colon, 1);
                if !self.number {
                    let message = "unexpected colon before duration in duration expression";
                    return Err(self.error(message));
                }
            }
            '(' => {
                self.parens += 1;
                self.simple(Token::LeftParen, 1);
            }
            ')' => {
                if self.parens == 0 {
                    return Err(self.error("unexpected right parenthesis ')'"));
                }
                self.parens -= 1;
                self.simple(Token::RightParen, 1);
            }
            ',' => self.simple(Token::Comma, 1),
            '+' | '-' | '*' | '/' | '%' | '^' => {
                self.operator(c)?;
            }
            '0'..='9' | '.' => {
                self.number = true;
                self.number()?;
            }
            'a'..='z' | 'A'..='Z' => {
                let start = self.at;
                self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
                let word = self.input.get(start..self.at).unwrap_or("").to_ascii_lowercase();
                let keyword = match word.as_str() {
                    "step" => Keyword::Step,
                    "range" => Keyword::Range,
                    "min_of" => Keyword::MinOf,
                    "max_of" => Keyword::MaxOf,
                    _ => {
                        self.at = start;
                        return Err(
                            self.error(format!("unexpected character: {c:?}, expected ':'"))
                        );
                    }
                };
                self.push(Token::Keyword(keyword), start);
            }
            _ => {
                let message = format!("unexpected character in duration expression: {c:?}");
                return Err(self.error(message));
            }
        }
        Ok(())
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) {
        while let Some(c) = self.peek().filter(|&c| wanted(c)) {
            self.at += c.len_utf8();
        }
    }

    fn word(&mut self) {
        let start = self.at;
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        let word = self.input.get(start..self.at).unwrap_or("");
        let token = keyword(&word.to_ascii_lowercase()).unwrap_or(if word.contains(':') {
            Token::MetricIdentifier
        } else {
            Token::Identifier
        });
        self.push(token, start);
    }

    fn string(&mut self, quote: char) -> Result<(), ParseError> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some('\\') if quote != '`' => {
                    self.at += 1;
                    match self.peek() {
                        Some(c) => self.at += c.len_utf8(),
                        None => {
                            return Err(ParseError::new(start, "escape sequence not terminated"));
                        }
                    }
                }
                None => return Err(ParseError::new(start, "unterminated quoted string")),
                Some('\n') if quote != '`' => {
                    return Err(ParseError::new(start, "unterminated quoted string"));
                }
                Some(c) => {
                    self.at += c.len_utf8();
                    if c == quote {
                        break;
                    }
                }
            }
        }
        self.push(Token::Text, start);
        Ok(())
    }

    /// Digits with single underscores between them.
    fn digits(&mut self, is_digit: impl Fn(u8) -> bool) -> bool {
        let mut any = false;
        loop {
            if is_digit(self.byte(0)) {
                self.at += 1;
                any = true;
            } else if any && self.byte(0) == b'_' && is_digit(self.byte(1)) {
                self.at += 1;
            } else {
                return any;
            }
        }
    }

    fn number(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        if self.byte(0) == b'0' && matches!(self.byte(1), b'x' | b'X') {
            self.at += 2;
            if !self.digits(|byte| byte.is_ascii_hexdigit()) {
                return Err(self.bad_number(start));
            }
            return self.end_of_number(start, Token::Number);
        }
        let whole = self.digits(|byte| byte.is_ascii_digit());
        if whole && self.unit_follows() {
            return self.duration(start);
        }
        if self.byte(0) == b'.' {
            self.at += 1;
            let fraction = self.digits(|byte| byte.is_ascii_digit());
            if !whole && !fraction {
                return Err(self.bad_number(start));
            }
        }
        if matches!(self.byte(0), b'e' | b'E') {
            self.at += 1;
            if matches!(self.byte(0), b'+' | b'-') {
                self.at += 1;
            }
            if !self.digits(|byte| byte.is_ascii_digit()) {
                return Err(self.bad_number(start));
            }
        }
        self.end_of_number(start, Token::Number)
    }

    fn unit_follows(&self) -> bool {
        matches!(self.byte(0), b's' | b'm' | b'h' | b'd' | b'w' | b'y')
    }

    fn duration(&mut self, start: usize) -> Result<(), ParseError> {
        loop {
            if !self.unit_follows() {
                return Err(self.bad_number(start));
            }
            self.at += if self.byte(0) == b'm' && self.byte(1) == b's' { 2 } else { 1 };
            if !self.byte(0).is_ascii_digit() {
                break;
            }
            self.take_while(|c| c.is_ascii_digit());
        }
        self.end_of_number(start, Token::Duration)
    }

    fn end_of_number(&mut self, start: usize, token: Token) -> Result<(), ParseError> {
        let next = self.byte(0);
        if next.is_ascii_alphanumeric() || next == b'_' || next == b'.' {
            return Err(self.bad_number(start));
        }
        self.push(token, start);
        Ok(())
    }

    fn bad_number(&self, start: usize) -> ParseError {
        let end = (self.at + usize::from(self.byte(0).is_ascii())).min(self.input.len());
        let text = self.input.get(start..end).unwrap_or("");
        ParseError::new(start, format!("bad number or duration syntax: {text:?}"))
    }

    fn unexpected(&self, c: char) -> ParseError {
        self.error(format!("unexpected character: {c:?}"))
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError::new(self.at, message)
    }
}

/// The meaning of a lower-case word, if it has one.
fn keyword(word: &str) -> Option<Token> {
    let token = match word {
        "bool" => Token::Keyword(Keyword::Bool),
        "by" => Token::Keyword(Keyword::By),
        "without" => Token::Keyword(Keyword::Without),
        "on" => Token::Keyword(Keyword::On),
        "ignoring" => Token::Keyword(Keyword::Ignoring),
        "group_left" => Token::Keyword(Keyword::GroupLeft),
        "group_right" => Token::Keyword(Keyword::GroupRight),
        "fill" => Token::Keyword(Keyword::Fill),
        "fill_left" => Token::Keyword(Keyword::FillLeft),
        "fill_right" => Token::Keyword(Keyword::FillRight),
        "offset" => Token::Keyword(Keyword::Offset),
        "smoothed" => Token::Keyword(Keyword::Smoothed),
        "anchored" => Token::Keyword(Keyword::Anchored),
        "start" => Token::Keyword(Keyword::Start),
        "end" => Token::Keyword(Keyword::End),
        "step" => Token::Keyword(Keyword::Step),
        "range" => Token::Keyword(Keyword::Range),
        "max_of" => Token::Keyword(Keyword::MaxOf),
        "min_of" => Token::Keyword(Keyword::MinOf),
        "and" => Token::Operator(BinaryOp::And),
        "or" => Token::Operator(BinaryOp::Or),
        "unless" => Token::Operator(BinaryOp::Unless),
        "atan2" => Token::Operator(BinaryOp::Atan2),
        "inf" | "nan" => Token::Number,
        _ => return AggregateOp::from_name(word).map(Token::Aggregate),
    };
    Some(token)
}
