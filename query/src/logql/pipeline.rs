//! A pipeline and what a metric query takes out of its records.

use storage::{Direction, RegexLimits};

use super::ast::{Conversion, Grouping, LogExpr, RangeAggregation, RangeOp, StageExpr, Unwrap};
use super::error::Result;
use super::labels::{Base, Category, DUPLICATE_SUFFIX, ERROR, Hints, LabelSet};
use super::number::{parse_bytes, parse_go_duration};
use super::stage::{Line, Stage, build};

/// Marks records whose label could not be turned into a sample.
const EXTRACTION_ERROR: &str = "SampleExtractionErr";

/// Stages in order.
#[derive(Debug)]
pub(crate) struct Pipeline {
    stages: Vec<Box<dyn Stage>>,
}

impl Pipeline {
    /// Builds the stages.
    ///
    /// Errors: Invalid.
    pub(crate) fn build(stages: &[StageExpr], limits: RegexLimits) -> Result<Pipeline> {
        let stages = stages.iter().map(|stage| build(stage, limits));
        Ok(Pipeline { stages: stages.collect::<Result<_>>()? })
    }

    /// Answers whether the record passes.
    pub(crate) fn process(&self, line: &mut Line<'_>, labels: &mut LabelSet) -> bool {
        self.stages.iter().all(|stage| stage.process(line, labels))
    }

    fn required_labels(&self) -> Vec<String> {
        let mut names = Vec::new();
        for stage in &self.stages {
            stage.required_labels(&mut names);
        }
        names
    }
}

/// How a record becomes a sample.
#[derive(Debug)]
enum Sample {
    One,
    LineBytes,
    Label { name: String, conversion: Conversion, filters: Pipeline },
}

/// The labels that a sample keeps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kept {
    All,
    Nothing,
    /// Sorted.
    By(Vec<String>),
    Without(Vec<String>),
}

/// Takes the sample of a range aggregation out of each record.
#[derive(Debug)]
pub(crate) struct Extractor {
    pipeline: Pipeline,
    sample: Sample,
    pub(crate) kept: Kept,
    pub(crate) hints: Hints,
}

impl Extractor {
    /// `outer` is the grouping of a `sum` around the range aggregation: labels that it throws away
    /// need not be parsed. `stages` are those of the query that storage has not taken over.
    ///
    /// Errors: Invalid.
    pub(crate) fn build(
        range: &RangeAggregation,
        outer: Option<&Grouping>,
        stages: &[StageExpr],
        limits: RegexLimits,
    ) -> Result<Extractor> {
        let pipeline = Pipeline::build(stages, limits)?;
        let grouping = outer.or(range.grouping.as_ref());
        let kept = kept(range, grouping);
        let sample = match (&range.unwrap, range.op) {
            (Some(unwrap), _) => unwrapped(unwrap, limits)?,
            (None, RangeOp::Bytes | RangeOp::BytesRate) => Sample::LineBytes,
            (None, _) => Sample::One,
        };
        let hints = hints(&pipeline, &sample, grouping, &kept);
        Ok(Extractor { pipeline, sample, kept, hints })
    }

    /// Whether samples come from a label.
    pub(crate) fn is_unwrapped(&self) -> bool {
        matches!(self.sample, Sample::Label { .. })
    }

    /// The sample of one record whose metadata are set already, or nothing.
    pub(crate) fn extract(&self, line: &mut Line<'_>, labels: &mut LabelSet) -> Option<f64> {
        if !self.pipeline.process(line, labels) {
            return None;
        }
        match &self.sample {
            Sample::One => Some(1.0),
            Sample::LineBytes => Some(line.text.len() as f64),
            Sample::Label { name, conversion, filters } => {
                let text = labels.value(name);
                if text.is_empty() {
                    return None;
                }
                let value = match convert(*conversion, text) {
                    Ok(value) => value,
                    Err(why) => {
                        labels.set_error(EXTRACTION_ERROR, why);
                        0.0
                    }
                };
                filters.process(line, labels).then_some(value)
            }
        }
    }

