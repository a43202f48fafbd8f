//! Every function: one line in [`FUNCTIONS`] with its signature, what it does and an example, and
//! one function for the work. Tables that users see are made of this list.

mod date;
mod math;

use super::ast::Type;
use crate::kernels::Rollup;

pub(crate) use date::Date;

/// A function of the language.
#[derive(Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "doc and example are for the table of functions and its test")
)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// Types of the arguments; the last may be optional or repeated, see `variadic`.
    pub(crate) args: &'static [Type],
    /// 0: all arguments needed. n: the last may be left out or come up to n times. -1: any number.
    pub(crate) variadic: i8,
    pub(crate) returns: Type,
    pub(crate) run: Run,
    pub(crate) doc: &'static str,
    pub(crate) example: &'static str,
}

/// How a function works.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Run {
    /// On each float by itself, with the scalar arguments of the step.
    Map(fn(f64, &[f64]) -> f64),
    /// On each float as a time in seconds; on the step's time where no vector is given.
    Date(fn(&Date) -> f64),
    /// On the window before each step.
    Range(RangeRun),
    /// In a way of its own.
    Special(Special),
}

/// A range function: its kernel over floats, from the scalar arguments of the step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RangeRun {
    pub(crate) rollup: fn(&[f64]) -> Rollup,
    pub(crate) histograms: OnHistograms,
    pub(crate) keeps_name: bool,
}

/// What a range function does with native histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnHistograms {
    /// Leaves them out, with a note where floats are there too.
    Ignores,
    /// Counts or looks at samples of any kind.
    Mixes,
    Sums,
    Averages,
    Rates,
    Irates,
}

/// Functions that need more than values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    Absent,
    AbsentOverTime,
    Time,
    Start,
    End,
    Step,
    Range,
    MinOf,
    MaxOf,
    Pi,
    Scalar,
    Vector,
    Timestamp,
    StartTimestamp,
    LabelReplace,
    LabelJoin,
    Sort,
    SortDesc,
    SortByLabel,
    SortByLabelDesc,
    Info,
    HistogramQuantile,
    HistogramQuantiles,
    HistogramFraction,
    HistogramCount,
    HistogramSum,
    HistogramAvg,
    HistogramStddev,
    HistogramStdvar,
}

impl Function {
    /// Fewest and most arguments.
    pub(crate) fn arg_counts(&self) -> (usize, usize) {
        let named = self.args.len();
        match self.variadic {
            0 => (named, named),
            repeats if repeats < 0 => (named - 1, usize::MAX),
            repeats => (named - 1, named - 1 + repeats.unsigned_abs() as usize),
        }
    }

    /// Whether the result may differ from step to step although the arguments do not.
    pub(crate) fn depends_on_time(&self) -> bool {
        matches!(self.run, Run::Date(_) | Run::Special(Special::Time | Special::Timestamp))
            || self.name == "predict_linear"
    }
}

/// The function of a name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok().map(|at| &FUNCTIONS[at])
}

const V: &[Type] = &[Type::Vector];
const M: &[Type] = &[Type::Matrix];
const NONE: &[Type] = &[];

const fn map(
    name: &'static str,
    run: fn(f64, &[f64]) -> f64,
    doc: &'static str,
    example: &'static str,
) -> Function {
    Function { name, args: V, variadic: 0, returns: Type::Vector, run: Run::Map(run), doc, example }
}

const fn map_with(
    name: &'static str,
    args: &'static [Type],
    variadic: i8,
    run: fn(f64, &[f64]) -> f64,
    doc: &'static str,
    example: &'static str,
) -> Function {
    Function { name, args, variadic, returns: Type::Vector, run: Run::Map(run), doc, example }
}

const fn date(
    name: &'static str,
    run: fn(&Date) -> f64,
    doc: &'static str,
    example: &'static str,
) -> Function {
    Function {
        name,
        args: V,
        variadic: 1,
        returns: Type::Vector,
        run: Run::Date(run),
        doc,
        example,
    }
}

const fn range(
    name: &'static str,
    args: &'static [Type],
    histograms: OnHistograms,
    rollup: fn(&[f64]) -> Rollup,
    doc: &'static str,
    example: &'static str,
) -> Function {
    let run = Run::Range(RangeRun { rollup, histograms, keeps_name: false });
    Function { name, args, variadic: 0, returns: Type::Vector, run, doc, example }
}

