//! A tree as text again: in one line for messages, and laid out for `format_query`.

use storage::MatchOp;

use super::ast::{
    Binary, Cardinality, Conversion, Expr, Extraction, FormatSource, Grouping, LabelFilter,
    LineFilter, LogExpr, MatcherExpr, NamedMatcher, Needle, RangeAggregation, StageExpr, Unwrap,
};
use super::number::{format_float, format_go_duration, format_prometheus_duration};

/// Labels as `{a="b", c="d"}`.
pub(crate) fn labels(labels: &[(String, String)]) -> String {
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
    format!("{{{}}}", labels.join(", "))
}

/// A string as Go quotes it.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The whole tree in one line.
pub(crate) fn line(expr: &Expr) -> String {
    match expr {
        Expr::Log(log) => log_line(log),
        Expr::Literal(value) => format_float(*value),
        Expr::VectorLiteral(value) => format!("vector({value:.6})"),
        Expr::Range(range) => range_line(range),
        Expr::Vector(vector) => {
            let name = vector.op.name();
            let grouping = if vector.grouping == Grouping::default() {
                String::new()
            } else {
                format!(" {} ", grouping_words(&vector.grouping)).trim_end().to_owned() + " "
            };
            let grouping = grouping.trim_end();
            let inner = line(&vector.inner);
            if vector.op.takes_count() {
                format!("{name}{grouping}({},{inner})", vector.count)
            } else {
                format!("{name}{grouping}({inner})")
            }
        }
        Expr::Binary(binary) => {
            format!("({} {} {})", line(&binary.lhs), operator(binary), line(&binary.rhs))
        }
        Expr::LabelReplace(replace) => format!(
            "label_replace({},{},{},{},{})",
            line(&replace.inner),
            quoted(&replace.target),
            quoted(&replace.replacement),
            quoted(&replace.source),
            quoted(&replace.regex)
        ),
    }
}

fn log_line(log: &LogExpr) -> String {
    let mut out = selector(&log.matchers);
    for expr in &log.stages {
        out.push(' ');
        out.push_str(&stage(expr));
    }
    out
}

fn range_line(range: &RangeAggregation) -> String {
    let mut out = format!("{}(", range.op.name());
    if let Some(parameter) = range.parameter {
        out.push_str(&format_float(parameter));
        out.push(',');
    }
    out.push_str(&log_line(&range.log));
    if let Some(unwrap) = &range.unwrap {
        out.push(' ');
        out.push_str(&unwrap_text(unwrap).join(" "));
    }
    out.push_str(&format!("[{}]", format_prometheus_duration(range.range_ns)));
    if range.offset_ns != 0 {
        out.push_str(&format!(" offset {}", format_go_duration(range.offset_ns)));
    }
    out.push(')');
    if let Some(grouping) = &range.grouping {
        out.push(' ');
        out.push_str(&grouping_words(grouping));
    }
    out
}

fn grouping_words(grouping: &Grouping) -> String {
    let word = if grouping.without { "without" } else { "by" };
    format!("{word} ({})", grouping.names.join(","))
}

fn operator(binary: &Binary) -> String {
    let matching = &binary.matching;
    let mut out = binary.op.sign().to_owned();
    if matching.returns_bool {
        out.push_str(" bool");
    }
    if matching.given {
        let word = if matching.on { "on" } else { "ignoring" };
        out.push_str(&format!(" {word} ({})", matching.names.join(",")));
    }
    let side = match matching.cardinality {
        Cardinality::OneToOne => {
            // Loki leaves room for a group that is not there.
            return if matching.given { out + " " } else { out };
        }
        Cardinality::ManyToOne => " group_left",
        Cardinality::OneToMany => " group_right",
    };
    out.push_str(side);
    if !matching.include.is_empty() {
        out.push_str(&format!(" ({})", matching.include.join(",")));
    }
    out
}

fn selector(matchers: &[MatcherExpr]) -> String {
    let matchers: Vec<String> = matchers.iter().map(matcher).collect();
    format!("{{{}}}", matchers.join(", "))
}

fn matcher(matcher: &MatcherExpr) -> String {
    let sign = match matcher.op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    format!("{}{sign}{}", matcher.name, quoted(&matcher.value))
}