    /// The key of the series that the record's sample belongs to, see [`LabelSet::key`].
    pub(crate) fn key<'a>(&self, labels: &'a mut LabelSet) -> &'a [u8] {
        // An error must not get lost in a grouping.
        if labels.has_error() {
            return labels.key(|_, _| true);
        }
        match &self.kept {
            Kept::All => labels.key(|_, _| true),
            Kept::Nothing => &[],
            Kept::By(names) => labels.key_of(names),
            Kept::Without(names) => {
                labels.key(|name, _| !names.iter().any(|dropped| dropped == name))
            }
        }
    }
}

fn kept(range: &RangeAggregation, grouping: Option<&Grouping>) -> Kept {
    if range.op == RangeOp::Absent {
        return Kept::Nothing;
    }
    let unwrapped = range.unwrap.as_ref().map(|unwrap| unwrap.label.clone());
    let mut names = grouping.map(|grouping| grouping.names.clone()).unwrap_or_default();
    names.sort();
    names.dedup();
    match grouping {
        Some(grouping) if grouping.names.is_empty() && !grouping.without => Kept::Nothing,
        Some(grouping) if !grouping.without => Kept::By(names),
        // What a sample was taken from is no label of its series.
        _ => {
            names.extend(unwrapped);
            if names.is_empty() { Kept::All } else { Kept::Without(names) }
        }
    }
}

fn hints(pipeline: &Pipeline, sample: &Sample, grouping: Option<&Grouping>, kept: &Kept) -> Hints {
    let mut required = pipeline.required_labels();
    if let Some(grouping) = grouping {
        required.extend(grouping.names.iter().cloned());
    }
    if let Sample::Label { name, filters, .. } = sample {
        required.push(name.clone());
        required.extend(filters.required_labels());
    }
    let preserve_error =
        grouping.is_some_and(|grouping| grouping.names.iter().any(|name| name == ERROR));
    let stripped: Vec<String> = required
        .iter()
        .filter_map(|name| name.strip_suffix(DUPLICATE_SUFFIX).map(str::to_owned))
        .collect();
    required.extend(stripped);
    required.retain(|name| !name.is_empty());
    required.sort();
    required.dedup();
    match kept {
        Kept::Nothing if required.is_empty() => {
            Hints { no_labels: true, preserve_error, ..Hints::default() }
        }
        Kept::Nothing | Kept::By(_) => Hints { required, preserve_error, no_labels: false },
        Kept::All | Kept::Without(_) => Hints { preserve_error, ..Hints::default() },
    }
}

fn unwrapped(unwrap: &Unwrap, limits: RegexLimits) -> Result<Sample> {
    let filters: Vec<StageExpr> =
        unwrap.filters.iter().cloned().map(StageExpr::LabelFilter).collect();
    Ok(Sample::Label {
        name: unwrap.label.clone(),
        conversion: unwrap.conversion,
        filters: Pipeline::build(&filters, limits)?,
    })
}

fn convert(conversion: Conversion, text: &str) -> std::result::Result<f64, String> {
    match conversion {
        Conversion::Number => super::stage::parse_go_float(text),
        Conversion::Bytes => parse_bytes(text)
            .map(|bytes| bytes as f64)
            .ok_or_else(|| format!("unhandled size name: {text}")),
        Conversion::Duration | Conversion::DurationSeconds => {
            parse_go_duration(text).map(|ns| ns as f64 / 1e9)
        }
    }
}

/// What storage is asked for in place of the first stages of a pipeline.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct PushDown {
    /// Each occurs in every line that can pass.
    pub(crate) needles: Vec<Vec<u8>>,
    /// Stages that are left to do.
    pub(crate) stages: Vec<StageExpr>,
}

/// Needles shorter than this prune nothing. Units: bytes.
const NEEDLE_BYTES_MIN: usize = 3;

