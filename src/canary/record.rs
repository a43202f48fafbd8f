//! What the canary sends: records that say who sent them and carry a checksum of themselves.
//!
//! A batch is one request; its records are a nanosecond apart, in one millisecond. Everything in it
//! follows from the run, the batch's name and its time, so that a repetition has the same bytes,
//! after a restart of the canary too.

use model::Signal;

/// `service.name` and `job` of everything that a canary sends.
pub const SERVICE: &str = "tercet-canary";
/// Name of the samples' metric.
pub const METRIC: &str = "tercet_canary";
/// A sample's value has the batch's number above this many bits of checksum.
const VALUE_SUM_BITS: u32 = 20;
/// Above this a batch's number and its checksum do not fit a float.
pub(super) const BATCHES_MAX: u64 = 1 << 32;

/// Which batch, in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub signal: Signal,
    pub writer: u16,
    pub seq: u64,
}

/// One record as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub writer: u16,
    pub seq: u64,
    /// Its place in the batch.
    pub index: u32,
    /// Units: ms.
    pub time_ms: i64,
    /// Of its content: sums over records tell whether two lists hold the same.
    pub hash: u64,
}

/// Everything that the batches of one canary have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Random, 48 bits, never 0.
    pub id: u64,
    pub tenant: String,
    /// Records of one batch.
    pub records: u32,
}

impl Run {
    /// As it stands in labels and attributes.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{:012x}", self.id)
    }

    /// The text of a log record, and of an attribute of a span.
    #[must_use]
    pub fn text(&self, name: Name, time_ms: i64, index: u32) -> String {
        let Name { signal, writer, seq } = name;
        let mut text = format!(
            "canary run={} tenant={} signal={} writer={writer} seq={seq} index={index} ms={time_ms} pad={:016x}",
            self.label(),
            self.tenant,
            signal.as_str(),
            mix(self.id ^ seq << 20 ^ u64::from(index)),
        );
        let sum = crc32fast::hash(text.as_bytes());
        text.push_str(&format!(" crc={sum:08x}"));
        text
    }

    /// Reads what [`Run::text`] wrote.
    ///
    /// Errors: what is wrong with it, in words.
    pub fn parse(&self, signal: Signal, text: &str) -> Result<Found, String> {
        let wrong =
            |what: &str| format!("{what}: {:?}", text.chars().take(200).collect::<String>());
        let (content, sum) = text.rsplit_once(" crc=").ok_or_else(|| wrong("no checksum"))?;
        let sum = u32::from_str_radix(sum, 16).map_err(|_| wrong("no checksum"))?;
        if crc32fast::hash(content.as_bytes()) != sum {
            return Err(wrong("the checksum does not match"));
        }
        let field = |key: &str| {
            let mut words = content.split(' ').filter_map(|word| word.split_once('='));
            words.find(|(name, _)| *name == key).map(|(_, value)| value)
        };
        if field("run") != Some(&self.label())
            || field("tenant") != Some(&self.tenant)
            || field("signal") != Some(signal.as_str())
        {
            return Err(wrong("of another run, tenant or signal"));
        }
        let number = |key: &str| field(key).and_then(|value| value.parse::<i64>().ok());
        let found = || {
            Some(Found {
                writer: u16::try_from(number("writer")?).ok()?,
                seq: u64::try_from(number("seq")?).ok()?,
                index: u32::try_from(number("index")?).ok()?,
                time_ms: number("ms")?,
                hash: mix(u64::from(sum)),
            })
        };
        found().ok_or_else(|| wrong("a number is missing"))
    }

    /// The value of a sample.
    #[must_use]
    pub fn value(&self, writer: u16, seq: u64, index: u32, time_ms: i64) -> f64 {
        let sum = self.value_sum(writer, seq, index, time_ms);
        (seq << VALUE_SUM_BITS | u64::from(sum)) as f64
    }

    fn value_sum(&self, writer: u16, seq: u64, index: u32, time_ms: i64) -> u32 {
        let of = format!("{}/{}/{writer}/{seq}/{index}/{time_ms}", self.label(), self.tenant);
        crc32fast::hash(of.as_bytes()) >> (32 - VALUE_SUM_BITS)
    }

    /// Reads what [`Run::value`] made.
    ///
    /// Errors: what is wrong with it, in words.
    pub fn parse_value(
        &self,
        (writer, index): (u16, u32),
        time_ms: i64,
        value: f64,
    ) -> Result<Found, String> {
        let bits = value as u64;
        let seq = bits >> VALUE_SUM_BITS;
        let sum = (bits & ((1 << VALUE_SUM_BITS) - 1)) as u32;
        if bits as f64 != value || sum != self.value_sum(writer, seq, index, time_ms) {
            return Err(format!(
                "the checksum does not match: sample {value} at {time_ms} ms of writer {writer}, series {index}"
            ));
        }
        let series = u64::from(writer) << 32 | u64::from(index);
        let hash = mix(mix(bits) ^ series ^ (time_ms as u64).rotate_left(24));
        Ok(Found { writer, seq, index, time_ms, hash })
    }

    /// The trace that a batch of spans makes.
    #[must_use]
    pub fn trace_id(&self, writer: u16, seq: u64) -> u128 {
        u128::from(self.id) << 80 | u128::from(writer) << 64 | u128::from(seq)
    }
}

/// Spreads bits. Source: the finaliser of MurmurHash3.
fn mix(mut bits: u64) -> u64 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ bits >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        Run { id: 0x1234_5678_9abc, tenant: "acme".to_owned(), records: 3 }
    }

    #[test]
    fn a_record_reads_back_and_a_changed_one_does_not() {
        let name = Name { signal: Signal::Logs, writer: 3, seq: 17 };
        let text = run().text(name, 1_700_000_000_123, 2);
        let found = run().parse(Signal::Logs, &text).unwrap();
        assert_eq!((found.writer, found.seq, found.index), (3, 17, 2));
        assert_eq!(found.time_ms, 1_700_000_000_123);
        for (at, _) in text.char_indices() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(run().parse(Signal::Logs, &changed).is_err(), "{changed}");
        }
        assert!(run().parse(Signal::Traces, &text).is_err());
        let other = Run { tenant: "else".to_owned(), ..run() };
        assert!(other.parse(Signal::Logs, &text).is_err());
    }

    #[test]
    fn a_sample_reads_back_and_a_changed_one_does_not() {
        let (seq, time_ms) = (BATCHES_MAX - 1, 1_700_000_000_123);
        let value = run().value(3, seq, 2, time_ms);
        let found = run().parse_value((3, 2), time_ms, value).unwrap();
        assert_eq!((found.writer, found.seq, found.index), (3, seq, 2));
        assert!(run().parse_value((3, 2), time_ms, value + 1.0).is_err());
        assert!(run().parse_value((3, 2), time_ms, value + 0.5).is_err());
        assert!(run().parse_value((3, 1), time_ms, value).is_err());
        assert!(run().parse_value((3, 2), time_ms + 1, value).is_err());
        assert!(run().parse_value((3, 2), time_ms, -1.0).is_err());
        assert!(run().parse_value((3, 2), time_ms, f64::NAN).is_err());
    }
}
