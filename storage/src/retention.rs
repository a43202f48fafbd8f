//! How far retention may go: decisions alone, made on the catalog's facts and on how time passed.
//!
//! Retention drops what ended before a limit: now, less the setting. In daily life the limit moves as
//! fast as time does, and all that expires was seen to grow old: it goes without a question, however
//! much of the data it is. Where the limit leaps (the clock was set, the process was away for long,
//! the setting was made shorter), what lies in the leap goes only if it is at most a quarter of what
//! was there before the leap. More waits until somebody confirms it or until time has passed.

use serde::{Deserialize, Serialize};

use crate::compaction::bytes_of;
use crate::segment::SegmentMeta;

/// A leap up to this is none: a process that was away for a day asks nobody. Units: ns.
const LEAP_NS_MAX: i64 = 86_400 * 1_000_000_000;
/// ... nor is one of more than this part of the retention.
const LEAP_PART: i64 = 4;
/// This part of the data may go in a leap.
const DROPPED_PART: u64 = 4;

/// How far retention has come: the time that it believes in, and the setting that it applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Horizon {
    /// Units: ns since the Unix epoch.
    pub(crate) believed_ns: i64,
    /// 0 keeps for ever. Units: ns.
    pub(crate) retention_ns: i64,
}

/// What time it is and how long data is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) wall_ns: i64,
    /// Since the horizon was looked at, on a clock that nobody sets. Units: ns.
    pub(crate) passed_ns: i64,
    pub(crate) retention_ns: i64,
}

/// What retention would drop and does not, because the limit has leapt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub segments: u64,
    pub bytes: u64,
    /// Of all data of the signal from before the leap.
    pub of_bytes: u64,
    /// What ended before this would go. Units: ns since the Unix epoch.
    pub before_ns: i64,
    /// How far the limit has leapt. Units: ns.
    pub leap_ns: i64,
}

/// What a pass of retention may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) horizon: Horizon,
    /// What ended before this goes. Units: ns.
    pub(crate) limit_ns: i64,
    pub(crate) waiting: Option<Waiting>,
}

/// Whether somebody has said that a leap is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    Unasked,
    Confirmed,
}

impl Horizon {
    /// What ends before this is expired. Units: ns.
    fn limit_ns(self) -> i64 {
        if self.retention_ns <= 0 {
            return i64::MIN;
        }
        self.believed_ns.saturating_sub(self.retention_ns)
    }

    /// For a store whose horizon is not known: it believes the arrival of its newest data.
    pub(crate) fn guess(newest_ns: Option<i64>, now: Now) -> Horizon {
        let believed_ns = newest_ns.unwrap_or(now.wall_ns).min(now.wall_ns);
        Horizon { believed_ns, retention_ns: now.retention_ns }
    }
}

/// A segment, or what is to become one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// When the last of its records happened or arrived, whichever is later. Units: ns.
    pub(crate) end_ns: i64,
    /// When the last of its records arrived. Units: ns.
    pub(crate) received_ns: i64,
    pub(crate) bytes: u64,
}

impl Part {
    pub(crate) fn of(meta: &SegmentMeta) -> Part {
        let received_ns = meta.received_max_ns;
        Part { end_ns: meta.time_max_ns.max(received_ns), received_ns, bytes: bytes_of(meta) }
    }
}

/// Segments that ended before a limit.
pub(crate) fn expired(metas: &[SegmentMeta], limit_ns: i64) -> Vec<String> {
    let expired = metas.iter().filter(|meta| Part::of(meta).end_ns < limit_ns);
    expired.map(|meta| meta.id.clone()).collect()
}

