//! The engine equals a naive model: random appends, flushes and merges, then every question.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Labels, Series};
use proptest::prelude::*;

use super::super::memtable::Memtable;
use super::{append, budget, flush, matcher, merge_all, options, read_all, reader};
use crate::segment::EncodedSegment;
use crate::{MatchOp, Matcher, MsRange};

/// One step of a run.
#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(usize, i64, u64)>),
    Flush,
    MergeAll,
}

fn value_bits() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (-1000i64..1000).prop_map(|number| (number as f64).to_bits()),
        2 => (-1000i64..1000).prop_map(|number| (number as f64 / 100.0).to_bits()),
        1 => any::<u64>(),
        1 => Just(model::STALE_NAN_BITS),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let sample = (0usize..12, 0i64..60, value_bits());
    let sample = sample.prop_map(|(series, time, bits)| (series, time * 1000, bits));
    prop_oneof![
        6 => prop::collection::vec(sample, 1..40).prop_map(Step::Append),
        2 => Just(Step::Flush),
        1 => Just(Step::MergeAll),
    ]
}

fn all_series() -> Vec<Arc<Series>> {
    let labels = |index: usize| {
        let zone = ["", "a", "b", "aa"][index % 4];
        let metric = ["up", "requests_total", "z"][index % 3];
        let instance = format!("host-{index}");
        Labels::from_pairs([("__name__", metric), ("instance", &instance), ("zone", zone)])
    };
    (0..12).map(|index| Series::new(labels(index))).collect()
}

fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let op = prop::sample::select(vec![
        MatchOp::Equal,
        MatchOp::NotEqual,
        MatchOp::Regex,
        MatchOp::NotRegex,
    ]);
    let name = prop::sample::select(vec!["__name__", "zone", "instance", "absent"]);
    let value = prop::sample::select(vec!["", "a", "a+", "up", ".*", ".+", "host-1.?", "up|z"]);
    let one = (name, op, value).prop_map(|(name, op, value)| matcher(name, op, value));
    prop::collection::vec(one, 0..3)
}

type Model = BTreeMap<Labels, BTreeMap<i64, u64>>;

fn holds(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
}

fn expected(model: &Model, matchers: &[Matcher], range: MsRange) -> Vec<(Labels, Vec<(i64, u64)>)> {
    let mut found = Vec::new();
    for (labels, samples) in model.iter().filter(|(labels, _)| holds(labels, matchers)) {
        let within = samples.iter().filter(|(time, _)| range.contains(**time));
        let samples: Vec<_> = within.map(|(time, bits)| (*time, *bits)).collect();
        if !samples.is_empty() {
            found.push((labels.clone(), samples));
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_engine_answers_like_a_map(
        steps in prop::collection::vec(step(), 1..12),
        matchers in matchers(),
        bounds in (0i64..60, 0i64..60),
    ) {
        let series = all_series();
        let mut model = Model::new();
        let mut memtable = Arc::new(Memtable::new(1, &options()));
        let mut segments: Vec<EncodedSegment> = Vec::new();
        for (generation, step) in (2..).zip(steps) {
            match step {
                Step::Append(samples) => {
                    for (index, time_ms, bits) in samples {
                        let sample = (&series[index], time_ms, f64::from_bits(bits));
                        append(&memtable, super::floats(&[sample]));
                        // The first of a time stays, wherever it lies by now.
                        let kept = model.entry(series[index].labels.clone()).or_default();
                        kept.entry(time_ms).or_insert(bits);
                    }
                }
                Step::Flush => {
                    segments.extend(flush(&memtable));
                    memtable = Arc::new(memtable.successor(generation));
                }
                Step::MergeAll => segments = merge_all(&segments),
            }
        }
        let reader = reader(&[&memtable], &segments);
        let range = MsRange { start_ms: bounds.0 * 1000, end_ms: bounds.1 * 1000 };
        for range in [MsRange::ALL, range] {
            prop_assert_eq!(
                read_all(&reader, &matchers, range),
                expected(&model, &matchers, range)
            );
        }
        let all = expected(&model, &matchers, MsRange::ALL);
        let labels = || all.iter().flat_map(|(labels, _)| labels.iter());
        let selectors = [matchers];
        let names: BTreeSet<String> = labels().map(|(name, _)| name.to_owned()).collect();
        let (found, _) = reader.label_names(&selectors, MsRange::ALL, &budget()).unwrap();
        prop_assert_eq!(found, names.into_iter().collect::<Vec<_>>());
        let zones: BTreeSet<String> =
            labels().filter(|(name, _)| *name == "zone").map(|(_, zone)| zone.to_owned()).collect();
        let (found, _) =
            reader.label_values("zone", &selectors, MsRange::ALL, &budget()).unwrap();
        prop_assert_eq!(found, zones.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn long_vectors_come_back_bit_for_bit(
        bits in prop::collection::vec(value_bits(), 1..9000),
        step_ms in prop::sample::select(vec![1i64, 7, 15_000]),
    ) {
        let series = &all_series()[0];
        let memtable = Arc::new(Memtable::new(1, &options()));
        let times = (1..).map(|index| index * step_ms);
        let want: Vec<(i64, u64)> = times.zip(bits).collect();
        let samples: Vec<_> =
            want.iter().map(|(time, bits)| (series, *time, f64::from_bits(*bits))).collect();
        append(&memtable, super::floats(&samples));
        let want = vec![(series.labels.clone(), want)];
        prop_assert_eq!(&read_all(&reader(&[&memtable], &[]), &[], MsRange::ALL), &want);
        let segments = flush(&memtable);
        prop_assert_eq!(&read_all(&reader(&[], &segments), &[], MsRange::ALL), &want);
        let merged = merge_all(&segments);
        prop_assert_eq!(&read_all(&reader(&[], &merged), &[], MsRange::ALL), &want);
    }
}