/// One stage as it is written, `|` included.
pub(crate) fn stage(expr: &StageExpr) -> String {
    match expr {
        StageExpr::LineFilter(filter) => line_filter(filter),
        StageExpr::Json(fields) => format!("| json{}", extractions(fields)),
        StageExpr::Logfmt { strict, keep_empty, fields } => format!(
            "| logfmt{}{}{}",
            if *strict { " --strict" } else { "" },
            if *keep_empty { " --keep-empty" } else { "" },
            extractions(fields)
        ),
        StageExpr::Regexp(pattern) => format!("| regexp {}", quoted(pattern)),
        StageExpr::Pattern(pattern) => format!("| pattern {}", quoted(pattern)),
        StageExpr::Unpack => "| unpack".to_owned(),
        StageExpr::LabelFilter(filter) => format!("| {}", label_filter(filter)),
        StageExpr::LineFormat(template) => format!("| line_format {}", quoted(template)),
        StageExpr::LabelFormat(formats) => {
            let formats: Vec<String> = formats
                .iter()
                .map(|format| match &format.source {
                    FormatSource::Label(name) => format!("{}={name}", format.target),
                    FormatSource::Template(text) => format!("{}={}", format.target, quoted(text)),
                })
                .collect();
            format!("| label_format {}", formats.join(","))
        }
        StageExpr::Decolorize => "| decolorize".to_owned(),
        StageExpr::Drop(labels) => format!("| drop {}", named_matchers(labels)),
        StageExpr::Keep(labels) => format!("| keep {}", named_matchers(labels)),
    }
}

fn line_filter(filter: &LineFilter) -> String {
    let needles: Vec<String> = filter
        .needles
        .iter()
        .map(|needle| match needle {
            Needle::Text(text) => quoted(text),
            Needle::Ip(addresses) => format!("ip({})", quoted(addresses)),
        })
        .collect();
    let sign = filter.op.sign();
    let between = if filter.op.is_negative() { format!(" {sign} ") } else { " or ".to_owned() };
    format!("{sign} {}", needles.join(&between))
}

fn extractions(fields: &[Extraction]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|field| format!("{}={}", field.name, quoted(&field.expression)))
        .collect();
    if fields.is_empty() { String::new() } else { format!(" {}", fields.join(",")) }
}

fn named_matchers(labels: &[NamedMatcher]) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|label| match label {
            NamedMatcher::Name(name) => name.clone(),
            NamedMatcher::Matcher(expr) => matcher(expr),
        })
        .collect();
    labels.join(",")
}

fn label_filter(filter: &LabelFilter) -> String {
    match filter {
        LabelFilter::And(lhs, rhs) => {
            format!("( {} , {} )", label_filter(lhs), label_filter(rhs))
        }
        LabelFilter::Or(lhs, rhs) => {
            format!("( {} or {} )", label_filter(lhs), label_filter(rhs))
        }
        LabelFilter::Text(expr) => matcher(expr),
        LabelFilter::Number { name, op, value } => {
            format!("{name}{}{}", op.sign(), format_float(*value))
        }
        LabelFilter::Duration { name, op, ns } => {
            format!("{name}{}{}", op.sign(), format_go_duration(*ns))
        }
        LabelFilter::Bytes { name, op, bytes, .. } => {
            format!("{name}{}{}", op.sign(), super::number::format_bytes(*bytes))
        }
        LabelFilter::Ip { name, negative, addresses } => {
            format!("{name}{}ip({})", if *negative { "!=" } else { "=" }, quoted(addresses))
        }
    }
}

fn unwrap_text(unwrap: &Unwrap) -> Vec<String> {
    let label = &unwrap.label;
    let mut parts = vec![match unwrap.conversion {
        Conversion::Number => format!("| unwrap {label}"),
        Conversion::Bytes => format!("| unwrap bytes({label})"),
        Conversion::Duration => format!("| unwrap duration({label})"),
        Conversion::DurationSeconds => format!("| unwrap duration_seconds({label})"),
    }];
    parts.extend(unwrap.filters.iter().map(|filter| format!("| {}", label_filter(filter))));
    parts
}
