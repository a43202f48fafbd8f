//! A query as a tree.

use storage::MatchOp;

/// A whole query or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    /// Lines.
    Log(LogExpr),
    Range(Box<RangeAggregation>),
    Vector(Box<VectorAggregation>),
    Binary(Box<Binary>),
    LabelReplace(Box<LabelReplace>),
    /// A number standing alone: a scalar.
    Literal(f64),
    /// `vector(n)`.
    VectorLiteral(f64),
}

impl Expr {
    /// Whether the answer is lines.
    pub(crate) fn is_log(&self) -> bool {
        matches!(self, Expr::Log(_))
    }
}

/// A stream selector and what happens to its lines.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct LogExpr {
    pub(crate) matchers: Vec<MatcherExpr>,
    pub(crate) stages: Vec<StageExpr>,
}

/// A condition on one label.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MatcherExpr {
    pub(crate) name: String,
    pub(crate) op: MatchOp,
    pub(crate) value: String,
}

/// One step of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StageExpr {
    LineFilter(LineFilter),
    Json(Vec<Extraction>),
    Logfmt { strict: bool, keep_empty: bool, fields: Vec<Extraction> },
    Regexp(String),
    Pattern(String),
    Unpack,
    LabelFilter(LabelFilter),
    LineFormat(String),
    LabelFormat(Vec<LabelFormat>),
    Decolorize,
    Drop(Vec<NamedMatcher>),
    Keep(Vec<NamedMatcher>),
}

/// `name="expression"`, or a name alone, which stands for itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Extraction {
    pub(crate) name: String,
    pub(crate) expression: String,
}

/// What a line is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineOp {
    Contains,
    NotContains,
    Regex,
    NotRegex,
    Pattern,
    NotPattern,
}

impl LineOp {
    pub(crate) fn sign(self) -> &'static str {
        match self {
            LineOp::Contains => "|=",
            LineOp::NotContains => "!=",
            LineOp::Regex => "|~",
            LineOp::NotRegex => "!~",
            LineOp::Pattern => "|>",
            LineOp::NotPattern => "!>",
        }
    }

    pub(crate) fn is_negative(self) -> bool {
        matches!(self, LineOp::NotContains | LineOp::NotRegex | LineOp::NotPattern)
    }
}

/// A needle, or the addresses of `ip("..")`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Needle {
    Text(String),
    Ip(String),
}

/// `|= "a" or "b"`: one of the needles, or for the negative operators none of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LineFilter {
    pub(crate) op: LineOp,
    pub(crate) needles: Vec<Needle>,
}

/// How numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

impl Compare {
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Compare::Equal => "==",
            Compare::NotEqual => "!=",
            Compare::Greater => ">",
            Compare::GreaterEqual => ">=",
            Compare::Less => "<",
            Compare::LessEqual => "<=",
        }
    }

    pub(crate) fn holds<T: PartialOrd>(self, lhs: T, rhs: T) -> bool {
        match self {
            Compare::Equal => lhs == rhs,
            Compare::NotEqual => lhs != rhs,
            Compare::Greater => lhs > rhs,
            Compare::GreaterEqual => lhs >= rhs,
            Compare::Less => lhs < rhs,
            Compare::LessEqual => lhs <= rhs,
        }
    }
}

/// A condition on labels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LabelFilter {
    And(Box<LabelFilter>, Box<LabelFilter>),
    Or(Box<LabelFilter>, Box<LabelFilter>),
    Text(MatcherExpr),
    Number {
        name: String,
        op: Compare,
        value: f64,
    },
    /// Units: ns.
    Duration {
        name: String,
        op: Compare,
        ns: i64,
    },
    Bytes {
        name: String,
        op: Compare,
        bytes: u64,
        text: String,
    },
    Ip {
        name: String,
        negative: bool,
        addresses: String,
    },
}

/// `target=source` or `target="template"`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LabelFormat {
    pub(crate) target: String,
    pub(crate) source: FormatSource,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FormatSource {
    Label(String),
    Template(String),
}

/// A label of `drop` and `keep`, perhaps only where it has some value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NamedMatcher {
    Name(String),
    Matcher(MatcherExpr),
}

/// What turns a label's text into a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conversion {
    Number,
    Bytes,
    Duration,
    DurationSeconds,
}

/// `| unwrap conversion(label) | filters`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unwrap {
    pub(crate) label: String,
    pub(crate) conversion: Conversion,
    pub(crate) filters: Vec<LabelFilter>,
}

