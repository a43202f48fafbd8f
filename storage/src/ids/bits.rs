//! Numbers of a fixed count of bits, packed from the lowest bit of each byte upwards.

/// Appends numbers bit by bit.
#[derive(Debug, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    pending: u64,
    /// Bits of `pending` in use, fewer than 8 between calls.
    pending_bits: u32,
}

impl BitWriter {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Appends the lowest `bits` bits of `value`. Panics: more than 32 bits at once.
    #[inline]
    pub(crate) fn push(&mut self, value: u32, bits: u32) {
        assert!(bits <= 32, "bug: {bits} bits pushed at once");
        let mask = (1u64 << bits) - 1;
        self.pending |= (u64::from(value) & mask) << self.pending_bits;
        self.pending_bits += bits;
        while self.pending_bits >= 8 {
            self.bytes.push(self.pending as u8);
            self.pending >>= 8;
            self.pending_bits -= 8;
        }
    }

    /// The bytes, the last one filled up with zeros.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.pending_bits > 0 {
            self.bytes.push(self.pending as u8);
        }
        self.bytes
    }
}

/// The `bits` (at most 32) bits at `at`; those beyond the end of `bytes` count as zero.
#[inline]
pub(crate) fn read_bits(bytes: &[u8], at: u64, bits: u32) -> u32 {
    if bits == 0 {
        return 0;
    }
    let Ok(byte) = usize::try_from(at / 8) else { return 0 };
    let rest = bytes.get(byte..).unwrap_or_default();
    let word = match rest.first_chunk::<8>() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    };
    let mask = (1u64 << bits.min(32)) - 1;
    ((word >> (at % 8)) & mask) as u32
}

/// Bits that every number up to `max` fits in.
pub(crate) fn width(max: u32) -> u32 {
    32 - max.leading_zeros()
}
