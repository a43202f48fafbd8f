//! Lengths of time after `[`, `:` and `offset`: literals, and arithmetic over `step()` and `range()`.

use super::super::ast::{BinaryOp, Length};
use super::super::error::ParseError;
use super::super::lex::{Keyword, Token};
use super::super::text::quoted;
use super::Parser;
use crate::http::params::duration_text_ns;

const EXPECTED: &str = "number, duration, step(), or range()";
/// What fits into nanoseconds. Units: seconds.
const SECONDS_MAX: f64 = 9_223_372_036.0;

/// The seconds of a duration token such as `1h30m`.
pub(super) fn seconds_of(text: &str, at: usize) -> Result<f64, ParseError> {
    let Some(ns) = duration_text_ns(text) else {
        return Err(ParseError::new(at, format!("not a valid duration string: {}", quoted(text))));
    };
    if ns == 0 {
        return Err(ParseError::new(at, "duration must be greater than 0"));
    }
    // Milliseconds are the smallest unit, so the division below is exact where it can be.
    Ok((ns / 1_000_000) as f64 / 1000.0)
}

impl Parser<'_> {
    /// A length that must be more than nothing where that can be told now.
    pub(super) fn positive_length(&mut self) -> Result<Length, ParseError> {
        let start = self.lexeme().start;
        let length = self.length(0)?;
        match length {
            Length::Literal { seconds, .. } if seconds <= 0.0 => {
                Err(ParseError::new(start, "duration must be greater than 0"))
            }
            length => Ok(length),
        }
    }

    /// What may follow `offset`: no operators outside of parentheses, which belong to the query.
    pub(super) fn offset_length(&mut self) -> Result<Length, ParseError> {
        match self.peek() {
            Token::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                self.take();
                let operand = self.length_primary("offset")?;
                Ok(signed(op == BinaryOp::Sub, operand))
            }
            _ => self.length_primary("offset"),
        }
    }

    fn length(&mut self, floor: u8) -> Result<Length, ParseError> {
        self.enter()?;
        let mut lhs = match self.peek() {
            Token::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                self.take();
                let operand = self.length(BinaryOp::Pow.precedence())?;
                signed(op == BinaryOp::Sub, operand)
            }
            _ => self.length_primary("subquery or range selector")?,
        };
        let mut chain = 0;
        while let Token::Operator(op) = self.peek() {
            let precedence = op.precedence();
            let is_arithmetic = op.changes_metric() && op != BinaryOp::Atan2;
            if precedence < floor || !is_arithmetic {
                break;
            }
            let op_start = self.take().start;
            let rhs = self.length(if op == BinaryOp::Pow { precedence } else { precedence + 1 })?;
            if matches!(rhs, Length::Literal { seconds: 0.0, .. }) {
                match op {
                    BinaryOp::Div => return Err(ParseError::new(op_start, "division by zero")),
                    BinaryOp::Mod => return Err(ParseError::new(op_start, "modulo by zero")),
                    _ => {}
                }
            }
            chain += 1;
            if chain > self.limits.depth_max {
                return Err(self.too_deep(chain));
            }
            lhs = Length::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs) };
        }
        self.nesting -= 1;
        Ok(lhs)
    }

    fn length_primary(&mut self, context: &str) -> Result<Length, ParseError> {
        let first = self.lexeme();
        match first.token {
            Token::Number | Token::Duration => {
                self.take();
                let is_duration = first.token == Token::Duration;
                let text = self.text_of(first);
                // `0s` is a length here, though no literal of its own.
                let seconds = match (is_duration, duration_text_ns(text)) {
                    (true, Some(ns)) => (ns / 1_000_000) as f64 / 1000.0,
                    _ => self.number_value(first)?,
                };
                if !seconds.is_finite() || seconds.abs() > SECONDS_MAX {
                    return Err(ParseError::new(first.start, "duration out of range"));
                }
                Ok(Length::Literal { seconds, is_duration })
            }
            Token::LeftParen => {
                self.take();
                let inner = self.length(0)?;
                self.expect(Token::RightParen, context, "\")\"")?;
                Ok(Length::Paren(Box::new(inner)))
            }
            Token::Keyword(keyword @ (Keyword::Step | Keyword::Range)) => {
                self.take();
                self.expect(Token::LeftParen, context, EXPECTED)?;
                self.expect(Token::RightParen, context, EXPECTED)?;
                Ok(if keyword == Keyword::Step { Length::Step } else { Length::Range })
            }
            Token::Keyword(keyword @ (Keyword::MinOf | Keyword::MaxOf)) => {
                self.take();
                self.expect(Token::LeftParen, context, EXPECTED)?;
                let one = Box::new(self.length(0)?);
                self.expect(Token::Comma, context, "\",\"")?;
                let other = Box::new(self.length(0)?);
                self.expect(Token::RightParen, context, "\")\"")?;
                Ok(if keyword == Keyword::MinOf {
                    Length::Least(one, other)
                } else {
                    Length::Greatest(one, other)
                })
            }
            _ => Err(self.unexpected(context, EXPECTED)),
        }
    }
}

fn signed(is_minus: bool, length: Length) -> Length {
    match length {
        Length::Literal { seconds, is_duration } => {
            Length::Literal { seconds: if is_minus { -seconds } else { seconds }, is_duration }
        }
        length if !is_minus => length,
        length => Length::Sign { is_minus, length: Box::new(length) },
    }
}
