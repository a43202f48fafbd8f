//! Addresses: one, a network (`10.0.0.0/8`) or a range (`10.0.0.1-10.0.0.9`).

use std::net::IpAddr;

/// Which addresses match.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum IpMatcher {
    One(IpAddr),
    Network {
        address: IpAddr,
        bits: u8,
    },
    /// Closed.
    Range {
        first: IpAddr,
        last: IpAddr,
    },
}

impl IpMatcher {
    pub(super) fn parse(text: &str) -> Result<IpMatcher, String> {
        let wrong = || format!("ip: invalid pattern: {text:?}");
        if let Some((first, last)) = text.split_once('-') {
            let first = first.trim().parse::<IpAddr>().map_err(|_error| wrong())?;
            let last = last.trim().parse::<IpAddr>().map_err(|_error| wrong())?;
            if first.is_ipv4() != last.is_ipv4() || first > last {
                return Err(wrong());
            }
            return Ok(IpMatcher::Range { first, last });
        }
        if let Some((address, bits)) = text.split_once('/') {
            let address = address.parse::<IpAddr>().map_err(|_error| wrong())?;
            let bits = bits.parse::<u8>().map_err(|_error| wrong())?;
            if bits > if address.is_ipv4() { 32 } else { 128 } {
                return Err(wrong());
            }
            return Ok(IpMatcher::Network { address, bits });
        }
        Ok(IpMatcher::One(text.parse().map_err(|_error| wrong())?))
    }

    pub(super) fn matches(&self, ip: IpAddr) -> bool {
        match self {
            IpMatcher::One(one) => *one == ip,
            IpMatcher::Range { first, last } => {
                first.is_ipv4() == ip.is_ipv4() && *first <= ip && ip <= *last
            }
            IpMatcher::Network { address, bits } => match (address, ip) {
                (IpAddr::V4(network), IpAddr::V4(ip)) => {
                    let shift = 32 - u32::from(*bits);
                    (u64::from(network.to_bits()) >> shift) == (u64::from(ip.to_bits()) >> shift)
                }
                (IpAddr::V6(network), IpAddr::V6(ip)) => {
                    let shift = 128 - u32::from(*bits);
                    network.to_bits().checked_shr(shift) == ip.to_bits().checked_shr(shift)
                }
                _ => false,
            },
        }
    }

    /// Whether a label's value is a matching address.
    pub(super) fn matches_text(&self, text: &str) -> bool {
        text.parse().is_ok_and(|ip| self.matches(ip))
    }

    /// Whether a matching address stands somewhere in the line.
    pub(super) fn occurs_in(&self, line: &str) -> bool {
        let bytes = line.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let (is_start, allowed): (bool, fn(&u8) -> bool) = if starts_ipv4(rest) {
                (true, |b| b.is_ascii_digit() || *b == b'.')
            } else if starts_ipv6(rest) {
                (true, |b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
            } else {
                (false, |_| false)
            };
            if !is_start {
                at += 1;
                continue;
            }
            let length = rest.iter().position(|b| !allowed(b)).unwrap_or(rest.len());
            if line.get(at..at + length).is_some_and(|text| self.matches_text(text)) {
                return true;
            }
            at += length.max(1);
        }
        false
    }
}

/// One to three digits and a dot.
fn starts_ipv4(bytes: &[u8]) -> bool {
    let digits = bytes.iter().take(4).take_while(|b| b.is_ascii_digit()).count();
    (1..=3).contains(&digits) && bytes.get(digits) == Some(&b'.')
}

/// Up to four hex digits and a colon, or two colons.
fn starts_ipv6(bytes: &[u8]) -> bool {
    if bytes.starts_with(b"::") {
        return true;
    }
    let digits = bytes.iter().take(5).take_while(|b| b.is_ascii_hexdigit()).count();
    (1..=4).contains(&digits) && bytes.get(digits) == Some(&b':')
}
