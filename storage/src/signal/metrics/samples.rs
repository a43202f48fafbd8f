//! The samples of one series while they are read, merged or written.

use std::sync::Arc;

use model::Histogram;

/// Floats as parallel vectors and native histograms, both ascending by time.
#[derive(Debug, Default)]
pub(crate) struct SeriesSamples {
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    pub(crate) histograms: Vec<(i64, Arc<Histogram>)>,
}

impl SeriesSamples {
    pub(crate) fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
    }

    /// Takes in what `other` holds and leaves it empty; of two samples of one time that of `self`
    /// stays. Runs that follow each other are only appended.
    pub(crate) fn merge(&mut self, other: &mut SeriesSamples) {
        let follows = match (self.times.last(), other.times.first()) {
            (Some(last), Some(first)) => first > last,
            _ => true,
        };
        if follows {
            self.times.append(&mut other.times);
            self.values.append(&mut other.values);
        } else {
            self.merge_floats(other);
        }
        let follows = match (self.histograms.last(), other.histograms.first()) {
            (Some(last), Some(first)) => first.0 > last.0,
            _ => true,
        };
        self.histograms.append(&mut other.histograms);
        if !follows {
            // Stable: what was there first comes first.
            self.histograms.sort_by_key(|entry| entry.0);
            self.histograms.dedup_by_key(|entry| entry.0);
        }
    }

    fn merge_floats(&mut self, other: &mut SeriesSamples) {
        let count = self.times.len() + other.times.len();
        let (mut times, mut values) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut left = self.times.iter().zip(&self.values).peekable();
        let mut right = other.times.iter().zip(&other.values).peekable();
        loop {
            let (time, value) = match (left.peek(), right.peek()) {
                (Some((a, _)), Some((b, _))) if a > b => right.next(),
                (Some((a, _)), Some((b, _))) => {
                    if a == b {
                        right.next();
                    }
                    left.next()
                }
                (Some(_), None) => left.next(),
                (None, _) => right.next(),
            }
            .map_or((None, None), |(time, value)| (Some(*time), Some(*value)));
            let (Some(time), Some(value)) = (time, value) else { break };
            times.push(time);
            values.push(value);
        }
        self.times = times;
        self.values = values;
        other.times.clear();
        other.values.clear();
    }

    /// Leaves out histograms at whose time there is a float.
    pub(crate) fn settle(&mut self) {
        if !self.histograms.is_empty() && !self.times.is_empty() {
            let times = &self.times;
            self.histograms.retain(|entry| times.binary_search(&entry.0).is_err());
        }
    }
}
