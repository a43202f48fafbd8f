//! Range and vector aggregations, operators between them, literals.

use super::super::ast::{
    Binary, BinaryOp, Cardinality, Compare, Expr, Grouping, LabelReplace, LogExpr, Matching,
    RangeAggregation, RangeOp, Unwrap, VectorAggregation, VectorOp,
};
use super::super::error::{LogqlError, Result};
use super::super::exec::arithmetic;
use super::super::lex::Token;
use super::Parser;

pub(super) fn is_function(word: &str) -> bool {
    range_op(word).is_some()
        || vector_op(word).is_some()
        || matches!(word, "label_replace" | "vector")
}

pub(super) fn is_keyword(word: &str) -> bool {
    [
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "offset",
        "or",
        "and",
        "unless",
    ]
    .iter()
    .any(|keyword| word.eq_ignore_ascii_case(keyword))
}

fn range_op(word: &str) -> Option<RangeOp> {
    RangeOp::ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(word)).map(|(op, _)| *op)
}

fn vector_op(word: &str) -> Option<VectorOp> {
    VectorOp::ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(word)).map(|(op, _)| *op)
}

/// A range's parts as they are met, in any of the orders that the grammar allows.
#[derive(Default)]
struct LogRange {
    log: LogExpr,
    unwrap: Option<Unwrap>,
    range_ns: Option<i64>,
    offset_ns: i64,
}

impl Parser {
    pub(super) fn expression(&mut self, precedence_min: u8) -> Result<Expr> {
        self.nested(|parser| parser.expression_inner(precedence_min))
    }

    fn expression_inner(&mut self, precedence_min: u8) -> Result<Expr> {
        let mut lhs = self.operand()?;
        while let Some((op, precedence)) = self.binary_operator() {
            if precedence < precedence_min {
                break;
            }
            self.at += 1;
            let lhs_levels = self.tree;
            let matching = self.matching()?;
            // The power operator binds to the right, all others to the left.
            let rhs =
                self.expression(if op == BinaryOp::Pow { precedence } else { precedence + 1 })?;
            self.grown(lhs_levels.max(self.tree) + 1)?;
            lhs = fold(op, lhs, rhs, matching);
        }
        Ok(lhs)
    }