/// Functions over a range of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeOp {
    Count,
    Rate,
    Bytes,
    BytesRate,
    Absent,
    Sum,
    Avg,
    Min,
    Max,
    First,
    Last,
    Stddev,
    Stdvar,
    Quantile,
    RateCounter,
}

impl RangeOp {
    pub(crate) const ALL: [(RangeOp, &'static str); 15] = [
        (RangeOp::Count, "count_over_time"),
        (RangeOp::Rate, "rate"),
        (RangeOp::Bytes, "bytes_over_time"),
        (RangeOp::BytesRate, "bytes_rate"),
        (RangeOp::Absent, "absent_over_time"),
        (RangeOp::Sum, "sum_over_time"),
        (RangeOp::Avg, "avg_over_time"),
        (RangeOp::Min, "min_over_time"),
        (RangeOp::Max, "max_over_time"),
        (RangeOp::First, "first_over_time"),
        (RangeOp::Last, "last_over_time"),
        (RangeOp::Stddev, "stddev_over_time"),
        (RangeOp::Stdvar, "stdvar_over_time"),
        (RangeOp::Quantile, "quantile_over_time"),
        (RangeOp::RateCounter, "rate_counter"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(op, _)| *op == self).map_or("", |(_, name)| name)
    }
}

/// `by (..)` or `without (..)`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Grouping {
    pub(crate) without: bool,
    pub(crate) names: Vec<String>,
}

/// `count_over_time({..} | .. [5m] offset 1m)`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RangeAggregation {
    pub(crate) op: RangeOp,
    pub(crate) parameter: Option<f64>,
    pub(crate) log: LogExpr,
    pub(crate) unwrap: Option<Unwrap>,
    /// Units: ns.
    pub(crate) range_ns: i64,
    /// Units: ns.
    pub(crate) offset_ns: i64,
    pub(crate) grouping: Option<Grouping>,
}

/// Functions over the series of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VectorOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    Sort,
    SortDesc,
    ApproxTopk,
}

impl VectorOp {
    pub(crate) const ALL: [(VectorOp, &'static str); 12] = [
        (VectorOp::Sum, "sum"),
        (VectorOp::Avg, "avg"),
        (VectorOp::Min, "min"),
        (VectorOp::Max, "max"),
        (VectorOp::Count, "count"),
        (VectorOp::Stddev, "stddev"),
        (VectorOp::Stdvar, "stdvar"),
        (VectorOp::Topk, "topk"),
        (VectorOp::Bottomk, "bottomk"),
        (VectorOp::Sort, "sort"),
        (VectorOp::SortDesc, "sort_desc"),
        (VectorOp::ApproxTopk, "approx_topk"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(op, _)| *op == self).map_or("", |(_, name)| name)
    }

    pub(crate) fn takes_count(self) -> bool {
        matches!(self, VectorOp::Topk | VectorOp::Bottomk | VectorOp::ApproxTopk)
    }
}

/// `sum by (a) (..)`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VectorAggregation {
    pub(crate) op: VectorOp,
    /// How many series `topk` and its like keep.
    pub(crate) count: usize,
    pub(crate) inner: Expr,
    pub(crate) grouping: Grouping,
}

/// Operators between series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Or,
    And,
    Unless,
    Compare(Compare),
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
}

impl BinaryOp {
    pub(crate) fn sign(self) -> &'static str {
        match self {
            BinaryOp::Or => "or",
            BinaryOp::And => "and",
            BinaryOp::Unless => "unless",
            BinaryOp::Compare(op) => op.sign(),
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
        }
    }

    pub(crate) fn is_set(self) -> bool {
        matches!(self, BinaryOp::Or | BinaryOp::And | BinaryOp::Unless)
    }
}

/// Which side may have many series for one of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Cardinality {
    #[default]
    OneToOne,
    ManyToOne,
    OneToMany,
}

/// `bool on (a) group_left (b)`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Matching {
    pub(crate) returns_bool: bool,
    /// Whether `names` are those to match on; else those to leave out.
    pub(crate) on: bool,
    pub(crate) names: Vec<String>,
    /// Whether `on` or `ignoring` was written.
    pub(crate) given: bool,
    pub(crate) cardinality: Cardinality,
    /// Labels taken over from the "one" side.
    pub(crate) include: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Binary {
    pub(crate) op: BinaryOp,
    pub(crate) lhs: Expr,
    pub(crate) rhs: Expr,
    pub(crate) matching: Matching,
}

/// `label_replace(v, "target", "replacement", "source", "regex")`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LabelReplace {
    pub(crate) inner: Expr,
    pub(crate) target: String,
    pub(crate) replacement: String,
    pub(crate) source: String,
    pub(crate) regex: String,
}
