//! Label matchers, as PromQL and LogQL write them.

use regex_automata::meta::Regex;
use regex_automata::util::syntax;

use crate::{ErrorKind, RegexLimits, StorageError};

/// `=`, `!=`, `=~`, `!~`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

/// A condition on one label. A label that is absent counts as empty.
#[derive(Debug, Clone)]
pub struct Matcher {
    pub name: String,
    pub op: MatchOp,
    pub value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// Compiles the pattern if there is one. Patterns are anchored at both ends and `.` matches a
    /// newline (Prometheus 3).
    ///
    /// Errors: Invalid, with the pattern and the reason; LimitExceeded.
    pub fn new(
        name: &str,
        op: MatchOp,
        value: &str,
        limits: RegexLimits,
    ) -> Result<Matcher, StorageError> {
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(limits.anchored(value)?),
        };
        Ok(Matcher { name: name.to_owned(), op, value: value.to_owned(), regex })
    }

    /// Whether a label's value (empty where it is absent) satisfies this.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Equal, _) => value == self.value,
            (MatchOp::NotEqual, _) => value != self.value,
            (MatchOp::Regex, Some(regex)) => regex.is_match(value),
            (MatchOp::NotRegex, Some(regex)) => !regex.is_match(value),
            (MatchOp::Regex | MatchOp::NotRegex, None) => false,
        }
    }

    /// Whether a series without the label satisfies this.
    #[must_use]
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }
}

impl RegexLimits {
    /// Compiles a pattern that must match all of a label's value.
    ///
    /// Errors: Invalid, with the pattern and the reason; LimitExceeded.
    pub fn anchored(self, pattern: &str) -> Result<Regex, StorageError> {
        self.check(pattern)?;
        let syntax = syntax::Config::new().dot_matches_new_line(true);
        self.any_length().compile(&format!("^(?:{pattern})$"), syntax).map_err(|error| match error
            .kind()
        {
            ErrorKind::Invalid => {
                let message = format!("error parsing regexp {pattern:?}: {error}");
                StorageError::new(ErrorKind::Invalid, message)
            }
            _ => error,
        })
    }
}
