//! What browsers are told and asked: headers on every answer, and whether a change comes from a page
//! of another site.

use http::header::{HOST, HeaderName, HeaderValue, ORIGIN};
use http::{HeaderMap, Method, Uri};

/// Our own files and nothing else; no script in a page, no frame around it.
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'";

const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (http::header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
    (http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (http::header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (http::header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
];

/// Adds the headers.
pub(super) fn secure(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(name, value);
    }
}

/// Whether a request asks for a change: only these methods do, and no GET.
pub(super) fn may_change(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a browser sends this for a page that is not ours. Programs that are no browsers say
/// neither `Sec-Fetch-Site` nor `Origin`.
pub(super) fn is_cross_site(headers: &HeaderMap, uri: &Uri) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let ours = match headers.get(HOST) {
        Some(host) => host.to_str().ok(),
        None => uri.authority().map(http::uri::Authority::as_str),
    };
    let theirs = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (theirs, ours) {
        (Some((_, theirs)), Some(ours)) => !theirs.eq_ignore_ascii_case(ours),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_told_apart() {
        let check = |headers: &[(&'static str, &str)], want: bool| {
            let headers: HeaderMap = headers
                .iter()
                .map(|&(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
                })
                .collect();
            assert_eq!(is_cross_site(&headers, &Uri::from_static("/x")), want, "{headers:?}");
        };
        check(&[("host", "t:4319")], false);
        check(&[("sec-fetch-site", "same-origin"), ("origin", "http://other")], false);
        check(&[("sec-fetch-site", "none")], false);
        check(&[("sec-fetch-site", "same-site")], true);
        check(&[("sec-fetch-site", "cross-site")], true);
        check(&[("host", "t:4319"), ("origin", "http://T:4319")], false);
        check(&[("host", "t:4319"), ("origin", "http://t:3000")], true);
        check(&[("host", "t:4319"), ("origin", "null")], true);
        check(&[("origin", "http://t:4319")], true);
    }
}
