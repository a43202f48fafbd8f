//! Stream selectors and pipelines.

use storage::MatchOp;

use super::super::ast::{
    Conversion, Extraction, FormatSource, LabelFilter, LabelFormat, LineFilter, LineOp, LogExpr,
    MatcherExpr, NamedMatcher, Needle, StageExpr, Unwrap,
};
use super::super::error::{LogqlError, Result};
use super::super::lex::Token;
use super::Parser;

/// Stages of one pipeline.
const STAGES_MAX: usize = 200;

impl Parser {
    /// `{a="b", c=~"d"}`.
    pub(super) fn selector(&mut self) -> Result<Vec<MatcherExpr>> {
        self.expect_sign("{")?;
        let mut matchers = Vec::new();
        if self.take_sign("}") {
            return Ok(matchers);
        }
        loop {
            let name = self.expect_name()?;
            let op = match self.peek() {
                Token::Sign("=") => MatchOp::Equal,
                Token::Sign("!=") => MatchOp::NotEqual,
                Token::Sign("=~") => MatchOp::Regex,
                Token::Sign("!~") => MatchOp::NotRegex,
                _ => return self.unexpected("= or != or =~ or !~"),
            };
            self.at += 1;
            matchers.push(MatcherExpr { name, op, value: self.expect_text()? });
            if self.take_sign("}") {
                return Ok(matchers);
            }
            if !self.take_sign(",") {
                return self.unexpected("} or ,");
            }
        }
    }

    /// Stages until something follows that is none; an `unwrap` among them is handed to `unwrap`.
    pub(super) fn stages(&mut self, log: &mut LogExpr, unwrap: &mut Option<Unwrap>) -> Result<()> {
        loop {
            if log.stages.len() > STAGES_MAX {
                return Err(LogqlError::Limit(format!("more than {STAGES_MAX} pipeline stages")));
            }
            if let Some(op) = self.line_operator() {
                self.at += 1;
                log.stages.push(StageExpr::LineFilter(self.line_filter(op)?));
                continue;
            }
            if !self.is_sign("|") {
                return Ok(());
            }
            self.at += 1;
            if self.is_keyword("unwrap") && !matches!(self.peek_at(1), Token::Sign("=" | "!=")) {
                self.at += 1;
                if unwrap.is_some() {
                    self.at -= 1;
                    return self.unexpected("");
                }
                *unwrap = Some(self.unwrap_target()?);
            } else if let Some(unwrap) = unwrap {
                unwrap.filters.push(self.label_filter(0)?);
            } else {
                log.stages.push(self.stage()?);
            }
        }
    }

    fn line_operator(&self) -> Option<LineOp> {
        let Token::Sign(sign) = *self.peek() else { return None };
        Some(match sign {
            "|=" => LineOp::Contains,
            "!=" => LineOp::NotContains,
            "|~" => LineOp::Regex,
            "!~" => LineOp::NotRegex,
            "|>" => LineOp::Pattern,
            "!>" => LineOp::NotPattern,
            _ => return None,
        })
    }

    fn line_filter(&mut self, op: LineOp) -> Result<LineFilter> {
        let mut needles = vec![self.needle()?];
        while self.take_keyword("or") {
            needles.push(self.needle()?);
        }
        Ok(LineFilter { op, needles })
    }

    fn needle(&mut self) -> Result<Needle> {
        match self.peek() {
            Token::Text(_) => Ok(Needle::Text(self.expect_text()?)),
            Token::Word(word) if word == "ip" => {
                self.at += 1;
                self.expect_sign("(")?;
                let addresses = self.expect_text()?;
                self.expect_sign(")")?;
                Ok(Needle::Ip(addresses))
            }
            _ => self.unexpected("STRING or ip"),
        }
    }

