//! Tenants.

use std::fmt;
use std::sync::Arc;

/// The name of a tenant: 1 to 150 of letters, digits and `!-_.*'()`, and neither `.` nor `..`
/// (the rule of Mimir, Loki and Tempo).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// Why a name cannot be a tenant's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    #[error("tenant id is empty")]
    Empty,
    #[error("tenant id is longer than {max} bytes: {0}", max = TenantId::BYTES_MAX)]
    TooLong(usize),
    #[error("tenant id holds {0:?}; letters, digits and !-_.*'() are allowed")]
    BadCharacter(char),
    #[error("tenant id must not be . or ..")]
    Reserved,
}

impl TenantId {
    pub const BYTES_MAX: usize = 150;
    /// The header of a request that names it.
    pub const HEADER: &'static str = "x-scope-orgid";
    /// The tenant of requests that name none.
    pub const DEFAULT: &'static str = "default";

    /// Checks a name from outside.
    pub fn parse(name: &str) -> Result<TenantId, TenantError> {
        if name.is_empty() {
            return Err(TenantError::Empty);
        }
        if name.len() > Self::BYTES_MAX {
            return Err(TenantError::TooLong(name.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        if let Some(bad) = name.chars().find(|&c| !allowed(c)) {
            return Err(TenantError::BadCharacter(bad));
        }
        if name == "." || name == ".." {
            return Err(TenantError::Reserved);
        }
        Ok(TenantId(name.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantId {
    fn default() -> Self {
        TenantId(Self::DEFAULT.into())
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}
