//! Tokens to a tree: recursive descent with operator precedence. Types are checked afterwards
//! (`check`).
//! Source: the grammar of Prometheus 3.14, `promql/parser/generated_parser.y`.

mod length;

use model::METRIC_NAME;
use storage::{MatchOp, Matcher};

use super::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Cardinality, Ends, Expr, Kind, Matching,
    Selector, Shift,
};
use super::check::check;
use super::error::ParseError;
use super::functions::find;
use super::lex::{Keyword, Lexeme, Token, lex};
use super::text::{number, quoted, unquote, unquote_bytes};
use super::totals::mark_totals;
use crate::limits::{ParseLimits, TREE_DEPTH_MAX};

/// Parses and checks a query.
///
/// Errors: the first thing that is wrong, with its place.
pub(crate) fn parse(input: &str, limits: ParseLimits) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(input, limits)?;
    let mut expr = parser.whole()?;
    check(&expr)?;
    mark_totals(&mut expr);
    Ok(expr)
}

/// Parses a series selector as `match[]` parameters hold it.
///
/// Errors: as [`parse`], and anything that is not a plain selector.
pub(crate) fn parse_selector(input: &str, limits: ParseLimits) -> Result<Vec<Matcher>, ParseError> {
    match parse(input, limits)?.kind {
        Kind::Selector(selector)
            if selector.shift.offset.is_none() && selector.shift.at.is_none() =>
        {
            Ok(selector.matchers)
        }
        _ => Err(ParseError::new(0, "expected a series selector")),
    }
}

