//! How large the text of a query may be: the same bounds for every language.

use model::{ErrorId, Exceeded, Limits, NS_PER_S, TenantId};
use storage::RegexLimits;

/// Levels of the finished tree, chains of operators included: what recursion over it may need,
/// whatever the settings say.
pub(crate) const TREE_DEPTH_MAX: usize = 500;

/// Patterns in one query: each may need `limits.query.regex_program_bytes` and the time to compile so
/// much, and that before the query's own time begins to run.
const PATTERNS_MAX: usize = 100;

/// What a pattern follows, in either language. One inside a string counts as well: the bound is far
/// beyond what people and panels write.
const PATTERN_MARKS: [&str; 6] = ["=~", "!~", "|~", "regexp", "label_replace", "regexReplaceAll"];
/// What is wrong with the time that a query ranges over, if anything (`max_ns` 0: no limit).
pub(crate) fn range_too_long(tenant: &TenantId, range_ns: i64, max_ns: i64) -> Option<Exceeded> {
    (max_ns != 0 && range_ns > max_ns).then(|| Exceeded {
        id: ErrorId::RangeTooLong,
        what: "the query ranges over too long a time".to_owned(),
        key: "limits.query.max_range",
        limit: format!("{}s", max_ns / NS_PER_S),
        current: format!("{}s", range_ns / NS_PER_S),
        tenant: Some(tenant.clone()),
    })
}

/// Bounds of one query's text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParseLimits {
    pub(crate) bytes_max: usize,
    pub(crate) depth_max: usize,
    pub(crate) regex: RegexLimits,
}

impl ParseLimits {
    /// The bounds that a tenant's limits set; 0 there means none, but of depth never more than
    /// [`TREE_DEPTH_MAX`].
    pub(crate) fn of(limits: &Limits) -> ParseLimits {
        let or_none = |limit: usize| if limit == 0 { usize::MAX } else { limit };
        ParseLimits {
            bytes_max: or_none(limits.expression_bytes_max),
            depth_max: or_none(limits.expression_depth_max).min(TREE_DEPTH_MAX),
            regex: RegexLimits::of(limits),
        }
    }

    /// What is wrong with the length of a query's text, if anything.
    pub(crate) fn too_long(&self, text: &str) -> Option<String> {
        let (bytes, max) = (text.len(), self.bytes_max);
        if bytes > max {
            return Some(format!(
                "query is {bytes} bytes long (limits.query.max_expr_bytes={max})"
            ));
        }
        let patterns: usize = PATTERN_MARKS.iter().map(|mark| text.matches(mark).count()).sum();
        (patterns > PATTERNS_MAX)
            .then(|| format!("query has {patterns} patterns, at most {PATTERNS_MAX} are possible"))
    }

    /// Says that a query nests `levels` deep, of which `max` are allowed.
    pub(crate) fn too_deep(&self, levels: usize) -> String {
        if levels > TREE_DEPTH_MAX {
            return format!(
                "query is nested too deeply: {levels} levels or more, at most {TREE_DEPTH_MAX} are \
                 possible"
            );
        }
        let max = self.depth_max;
        format!(
            "query is nested too deeply: {levels} levels or more (limits.query.max_expr_depth={max})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, ParseLimits};

    #[test]
    fn a_query_of_thousands_of_patterns_is_not_compiled() {
        let limits = ParseLimits::of(&Limits::default());
        for (matcher, said) in [("a=~\"x{999}{20}\"", true), ("a=\"x{999}{20}\"", false)] {
            let text = format!("{{{}}}", [matcher; 101].join(","));
            let why = limits.too_long(&text);
            assert_eq!(why.is_some_and(|why| why.contains("101 patterns")), said, "{matcher}");
        }
    }
}
