//! One request of a connection: what its headers may be, and the way to the router and back.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Response, StatusCode, Version};
use hyper::body::Incoming;
use model::ErrorId;
use tower::ServiceExt as _;

use super::Peer;
use super::body::{Answer, RequestGuard, TimedBody};
use super::vitals::Vitals;

/// Answers the requests of one connection.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    router: Router,
    peer: Peer,
    vitals: Arc<Vitals>,
}

impl Exchange {
    pub(super) fn new(router: Router, peer: Peer, vitals: Arc<Vitals>) -> Exchange {
        Exchange { router, peer, vitals }
    }

    /// The answer to one request.
    pub(super) fn answer(
        &self,
        request: hyper::Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Answer>, Infallible>> + use<> {
        let guard = RequestGuard::begin(&self.vitals);
        let (router, peer, vitals) =
            (self.router.clone(), self.peer.clone(), Arc::clone(&self.vitals));
        async move {
            let is_http1 = request.version() < Version::HTTP_2;
            if let Err(refused) = check(&vitals, request.headers(), is_http1) {
                return Ok(refused.answer(is_http1, guard));
            }
            let late = Arc::new(AtomicBool::new(false));
            let mut request = request.map(|body| {
                if http_body::Body::is_end_stream(&body) {
                    return Body::empty();
                }
                Body::new(TimedBody::new(body, vitals, Arc::clone(&late)))
            });
            request.extensions_mut().insert(peer);
            let Ok(response) = router.oneshot(request).await;
            if late.load(Ordering::Relaxed) {
                let refused = Refused {
                    status: StatusCode::REQUEST_TIMEOUT,
                    id: ErrorId::BodyLate,
                    what: "the body came more slowly than server.body_min_rate and \
                           server.body_deadline allow",
                };
                return Ok(refused.answer(is_http1, guard));
            }
            Ok(response.map(|body| Answer::new(body, guard)))
        }
    }
}

/// Why a request does not come to its handler.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    id: ErrorId,
    what: &'static str,
}

impl Refused {
    /// An answer that ends the connection where one request is all that it carries.
    fn answer(self, is_http1: bool, guard: RequestGuard) -> Response<Answer> {
        let Refused { status, id, what } = self;
        let text = format!("tercet-err-{}: {what}\n", id.as_str());
        let mut response = Response::new(Answer::new(Body::from(text), guard));
        *response.status_mut() = status;
        if is_http1 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Checks what no handler should have to look at.
///
/// Errors: why not.
fn check(vitals: &Vitals, headers: &HeaderMap, is_http1: bool) -> Result<(), Refused> {
    if is_http1 {
        let head = vitals.take_head();
        // Two lengths: a proxy in front of us may have believed the other one. hyper shows us
        // the one that counts, so we look at what came; headers that came while another request
        // was being answered were not kept, and nobody sends such a request in good faith.
        if headers.contains_key(TRANSFER_ENCODING) && head.is_none_or(|head| has_length(&head)) {
            return Err(Refused {
                status: StatusCode::BAD_REQUEST,
                id: ErrorId::TwoLengths,
                what: "transfer-encoding and content-length in one request, or a chunked request \
                       behind one that is not answered yet",
            });
        }
    }
    if headers.len() > vitals.limits.headers_max() {
        return Err(Refused {
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            id: ErrorId::TooManyHeaders,
            what: "more headers than server.max_headers",
        });
    }
    let bytes: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > vitals.limits.header_bytes_max() as usize {
        return Err(Refused {
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            id: ErrorId::HeadersTooBig,
            what: "headers are larger than server.max_header_bytes",
        });
    }
    Ok(())
}

/// Whether these headers, as they came, have a `Content-Length`.
fn has_length(head: &[u8]) -> bool {
    head.split(|&byte| byte == b'\n').any(|line| {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"content-length")
    })
}