struct Parser<'a> {
    input: &'a str,
    lexemes: Vec<Lexeme>,
    next: usize,
    lex_error: Option<ParseError>,
    limits: ParseLimits,
    nesting: usize,
    /// Levels of the expression parsed last.
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(input: &'a str, limits: ParseLimits) -> Result<Parser<'a>, ParseError> {
        if let Some(message) = limits.too_long(input) {
            return Err(ParseError::new(0, message));
        }
        let (lexemes, lex_error) = lex(input);
        Ok(Parser { input, lexemes, next: 0, lex_error, limits, nesting: 0, depth: 0 })
    }

    fn whole(&mut self) -> Result<Expr, ParseError> {
        if self.peek() == Token::End && self.lex_error.is_none() {
            return Err(ParseError::new(0, "no expression found in input"));
        }
        let expr = self.expr(0)?;
        if self.peek() != Token::End || self.lex_error.is_some() {
            return Err(self.unexpected("", ""));
        }
        Ok(expr)
    }

    fn lexeme(&self) -> Lexeme {
        let end = self.input.len();
        self.lexemes.get(self.next).copied().unwrap_or(Lexeme {
            token: Token::End,
            start: end,
            end,
        })
    }

    fn peek(&self) -> Token {
        self.lexeme().token
    }

    fn peek_second(&self) -> Token {
        self.lexemes.get(self.next + 1).map_or(Token::End, |lexeme| lexeme.token)
    }

    fn take(&mut self) -> Lexeme {
        let lexeme = self.lexeme();
        self.next += 1;
        lexeme
    }

    fn accept(&mut self, token: Token) -> bool {
        let found = self.peek() == token;
        if found {
            self.next += 1;
        }
        found
    }

    fn expect(
        &mut self,
        token: Token,
        context: &str,
        expected: &str,
    ) -> Result<Lexeme, ParseError> {
        if self.peek() == token { Ok(self.take()) } else { Err(self.unexpected(context, expected)) }
    }

    fn text_of(&self, lexeme: Lexeme) -> &'a str {
        self.input.get(lexeme.start..lexeme.end).unwrap_or("")
    }

    /// The end of the token taken last.
    fn last_end(&self) -> usize {
        self.next.checked_sub(1).and_then(|last| self.lexemes.get(last)).map_or(0, |l| l.end)
    }

    /// An error about the next token, or the lexer's where that came first.
    fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let lexeme = self.lexeme();
        if lexeme.token == Token::End
            && let Some(error) = &self.lex_error
        {
            return error.clone();
        }
        let text = self.text_of(lexeme);
        let what = match lexeme.token {
            Token::End => "end of input".to_owned(),
            Token::Identifier | Token::MetricIdentifier => format!("identifier {}", quoted(text)),
            Token::Number => format!("number {}", quoted(text)),
            Token::Duration => format!("duration {}", quoted(text)),
            Token::Text => format!("string {text}"),
            Token::Operator(_) | Token::At | Token::MatchRegex | Token::MatchNotRegex => {
                format!("<op:{}>", text.to_ascii_lowercase())
            }
            Token::Aggregate(_) => format!("<aggr:{}>", text.to_ascii_lowercase()),
            Token::Keyword(_) => format!("<{}>", text.to_ascii_lowercase()),
            _ => quoted(text),
        };
        let mut message = format!("unexpected {what}");
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        ParseError::new(lexeme.start, message)
    }

    fn enter(&mut self) -> Result<(), ParseError> {
        self.nesting += 1;
        if self.nesting > self.limits.depth_max {
            return Err(self.too_deep(self.nesting));
        }
        Ok(())
    }

    fn too_deep(&self, levels: usize) -> ParseError {
        ParseError::new(self.lexeme().start, self.limits.too_deep(levels))
    }

    fn built(&mut self, depth: usize) -> Result<(), ParseError> {
        self.depth = depth;
        if depth > TREE_DEPTH_MAX { Err(self.too_deep(depth)) } else { Ok(()) }
    }

    /// An expression of operators that bind at least as tightly as `floor`.
    fn expr(&mut self, floor: u8) -> Result<Expr, ParseError> {
        self.enter()?;
        let mut lhs = self.signed()?;
        while let Token::Operator(op) = self.peek() {
            let precedence = op.precedence();
            if precedence < floor {
                break;
            }
            let lhs_depth = self.depth;
            let op_start = self.take().start;
            let (returns_bool, mut matching) = self.modifiers()?;
            if op.is_set() && matching.cardinality == Cardinality::OneToOne {
                matching.cardinality = Cardinality::ManyToMany;
            }
            let rhs = self.expr(if op == BinaryOp::Pow { precedence } else { precedence + 1 })?;
            if returns_bool && !op.is_comparison() {
                let message = "bool modifier can only be used on comparison operators";
                return Err(ParseError::new(op_start, message));
            }
            self.built(lhs_depth.max(self.depth) + 1)?;
            let (start, end) = (lhs.start, rhs.end);
            let kind = Kind::Binary(Box::new(Binary { op, lhs, rhs, returns_bool, matching }));
            lhs = Expr { kind, start, end };
        }
        self.nesting -= 1;
        Ok(lhs)
    }

    fn signed(&mut self) -> Result<Expr, ParseError> {
        let is_minus = match self.peek() {
            Token::Operator(BinaryOp::Sub) => true,
            Token::Operator(BinaryOp::Add) => false,
            _ => return self.postfixed(),
        };
        let start = self.take().start;
        let mut expr = self.expr(BinaryOp::Pow.precedence())?;
        if let Kind::Number { value, .. } = &mut expr.kind {
            if is_minus {
                *value = -*value;
            }
            expr.start = start;
            return Ok(expr);
        }
        self.built(self.depth + 1)?;
        let end = expr.end;
        Ok(Expr { kind: Kind::Negate { expr: Box::new(expr), is_minus }, start, end })
    }

    fn postfixed(&mut self) -> Result<Expr, ParseError> {
        let mut expr = self.primary()?;
        loop {
            match self.peek() {
                Token::LeftBracket => expr = self.bracketed(expr)?,
                Token::Keyword(Keyword::Offset) => self.offset(&mut expr)?,
                Token::At => self.at(&mut expr)?,
                Token::Keyword(Keyword::Anchored) => self.ends(&mut expr, Ends::Anchored)?,
                Token::Keyword(Keyword::Smoothed) => self.ends(&mut expr, Ends::Smoothed)?,
                _ => return Ok(expr),
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        let first = self.lexeme();
        let call_follows = self.peek_second() == Token::LeftParen;
        match first.token {
            Token::Number | Token::Duration => {
                self.take();
                self.depth = 1;
                let kind = Kind::Number {
                    value: self.number_value(first)?,
                    is_duration: first.token == Token::Duration,
                };
                Ok(Expr { kind, start: first.start, end: first.end })
            }
            Token::Text => {
                self.take();
                self.depth = 1;
                let text = unquote_bytes(self.text_of(first), first.start)?;
                Ok(Expr { kind: Kind::Text(text), start: first.start, end: first.end })
            }
            Token::LeftParen => {
                self.take();
                let inner = self.expr(0)?;
                self.expect(Token::RightParen, "", "")?;
                self.built(self.depth + 1)?;
                let kind = Kind::Paren(Box::new(inner));
                Ok(Expr { kind, start: first.start, end: self.last_end() })
            }
            Token::LeftBrace => self.selector(first, None),
            Token::Aggregate(op)
                if call_follows
                    || matches!(
                        self.peek_second(),
                        Token::Keyword(Keyword::By | Keyword::Without)
                    ) =>
            {
                self.aggregate(op)
            }
            Token::Identifier if call_follows => self.call(),
            Token::Keyword(
                Keyword::Start
                | Keyword::End
                | Keyword::Step
                | Keyword::Range
                | Keyword::MaxOf
                | Keyword::MinOf,
            ) if call_follows => self.call(),
            token if is_metric_name(token) => {
                self.take();
                let name = self.text_of(first).to_owned();
                self.selector(first, Some(name))
            }
            _ => Err(self.unexpected("", "")),
        }
    }

    fn number_value(&self, lexeme: Lexeme) -> Result<f64, ParseError> {
        let text = self.text_of(lexeme);
        if lexeme.token == Token::Duration {
            return length::seconds_of(text, lexeme.start);
        }
        number(text).ok_or_else(|| {
            let message = format!(
                "error parsing number: strconv.ParseFloat: parsing {}: value out of range",
                quoted(text)
            );
            ParseError::new(lexeme.start, message)
        })
    }

    fn call(&mut self) -> Result<Expr, ParseError> {
        let name = self.take();
        let text = self.text_of(name);
        let function = find(text).or_else(|| {
            find(&text.to_ascii_lowercase()).filter(|_| name.token != Token::Identifier)
        });
        let Some(function) = function else {
            let message = format!("unknown function with name {}", quoted(text));
            return Err(ParseError::new(name.start, message));
        };
        let args = self.arguments()?;
        let kind = Kind::Call { function, args };
        Ok(Expr { kind, start: name.start, end: self.last_end() })
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, ParseError> {
        self.expect(Token::LeftParen, "", "\"(\"")?;
        let mut args = Vec::new();
        let mut depth = 0;
        if self.accept(Token::RightParen) {
            self.depth = 1;
            return Ok(args);
        }
        loop {
            args.push(self.expr(0)?);
            depth = depth.max(self.depth);
            if self.accept(Token::RightParen) {
                self.built(depth + 1)?;
                return Ok(args);
            }
            let comma = self.expect(Token::Comma, "", "")?;
            if self.peek() == Token::RightParen {
                let message = "trailing commas not allowed in function call args";
                return Err(ParseError::new(comma.start, message));
            }
        }
    }

    fn aggregate(&mut self, op: AggregateOp) -> Result<Expr, ParseError> {
        let first = self.take();
        let mut aggregate = Aggregate {
            op,
            expr: Expr { kind: Kind::Text(Vec::new()), start: 0, end: 0 },
            param: None,
            grouping: Vec::new(),
            without: false,
            is_grouped: false,
        };
        self.grouping(&mut aggregate)?;
        let mut args = self.arguments()?;
        if !aggregate.is_grouped {
            self.grouping(&mut aggregate)?;
        }
        let (start, end) = (first.start, self.last_end());
        let wanted = 1 + usize::from(op.param().is_some());
        if args.is_empty() {
            let message = "no arguments for aggregate expression provided";
            return Err(ParseError::new(start, message));
        }
        if args.len() != wanted {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {}",
                args.len()
            );
            return Err(ParseError::new(start, message));
        }
        if let Some(expr) = args.pop() {
            aggregate.expr = expr;
        }
        aggregate.param = args.pop();
        Ok(Expr { kind: Kind::Aggregate(Box::new(aggregate)), start, end })
    }

    fn grouping(&mut self, aggregate: &mut Aggregate) -> Result<(), ParseError> {
        aggregate.without = match self.peek() {
            Token::Keyword(Keyword::By) => false,
            Token::Keyword(Keyword::Without) => true,
            _ => return Ok(()),
        };
        self.take();
        aggregate.is_grouped = true;
        aggregate.grouping = self.labels()?;
        Ok(())
    }

    /// `(a, "b c", d)`.
    fn labels(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect(Token::LeftParen, "grouping opts", "\"(\"")?;
        let mut labels = Vec::new();
        loop {
            if labels.is_empty() && self.accept(Token::RightParen) {
                return Ok(labels);
            }
            let lexeme = self.lexeme();
            let label = match lexeme.token {
                Token::Text => unquote(self.text_of(lexeme), lexeme.start)?,
                token if is_word(token) => self.text_of(lexeme).to_owned(),
                _ => return Err(self.unexpected("grouping opts", "label")),
            };
            if label.is_empty() {
                let message = format!("invalid label name for grouping: {}", quoted(&label));
                return Err(ParseError::new(lexeme.start, message));
            }
            labels.push(label);
            self.take();
            if self.accept(Token::Comma) {
                if self.accept(Token::RightParen) {
                    return Ok(labels);
                }
                continue;
            }
            self.expect(Token::RightParen, "grouping opts", "\",\" or \")\"")?;
            return Ok(labels);
        }
    }

    /// `bool`, `on`, `group_left`, `fill` and their like after an operator.
    fn modifiers(&mut self) -> Result<(bool, Matching), ParseError> {
        let returns_bool = self.accept(Token::Keyword(Keyword::Bool));
        let mut matching = Matching::default();
        if let Token::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.peek() {
            self.take();
            matching.is_written = true;
            matching.on = keyword == Keyword::On;
            matching.labels = self.labels()?;
            if let Token::Keyword(side @ (Keyword::GroupLeft | Keyword::GroupRight)) = self.peek() {
                self.take();
                matching.cardinality = if side == Keyword::GroupLeft {
                    Cardinality::ManyToOne
                } else {
                    Cardinality::OneToMany
                };
                if self.peek() == Token::LeftParen {
                    matching.include = self.labels()?;
                }
            }
        }
        while let Token::Keyword(side @ (Keyword::Fill | Keyword::FillLeft | Keyword::FillRight)) =
            self.peek()
        {
            // A metric may be called fill: only with a parenthesis it is the modifier.
            let given = (matching.fill_left.is_some(), matching.fill_right.is_some());
            if self.peek_second() != Token::LeftParen
                || (side != Keyword::FillRight && given.0)
                || (side != Keyword::FillLeft && given.1)
            {
                break;
            }
            self.take();
            let value = self.fill_value()?;
            if side != Keyword::FillRight {
                matching.fill_left = Some(value);
            }
            if side != Keyword::FillLeft {
                matching.fill_right = Some(value);
            }
        }
        Ok((returns_bool, matching))
    }

    fn fill_value(&mut self) -> Result<f64, ParseError> {
        self.take();
        let is_minus = self.accept(Token::Operator(BinaryOp::Sub));
        if !is_minus {
            self.accept(Token::Operator(BinaryOp::Add));
        }
        if !matches!(self.peek(), Token::Number | Token::Duration) {
            return Err(self.unexpected("fill", "number"));
        }
        let lexeme = self.take();
        let value = self.number_value(lexeme)?;
        self.expect(Token::RightParen, "fill", "\")\"")?;
        Ok(if is_minus { -value } else { value })
    }

    /// The braces of a selector, if there are any, after its name.
    fn selector(&mut self, first: Lexeme, name: Option<String>) -> Result<Expr, ParseError> {
        let mut matchers = Vec::new();
        let mut names: Vec<String> = name.iter().cloned().collect();
        if self.accept(Token::LeftBrace) {
            self.matchers(&mut matchers, &mut names)?;
        }
        if let Some(name) = &name {
            matchers.push(self.matcher(METRIC_NAME, MatchOp::Equal, name, first.start)?);
        }
        if name.is_some()
            && let [one, other, ..] = names.as_slice()
        {
            let message =
                format!("metric name must not be set twice: {} or {}", quoted(one), quoted(other));
            return Err(ParseError::new(first.start, message));
        }
        self.depth = 1;
        let selector = Selector { name, matchers, ..Selector::default() };
        Ok(Expr { kind: Kind::Selector(selector), start: first.start, end: self.last_end() })
    }

    fn matchers(
        &mut self,
        matchers: &mut Vec<Matcher>,
        names: &mut Vec<String>,
    ) -> Result<(), ParseError> {
        const CONTEXT: &str = "label matching";
        loop {
            let lexeme = self.lexeme();
            let label = match lexeme.token {
                Token::RightBrace => {
                    self.take();
                    return Ok(());
                }
                Token::Identifier => self.text_of(lexeme).to_owned(),
                Token::Text => unquote(self.text_of(lexeme), lexeme.start)?,
                _ => return Err(self.unexpected(CONTEXT, "identifier or \"}\"")),
            };
            self.take();
            let op = match self.peek() {
                Token::Assign => MatchOp::Equal,
                Token::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
                Token::MatchRegex => MatchOp::Regex,
                Token::MatchNotRegex => MatchOp::NotRegex,
                _ if lexeme.token == Token::Text => {
                    matchers.push(self.matcher(
                        METRIC_NAME,
                        MatchOp::Equal,
                        &label,
                        lexeme.start,
                    )?);
                    names.push(label);
                    self.after_matcher()?;
                    continue;
                }
                _ => return Err(self.unexpected(CONTEXT, "label matching operator")),
            };
            self.take();
            let value = self.expect(Token::Text, CONTEXT, "string")?;
            let value = unquote(self.text_of(value), value.start)?;
            if label == METRIC_NAME && op == MatchOp::Equal && !names.is_empty() {
                names.push(value.clone());
            }
            matchers.push(self.matcher(&label, op, &value, lexeme.start)?);
            self.after_matcher()?;
        }
    }

    fn matcher(
        &self,
        name: &str,
        op: MatchOp,
        value: &str,
        at: usize,
    ) -> Result<Matcher, ParseError> {
        Matcher::new(name, op, value, self.limits.regex)
            .map_err(|error| ParseError::new(at, error.to_string()))
    }

    /// A comma, or the closing brace, which stays.
    fn after_matcher(&mut self) -> Result<(), ParseError> {
        if self.accept(Token::Comma) || self.peek() == Token::RightBrace {
            return Ok(());
        }
        Err(self.unexpected("label matching", "\",\" or \"}\""))
    }

    /// `[range]` or `[range:step]`.
    fn bracketed(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        const CONTEXT: &str = "subquery or range selector";
        const EXPECTED: &str = "number, duration, step(), or range()";
        let bracket = self.take();
        if matches!(self.peek(), Token::RightBracket) {
            return Err(self.unexpected(CONTEXT, EXPECTED));
        }
        let depth = self.depth;
        let range = self.positive_length()?;
        let (start, shift) = (expr.start, Shift::default());
        if self.accept(Token::Colon) {
            let step = match self.peek() {
                Token::RightBracket => None,
                _ => Some(self.positive_length()?),
            };
            self.expect(Token::RightBracket, "subquery selector", "\"]\"")?;
            self.built(depth + 1)?;
            let kind = Kind::Subquery { expr: Box::new(expr), range, step, shift };
            return Ok(Expr { kind, start, end: self.last_end() });
        }
        self.expect(Token::RightBracket, "subquery or range", "\":\" or \"]\"")?;
        let fail = |message: &str| Err(ParseError::new(bracket.start, message));
        let Kind::Selector(selector) = &expr.kind else {
            return fail("ranges only allowed for vector selectors");
        };
        if selector.shift.offset.is_some() {
            return fail("no offset modifiers allowed before range");
        }
        if selector.shift.at.is_some() {
            return fail("no @ modifiers allowed before range");
        }
        self.built(depth + 1)?;
        let kind = Kind::Matrix { selector: Box::new(expr), range };
        Ok(Expr { kind, start, end: self.last_end() })
    }

    fn offset(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        self.take();
        let length = self.offset_length()?;
        let (start, end) = (expr.start, self.last_end());
        expr.end = end;
        let Some(shift) = shift_of(expr) else {
            let message = "offset modifier must be preceded by an instant vector selector or range \
                           vector selector or a subquery";
            return Err(ParseError::new(start, message));
        };
        if shift.offset.is_some() {
            return Err(ParseError::new(start, "offset may not be set multiple times"));
        }
        shift.offset = Some(length);
        Ok(())
    }

    fn at(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        self.take();
        let at = self.moment(expr.start)?;
        let (start, end) = (expr.start, self.last_end());
        expr.end = end;
        let Some(shift) = shift_of(expr) else {
            let message = "@ modifier must be preceded by an instant vector selector or range \
                           vector selector or a subquery";
            return Err(ParseError::new(start, message));
        };
        if shift.at.is_some() {
            return Err(ParseError::new(start, "@ <timestamp> may not be set multiple times"));
        }
        shift.at = Some(at);
        Ok(())
    }

    fn moment(&mut self, start: usize) -> Result<At, ParseError> {
        if let Token::Keyword(keyword @ (Keyword::Start | Keyword::End)) = self.peek() {
            self.take();
            self.expect(Token::LeftParen, "@", "timestamp")?;
            self.expect(Token::RightParen, "@", "timestamp")?;
            return Ok(if keyword == Keyword::Start { At::Start } else { At::End });
        }
        let is_minus = self.accept(Token::Operator(BinaryOp::Sub));
        if !is_minus {
            self.accept(Token::Operator(BinaryOp::Add));
        }
        if !matches!(self.peek(), Token::Number | Token::Duration) {
            return Err(self.unexpected("@", "timestamp"));
        }
        let lexeme = self.take();
        let seconds = self.number_value(lexeme)? * if is_minus { -1.0 } else { 1.0 };
        if !seconds.is_finite() || seconds.abs() >= 9.2e15 {
            let message =
                format!("timestamp out of bounds for @ modifier: {}", super::text::go_g(seconds));
            return Err(ParseError::new(start, message));
        }
        Ok(At::Time((seconds * 1000.0).round() as i64))
    }

    fn ends(&mut self, expr: &mut Expr, ends: Ends) -> Result<(), ParseError> {
        self.take();
        let (start, end) = (expr.start, self.last_end());
        expr.end = end;
        let selector = match &mut expr.kind {
            Kind::Selector(selector) => Some(selector),
            Kind::Matrix { selector, .. } => match &mut selector.kind {
                Kind::Selector(selector) => Some(selector),
                _ => None,
            },
            _ => None,
        };
        let word = if ends == Ends::Anchored { "anchored" } else { "smoothed" };
        let Some(selector) = selector else {
            let message = format!(
                "{word} modifier must be preceded by an instant vector selector or range vector \
                 selector"
            );
            return Err(ParseError::new(start, message));
        };
        if selector.ends != Ends::Plain {
            let message = "anchored and smoothed modifiers may not be set more than once";
            return Err(ParseError::new(start, message));
        }
        selector.ends = ends;
        Ok(())
    }
}

fn shift_of(expr: &mut Expr) -> Option<&mut Shift> {
    match &mut expr.kind {
        Kind::Selector(selector) => Some(&mut selector.shift),
        Kind::Matrix { selector, .. } => shift_of(selector),
        Kind::Subquery { shift, .. } => Some(shift),
        _ => None,
    }
}

/// Whether a token outside of braces can be a metric's name.
fn is_metric_name(token: Token) -> bool {
    match token {
        Token::Identifier | Token::MetricIdentifier | Token::Aggregate(_) => true,
        Token::Operator(op) => op.is_set(),
        Token::Keyword(keyword) => !matches!(
            keyword,
            Keyword::Bool
                | Keyword::On
                | Keyword::Ignoring
                | Keyword::GroupLeft
                | Keyword::GroupRight
        ),
        _ => false,
    }
}

/// Whether a token can be a label's name in a list.
fn is_word(token: Token) -> bool {
    match token {
        Token::Identifier | Token::MetricIdentifier | Token::Aggregate(_) | Token::Keyword(_) => {
            true
        }
        Token::Operator(op) => op.is_set() || op == BinaryOp::Atan2,
        _ => false,
    }
}
