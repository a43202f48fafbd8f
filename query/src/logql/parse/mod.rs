//! Tokens into a tree, by recursive descent with a limit on depth.
//!
//! What is wrong with the meaning rather than the form is found in `check`.
//! Source: Loki 3.7, `pkg/logql/syntax/syntax.y`.

mod filter;
mod log;
mod metric;

use super::ast::Expr;
use super::check::check;
use super::error::{LogqlError, Result};
use super::lex::{Spanned, Token, lex};
use crate::limits::{ParseLimits, TREE_DEPTH_MAX};

/// Reads and checks a query.
///
/// Errors: Syntax, Invalid, Limit.
pub(crate) fn parse(text: &str, limits: ParseLimits) -> Result<Expr> {
    if let Some(message) = limits.too_long(text) {
        return Err(LogqlError::Limit(message));
    }
    let mut parser = Parser { tokens: lex(text)?, at: 0, limits, depth: 0, tree: 0 };
    let expr = parser.expression(0)?;
    parser.expect_end()?;
    check(&expr, limits.regex)?;
    Ok(expr)
}

struct Parser {
    tokens: Vec<Spanned>,
    at: usize,
    limits: ParseLimits,
    depth: usize,
    /// Levels of the expression or condition parsed last, chains of operators included.
    tree: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &Token {
        self.tokens.get(self.at + ahead).map_or(&Token::End, |spanned| &spanned.token)
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        if found {
            self.at += 1;
        }
        found
    }

    fn expect_sign(&mut self, sign: &str) -> Result<()> {
        if self.take_sign(sign) { Ok(()) } else { self.unexpected(sign) }
    }

    /// Whether the next token is this keyword, in any case.
    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.is_keyword(keyword);
        if found {
            self.at += 1;
        }
        found
    }

    fn expect_name(&mut self) -> Result<String> {
        match self.peek().clone() {
            Token::Word(word) => {
                self.at += 1;
                Ok(word)
            }
            _ => self.unexpected("IDENTIFIER"),
        }
    }

    fn expect_text(&mut self) -> Result<String> {
        match self.peek().clone() {
            Token::Text(text) => {
                self.at += 1;
                Ok(text)
            }
            _ => self.unexpected("STRING"),
        }
    }

    fn expect_end(&mut self) -> Result<()> {
        if *self.peek() == Token::End { Ok(()) } else { self.unexpected("") }
    }

    /// The error that says what stands where `expected` should.
    fn unexpected<T>(&self, expected: &str) -> Result<T> {
        let (line, column) =
            self.tokens.get(self.at).or(self.tokens.last()).map_or((1, 1), |t| (t.line, t.column));
        let found = describe(self.peek(), self.peek_at(1));
        let expecting =
            if expected.is_empty() { String::new() } else { format!(", expecting {expected}") };
        let message = format!("syntax error: unexpected {found}{expecting}");
        Err(LogqlError::Syntax { line, column, message })
    }

    /// Runs `inner` one level deeper.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= self.limits.depth_max {
            return Err(LogqlError::Limit(self.limits.too_deep(self.depth + 1)));
        }
        self.depth += 1;
        let outcome = inner(self);
        self.depth -= 1;
        outcome
    }

    /// Notes that what was parsed last has so many levels.
    fn grown(&mut self, levels: usize) -> Result<()> {
        self.tree = levels;
        if levels > TREE_DEPTH_MAX {
            return Err(LogqlError::Limit(self.limits.too_deep(levels)));
        }
        Ok(())
    }

    /// `a, b, c)` after the opening parenthesis.
    fn names_until_parenthesis(&mut self) -> Result<Vec<String>> {
        self.expect_sign("(")?;
        let mut names = Vec::new();
        if self.take_sign(")") {
            return Ok(names);
        }
        loop {
            names.push(self.expect_name()?);
            if self.take_sign(")") {
                return Ok(names);
            }
            if !self.take_sign(",") {
                return self.unexpected(", or )");
            }
        }
    }
}

/// The token in the words of Loki's messages.
fn describe(token: &Token, next: &Token) -> String {
    match token {
        Token::Word(word) => {
            let is_function = *next == Token::Sign("(");
            if is_function && metric::is_function(word) || metric::is_keyword(word) {
                word.to_ascii_uppercase()
            } else if word == "ip" || word == "bool" {
                word.clone()
            } else {
                "IDENTIFIER".to_owned()
            }
        }
        Token::Text(_) => "STRING".to_owned(),
        Token::Number(_) => "NUMBER".to_owned(),
        Token::Duration(..) => "DURATION".to_owned(),
        Token::Bytes(..) => "BYTES".to_owned(),
        Token::Range(_) => "RANGE".to_owned(),
        Token::Flag(_) => "PARSER_FLAG".to_owned(),
        Token::Sign(sign) => (*sign).to_owned(),
        Token::End => "$end".to_owned(),
    }
}
