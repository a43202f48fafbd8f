//! What evaluation hands from operator to operator: rows of one value a step.

use std::sync::Arc;

use model::{Histogram, Labels};

use crate::kernels::{ABSENT, is_absent};

/// One element of an instant vector at all steps.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) labels: Labels,
    /// The name goes at the end of the query (delayed name removal).
    pub(crate) drop_name: bool,
    /// Shape: one for each step, [`ABSENT`] where there is no float.
    pub(crate) floats: Vec<f64>,
    /// Shape: empty, or one for each step. A step has a float or a histogram, never both.
    pub(crate) histograms: Vec<Option<Arc<Histogram>>>,
}

/// A value at one step.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Row {
    /// A row of floats.
    pub(crate) fn of(labels: Labels, floats: Vec<f64>) -> Row {
        Row { labels, drop_name: false, floats, histograms: Vec::new() }
    }

    /// A row without any value yet.
    pub(crate) fn absent(labels: Labels, steps: usize) -> Row {
        Row::of(labels, vec![ABSENT; steps])
    }

    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        self.histograms.get(step).and_then(Option::as_ref)
    }

    pub(crate) fn cell(&self, step: usize) -> Option<Cell> {
        let float = self.floats[step];
        if is_absent(float) {
            self.histogram(step).map(|histogram| Cell::Histogram(Arc::clone(histogram)))
        } else {
            Some(Cell::Float(float))
        }
    }

    pub(crate) fn has(&self, step: usize) -> bool {
        !is_absent(self.floats[step]) || self.histogram(step).is_some()
    }

    pub(crate) fn set(&mut self, step: usize, cell: Option<Cell>) {
        match cell {
            Some(Cell::Float(value)) => {
                self.floats[step] = value;
                if !self.histograms.is_empty() {
                    self.histograms[step] = None;
                }
            }
            Some(Cell::Histogram(histogram)) => {
                if self.histograms.is_empty() {
                    self.histograms = vec![None; self.floats.len()];
                }
                self.floats[step] = ABSENT;
                self.histograms[step] = Some(histogram);
            }
            None => {
                self.floats[step] = ABSENT;
                if !self.histograms.is_empty() {
                    self.histograms[step] = None;
                }
            }
        }
    }

    /// Whether no step has a value.
    pub(crate) fn is_empty(&self) -> bool {
        self.floats.iter().all(|&value| is_absent(value))
            && self.histograms.iter().all(Option::is_none)
    }
}

/// Samples of one series at times of its own: an element of a range vector.
#[derive(Debug, Clone, Default)]
pub(crate) struct PointSeries {
    pub(crate) labels: Labels,
    /// Shape: as long as `values`; ascending. Units: ms.
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    pub(crate) histograms: Vec<(i64, Arc<Histogram>)>,
}

/// What a query gives.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Shape: one for each step.
    Scalar(Vec<f64>),
    Text(String),
    Vector(Vec<Row>),
    /// Of an instant query alone.
    Matrix(Vec<PointSeries>),
}
