//! Which attributes hold IDs.

/// Declared ID fields, compared without case and without `-`, `_` and `.`.
#[derive(Debug, Clone, Default)]
pub(crate) struct IdFields {
    /// In normal form.
    fields: Vec<String>,
    /// Last two letters of each: nearly every other key is told apart by them.
    tails: Vec<[u8; 2]>,
    shortest: usize,
}

fn is_kept(byte: u8) -> bool {
    !matches!(byte, b'-' | b'_' | b'.')
}

impl IdFields {
    /// Takes fields as they stand in the options, or already in normal form.
    pub(crate) fn new(fields: &[String]) -> IdFields {
        let fields: Vec<String> = fields
            .iter()
            .map(|field| {
                let kept = field.chars().filter(|c| !matches!(c, '-' | '_' | '.'));
                kept.map(|c| c.to_ascii_lowercase()).collect::<String>()
            })
            .filter(|field| field.len() >= 2)
            .collect();
        let mut tails: Vec<[u8; 2]> =
            fields.iter().filter_map(|field| field.as_bytes().last_chunk().copied()).collect();
        tails.sort_unstable();
        tails.dedup();
        let shortest = fields.iter().map(String::len).min().unwrap_or(usize::MAX);
        IdFields { fields, tails, shortest }
    }

    /// Whether `key` is one of the fields.
    #[inline]
    pub(crate) fn contains(&self, key: &str) -> bool {
        let bytes = key.as_bytes();
        let Some(&[before, last]) = bytes.last_chunk::<2>() else { return false };
        let tail = [before.to_ascii_lowercase(), last.to_ascii_lowercase()];
        let plain = is_kept(before) && is_kept(last);
        if bytes.len() < self.shortest || (plain && !self.tails.contains(&tail)) {
            return false;
        }
        self.fields.iter().any(|field| {
            bytes.len() >= field.len()
                && bytes
                    .iter()
                    .filter(|&&byte| is_kept(byte))
                    .map(u8::to_ascii_lowercase)
                    .eq(field.bytes())
        })
    }
}
