//! How far retention may go: decisions alone, made on the catalog's facts and on how time passed.
//!
//! Retention drops what ended before a limit: now, less the tenant's setting. In daily life the limit
//! moves as fast as time does, and all that expires was seen to grow old: it goes without a question,
//! however much of the data it is. Where the limit leaps (the clock was set, the process was away for
//! long, the setting was made shorter), what lies in the leap goes only if it is at most a quarter of
//! what was there before the leap. More waits until somebody confirms it or until time has passed.

use std::collections::BTreeMap;

use model::TenantLimits;
use serde::{Deserialize, Serialize};

use crate::compaction::bytes_of;
use crate::segment::SegmentMeta;

/// A leap up to this is none: a process that was away for a day asks nobody. Units: ns.
const LEAP_NS_MAX: i64 = 86_400 * 1_000_000_000;
/// ... nor is one of more than this part of the retention.
const LEAP_PART: i64 = 4;
/// This part of the data may go in a leap.
const DROPPED_PART: u64 = 4;

/// How long data is kept. 0 keeps for ever. Units: ns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keeps {
    /// Of everybody who is not among the tenants.
    pub(crate) retention_ns: i64,
    /// By tenant.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tenants: BTreeMap<String, i64>,
}

impl Keeps {
    pub(crate) fn new(limits: &TenantLimits) -> Keeps {
        let retention_ns = limits.common().retention_ns;
        let own = limits.named().map(|id| (id.as_str().to_owned(), limits.of(id).retention_ns));
        Keeps { retention_ns, tenants: own.filter(|(_, own)| *own != retention_ns).collect() }
    }

    fn of(&self, tenant: &str) -> i64 {
        self.tenants.get(tenant).copied().unwrap_or(self.retention_ns)
    }
}

/// How far retention has come: the time that it believes in, and the settings that it applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Horizon {
    /// Units: ns since the Unix epoch.
    pub(crate) believed_ns: i64,
    #[serde(flatten)]
    pub(crate) keeps: Keeps,
}

/// What time it is and how long data is kept.
#[derive(Debug, Clone)]
pub(crate) struct Now {
    pub(crate) wall_ns: i64,
    /// Since the horizon was looked at, on a clock that nobody sets. Units: ns.
    pub(crate) passed_ns: i64,
    pub(crate) keeps: Keeps,
}

impl Now {
    /// What is due by the clock and the settings as they are. Units: ns.
    fn limit_ns(&self, tenant: &str) -> i64 {
        limit_ns(self.wall_ns, self.keeps.of(tenant))
    }
}

/// What ends before this is expired. Units: ns.
fn limit_ns(now_ns: i64, retention_ns: i64) -> i64 {
    if retention_ns <= 0 { i64::MIN } else { now_ns.saturating_sub(retention_ns) }
}

/// What retention would drop and does not, because the limit has leapt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub segments: u64,
    pub bytes: u64,
    /// Of all data from before the leap of those whose limit has leapt.
    pub of_bytes: u64,
    /// What ended before this would go, of the tenant who keeps least. Units: ns since the Unix
    /// epoch.
    pub before_ns: i64,
    /// How far the limit has leapt, of the tenant whose leapt furthest. Units: ns.
    pub leap_ns: i64,
}

/// What a pass of retention may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) horizon: Horizon,
    pub(crate) waiting: Option<Waiting>,
}

/// Whether somebody has said that a leap is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    Unasked,
    Confirmed,
}

impl Horizon {
    /// What of a tenant ends before this goes. Units: ns.
    pub(crate) fn limit_ns(&self, tenant: &str) -> i64 {
        limit_ns(self.believed_ns, self.keeps.of(tenant))
    }

    /// For a store whose horizon is not known: it believes the arrival of its newest data.
    pub(crate) fn guess(newest_ns: Option<i64>, now: &Now) -> Horizon {
        let believed_ns = newest_ns.unwrap_or(now.wall_ns).min(now.wall_ns);
        Horizon { believed_ns, keeps: now.keeps.clone() }
    }

    /// How far the limit of a tenant has leapt; nothing where it went no faster than time, nearly.
    /// Units: ns.
    fn leap_ns(&self, tenant: &str, now: &Now) -> Option<i64> {
        let leap_ns = now.limit_ns(tenant).saturating_sub(self.limit_ns(tenant));
        (leap_ns > slack_ns(tenant, now)).then_some(leap_ns)
    }

