//! What a memtable takes and refuses.

use std::sync::Arc;

use model::{Exemplar, Histogram, Labels, MetricsBatch, Reason, stale_nan};

use super::super::memtable::Memtable;
use super::{append, budget, everything, floats, options, read_all, reader, series};
use crate::MsRange;
use crate::segment::Append;

const HOUR: i64 = 3_600_000;

fn reasons(rejections: &model::Rejections) -> Vec<(Reason, u64)> {
    rejections.list.iter().map(|rejection| (rejection.reason, rejection.count)).collect()
}

fn memtable_with_window(window_ms: i64) -> Arc<Memtable> {
    let mut options = options();
    options.limits =
        model::Limits { ooo_window_ns: window_ms * 1_000_000, ..model::Limits::default() }.into();
    Arc::new(Memtable::new(1, &options))
}

/// What is kept of the only series, as (time, value).
fn kept(memtable: &Arc<Memtable>) -> Vec<(i64, f64)> {
    let found = read_all(&reader(&[memtable], &[]), &everything(), MsRange::ALL);
    let samples = found.into_iter().flat_map(|(_, samples)| samples);
    samples.map(|(time, bits)| (time, f64::from_bits(bits))).collect()
}

#[test]
fn a_retried_sample_is_taken_once_and_another_value_is_refused() {
    let memtable = memtable_with_window(0);
    let m = series(&[("__name__", "m"), ("job", "j")]);
    assert!(append(&memtable, floats(&[(&m, 1000, 1.5)])).is_empty());
    assert!(append(&memtable, floats(&[(&m, 1000, 1.5)])).is_empty());
    let refused = append(&memtable, floats(&[(&m, 1000, 9.0)]));
    assert_eq!(reasons(&refused), [(Reason::DuplicateTimestamp, 1)]);
    assert_eq!(
        refused.list[0].example,
        "duplicate sample for timestamp 1000; overrides not allowed: existing 1.5, new value 9 \
         for series {__name__=\"m\", job=\"j\"}"
    );
    assert_eq!(kept(&memtable), [(1000, 1.5)]);
    assert_eq!(memtable.rows(), 1);
}

#[test]
fn a_window_of_zero_takes_nothing_older() {
    let memtable = memtable_with_window(0);
    let m = series(&[("__name__", "m")]);
    let refused = append(&memtable, floats(&[(&m, 60_000, 1.0), (&m, 0, 2.0)]));
    assert_eq!(reasons(&refused), [(Reason::OutOfOrder, 1)]);
    assert!(refused.list[0].example.starts_with("out of order sample"));
    assert_eq!(kept(&memtable), [(60_000, 1.0)]);
}

#[test]
fn late_samples_inside_the_window_find_their_place_and_keep_the_rules() {
    let memtable = memtable_with_window(HOUR);
    let m = series(&[("__name__", "m")]);
    let inside = [(&m, HOUR, 1.0), (&m, 2 * HOUR, 2.0), (&m, HOUR + 5, 3.0), (&m, HOUR + 2, 4.0)];
    assert!(append(&memtable, floats(&inside)).is_empty());
    let again = [(&m, HOUR + 5, 3.0), (&m, HOUR + 2, 9.0), (&m, HOUR, 9.0), (&m, HOUR - 1, 0.0)];
    let refused = append(&memtable, floats(&again));
    assert_eq!(reasons(&refused), [(Reason::DuplicateTimestamp, 2), (Reason::OutOfOrder, 1)]);
    let want = [(HOUR, 1.0), (HOUR + 2, 4.0), (HOUR + 5, 3.0), (2 * HOUR, 2.0)];
    assert_eq!(kept(&memtable), want);
}

#[test]
fn a_successor_goes_on_judging_where_its_predecessor_stood() {
    let memtable = memtable_with_window(0);
    let m = series(&[("__name__", "m")]);
    assert!(append(&memtable, floats(&[(&m, 1000, 1.0)])).is_empty());
    let next = Arc::new(memtable.successor(2));
    assert_eq!((next.rows(), next.heap_bytes()), (0, 0));
    assert!(append(&next, floats(&[(&m, 1000, 1.0)])).is_empty());
    let refused = append(&next, floats(&[(&m, 999, 1.0), (&m, 1000, 2.0)]));
    assert_eq!(reasons(&refused), [(Reason::OutOfOrder, 1), (Reason::DuplicateTimestamp, 1)]);
    assert!(append(&next, floats(&[(&m, 2000, 1.0)])).is_empty());
    assert_eq!(kept(&next), [(2000, 1.0)]);
}