    fn stage(&mut self) -> Result<StageExpr> {
        let keyword = match (self.peek(), self.peek_at(1)) {
            (
                Token::Word(word),
                Token::Sign("=" | "!=" | "=~" | "!~" | "==" | ">" | ">=" | "<" | "<="),
            ) if word.eq_ignore_ascii_case("ip") || !is_stage(word) => String::new(),
            (Token::Word(word), _) => word.to_ascii_lowercase(),
            _ => String::new(),
        };
        if !is_stage(&keyword) {
            return Ok(StageExpr::LabelFilter(self.label_filter(0)?));
        }
        self.at += 1;
        Ok(match keyword.as_str() {
            "json" => StageExpr::Json(self.extractions()?),
            "logfmt" => self.logfmt()?,
            "regexp" => StageExpr::Regexp(self.expect_text()?),
            "pattern" => StageExpr::Pattern(self.expect_text()?),
            "unpack" => StageExpr::Unpack,
            "line_format" => StageExpr::LineFormat(self.expect_text()?),
            "label_format" => StageExpr::LabelFormat(self.label_formats()?),
            "decolorize" => StageExpr::Decolorize,
            "drop" => StageExpr::Drop(self.named_matchers()?),
            _ => StageExpr::Keep(self.named_matchers()?),
        })
    }

    fn logfmt(&mut self) -> Result<StageExpr> {
        let (mut strict, mut keep_empty) = (false, false);
        while let Token::Flag(flag) = self.peek() {
            strict |= flag == "strict";
            keep_empty |= flag == "keep-empty";
            self.at += 1;
        }
        Ok(StageExpr::Logfmt { strict, keep_empty, fields: self.extractions()? })
    }

    fn extractions(&mut self) -> Result<Vec<Extraction>> {
        let mut extractions = Vec::new();
        if !matches!(self.peek(), Token::Word(_)) {
            return Ok(extractions);
        }
        loop {
            let name = self.expect_name()?;
            let expression = if self.take_sign("=") { self.expect_text()? } else { name.clone() };
            extractions.push(Extraction { name, expression });
            if !self.take_sign(",") {
                return Ok(extractions);
            }
        }
    }

    fn label_formats(&mut self) -> Result<Vec<LabelFormat>> {
        let mut formats = Vec::new();
        loop {
            let target = self.expect_name()?;
            self.expect_sign("=")?;
            let source = match self.peek() {
                Token::Word(_) => FormatSource::Label(self.expect_name()?),
                _ => FormatSource::Template(self.expect_text()?),
            };
            formats.push(LabelFormat { target, source });
            if !self.take_sign(",") {
                return Ok(formats);
            }
        }
    }

    fn named_matchers(&mut self) -> Result<Vec<NamedMatcher>> {
        let mut labels = Vec::new();
        loop {
            let name = self.expect_name()?;
            let op = match self.peek() {
                Token::Sign("=") => Some(MatchOp::Equal),
                Token::Sign("!=") if matches!(self.peek_at(1), Token::Text(_)) => {
                    Some(MatchOp::NotEqual)
                }
                Token::Sign("=~") => Some(MatchOp::Regex),
                Token::Sign("!~") => Some(MatchOp::NotRegex),
                _ => None,
            };
            labels.push(match op {
                None => NamedMatcher::Name(name),
                Some(op) => {
                    self.at += 1;
                    NamedMatcher::Matcher(MatcherExpr { name, op, value: self.expect_text()? })
                }
            });
            if !self.take_sign(",") {
                return Ok(labels);
            }
        }
    }

    fn unwrap_target(&mut self) -> Result<Unwrap> {
        let name = self.expect_name()?;
        let mut unwrap = Unwrap {
            label: name,
            conversion: Conversion::Number,
            filters: Vec::<LabelFilter>::new(),
        };
        if self.take_sign("(") {
            unwrap.conversion = match unwrap.label.as_str() {
                "bytes" => Conversion::Bytes,
                "duration" => Conversion::Duration,
                "duration_seconds" => Conversion::DurationSeconds,
                _ => return self.unexpected("bytes or duration or duration_seconds"),
            };
            unwrap.label = self.expect_name()?;
            self.expect_sign(")")?;
        }
        Ok(unwrap)
    }
}

fn is_stage(word: &str) -> bool {
    matches!(
        word.to_ascii_lowercase().as_str(),
        "json"
            | "logfmt"
            | "regexp"
            | "pattern"
            | "unpack"
            | "line_format"
            | "label_format"
            | "decolorize"
            | "drop"
            | "keep"
    )
}
