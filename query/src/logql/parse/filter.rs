//! Conditions on labels inside a pipeline.

use storage::MatchOp;

use super::super::ast::{Compare, LabelFilter, MatcherExpr};
use super::super::error::Result;
use super::super::lex::Token;
use super::Parser;

impl Parser {
    /// A condition with its `and`, `or`, commas and parentheses. A comma and mere juxtaposition bind
    /// all that follows them, as in Loki's grammar.
    pub(super) fn label_filter(&mut self, precedence_min: u8) -> Result<LabelFilter> {
        self.nested(|parser| parser.label_filter_inner(precedence_min))
    }

    fn label_filter_inner(&mut self, precedence_min: u8) -> Result<LabelFilter> {
        let mut lhs = self.label_filter_operand()?;
        loop {
            let lhs_levels = self.tree;
            if self.is_keyword("or") {
                if precedence_min > 1 {
                    return Ok(lhs);
                }
                self.at += 1;
                lhs = LabelFilter::Or(Box::new(lhs), Box::new(self.label_filter(2)?));
            } else if self.is_keyword("and") {
                if precedence_min > 2 {
                    return Ok(lhs);
                }
                self.at += 1;
                lhs = LabelFilter::And(Box::new(lhs), Box::new(self.label_filter(3)?));
            } else if self.is_sign(",") || self.starts_label_filter() {
                self.take_sign(",");
                lhs = LabelFilter::And(Box::new(lhs), Box::new(self.label_filter(0)?));
            } else {
                return Ok(lhs);
            }
            self.grown(lhs_levels.max(self.tree) + 1)?;
        }
    }

    /// Whether a name and an operator follow, or a parenthesis.
    fn starts_label_filter(&self) -> bool {
        match (self.peek(), self.peek_at(1)) {
            (Token::Sign("("), _) => true,
            (Token::Word(_), Token::Sign(sign)) => {
                matches!(*sign, "=" | "!=" | "=~" | "!~" | "==" | ">" | ">=" | "<" | "<=")
            }
            _ => false,
        }
    }

    fn label_filter_operand(&mut self) -> Result<LabelFilter> {
        if self.take_sign("(") {
            let inner = self.label_filter(0)?;
            self.expect_sign(")")?;
            return Ok(inner);
        }
        self.tree = 1;
        let name = self.expect_name()?;
        let Token::Sign(sign) = *self.peek() else { return self.unexpected("") };
        self.at += 1;
        let compare = match sign {
            "=" | "==" => Compare::Equal,
            "!=" => Compare::NotEqual,
            ">" => Compare::Greater,
            ">=" => Compare::GreaterEqual,
            "<" => Compare::Less,
            "<=" => Compare::LessEqual,
            "=~" | "!~" => {
                let op = if sign == "=~" { MatchOp::Regex } else { MatchOp::NotRegex };
                let value = self.expect_text()?;
                return Ok(LabelFilter::Text(MatcherExpr { name, op, value }));
            }
            _ => {
                self.at -= 1;
                return self.unexpected("");
            }
        };
        self.compared(name, sign, compare)
    }

    fn compared(&mut self, name: String, sign: &str, op: Compare) -> Result<LabelFilter> {
        match self.peek().clone() {
            Token::Text(value) if matches!(sign, "=" | "!=") => {
                self.at += 1;
                let op = if sign == "=" { MatchOp::Equal } else { MatchOp::NotEqual };
                Ok(LabelFilter::Text(MatcherExpr { name, op, value }))
            }
            Token::Word(word) if word == "ip" && matches!(sign, "=" | "!=") => {
                self.at += 1;
                self.expect_sign("(")?;
                let addresses = self.expect_text()?;
                self.expect_sign(")")?;
                Ok(LabelFilter::Ip { name, negative: sign == "!=", addresses })
            }
            Token::Duration(ns, _) => {
                self.at += 1;
                Ok(LabelFilter::Duration { name, op, ns })
            }
            Token::Bytes(bytes, text) => {
                self.at += 1;
                Ok(LabelFilter::Bytes { name, op, bytes, text })
            }
            Token::Number(_) | Token::Sign("-" | "+") => {
                Ok(LabelFilter::Number { name, op, value: self.signed_number()? })
            }
            _ => self.unexpected(""),
        }
    }
}