    fn binary_operator(&self) -> Option<(BinaryOp, u8)> {
        Some(match self.peek() {
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "or" => (BinaryOp::Or, 1),
                "and" => (BinaryOp::And, 2),
                "unless" => (BinaryOp::Unless, 2),
                _ => return None,
            },
            Token::Sign(sign) => match *sign {
                "==" => (BinaryOp::Compare(Compare::Equal), 3),
                "!=" => (BinaryOp::Compare(Compare::NotEqual), 3),
                ">" => (BinaryOp::Compare(Compare::Greater), 3),
                ">=" => (BinaryOp::Compare(Compare::GreaterEqual), 3),
                "<" => (BinaryOp::Compare(Compare::Less), 3),
                "<=" => (BinaryOp::Compare(Compare::LessEqual), 3),
                "+" => (BinaryOp::Add, 4),
                "-" => (BinaryOp::Sub, 4),
                "*" => (BinaryOp::Mul, 5),
                "/" => (BinaryOp::Div, 5),
                "%" => (BinaryOp::Mod, 5),
                "^" => (BinaryOp::Pow, 6),
                _ => return None,
            },
            _ => return None,
        })
    }

    fn matching(&mut self) -> Result<Matching> {
        let mut matching =
            Matching { returns_bool: self.take_keyword("bool"), ..Matching::default() };
        let on = self.is_keyword("on");
        if on || self.is_keyword("ignoring") {
            self.at += 1;
            matching.given = true;
            matching.on = on;
            matching.names = self.names_until_parenthesis()?;
        }
        for (keyword, cardinality) in
            [("group_left", Cardinality::ManyToOne), ("group_right", Cardinality::OneToMany)]
        {
            if !matching.given || !self.take_keyword(keyword) {
                continue;
            }
            matching.cardinality = cardinality;
            // `on () group_left (sum(..))`: a parenthesis may as well open the operand.
            if self.is_sign("(")
                && matches!(self.peek_at(1), Token::Word(word) if !is_function(word))
                || self.is_sign("(") && *self.peek_at(1) == Token::Sign(")")
            {
                matching.include = self.names_until_parenthesis()?;
            }
            break;
        }
        Ok(matching)
    }

    fn operand(&mut self) -> Result<Expr> {
        self.tree = 0;
        let expr = self.operand_inner()?;
        self.grown(self.tree + 1)?;
        Ok(expr)
    }

    fn operand_inner(&mut self) -> Result<Expr> {
        match self.peek().clone() {
            Token::Sign("{") => self.log_query(),
            Token::Sign("(") => {
                self.at += 1;
                let inner = self.expression(0)?;
                self.expect_sign(")")?;
                let Expr::Log(mut log) = inner else { return Ok(inner) };
                self.more_stages(&mut log)?;
                Ok(Expr::Log(log))
            }
            Token::Number(_) | Token::Sign("-" | "+") => Ok(Expr::Literal(self.signed_number()?)),
            Token::Word(_) if *self.peek_at(1) != Token::Sign("(") && !self.has_grouping() => {
                self.unexpected("")
            }
            Token::Word(word) => {
                if let Some(op) = range_op(&word) {
                    return self.range_aggregation(op);
                }
                if let Some(op) = vector_op(&word) {
                    return self.vector_aggregation(op);
                }
                match word.to_ascii_lowercase().as_str() {
                    "label_replace" => self.label_replace(),
                    "vector" => self.vector_literal(),
                    _ => self.unexpected(""),
                }
            }
            _ => self.unexpected(""),
        }
    }

    fn has_grouping(&self) -> bool {
        matches!(self.peek_at(1), Token::Word(word)
            if word.eq_ignore_ascii_case("by") || word.eq_ignore_ascii_case("without"))
    }

    fn log_query(&mut self) -> Result<Expr> {
        let mut log = LogExpr { matchers: self.selector()?, stages: Vec::new() };
        self.more_stages(&mut log)?;
        Ok(Expr::Log(log))
    }

    fn more_stages(&mut self, log: &mut LogExpr) -> Result<()> {
        let mut unwrap = None;
        let start = self.at;
        self.stages(log, &mut unwrap)?;
        if unwrap.is_some() {
            self.at = start + 1;
            return self.unexpected("");
        }
        Ok(())
    }

    /// A number with an optional sign.
    pub(super) fn signed_number(&mut self) -> Result<f64> {
        let negative = self.is_sign("-");
        if negative || self.is_sign("+") {
            self.at += 1;
        }
        let Token::Number(text) = self.peek().clone() else { return self.unexpected("NUMBER") };
        self.at += 1;
        let parsed = text.parse().ok().or_else(|| hex_float(&text));
        let value: f64 = parsed.ok_or_else(|| {
            LogqlError::invalid(format!(
                "unable to parse literal as a float: strconv.ParseFloat: parsing {text:?}: invalid \
                 syntax"
            ))
        })?;
        Ok(if negative { -value } else { value })
    }

    fn grouping(&mut self) -> Result<Option<Grouping>> {
        let without = self.is_keyword("without");
        if !without && !self.is_keyword("by") {
            return Ok(None);
        }
        self.at += 1;
        Ok(Some(Grouping { without, names: self.names_until_parenthesis()? }))
    }

    fn range_aggregation(&mut self, op: RangeOp) -> Result<Expr> {
        self.at += 1;
        self.expect_sign("(")?;
        let mut parameter = None;
        if let Token::Number(_) = self.peek() {
            parameter = Some(self.signed_number()?);
            self.expect_sign(",")?;
        }
        let mut range = LogRange::default();
        self.log_range(&mut range)?;
        self.expect_sign(")")?;
        let grouping = self.grouping()?;
        let Some(range_ns) = range.range_ns else { return self.unexpected("RANGE") };
        Ok(Expr::Range(Box::new(RangeAggregation {
            op,
            parameter,
            log: range.log,
            unwrap: range.unwrap,
            range_ns,
            offset_ns: range.offset_ns,
            grouping,
        })))
    }

    fn log_range(&mut self, range: &mut LogRange) -> Result<()> {
        self.nested(|parser| {
            if parser.take_sign("(") {
                parser.log_range(range)?;
                parser.expect_sign(")")?;
            } else if parser.is_sign("{") {
                range.log.matchers = parser.selector()?;
            } else {
                return parser.unexpected("NUMBER or { or (");
            }
            loop {
                let start = parser.at;
                parser.stages(&mut range.log, &mut range.unwrap)?;
                if let Token::Range(ns) = *parser.peek() {
                    if range.range_ns.is_some() {
                        return parser.unexpected("");
                    }
                    parser.at += 1;
                    range.range_ns = Some(ns);
                    if parser.take_keyword("offset") {
                        let Token::Duration(ns, _) = *parser.peek() else {
                            return parser.unexpected("DURATION");
                        };
                        parser.at += 1;
                        range.offset_ns = ns;
                    }
                }
                if parser.at == start {
                    break;
                }
            }
            if range.range_ns.is_none() && !parser.is_sign(")") {
                return parser.unexpected("");
            }
            Ok(())
        })
    }

    fn vector_aggregation(&mut self, op: VectorOp) -> Result<Expr> {
        self.at += 1;
        let mut grouping = self.grouping()?;
        self.expect_sign("(")?;
        let mut parameter = None;
        if matches!(self.peek(), Token::Number(_)) && *self.peek_at(1) == Token::Sign(",") {
            let Token::Number(text) = self.advance() else { return self.unexpected("") };
            parameter = Some(text);
            self.at += 1;
        }
        let inner = self.expression(0)?;
        self.expect_sign(")")?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let name = op.name();
        let count = match (op.takes_count(), parameter) {
            (false, None) => 0,
            (false, Some(text)) => {
                let message = format!("unsupported parameter for operation {name}({text},");
                return Err(LogqlError::invalid(message));
            }
            (true, None) => {
                return Err(LogqlError::invalid(format!(
                    "parameter required for operation {name}"
                )));
            }
            (true, Some(text)) => match text.parse::<usize>() {
                Ok(0) => {
                    let message =
                        format!("invalid parameter (must be greater than 0) {name}({text}");
                    return Err(LogqlError::invalid(message));
                }
                Ok(count) => count,
                Err(_) => {
                    return Err(LogqlError::invalid(format!("invalid parameter {name}({text},")));
                }
            },
        };
        if grouping.is_some() && matches!(op, VectorOp::Sort | VectorOp::SortDesc) {
            return Err(LogqlError::invalid("sort and sort_desc doesn't allow grouping by "));
        }
        if grouping.is_some() && op == VectorOp::ApproxTopk {
            return Err(LogqlError::invalid("grouping not allowed for approx_topk aggregation"));
        }
        let grouping = grouping.unwrap_or_default();
        Ok(Expr::Vector(Box::new(VectorAggregation { op, count, inner, grouping })))
    }

    fn label_replace(&mut self) -> Result<Expr> {
        self.at += 1;
        self.expect_sign("(")?;
        let inner = self.expression(0)?;
        let mut texts = Vec::with_capacity(4);
        for _ in 0..4 {
            self.expect_sign(",")?;
            texts.push(self.expect_text()?);
        }
        self.expect_sign(")")?;
        let mut texts = texts.into_iter();
        let mut text = || texts.next().unwrap_or_default();
        Ok(Expr::LabelReplace(Box::new(LabelReplace {
            inner,
            target: text(),
            replacement: text(),
            source: text(),
            regex: text(),
        })))
    }

    fn vector_literal(&mut self) -> Result<Expr> {
        self.at += 1;
        self.expect_sign("(")?;
        let Token::Number(_) = self.peek() else { return self.unexpected("NUMBER") };
        let value = self.signed_number()?;
        self.expect_sign(")")?;
        Ok(Expr::VectorLiteral(value))
    }
}

/// `0x1.8p3`: hex digits with a binary exponent, which Go demands.
fn hex_float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    let (mantissa, exponent) = digits.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut value = 0.0;
    for c in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    let places = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    let exponent = exponent.parse::<i32>().ok()?.checked_sub(places)?;
    (!mantissa.is_empty()).then(|| value * 2f64.powi(exponent))
}

/// Two literals become one at once, as Loki does it.
fn fold(op: BinaryOp, lhs: Expr, rhs: Expr, matching: Matching) -> Expr {
    if let (Expr::Literal(left), Expr::Literal(right), false) = (&lhs, &rhs, op.is_set()) {
        // A comparison between scalars is 0 or 1, with `bool` or without.
        return Expr::Literal(arithmetic(op, *left, *right));
    }
    Expr::Binary(Box::new(Binary { op, lhs, rhs, matching }))
}
