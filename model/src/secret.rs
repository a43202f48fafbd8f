//! Texts that must not be seen.

use std::fmt;

/// A password's hash, a key, a credential. It has no `Display` and prints as `<redacted>`: whoever
/// needs the text says [`Secret::expose`], which is easy to find.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Box<str>);

impl Secret {
    pub const REDACTED: &'static str = "<redacted>";

    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Secret {
        Secret(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Secret::REDACTED)
    }
}

/// `text` with the credentials that stand in a URL (before its `@`) replaced wherever they are.
#[must_use]
pub fn without_credentials(url: &str, text: &str) -> String {
    let place = url.split_once("://").map_or(url, |(_, place)| place);
    let place = place.split('/').next().unwrap_or_default();
    match place.rsplit_once('@') {
        Some((credentials, _)) if !credentials.is_empty() => {
            text.replace(credentials, Secret::REDACTED)
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_redacted() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(<redacted>)");
        assert_eq!(Secret::new("hunter2").expose(), "hunter2");
    }

    #[test]
    fn credentials_of_a_url_are_replaced() {
        let check = |url: &str, want: &str| assert_eq!(without_credentials(url, url), want);
        check("s3://id:key@bucket/prefix", "s3://<redacted>@bucket/prefix");
        check("s3://bucket/pre@fix", "s3://bucket/pre@fix");
        check("s3://bucket", "s3://bucket");
        check("s3://@bucket", "s3://@bucket");
        check("", "");
    }
}