    /// The horizon while some limit waits: settings by which none leaps count at once, for a tenant
    /// whose data is to be kept longer must not lose it meanwhile.
    fn until_confirmed(&self, now: &Now) -> Horizon {
        let applied = |tenant: &str| match self.leap_ns(tenant, now) {
            Some(_) => self.keeps.of(tenant),
            None => now.keeps.of(tenant),
        };
        let named = self.keeps.tenants.keys().chain(now.keeps.tenants.keys());
        let tenants = named.map(|tenant| (tenant.clone(), applied(tenant))).collect();
        // The name of nobody: it is everybody's who is not named.
        let keeps = Keeps { retention_ns: applied(""), tenants };
        Horizon { believed_ns: self.believed_ns, keeps }
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

/// A leap of no more than this is none. Units: ns.
fn slack_ns(tenant: &str, now: &Now) -> i64 {
    LEAP_NS_MAX.min(now.keeps.of(tenant) / LEAP_PART)
}

/// Judges a pass over all parts of a signal, each with its tenant. Memory counts as well: it becomes
/// segments, and those must not be expired by a leap that nobody saw them in.
pub(crate) fn judge<'a>(
    horizon: &Horizon,
    parts: impl Iterator<Item = (&'a str, Part)>,
    now: &Now,
    consent: Consent,
) -> Judged {
    let believed_ns = horizon.believed_ns.saturating_add(now.passed_ns);
    let steady = Horizon { believed_ns, keeps: horizon.keeps.clone() };
    let mut waiting =
        Waiting { segments: 0, bytes: 0, of_bytes: 0, before_ns: i64::MIN, leap_ns: 0 };
    for (tenant, part) in parts {
        let Some(leap_ns) = steady.leap_ns(tenant, now) else { continue };
        let before_ns = now.limit_ns(tenant);
        waiting.before_ns = waiting.before_ns.max(before_ns);
        waiting.leap_ns = waiting.leap_ns.max(leap_ns);
        if (steady.limit_ns(tenant)..before_ns).contains(&part.end_ns) {
            waiting.segments += 1;
            waiting.bytes += part.bytes;
        }
        // What has arrived since the leap must not outvote what was there before.
        if part.received_ns <= believed_ns.saturating_add(slack_ns(tenant, now)) {
            waiting.of_bytes += part.bytes;
        }
    }
    if consent == Consent::Confirmed || waiting.bytes <= waiting.of_bytes / DROPPED_PART {
        let horizon = Horizon { believed_ns: now.wall_ns, keeps: now.keeps.clone() };
        return Judged { horizon, waiting: None };
    }
    Judged { horizon: steady.until_confirmed(now), waiting: Some(waiting) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Consent, Horizon, Judged, Keeps, Now, Part, expired, judge};
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

    fn all_parts(metas: &[SegmentMeta]) -> impl Iterator<Item = (&str, Part)> {
        metas.iter().map(|meta| (meta.tenant.as_str(), Part::of(meta)))
    }

    fn look(horizon: &Horizon, metas: &[SegmentMeta], now: &Now) -> Judged {
        judge(horizon, all_parts(metas), now, Consent::Unasked)
    }

    fn all(retention_ns: i64) -> Keeps {
        Keeps { retention_ns, tenants: BTreeMap::new() }
    }

    fn kept(retention_ns: i64, believed_ns: i64) -> Horizon {
        Horizon { believed_ns, keeps: all(retention_ns) }
    }

    fn now(wall_ns: i64, passed_ns: i64, retention_ns: i64) -> Now {
        Now { wall_ns, passed_ns, keeps: all(retention_ns) }
    }

    /// What a pass drops, of metas that are all of one tenant.
    fn dropped(metas: &[SegmentMeta], judged: &Judged) -> usize {
        let tenant = metas.first().map_or("default", |meta| meta.tenant.as_str());
        expired(metas, judged.horizon.limit_ns(tenant)).len()
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
                let judged = look(&horizon, &metas, &now(wall_ns, passed_ns, retention_ns));
                assert_eq!(judged.waiting, None);
                let is_old = wall_ns - START > retention_ns;
                assert_eq!(dropped(&metas, &judged) == 1, is_old);
                horizon = judged.horizon;
            }
        }
    }

