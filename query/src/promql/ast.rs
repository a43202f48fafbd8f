//! The tree of a query, as written: nothing is resolved or simplified yet.

use storage::Matcher;

use super::functions::Function;

/// An expression and the bytes it spans.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The kinds of expressions.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Number {
        value: f64,
        is_duration: bool,
    },
    /// Bytes, most often UTF-8.
    Text(Vec<u8>),
    Selector(Selector),
    /// `selector[range]`.
    Matrix {
        selector: Box<Expr>,
        range: Length,
    },
    Subquery {
        expr: Box<Expr>,
        range: Length,
        step: Option<Length>,
        shift: Shift,
    },
    Paren(Box<Expr>),
    Negate {
        expr: Box<Expr>,
        is_minus: bool,
    },
    Binary(Box<Binary>),
    Call {
        function: &'static Function,
        args: Vec<Expr>,
    },
    Aggregate(Box<Aggregate>),
}

/// The four types of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Scalar,
    Vector,
    Matrix,
    Text,
}

impl Type {
    /// As error messages call it.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Type::Scalar => "scalar",
            Type::Vector => "instant vector",
            Type::Matrix => "range vector",
            Type::Text => "string",
        }
    }
}

impl Expr {
    /// The type of the expression's value.
    pub(crate) fn kind_of_value(&self) -> Type {
        match &self.kind {
            Kind::Number { .. } => Type::Scalar,
            Kind::Text(_) => Type::Text,
            Kind::Selector(_) | Kind::Aggregate(_) => Type::Vector,
            Kind::Matrix { .. } | Kind::Subquery { .. } => Type::Matrix,
            Kind::Paren(expr) | Kind::Negate { expr, .. } => expr.kind_of_value(),
            Kind::Binary(binary) => {
                let scalar = |expr: &Expr| expr.kind_of_value() == Type::Scalar;
                if scalar(&binary.lhs) && scalar(&binary.rhs) { Type::Scalar } else { Type::Vector }
            }
            Kind::Call { function, .. } => function.returns,
        }
    }

    /// The expression inside any parentheses.
    pub(crate) fn bare(&self) -> &Expr {
        let mut expr = self;
        while let Kind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }

    /// Calls `visit` with every direct part.
    pub(crate) fn parts<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match &self.kind {
            Kind::Number { .. } | Kind::Text(_) | Kind::Selector(_) => {}
            Kind::Matrix { selector, .. } => visit(selector),
            Kind::Subquery { expr, .. } | Kind::Paren(expr) | Kind::Negate { expr, .. } => {
                visit(expr);
            }
            Kind::Binary(binary) => {
                visit(&binary.lhs);
                visit(&binary.rhs);
            }
            Kind::Call { args, .. } => args.iter().for_each(visit),
            Kind::Aggregate(aggregate) => {
                if let Some(param) = &aggregate.param {
                    visit(param);
                }
                visit(&aggregate.expr);
            }
        }
    }
}

/// How a range selector treats the ends of its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ends {
    #[default]
    Plain,
    Anchored,
    Smoothed,
}

/// Which series, and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    /// The name before the braces.
    pub(crate) name: Option<String>,
    /// All conditions, that on the name included.
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) shift: Shift,
    pub(crate) ends: Ends,
    /// Of histograms nothing but count and sum is looked at (`totals`).
    pub(crate) totals_only: bool,
}

/// `offset` and `@`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shift {
    pub(crate) offset: Option<Length>,
    pub(crate) at: Option<At>,
}

/// The moment after `@`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum At {
    /// Units: ms.
    Time(i64),
    Start,
    End,
}

/// A length of time as written: a literal or an expression over the query's own bounds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Length {
    /// Units: seconds.
    Literal {
        seconds: f64,
        is_duration: bool,
    },
    Step,
    Range,
    Sign {
        is_minus: bool,
        length: Box<Length>,
    },
    Paren(Box<Length>),
    Binary {
        op: BinaryOp,
        lhs: Box<Length>,
        rhs: Box<Length>,
    },
    Least(Box<Length>, Box<Length>),
    Greatest(Box<Length>, Box<Length>),
}

/// Binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    TrimUpper,
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Less => "<",
            BinaryOp::LessEqual => "<=",
            BinaryOp::Greater => ">",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::TrimUpper => "</",
            BinaryOp::TrimLower => ">/",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
        }
    }

    /// How tightly it binds; `^` most.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            BinaryOp::Or => 1,
            BinaryOp::And | BinaryOp::Unless => 2,
            op if op.is_comparison() => 3,
            BinaryOp::TrimUpper | BinaryOp::TrimLower => 3,
            BinaryOp::Add | BinaryOp::Sub => 4,
            BinaryOp::Pow => 6,
            _ => 5,
        }
    }

    pub(crate) fn is_comparison(self) -> bool {
        matches!(
            self,
            BinaryOp::Equal
                | BinaryOp::NotEqual
                | BinaryOp::Less
                | BinaryOp::LessEqual
                | BinaryOp::Greater
                | BinaryOp::GreaterEqual
        )
    }

    pub(crate) fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }

    /// Whether the result is another metric than the operand, so that the name goes.
    pub(crate) fn changes_metric(self) -> bool {
        matches!(
            self,
            BinaryOp::Add
                | BinaryOp::Sub
                | BinaryOp::Mul
                | BinaryOp::Div
                | BinaryOp::Mod
                | BinaryOp::Pow
                | BinaryOp::Atan2
        )
    }
}

/// How many elements of one side an element of the other may match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Cardinality {
    #[default]
    OneToOne,
    ManyToOne,
    OneToMany,
    ManyToMany,
}

/// How the sides of a binary expression find each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matching {
    pub(crate) cardinality: Cardinality,
    /// Whether `on` or `ignoring` was written.
    pub(crate) is_written: bool,
    pub(crate) on: bool,
    pub(crate) labels: Vec<String>,
    /// Labels taken over from the side of "one".
    pub(crate) include: Vec<String>,
    pub(crate) fill_left: Option<f64>,
    pub(crate) fill_right: Option<f64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Binary {
    pub(crate) op: BinaryOp,
    pub(crate) lhs: Expr,
    pub(crate) rhs: Expr,
    pub(crate) returns_bool: bool,
    pub(crate) matching: Matching,
}

/// Aggregation operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    /// Name, operator; the name is what one writes.
    pub(crate) const ALL: [(&'static str, AggregateOp); 14] = [
        ("sum", AggregateOp::Sum),
        ("avg", AggregateOp::Avg),
        ("min", AggregateOp::Min),
        ("max", AggregateOp::Max),
        ("count", AggregateOp::Count),
        ("group", AggregateOp::Group),
        ("stddev", AggregateOp::Stddev),
        ("stdvar", AggregateOp::Stdvar),
        ("topk", AggregateOp::Topk),
        ("bottomk", AggregateOp::Bottomk),
        ("count_values", AggregateOp::CountValues),
        ("quantile", AggregateOp::Quantile),
        ("limitk", AggregateOp::Limitk),
        ("limit_ratio", AggregateOp::LimitRatio),
    ];

    pub(crate) fn from_name(name: &str) -> Option<AggregateOp> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, op)| *op)
    }

    pub(crate) fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    /// The type of the parameter before the vector, if it takes one.
    pub(crate) fn param(self) -> Option<Type> {
        match self {
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Quantile
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => Some(Type::Scalar),
            AggregateOp::CountValues => Some(Type::Text),
            _ => None,
        }
    }
}

/// An aggregation over groups.
#[derive(Debug, Clone)]
pub(crate) struct Aggregate {
    pub(crate) op: AggregateOp,
    pub(crate) expr: Expr,
    pub(crate) param: Option<Expr>,
    pub(crate) grouping: Vec<String>,
    pub(crate) without: bool,
    /// Whether `by` or `without` was written.
    pub(crate) is_grouped: bool,
}