/// Judges a pass over all parts of a signal. Memory counts as well: it becomes segments, and those
/// must not be expired by a leap that nobody saw them in.
pub(crate) fn judge(
    horizon: Horizon,
    parts: impl Iterator<Item = Part>,
    now: Now,
    consent: Consent,
) -> Judged {
    let wanted = Horizon { believed_ns: now.wall_ns, retention_ns: now.retention_ns };
    let believed_ns = horizon.believed_ns.saturating_add(now.passed_ns);
    let steady = Horizon { believed_ns, ..horizon };
    let slack_ns = LEAP_NS_MAX.min(now.retention_ns / LEAP_PART);
    let leap_ns = wanted.limit_ns().saturating_sub(steady.limit_ns());
    let accepted = Judged { horizon: wanted, limit_ns: wanted.limit_ns(), waiting: None };
    if leap_ns <= slack_ns || consent == Consent::Confirmed {
        return accepted;
    }
    let before_ns = wanted.limit_ns();
    let mut waiting = Waiting { segments: 0, bytes: 0, of_bytes: 0, before_ns, leap_ns };
    for part in parts {
        if (steady.limit_ns()..before_ns).contains(&part.end_ns) {
            waiting.segments += 1;
            waiting.bytes += part.bytes;
        }
        // What has arrived since the leap must not outvote what was there before.
        if part.received_ns <= believed_ns.saturating_add(slack_ns) {
            waiting.of_bytes += part.bytes;
        }
    }
    if waiting.bytes <= waiting.of_bytes / DROPPED_PART {
        return accepted;
    }
    Judged { horizon: steady, limit_ns: steady.limit_ns(), waiting: Some(waiting) }
}

#[cfg(test)]
mod tests {
    use super::{Consent, Horizon, Judged, Now, Part, expired, judge};
    use crate::segment::{FileMeta, SegmentMeta};

    const HOUR: i64 = 3_600_000_000_000;
    const DAY: i64 = 24 * HOUR;
    const START: i64 = 20_000 * DAY;

    /// A segment of 100 bytes whose newest record arrived then.
    fn segment(end_ns: i64) -> SegmentMeta {
        let file = FileMeta { extension: "x".to_owned(), bytes: 100, checksums: String::new() };
        SegmentMeta {
            id: format!("{end_ns:020}"),
            signal: "logs".to_owned(),
            tenant: "default".to_owned(),
            level: 0,
            rows: 1,
            time_min_ns: end_ns,
            time_max_ns: end_ns,
            received_max_ns: end_ns,
            files: vec![file],
            stats: String::new(),
            wal_sequence_max: 0,
        }
    }

    /// One segment a day, the newest of `start`.
    fn days(start_ns: i64, count: i64) -> Vec<SegmentMeta> {
        (0..count).map(|day| segment(start_ns - day * DAY)).collect()
    }

    fn look(horizon: Horizon, metas: &[SegmentMeta], now: Now) -> Judged {
        judge(horizon, metas.iter().map(Part::of), now, Consent::Unasked)
    }

    fn kept(retention_ns: i64, believed_ns: i64) -> Horizon {
        Horizon { believed_ns, retention_ns }
    }

    #[test]
    fn daily_life_asks_nobody_even_where_one_segment_is_all_there_is() {
        for retention_ns in [HOUR, DAY, 30 * DAY] {
            let metas = [segment(START)];
            let mut horizon = kept(retention_ns, START);
            let mut wall_ns = START;
            for _pass in 0..20 {
                wall_ns += retention_ns / 10;
                let passed_ns = retention_ns / 10;
                let judged = look(horizon, &metas, Now { wall_ns, passed_ns, retention_ns });
                assert_eq!(judged.waiting, None);
                horizon = judged.horizon;
                let is_old = wall_ns - START > retention_ns;
                assert_eq!(!expired(&metas, judged.limit_ns).is_empty(), is_old);
            }
        }
    }

    #[test]
    fn a_process_that_was_away_for_a_weekend_goes_on_and_one_that_was_away_for_a_month_asks() {
        let (retention_ns, metas) = (30 * DAY, days(START, 30));
        for (away_ns, waits) in [(10 * HOUR, false), (3 * DAY, false), (30 * DAY, true)] {
            let now = Now { wall_ns: START + away_ns, passed_ns: 0, retention_ns };
            let judged = look(kept(retention_ns, START), &metas, now);
            assert_eq!(judged.waiting.is_some(), waits, "{away_ns}");
        }
    }