    #[test]
    fn a_process_that_was_away_for_a_weekend_goes_on_and_one_that_was_away_for_a_month_asks() {
        let (retention_ns, metas) = (30 * DAY, days(START, 30));
        for (away_ns, waits) in [(10 * HOUR, false), (3 * DAY, false), (30 * DAY, true)] {
            let now = now(START + away_ns, 0, retention_ns);
            let judged = look(&kept(retention_ns, START), &metas, &now);
            assert_eq!(judged.waiting.is_some(), waits, "{away_ns}");
        }
    }

    #[test]
    fn a_clock_that_jumps_drops_nothing_until_it_is_confirmed_or_time_has_passed() {
        let (retention_ns, metas) = (30 * DAY, days(START, 30));
        for jump_ns in [9 * DAY, 365 * DAY, 3650 * DAY] {
            let judged =
                look(&kept(retention_ns, START), &metas, &now(START + jump_ns, HOUR, retention_ns));
            let waiting = judged.waiting.expect("it waits");
            assert_eq!(waiting.before_ns, START + jump_ns - retention_ns);
            assert_eq!(waiting.leap_ns, jump_ns - HOUR);
            assert_eq!(dropped(&metas, &judged), 0, "{jump_ns}");
            // An hour is what has passed, and the next pass goes on from there.
            assert_eq!(judged.horizon, kept(retention_ns, START + HOUR));
            let later = now(START + jump_ns + 5 * DAY, 5 * DAY, retention_ns);
            let judged = look(&judged.horizon, &metas, &later);
            assert!(judged.waiting.is_some());
            assert_eq!(dropped(&metas, &judged), 5, "those of five days");
            let confirmed = judge(&judged.horizon, all_parts(&metas), &later, Consent::Confirmed);
            assert_eq!(confirmed.waiting, None);
            assert_eq!(confirmed.horizon, kept(retention_ns, later.wall_ns));
        }
    }

    #[test]
    fn what_arrives_after_the_jump_does_not_outvote_what_was_there_before() {
        let (retention_ns, jump_ns) = (30 * DAY, 3650 * DAY);
        let mut metas = days(START, 10);
        metas.extend((0..1000).map(|second| segment(START + jump_ns + second)));
        let now = now(START + jump_ns + HOUR, HOUR, retention_ns);
        let judged = look(&kept(retention_ns, START), &metas, &now);
        let waiting = judged.waiting.expect("it waits");
        assert_eq!((waiting.segments, waiting.bytes, waiting.of_bytes), (10, 1000, 1000));
    }

    #[test]
    fn a_clock_that_goes_back_is_believed_and_drops_nothing() {
        let (retention_ns, metas) = (30 * DAY, days(START, 30));
        for back_ns in [HOUR, 365 * DAY] {
            let now = now(START - back_ns, HOUR, retention_ns);
            let judged = look(&kept(retention_ns, START), &metas, &now);
            assert_eq!(judged.waiting, None);
            assert_eq!(dropped(&metas, &judged), 0);
            assert_eq!(judged.horizon.believed_ns, START - back_ns);
        }
        // An empty store that started with a wrong clock has no horizon far ahead afterwards.
        let ahead = kept(retention_ns, START + 3650 * DAY);
        let judged = look(&ahead, &metas, &now(START, HOUR, retention_ns));
        let jumped = now(START + 365 * DAY, HOUR, retention_ns);
        assert!(look(&judged.horizon, &metas, &jumped).waiting.is_some());
    }

    #[test]
    fn a_much_shorter_setting_asks_and_a_longer_one_does_not() {
        let metas = days(START, 30);
        for (before, after, waits) in
            [(30, 7, true), (30, 25, false), (7, 30, false), (0, 7, true), (7, 0, false)]
        {
            let now = now(START + HOUR, HOUR, after * DAY);
            let judged = look(&kept(before * DAY, START), &metas, &now);
            assert_eq!(judged.waiting.is_some(), waits, "{before} d to {after} d");
            if waits {
                let old = kept(before * DAY, START + HOUR);
                assert_eq!(judged.horizon, old, "the old setting counts meanwhile");
            }
        }
    }