#[test]
fn idle_series_make_room_at_the_next_flush() {
    let mut options = options();
    options.limits = model::Limits { active_series_max: 2, ..model::Limits::default() }.into();
    let memtable = Memtable::new(1, &options);
    let [a, b, c] = ["a", "b", "c"].map(|name| series(&[("__name__", name)]));
    let batch = floats(&[(&a, 0, 1.0), (&b, 0, 1.0), (&c, 0, 1.0), (&c, 1, 1.0)]);
    assert_eq!(reasons(&append(&memtable, batch)), [(Reason::MaxActiveSeries, 2)]);
    assert!(append(&memtable, floats(&[(&b, 5 * HOUR, 1.0)])).is_empty());
    let next = Arc::new(memtable.successor(2));
    assert!(append(&next, floats(&[(&c, 5 * HOUR, 3.0)])).is_empty());
    assert_eq!(kept(&next), [(5 * HOUR, 3.0)]);
    assert!(!append(&next, floats(&[(&b, 4 * HOUR - 1, 1.0), (&b, 5 * HOUR, 2.0)])).is_empty());
}

#[test]
fn replay_refuses_nothing_and_keeps_nothing_twice() {
    let memtable = memtable_with_window(0);
    let m = series(&[("__name__", "m")]);
    let batch = || floats(&[(&m, 9 * HOUR, 1.0), (&m, 0, 2.0), (&m, 0, 2.0), (&m, 0, 3.0)]);
    assert!(memtable.append(batch(), 1, Append::Replay).is_empty());
    assert!(memtable.append(batch(), 1, Append::Replay).is_empty());
    assert_eq!(kept(&memtable), [(0, 2.0), (9 * HOUR, 1.0)]);
}

#[test]
fn stale_markers_and_odd_floats_come_back_bit_for_bit() {
    let memtable = memtable_with_window(0);
    let m = series(&[("__name__", "m")]);
    let values = [
        stale_nan(),
        -0.0,
        0.0,
        f64::NAN,
        f64::from_bits(0xfff8_0000_dead_beef),
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE / 8.0,
        -9_007_199_254_740_993.0,
        i64::MAX as f64,
    ];
    let samples: Vec<_> = values.iter().zip(1..).map(|(value, time)| (&m, time, *value)).collect();
    assert!(append(&memtable, floats(&samples)).is_empty());
    let bits: Vec<u64> = kept(&memtable).iter().map(|(_, value)| value.to_bits()).collect();
    assert_eq!(bits, values.map(f64::to_bits));
}

#[test]
fn a_float_and_a_histogram_cannot_share_a_time() {
    let memtable = memtable_with_window(HOUR);
    let m = series(&[("__name__", "m")]);
    let histogram = |time_ms: i64, count: f64| {
        let histogram = Box::new(Histogram { count, ..Histogram::default() });
        let histograms = vec![(0, time_ms, histogram)];
        MetricsBatch { series: vec![Arc::clone(&m)], histograms, ..MetricsBatch::default() }
    };
    assert!(append(&memtable, histogram(1000, 1.0)).is_empty());
    assert!(append(&memtable, histogram(1000, 1.0)).is_empty());
    let conflict = [(Reason::DuplicateTimestamp, 1)];
    assert_eq!(reasons(&append(&memtable, histogram(1000, 2.0))), conflict);
    assert_eq!(reasons(&append(&memtable, floats(&[(&m, 1000, 1.0)]))), conflict);
    assert!(append(&memtable, floats(&[(&m, 2000, 1.0)])).is_empty());
    assert_eq!(reasons(&append(&memtable, histogram(2000, 1.0))), conflict);
    assert!(append(&memtable, histogram(1500, 1.0)).is_empty());
    assert_eq!(reasons(&append(&memtable, histogram(1500, 2.0))), conflict);
    assert_eq!(reasons(&append(&memtable, floats(&[(&m, 1500, 1.0)]))), conflict);
    assert_eq!(memtable.rows(), 3);
}

#[test]
fn an_exemplar_sent_twice_is_kept_once() {
    let memtable = memtable_with_window(0);
    let m = series(&[("__name__", "m")]);
    let exemplar = || {
        let labels = Labels::from_pairs([("trace_id", "ab")]);
        let exemplars = vec![Exemplar { series: 0, time_ms: 5, value: 1.0, labels }];
        MetricsBatch { series: vec![Arc::clone(&m)], exemplars, ..MetricsBatch::default() }
    };
    append(&memtable, exemplar());
    append(&memtable, exemplar());
    assert_eq!(memtable.exemplars(&mut |_| true).len(), 1);
}

/// An append locks the memtable's state and then the registry: no query may wait the other way round.
#[test]
fn queries_and_appends_of_new_series_do_not_wait_for_each_other() {
    const SERIES: usize = 3000;
    let memtable = Arc::new(Memtable::new(1, &options()));
    let writer = Arc::clone(&memtable);
    let writing = std::thread::spawn(move || {
        for number in 0..SERIES {
            let series = series(&[("__name__", "m"), ("n", &number.to_string())]);
            append(&writer, floats(&[(&series, 1000, 1.0)]));
        }
    });
    let reader = reader(&[&memtable], &[]);
    while !writing.is_finished() {
        reader.select(&everything(), MsRange::ALL, &budget()).unwrap();
    }
    writing.join().unwrap();
    assert_eq!(read_all(&reader, &everything(), MsRange::ALL).len(), SERIES);
}
