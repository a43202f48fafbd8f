//! The web page, embedded in the binary.
//!
//! `ui/dist` is built by `make ui` and embedded when the binary is compiled. Paths without a file
//! are pages of the application: they get `index.html`.

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderValue, Method, StatusCode};
use ingest::Ingest;

#[derive(rust_embed::RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/ui/dist"]
#[allow_missing = true]
struct Dist;

/// Answers whatever no other route takes.
pub(crate) async fn fallback(request: Request) -> Response {
    if let Some(response) = Ingest::unknown_grpc(request.headers()) {
        return response;
    }
    let path = request.uri().path().trim_start_matches('/');
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return not_found(&request);
    }
    if let Some(file) = Dist::get(path).filter(|_| !path.is_empty()) {
        return asset(path, &file, &request);
    }
    let wants_page = request
        .headers()
        .get(http::header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if !wants_page && !path.is_empty() {
        return not_found(&request);
    }
    match Dist::get("index.html") {
        Some(file) => asset("index.html", &file, &request),
        None => (
            StatusCode::OK,
            "Tercet is running. This binary was built without its web page (make ui builds it); \
             the APIs are all here.\n",
        )
            .into_response(),
    }
}

fn not_found(request: &Request) -> Response {
    let message = format!("404 page not found: {} {}\n", request.method(), request.uri().path());
    (StatusCode::NOT_FOUND, message).into_response()
}

fn asset(path: &str, file: &rust_embed::EmbeddedFile, request: &Request) -> Response {
    let etag = format!("\"{}\"", hash_text(&file.metadata.sha256_hash()));
    let unchanged =
        request.headers().get(IF_NONE_MATCH).is_some_and(|sent| sent.as_bytes() == etag.as_bytes());
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Body::from(file.data.clone().into_owned()).into_response()
    };
    let mime = mime_guess::from_path(path).first_or_octet_stream();
    let headers = response.headers_mut();
    // Vite puts a hash of the content into the names below assets/.
    let cache = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    for (name, value) in
        [(CONTENT_TYPE, mime.as_ref()), (ETAG, etag.as_str()), (CACHE_CONTROL, cache)]
    {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    response
}

fn hash_text(hash: &[u8]) -> String {
    hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}