    #[test]
    fn a_quarter_may_go_in_a_leap_and_no_more() {
        let retention_ns = 10 * DAY;
        let metas: Vec<_> = days(START, 8);
        for (expiring, waits) in [(2, false), (3, true)] {
            let wall_ns = START - (8 - expiring) * DAY + 1 + retention_ns;
            let now = now(wall_ns, 0, retention_ns);
            let judged = look(&kept(retention_ns, START), &metas, &now);
            assert_eq!(judged.waiting.is_some(), waits, "{expiring} of 8");
        }
    }

    #[test]
    fn an_unknown_horizon_is_the_newest_data() {
        let retention_ns = 30 * DAY;
        let ahead = now(START + 365 * DAY, 0, retention_ns);
        assert_eq!(Horizon::guess(Some(START), &ahead).believed_ns, START);
        assert_eq!(Horizon::guess(None, &ahead).believed_ns, ahead.wall_ns);
        let behind = now(START - DAY, 0, retention_ns);
        assert_eq!(Horizon::guess(Some(START), &behind).believed_ns, START - DAY);
    }

    fn of_tenant(tenant: &str, metas: Vec<SegmentMeta>) -> Vec<SegmentMeta> {
        metas.into_iter().map(|meta| SegmentMeta { tenant: tenant.to_owned(), ..meta }).collect()
    }

    fn own(retention_ns: i64, tenants: &[(&str, i64)]) -> Keeps {
        let tenants = tenants.iter().map(|(name, own)| ((*name).to_owned(), *own)).collect();
        Keeps { retention_ns, tenants }
    }

    #[test]
    fn a_tenant_is_kept_for_as_long_as_its_own_setting_says() {
        let keeps = own(30 * DAY, &[("acme", 7 * DAY), ("court", 0)]);
        let horizon = Horizon { believed_ns: START, keeps: keeps.clone() };
        let metas: Vec<_> = ["acme", "court", "other"]
            .into_iter()
            .flat_map(|tenant| of_tenant(tenant, days(START, 60)))
            .collect();
        let now = Now { wall_ns: START + HOUR, passed_ns: HOUR, keeps };
        let judged = look(&horizon, &metas, &now);
        assert_eq!(judged.waiting, None);
        let left = |tenant: &str| {
            let metas = of_tenant(tenant, days(START, 60));
            60 - expired(&metas, judged.horizon.limit_ns(tenant)).len()
        };
        assert_eq!((left("acme"), left("court"), left("other")), (7, 60, 30));
    }

    #[test]
    fn a_tenant_whose_setting_is_made_much_shorter_is_asked_about_by_its_own_data() {
        let mut metas = of_tenant("acme", days(START, 30));
        metas.extend(of_tenant("big", (0..50).flat_map(|_| days(START, 30)).collect()));
        let horizon = Horizon { believed_ns: START, keeps: own(30 * DAY, &[("long", 30 * DAY)]) };
        let keeps = own(30 * DAY, &[("acme", 2 * DAY), ("long", 90 * DAY)]);
        let now = Now { wall_ns: START + HOUR, passed_ns: HOUR, keeps };
        let judged = look(&horizon, &metas, &now);
        let waiting = judged.waiting.expect("it waits");
        assert_eq!((waiting.segments, waiting.of_bytes), (28, 3000), "of acme alone");
        let limit = |tenant: &str| START + HOUR - judged.horizon.limit_ns(tenant);
        assert_eq!(limit("acme"), 30 * DAY, "the old setting counts until it is confirmed");
        assert_eq!(limit("long"), 90 * DAY, "a longer one counts at once");
        assert_eq!(limit("big"), 30 * DAY);
        let confirmed = judge(&judged.horizon, all_parts(&metas), &now, Consent::Confirmed);
        assert_eq!(START + HOUR - confirmed.horizon.limit_ns("acme"), 2 * DAY);
    }

    #[test]
    fn a_horizon_of_before_tenants_had_settings_is_read() {
        let old = format!("{{\"believed_ns\":{START},\"retention_ns\":{DAY}}}");
        let horizon: Horizon = serde_json::from_str(&old).unwrap();
        assert_eq!(horizon, kept(DAY, START));
        assert_eq!(serde_json::to_string(&horizon).unwrap(), old);
        let own = Horizon { believed_ns: START, keeps: own(DAY, &[("acme", HOUR)]) };
        let text = serde_json::to_string(&own).unwrap();
        assert_eq!(serde_json::from_str::<Horizon>(&text).unwrap(), own);
    }
}
