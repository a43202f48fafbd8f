//! The one client for addresses that settings name (keys of an identity provider). Whoever can make
//! us fetch must not reach what only we can reach.
//!
//! Every address that a name resolves to is checked, and the connection goes to those that were
//! checked: no second lookup can answer otherwise. Redirects are followed by hand, each checked
//! again. What is fetched is never shown to anybody.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use url::{Host, Url};

use crate::config::EgressOptions;

const REDIRECTS_MAX: usize = 3;

/// Finds the addresses of a name.
pub(super) trait Lookup: Send + Sync + fmt::Debug {
    fn look_up(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Debug)]
struct SystemLookup;

impl Lookup for SystemLookup {
    fn look_up(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Decides about addresses.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) refuses: fn(IpAddr, bool) -> bool,
    pub(super) block_private: bool,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addresses = guard.lookup.look_up(name.as_str().to_owned()).await?;
            if addresses.is_empty() {
                return Err("the name has no address".into());
            }
            for &address in &addresses {
                guard.check(address)?;
            }
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

impl Guard {
    fn check(&self, address: IpAddr) -> Result<(), String> {
        if (self.refuses)(address, self.block_private) {
            return Err(format!("{address} is not asked (egress.block_private)"));
        }
        Ok(())
    }
}

/// Fetches what settings name.
#[derive(Debug)]
pub(crate) struct Egress {
    client: reqwest::Client,
    guard: Guard,
    timeout: Duration,
    response_bytes_max: usize,
}

impl Egress {
    /// Errors: the system's certificates cannot be read.
    pub(crate) fn new(options: &EgressOptions) -> Result<Egress, String> {
        let lookup = Arc::new(SystemLookup);
        let guard = Guard { lookup, refuses: is_refused, block_private: options.block_private };
        Egress::with_guard(options, guard)
    }

    pub(super) fn with_guard(options: &EgressOptions, guard: Guard) -> Result<Egress, String> {
        let timeout = Duration::from_nanos(u64::try_from(options.timeout_ns).unwrap_or(0));
        let client = reqwest::Client::builder()
            .dns_resolver(Arc::new(guard.clone()))
            .redirect(Policy::none())
            // A proxy would be told the name and do the asking.
            .no_proxy()
            .connect_timeout(timeout)
            .build()
            .map_err(|error| format!("cannot make a client for HTTPS: {error}"))?;
        let response_bytes_max = options.response_bytes_max;
        Ok(Egress { client, guard, timeout, response_bytes_max })
    }

    /// The body that an address answers with, redirects followed.
    ///
    /// Errors: why not, without a word of what came.
    pub(crate) async fn get(&self, address: &str) -> Result<Vec<u8>, String> {
        tokio::time::timeout(self.timeout, self.get_in_time(address))
            .await
            .unwrap_or_else(|_elapsed| Err("no answer in time (egress.timeout)".to_owned()))
    }

    async fn get_in_time(&self, address: &str) -> Result<Vec<u8>, String> {
        let mut url = Url::parse(address).map_err(|error| format!("no address: {error}"))?;
        for _ in 0..=REDIRECTS_MAX {
            self.check(&url)?;
            let answer = self.client.get(url.clone()).send().await;
            let mut answer = answer.map_err(|error| cause(&error.without_url()))?;
            let status = answer.status();
            if status.is_redirection() {
                let target = answer.headers().get(http::header::LOCATION);
                let target = target.and_then(|target| target.to_str().ok());
                let target = target.and_then(|target| url.join(target).ok());
                let target = target.ok_or_else(|| format!("answered {status} to nowhere"))?;
                if url.scheme() == "https" && target.scheme() != "https" {
                    return Err("a redirect leaves https".to_owned());
                }
                url = target;
                continue;
            }
            if !status.is_success() {
                return Err(format!("answered {status}"));
            }
            let mut body = Vec::new();
            while let Some(piece) =
                answer.chunk().await.map_err(|error| cause(&error.without_url()))?
            {
                if body.len().saturating_add(piece.len()) > self.response_bytes_max {
                    return Err("the answer is too large (egress.max_response_bytes)".to_owned());
                }
                body.extend_from_slice(&piece);
            }
            return Ok(body);
        }
        Err(format!("more than {REDIRECTS_MAX} redirects"))
    }

    /// Checks what the resolver never sees: the scheme, and addresses that are written as such.
    /// `Url` has turned `2130706433`, `0x7f.1` and `[::ffff:127.0.0.1]` into what they mean.
    fn check(&self, url: &Url) -> Result<(), String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{}: is not asked; only http and https are", url.scheme()));
        }
        match url.host() {
            Some(Host::Ipv4(address)) => self.guard.check(address.into()),
            Some(Host::Ipv6(address)) => self.guard.check(address.into()),
            Some(Host::Domain(_)) => Ok(()),
            None => Err("the address has no host".to_owned()),
        }
    }
}

/// The innermost reason, which is the one that helps.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Whether an address is never asked, or not while private ones are blocked.
pub(super) fn is_refused(address: IpAddr, block_private: bool) -> bool {
    match address {
        IpAddr::V4(address) => is_refused_v4(address, block_private),
        IpAddr::V6(address) => match inside(address) {
            Some(inner) => is_refused_v4(inner, block_private),
            None => is_refused_v6(address, block_private),
        },
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, NAT64, 6to4.
fn inside(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) => Some(join(g, h)),
        (0, 0, 0, 0, 0, 0) if g != 0 => Some(join(g, h)),
        (0x64, 0xff9b, 0, 0, 0, 0) => Some(join(g, h)),
        (0x2002, ..) => Some(join(b, c)),
        _ => None,
    }
}

fn is_refused_v4(address: Ipv4Addr, block_private: bool) -> bool {
    let [a, b, c, _] = address.octets();
    // This network, cloud metadata, multicast, reserved: never a server of anybody's.
    let never = a == 0 || address.is_link_local() || a >= 224;
    let private = address.is_loopback()
        || address.is_private()
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (18..20).contains(&b));
    never || block_private && private
}

fn is_refused_v6(address: Ipv6Addr, block_private: bool) -> bool {
    let first = address.segments()[0];
    let never = address.is_unspecified() || address.is_multicast() || (first & 0xffc0) == 0xfe80;
    let private = address.is_loopback() || (first & 0xfe00) == 0xfc00;
    never || block_private && private
}

#[cfg(test)]
mod tests;
