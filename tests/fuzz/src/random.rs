//! Numbers by chance from a seed: the same seed makes the same cases.

use chaos::dice::Dice;

/// What a case is made by.
#[derive(Debug, Clone)]
pub struct Random(Dice);

impl Random {
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(Dice::new(seed))
    }

    pub fn number(&mut self) -> u64 {
        self.0.number()
    }

    /// Below `limit`; 0 where there is nothing below it.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { self.number() as usize % limit }
    }

    /// One of `list`.
    ///
    /// # Panics
    /// It is empty.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// A length: short ones mostly, long ones now and then.
    pub fn length(&mut self, max: usize) -> usize {
        let bits = self.below(usize::BITS as usize - max.leading_zeros() as usize + 1);
        1 + self.below((1 << bits).min(max.max(1)))
    }
}