/// Moves line filters into the scan as far as the line is still as it was stored. A plain needle is
/// moved, of a regular expression its literals are added.
pub(crate) fn push_down(log: &LogExpr) -> PushDown {
    use super::ast::{LineFilter, LineOp, Needle};
    let mut plan = PushDown::default();
    let mut line_changed = false;
    for stage in &log.stages {
        line_changed |=
            matches!(stage, StageExpr::LineFormat(_) | StageExpr::Unpack | StageExpr::Decolorize);
        if let (StageExpr::LineFilter(LineFilter { op, needles }), false) = (stage, line_changed)
            && let [Needle::Text(text)] = needles.as_slice()
        {
            match op {
                LineOp::Contains => {
                    if !text.is_empty() {
                        plan.needles.push(text.as_bytes().to_vec());
                    }
                    continue;
                }
                LineOp::Regex => plan.needles.extend(required_literals(text)),
                _ => {}
            }
        }
        plan.stages.push(stage.clone());
    }
    plan.needles.dedup();
    plan
}

/// Literals that occur in whatever the pattern matches.
fn required_literals(pattern: &str) -> Vec<Vec<u8>> {
    use regex_syntax::hir::{Hir, HirKind};
    fn walk(hir: &Hir, out: &mut Vec<Vec<u8>>) {
        match hir.kind() {
            HirKind::Literal(literal) if literal.0.len() >= NEEDLE_BYTES_MIN => {
                out.push(literal.0.to_vec());
            }
            HirKind::Capture(capture) => walk(&capture.sub, out),
            HirKind::Concat(parts) => parts.iter().for_each(|part| walk(part, out)),
            HirKind::Repetition(repetition) if repetition.min > 0 => walk(&repetition.sub, out),
            _ => {}
        }
    }
    let mut out = Vec::new();
    if let Ok(hir) = regex_syntax::parse(&super::regex::rust_pattern(pattern)) {
        walk(&hir, &mut out);
    }
    out
}

/// Labels of one record for an answer, by category.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Categorized {
    pub(crate) stream: Vec<(String, String)>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) parsed: Vec<(String, String)>,
}

impl Categorized {
    pub(crate) fn of(labels: &mut LabelSet) -> Categorized {
        let mut sorted = Categorized::default();
        for (name, value, category) in labels.labels() {
            let target = match category {
                Category::Stream => &mut sorted.stream,
                Category::Metadata => &mut sorted.metadata,
                Category::Parsed => &mut sorted.parsed,
            };
            target.push((name.to_owned(), value.to_owned()));
        }
        sorted
    }

    /// All labels in order of name.
    pub(crate) fn merged(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> =
            [&self.stream, &self.metadata, &self.parsed].into_iter().flatten().cloned().collect();
        all.sort();
        all
    }
}

/// The fields of a line that is JSON, else of one that is logfmt, and which of the two it was.
pub(crate) fn parse_fields(
    stream: &[(String, String)],
    text: &str,
) -> (Vec<(String, String)>, bool) {
    let is_json = text.trim_start().starts_with('{');
    let expr = if is_json {
        StageExpr::Json(Vec::new())
    } else {
        StageExpr::Logfmt { strict: false, keep_empty: false, fields: Vec::new() }
    };
    // Neither parser knows of patterns.
    let limits = RegexLimits { pattern_bytes_max: 0, program_bytes_max: 0 };
    let Ok(stage) = build(&expr, limits) else { return (Vec::new(), is_json) };
    let pairs = stream.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut labels = LabelSet::new(Hints::default());
    labels.reset(&Base::new(&model::Labels::from_pairs(pairs)));
    stage.process(&mut Line { time_ns: 0, text: text.into() }, &mut labels);
    (Categorized::of(&mut labels).parsed, is_json)
}

/// What a log query asks for beside its text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogWindow {
    /// Half-open. Units: ns.
    pub(crate) start_ns: i64,
    pub(crate) end_ns: i64,
    pub(crate) limit: usize,
    pub(crate) direction: Direction,
}

/// The shared labels of a stream and an empty working set, for tests of one record.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn working_set(labels: &model::Labels, hints: Hints) -> LabelSet {
    let mut set = LabelSet::new(hints);
    set.reset(&Base::new(labels));
    set
}
