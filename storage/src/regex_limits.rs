//! What a regular expression of a query may cost.

use model::Limits;
use regex_automata::meta::{self, Regex};
use regex_automata::util::syntax;

use crate::{ErrorKind, StorageError};

/// Memory that a search may spend on states found on the way. Units: bytes.
const CACHE_BYTES_MAX: usize = 2 << 20;

/// Bounds of one regular expression. 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegexLimits {
    /// `limits.query.max_regex_bytes`.
    pub pattern_bytes_max: usize,
    /// `limits.query.regex_program_bytes`.
    pub program_bytes_max: usize,
}

impl RegexLimits {
    /// The bounds that a tenant's limits set.
    #[must_use]
    pub fn of(limits: &Limits) -> RegexLimits {
        RegexLimits {
            pattern_bytes_max: limits.regex_bytes_max,
            program_bytes_max: limits.regex_program_bytes_max,
        }
    }

    /// The same for a pattern that the program made, or whose source has been checked already.
    #[must_use]
    pub fn any_length(self) -> RegexLimits {
        RegexLimits { pattern_bytes_max: 0, ..self }
    }

    /// Checks the length of a pattern as the user wrote it.
    ///
    /// Errors: LimitExceeded.
    pub fn check(self, pattern: &str) -> Result<(), StorageError> {
        let (bytes, max) = (pattern.len(), self.pattern_bytes_max);
        if max == 0 || bytes <= max {
            return Ok(());
        }
        let message = format!(
            "regular expression is {bytes} bytes long (limits.query.max_regex_bytes={max})"
        );
        Err(StorageError::new(ErrorKind::LimitExceeded, message))
    }

    /// Compiles a pattern.
    ///
    /// Errors: LimitExceeded where it is too long or needs too much memory; Invalid, with the reason
    /// alone, where it is no regular expression.
    pub fn compile(self, pattern: &str, syntax: syntax::Config) -> Result<Regex, StorageError> {
        self.check(pattern)?;
        let max = Some(self.program_bytes_max).filter(|&max| max != 0);
        let cache = max.map_or(CACHE_BYTES_MAX, |max| max.min(CACHE_BYTES_MAX));
        let config = meta::Config::new().nfa_size_limit(max).hybrid_cache_capacity(cache);
        Regex::builder().configure(config).syntax(syntax).build(pattern).map_err(|error| {
            if error.size_limit().is_some() {
                let max = self.program_bytes_max;
                let message = format!(
                    "regular expression needs more than {max} bytes when compiled \
                     (limits.query.regex_program_bytes={max})"
                );
                return StorageError::new(ErrorKind::LimitExceeded, message);
            }
            let why = error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string);
            StorageError::new(ErrorKind::Invalid, why.lines().last().unwrap_or_default())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(limits: RegexLimits, pattern: &str) -> Result<(), (ErrorKind, String)> {
        let compiled = limits.compile(pattern, syntax::Config::new());
        compiled.map(drop).map_err(|error| (error.kind(), error.to_string()))
    }

    #[test]
    fn both_limits_name_themselves_and_zero_is_none() {
        let limits = |pattern_bytes_max, program_bytes_max| RegexLimits {
            pattern_bytes_max,
            program_bytes_max,
        };
        let long = "a".repeat(10);
        assert_eq!(outcome(limits(10, 0), &long), Ok(()));
        assert_eq!(
            outcome(limits(9, 0), &long),
            Err((
                ErrorKind::LimitExceeded,
                "regular expression is 10 bytes long (limits.query.max_regex_bytes=9)".to_owned()
            ))
        );
        assert_eq!(outcome(limits(9, 0).any_length(), &long), Ok(()));
        let large = "[a-z0-9]{2000}";
        assert_eq!(outcome(limits(0, 0), large), Ok(()));
        assert_eq!(
            outcome(limits(0, 4096), large),
            Err((
                ErrorKind::LimitExceeded,
                "regular expression needs more than 4096 bytes when compiled \
                 (limits.query.regex_program_bytes=4096)"
                    .to_owned()
            ))
        );
        assert_eq!(outcome(limits(0, 0), "(").map_err(|error| error.0), Err(ErrorKind::Invalid));
    }

    /// The engine falls back to one that needs less memory, it does not fail.
    #[test]
    fn a_small_program_still_searches_under_a_small_limit() {
        let limits = RegexLimits { pattern_bytes_max: 0, program_bytes_max: 2000 };
        let regex = limits.compile("^a+b$", syntax::Config::new()).unwrap();
        assert!(regex.is_match("aaab") && !regex.is_match("aaac"));
    }
}