    #[test]
    fn a_clock_that_jumps_drops_nothing_until_it_is_confirmed_or_time_has_passed() {
        let (retention_ns, metas) = (30 * DAY, days(START, 30));
        for jump_ns in [9 * DAY, 365 * DAY, 3650 * DAY] {
            let now = Now { wall_ns: START + jump_ns, passed_ns: HOUR, retention_ns };
            let judged = look(kept(retention_ns, START), &metas, now);
            let waiting = judged.waiting.expect("it waits");
            assert_eq!(waiting.before_ns, START + jump_ns - retention_ns);
            assert_eq!(waiting.leap_ns, jump_ns - HOUR);
            assert_eq!(expired(&metas, judged.limit_ns).len(), 0, "{jump_ns}");
            // An hour is what has passed, and the next pass goes on from there.
            assert_eq!(judged.horizon, kept(retention_ns, START + HOUR));
            let later = Now { wall_ns: now.wall_ns + 5 * DAY, passed_ns: 5 * DAY, retention_ns };
            let judged = look(judged.horizon, &metas, later);
            assert!(judged.waiting.is_some());
            assert_eq!(expired(&metas, judged.limit_ns).len(), 5, "those of five days");
            let parts = metas.iter().map(Part::of);
            let confirmed = judge(judged.horizon, parts, later, Consent::Confirmed);
            assert_eq!(confirmed.waiting, None);
            assert_eq!(confirmed.limit_ns, later.wall_ns - retention_ns);
        }
    }

    #[test]
    fn what_arrives_after_the_jump_does_not_outvote_what_was_there_before() {
        let (retention_ns, jump_ns) = (30 * DAY, 3650 * DAY);
        let mut metas = days(START, 10);
        metas.extend((0..1000).map(|second| segment(START + jump_ns + second)));
        let now = Now { wall_ns: START + jump_ns + HOUR, passed_ns: HOUR, retention_ns };
        let judged = look(kept(retention_ns, START), &metas, now);
        let waiting = judged.waiting.expect("it waits");
        assert_eq!((waiting.segments, waiting.bytes, waiting.of_bytes), (10, 1000, 1000));
    }

    #[test]
    fn a_clock_that_goes_back_is_believed_and_drops_nothing() {
        let (retention_ns, metas) = (30 * DAY, days(START, 30));
        for back_ns in [HOUR, 365 * DAY] {
            let now = Now { wall_ns: START - back_ns, passed_ns: HOUR, retention_ns };
            let judged = look(kept(retention_ns, START), &metas, now);
            assert_eq!(judged.waiting, None);
            assert_eq!(expired(&metas, judged.limit_ns).len(), 0);
            assert_eq!(judged.horizon.believed_ns, START - back_ns);
        }
        // An empty store that started with a wrong clock has no horizon far ahead afterwards.
        let ahead = kept(retention_ns, START + 3650 * DAY);
        let now = Now { wall_ns: START, passed_ns: HOUR, retention_ns };
        let judged = look(ahead, &metas, now);
        let jumped = Now { wall_ns: START + 365 * DAY, passed_ns: HOUR, retention_ns };
        assert!(look(judged.horizon, &metas, jumped).waiting.is_some());
    }

    #[test]
    fn a_much_shorter_setting_asks_and_a_longer_one_does_not() {
        let metas = days(START, 30);
        for (before, after, waits) in
            [(30, 7, true), (30, 25, false), (7, 30, false), (0, 7, true), (7, 0, false)]
        {
            let now = Now { wall_ns: START + HOUR, passed_ns: HOUR, retention_ns: after * DAY };
            let judged = look(kept(before * DAY, START), &metas, now);
            assert_eq!(judged.waiting.is_some(), waits, "{before} d to {after} d");
            if waits && before > 0 {
                let limit = START + HOUR - before * DAY;
                assert_eq!(judged.limit_ns, limit, "the old setting counts meanwhile");
            }
        }
    }

    #[test]
    fn a_quarter_may_go_in_a_leap_and_no_more() {
        let retention_ns = 10 * DAY;
        let metas: Vec<_> = days(START, 8);
        for (expiring, waits) in [(2, false), (3, true)] {
            let wall_ns = START - (8 - expiring) * DAY + 1 + retention_ns;
            let now = Now { wall_ns, passed_ns: 0, retention_ns };
            let judged = look(kept(retention_ns, START), &metas, now);
            assert_eq!(judged.waiting.is_some(), waits, "{expiring} of 8");
        }
    }

    #[test]
    fn an_unknown_horizon_is_the_newest_data() {
        let retention_ns = 30 * DAY;
        let now = Now { wall_ns: START + 365 * DAY, passed_ns: 0, retention_ns };
        assert_eq!(Horizon::guess(Some(START), now).believed_ns, START);
        assert_eq!(Horizon::guess(None, now).believed_ns, now.wall_ns);
        let behind = Now { wall_ns: START - DAY, ..now };
        assert_eq!(Horizon::guess(Some(START), behind).believed_ns, START - DAY);
    }
}