const fn edge(
    name: &'static str,
    rollup: fn(&[f64]) -> Rollup,
    doc: &'static str,
    example: &'static str,
) -> Function {
    let run = Run::Range(RangeRun { rollup, histograms: OnHistograms::Mixes, keeps_name: true });
    Function { name, args: M, variadic: 0, returns: Type::Vector, run, doc, example }
}

const fn special(
    name: &'static str,
    args: &'static [Type],
    variadic: i8,
    returns: Type,
    special: Special,
    doc: &'static str,
    example: &'static str,
) -> Function {
    Function { name, args, variadic, returns, run: Run::Special(special), doc, example }
}

use OnHistograms::{Averages, Ignores, Irates, Mixes, Rates, Sums};
use Type::{Matrix as TM, Scalar as TS, Text as TT, Vector as TV};

/// All functions, ascending by name.
#[rustfmt::skip]
pub(crate) static FUNCTIONS: &[Function] = &[
    map("abs", |v, _| v.abs(), "Absolute value.", "abs(delta(temperature[1h]))"),
    special("absent", V, 0, TV, Special::Absent, "1 where the vector has no element.", "absent(up{job=\"api\"})"),
    special("absent_over_time", M, 0, TV, Special::AbsentOverTime, "1 where the range has no sample.", "absent_over_time(up[1h])"),
    map("acos", |v, _| v.acos(), "Arc cosine.", "acos(x)"),
    map("acosh", |v, _| v.acosh(), "Inverse hyperbolic cosine.", "acosh(x)"),
    map("asin", |v, _| v.asin(), "Arc sine.", "asin(x)"),
    map("asinh", |v, _| v.asinh(), "Inverse hyperbolic sine.", "asinh(x)"),
    map("atan", |v, _| v.atan(), "Arc tangent.", "atan(x)"),
    map("atanh", |v, _| v.atanh(), "Inverse hyperbolic tangent.", "atanh(x)"),
    range("avg_over_time", M, Averages, |_| Rollup::Avg, "Mean of the range's samples.", "avg_over_time(load[5m])"),
    map("ceil", |v, _| v.ceil(), "Rounded up.", "ceil(x)"),
    range("changes", M, Mixes, |_| Rollup::Changes, "How often the value changed.", "changes(version[1d])"),
    map_with("clamp", &[TV, TS, TS], 0, math::clamp, "Held between two bounds.", "clamp(x, 0, 1)"),
    map_with("clamp_max", &[TV, TS], 0, math::clamp_max, "Held at an upper bound.", "clamp_max(x, 1)"),
    map_with("clamp_min", &[TV, TS], 0, math::clamp_min, "Held at a lower bound.", "clamp_min(x, 0)"),
    map("cos", |v, _| v.cos(), "Cosine.", "cos(x)"),
    map("cosh", |v, _| v.cosh(), "Hyperbolic cosine.", "cosh(x)"),
    range("count_over_time", M, Mixes, |_| Rollup::Count, "How many samples the range has.", "count_over_time(up[5m])"),
    date("day_of_month", |d| d.day, "Day of the month, 1 to 31, in UTC.", "day_of_month()"),
    date("day_of_week", |d| d.weekday, "Day of the week, 0 being Sunday.", "day_of_week()"),
    date("day_of_year", |d| d.day_of_year, "Day of the year, 1 to 366.", "day_of_year()"),
    date("days_in_month", |d| d.days_in_month, "Days of the month, 28 to 31.", "days_in_month()"),
    map("deg", |v, _| v * 180.0 / std::f64::consts::PI, "Radians to degrees.", "deg(x)"),
    range("delta", M, Rates, |_| Rollup::Delta, "Difference over the range, extrapolated; for gauges.", "delta(temperature[2h])"),
    range("deriv", M, Ignores, |_| Rollup::Deriv, "Slope per second by linear regression.", "deriv(disk_free[1h])"),
    range("double_exponential_smoothing", &[TM, TS, TS], Ignores, math::smoothing, "Smoothed value with trend.", "double_exponential_smoothing(x[1h], 0.5, 0.5)"),
    special("end", NONE, 0, TS, Special::End, "End of the query in seconds.", "end()"),
    map("exp", |v, _| v.exp(), "e to the power of the value.", "exp(x)"),
    edge("first_over_time", |_| Rollup::First, "The range's first sample.", "first_over_time(x[5m])"),
    map("floor", |v, _| v.floor(), "Rounded down.", "floor(x)"),
    special("histogram_avg", V, 0, TV, Special::HistogramAvg, "Mean observation of a native histogram.", "histogram_avg(rate(latency[5m]))"),
    special("histogram_count", V, 0, TV, Special::HistogramCount, "Observations of a native histogram.", "histogram_count(rate(latency[5m]))"),
    special("histogram_fraction", &[TS, TS, TV], 0, TV, Special::HistogramFraction, "Share of observations between two bounds.", "histogram_fraction(0, 0.2, rate(latency[5m]))"),
    special("histogram_quantile", &[TS, TV], 0, TV, Special::HistogramQuantile, "Quantile of classic or native histograms.", "histogram_quantile(0.9, sum by (le) (rate(latency_bucket[5m])))"),
    special("histogram_quantiles", &[TV, TT, TS, TS], 9, TV, Special::HistogramQuantiles, "Several quantiles, each under a label.", "histogram_quantiles(rate(latency[5m]), \"q\", 0.5, 0.9)"),
    special("histogram_stddev", V, 0, TV, Special::HistogramStddev, "Standard deviation of a native histogram.", "histogram_stddev(latency)"),
    special("histogram_stdvar", V, 0, TV, Special::HistogramStdvar, "Variance of a native histogram.", "histogram_stdvar(latency)"),
    special("histogram_sum", V, 0, TV, Special::HistogramSum, "Sum of a native histogram's observations.", "histogram_sum(rate(latency[5m]))"),
    range("holt_winters", &[TM, TS, TS], Ignores, math::smoothing, "Old name of double_exponential_smoothing.", "holt_winters(x[1h], 0.5, 0.5)"),
    date("hour", |d| d.hour, "Hour of the day in UTC.", "hour()"),
    range("idelta", M, Irates, |_| Rollup::Idelta, "Difference of the last two samples.", "idelta(x[5m])"),
    range("increase", M, Rates, |_| Rollup::Increase, "Increase of a counter over the range, extrapolated.", "increase(requests_total[5m])"),
    special("info", &[TV, TV], 1, TV, Special::Info, "With the labels of matching info series.", "info(rate(requests_total[5m]))"),
    range("irate", M, Irates, |_| Rollup::Irate, "Per-second increase between the last two samples.", "irate(requests_total[5m])"),
    special("label_join", &[TV, TT, TT, TT], -1, TV, Special::LabelJoin, "A label made of other labels.", "label_join(up, \"all\", \",\", \"job\", \"instance\")"),
    special("label_replace", &[TV, TT, TT, TT, TT], 0, TV, Special::LabelReplace, "A label made by a pattern.", "label_replace(up, \"host\", \"$1\", \"instance\", \"(.*):.*\")"),
    edge("last_over_time", |_| Rollup::Last, "The range's last sample.", "last_over_time(x[1h])"),
    map("ln", |v, _| v.ln(), "Natural logarithm.", "ln(x)"),
    map("log10", |v, _| v.log10(), "Decimal logarithm.", "log10(x)"),
    map("log2", |v, _| v.log2(), "Binary logarithm.", "log2(x)"),
    range("mad_over_time", M, Ignores, |_| Rollup::Mad, "Median absolute deviation.", "mad_over_time(x[1h])"),
    special("max_of", &[TS, TS], 0, TS, Special::MaxOf, "The larger of two scalars.", "max_of(1, 2)"),
    range("max_over_time", M, Ignores, |_| Rollup::Max, "The range's largest value.", "max_over_time(load[1h])"),
    special("min_of", &[TS, TS], 0, TS, Special::MinOf, "The smaller of two scalars.", "min_of(1, 2)"),
    range("min_over_time", M, Ignores, |_| Rollup::Min, "The range's smallest value.", "min_over_time(load[1h])"),
    date("minute", |d| d.minute, "Minute of the hour in UTC.", "minute()"),
    date("month", |d| d.month, "Month of the year, 1 to 12.", "month()"),
    special("pi", NONE, 0, TS, Special::Pi, "The number pi.", "pi()"),
    range("predict_linear", &[TM, TS], Ignores, |p| Rollup::PredictLinear(p[0]), "The value some seconds ahead by linear regression.", "predict_linear(disk_free[1h], 4 * 3600)"),
    range("present_over_time", M, Mixes, |_| Rollup::Present, "1 where the range has a sample.", "present_over_time(up[1h])"),
    range("quantile_over_time", &[TS, TM], Ignores, |p| Rollup::Quantile(p[0]), "Quantile of the range's values.", "quantile_over_time(0.9, load[1h])"),
    map("rad", |v, _| v * std::f64::consts::PI / 180.0, "Degrees to radians.", "rad(x)"),
    special("range", NONE, 0, TS, Special::Range, "Length of the query in seconds.", "range()"),
    range("rate", M, Rates, |_| Rollup::Rate, "Per-second increase of a counter over the range.", "rate(requests_total[5m])"),
    range("resets", M, Mixes, |_| Rollup::Resets, "How often a counter was reset.", "resets(requests_total[1h])"),
    map_with("round", &[TV, TS], 1, math::round, "Rounded to the nearest multiple.", "round(x, 0.1)"),
    special("scalar", V, 0, TS, Special::Scalar, "The only element's value, else NaN.", "scalar(sum(up))"),
    map("sgn", math::sign, "Sign: -1, 0 or 1.", "sgn(x)"),
    map("sin", |v, _| v.sin(), "Sine.", "sin(x)"),
    map("sinh", |v, _| v.sinh(), "Hyperbolic sine.", "sinh(x)"),
    special("sort", V, 0, TV, Special::Sort, "Ascending by value.", "sort(up)"),
    special("sort_by_label", &[TV, TT], -1, TV, Special::SortByLabel, "Ascending by labels.", "sort_by_label(up, \"job\")"),
    special("sort_by_label_desc", &[TV, TT], -1, TV, Special::SortByLabelDesc, "Descending by labels.", "sort_by_label_desc(up, \"job\")"),
    special("sort_desc", V, 0, TV, Special::SortDesc, "Descending by value.", "sort_desc(up)"),
    map("sqrt", |v, _| v.sqrt(), "Square root.", "sqrt(x)"),
    special("start", NONE, 0, TS, Special::Start, "Start of the query in seconds.", "start()"),
    special("start_timestamp", V, 0, TV, Special::StartTimestamp, "Start time of each sample.", "start_timestamp(requests_total)"),
    range("stddev_over_time", M, Ignores, |_| Rollup::Stddev, "Standard deviation of the range's values.", "stddev_over_time(x[1h])"),
    range("stdvar_over_time", M, Ignores, |_| Rollup::Stdvar, "Variance of the range's values.", "stdvar_over_time(x[1h])"),
    special("step", NONE, 0, TS, Special::Step, "Step of the query in seconds.", "step()"),
    range("sum_over_time", M, Sums, |_| Rollup::Sum, "Sum of the range's values.", "sum_over_time(x[1h])"),
    map("tan", |v, _| v.tan(), "Tangent.", "tan(x)"),
    map("tanh", |v, _| v.tanh(), "Hyperbolic tangent.", "tanh(x)"),
    special("time", NONE, 0, TS, Special::Time, "The step's time in seconds.", "time()"),
    special("timestamp", V, 0, TV, Special::Timestamp, "Each sample's time in seconds.", "timestamp(up)"),
    range("ts_of_first_over_time", M, Mixes, |_| Rollup::TsOfFirst, "Time of the range's first sample.", "ts_of_first_over_time(x[1h])"),
    range("ts_of_last_over_time", M, Mixes, |_| Rollup::TsOfLast, "Time of the range's last sample.", "ts_of_last_over_time(x[1h])"),
    range("ts_of_max_over_time", M, Ignores, |_| Rollup::TsOfMax, "Time of the range's largest value.", "ts_of_max_over_time(x[1h])"),
    range("ts_of_min_over_time", M, Ignores, |_| Rollup::TsOfMin, "Time of the range's smallest value.", "ts_of_min_over_time(x[1h])"),
    special("vector", &[TS], 0, TV, Special::Vector, "A scalar as a vector of one element.", "vector(1)"),
    date("year", |d| d.year, "Year in UTC.", "year()"),
];

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::FUNCTIONS;
    use crate::limits::ParseLimits;

    #[test]
    fn the_table_ascends_and_its_examples_parse() {
        for pair in FUNCTIONS.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} before {}", pair[0].name, pair[1].name);
        }
        let limits = ParseLimits::of(&model::Limits {
            expression_bytes_max: 1000,
            expression_depth_max: 100,
            ..model::Limits::default()
        });
        for function in FUNCTIONS {
            assert!(function.doc.ends_with('.'), "{}", function.name);
            let parsed = parse(function.example, limits);
            assert!(parsed.is_ok(), "{}: {parsed:?}", function.example);
        }
    }
}
