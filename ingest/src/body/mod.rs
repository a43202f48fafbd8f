//! Request bodies: collected and decompressed under hard caps.
//!
//! This is the only place in the program with decompressors for bytes from the network. A length that
//! the bytes claim about themselves is checked before anything is allocated for it, and every
//! decoder streams into a buffer that cannot grow past its cap: the "decode all" helpers of the
//! compression crates are never used. What is in flight is counted in a [`Gate`].

// Lengths and times from outside are computed with here: what may overflow says what then.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod gate;
mod read;
#[cfg(test)]
mod tests;

use std::io::Read;

use bytes::Bytes;
use model::Encoding;

pub(crate) use gate::{Gate, Permit};
pub(crate) use read::{ReadError, collect, drain};

/// The largest zstd window that is honoured: 2^23 bytes, 8 MiB (`server.zstd_max_window`).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Output that is made room for beyond what a frame declares of itself. Units: bytes.
const GROWTH_BYTES_MIN: usize = 64 << 10;
/// A guess for bodies that do not tell their decoded size. Units: decoded bytes per wire byte.
const EXPANSION_GUESS: usize = 12;

/// Why a body cannot be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecompressError {
    #[error("body is not valid {encoding}: {why}")]
    Broken { encoding: &'static str, why: String },
    #[error("decompressed body is larger than {bytes_max} bytes")]
    TooBig { bytes_max: usize },
}

/// The name of an encoding in `Content-Encoding` and `grpc-encoding`.
pub(crate) fn encoding_name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Identity => "identity",
        Encoding::Gzip => "gzip",
        Encoding::Zstd => "zstd",
        Encoding::Snappy => "snappy",
        Encoding::Deflate => "deflate",
    }
}

/// The encoding of that name (RFC 9110 compares without case), or nothing.
pub(crate) fn encoding_from_name(name: &str) -> Option<Encoding> {
    let name = name.trim();
    if name.is_empty() {
        return Some(Encoding::Identity);
    }
    if name.eq_ignore_ascii_case("x-gzip") {
        return Some(Encoding::Gzip);
    }
    Encoding::ALL.into_iter().find(|&encoding| name.eq_ignore_ascii_case(encoding_name(encoding)))
}

/// What `wire` will probably take when decompressed: what it says of itself where its format has a
/// place for that, else a guess. Never more than `bytes_max`. A hint only: the bytes may lie.
pub(crate) fn decoded_bytes_hint(encoding: Encoding, wire: &[u8], bytes_max: usize) -> usize {
    let guess = wire.len().saturating_mul(EXPANSION_GUESS).max(GROWTH_BYTES_MIN);
    let hint = match encoding {
        Encoding::Identity => wire.len(),
        // The last four bytes of a gzip member hold its size modulo 2^32 (RFC 1952).
        Encoding::Gzip => match wire.last_chunk::<4>() {
            Some(&tail) if wire.len() > 18 => u32::from_le_bytes(tail) as usize,
            _ => 0,
        },
        Encoding::Snappy => snap::raw::decompress_len(wire).unwrap_or(0),
        Encoding::Zstd => match zstd::zstd_safe::get_frame_content_size(wire) {
            Ok(Some(size)) => usize::try_from(size).unwrap_or(usize::MAX),
            Ok(None) | Err(_) => guess,
        },
        Encoding::Deflate => guess,
    };
    hint.min(bytes_max)
}

/// Decompresses a whole body. Identity costs nothing.
///
/// Errors: Broken, or TooBig as soon as the output would pass `bytes_max`.
pub(crate) fn decompress(
    encoding: Encoding,
    wire: &Bytes,
    bytes_max: usize,
) -> Result<Bytes, DecompressError> {
    let hint = decoded_bytes_hint(encoding, wire, bytes_max);
    match encoding {
        Encoding::Identity if wire.len() > bytes_max => Err(DecompressError::TooBig { bytes_max }),
        Encoding::Identity => Ok(wire.clone()),
        // An empty body with an encoding is an empty body: some clients send it for "nothing".
        Encoding::Gzip | Encoding::Deflate | Encoding::Zstd if wire.is_empty() => Ok(Bytes::new()),
        Encoding::Gzip => {
            read_capped(flate2::bufread::MultiGzDecoder::new(&wire[..]), encoding, hint, bytes_max)
        }
        Encoding::Deflate => {
            read_capped(flate2::bufread::ZlibDecoder::new(&wire[..]), encoding, hint, bytes_max)
        }
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&wire[..])
                .map_err(|error| broken(encoding, error))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| broken(encoding, error))?;
            read_capped(decoder, encoding, hint, bytes_max)
        }
        Encoding::Snappy => decompress_snappy(wire, bytes_max),
    }
}

fn broken(encoding: Encoding, why: impl ToString) -> DecompressError {
    DecompressError::Broken { encoding: encoding_name(encoding), why: why.to_string() }
}

/// The block format declares its length first, and the decoder never writes more than that.
fn decompress_snappy(wire: &[u8], bytes_max: usize) -> Result<Bytes, DecompressError> {
    let length =
        snap::raw::decompress_len(wire).map_err(|error| broken(Encoding::Snappy, error))?;
    if length > bytes_max {
        return Err(DecompressError::TooBig { bytes_max });
    }
    // A copy element of three bytes makes at most 64: what claims more than that is a lie.
    if length > wire.len().saturating_mul(64) {
        return Err(broken(Encoding::Snappy, "it declares more than it can hold"));
    }
    let mut out = vec![0; length];
    let written = snap::raw::Decoder::new()
        .decompress(wire, &mut out)
        .map_err(|error| broken(Encoding::Snappy, error))?;
    out.truncate(written);
    Ok(Bytes::from(out))
}

/// Reads to the end into one buffer that starts at `hint` and never passes `bytes_max`.
fn read_capped(
    mut reader: impl Read,
    encoding: Encoding,
    hint: usize,
    bytes_max: usize,
) -> Result<Bytes, DecompressError> {
    let mut out = vec![0; hint];
    let mut filled = 0;
    loop {
        let Some(room) = out.get_mut(filled..).filter(|room| !room.is_empty()) else {
            // Full: one byte more tells the end from an overflow.
            let mut probe = [0];
            if read_some(&mut reader, &mut probe).map_err(|error| broken(encoding, error))? == 0 {
                break;
            }
            if filled >= bytes_max {
                return Err(DecompressError::TooBig { bytes_max });
            }
            let doubled = filled.saturating_mul(2).max(GROWTH_BYTES_MIN.saturating_add(filled));
            // The old buffer lives until the new one is filled: the last steps are one.
            let grown = if filled >= bytes_max / 4 { bytes_max } else { doubled.min(bytes_max) };
            out.resize(grown, 0);
            if let Some(slot) = out.get_mut(filled) {
                *slot = probe[0];
            }
            filled = filled.saturating_add(1);
            continue;
        };
        let count = read_some(&mut reader, room).map_err(|error| broken(encoding, error))?;
        if count == 0 {
            break;
        }
        filled = filled.saturating_add(count);
    }
    out.truncate(filled);
    // The buffer becomes the batch's arena and lives as long as it: give back what is not used.
    if out.capacity().saturating_sub(out.len()) > out.capacity() / 4 {
        out.shrink_to_fit();
    }
    Ok(Bytes::from(out))
}

fn read_some(reader: &mut impl Read, buf: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match reader.read(buf) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
