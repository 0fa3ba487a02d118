//! What the counters of the last minutes lead to.

use super::*;
use proptest::prelude::*;

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-6 * right.abs().max(1.0)
}

fn fed(seconds: u64, counters: impl Fn(u64) -> Counters) -> Estimates {
    let mut rates = Rates::default();
    for second in 0..=seconds {
        rates.feed(Duration::from_secs(second), counters(second));
    }
    rates.estimates()
}

#[test]
fn a_steady_pace_is_found_within_seconds() {
    let estimates = fed(3, |s| Counters { accepted: s * 200, ..Counters::default() });
    assert!(close(estimates.accepted_per_second, 200.0), "{estimates:?}");
}

#[test]
fn a_rate_falls_to_zero_ten_seconds_after_the_last_record() {
    let estimates = fed(30, |s| Counters { accepted: s.min(20) * 100, ..Counters::default() });
    assert!(close(estimates.accepted_per_second, 0.0), "{estimates:?}");
}

/// Two records a second come and none leaves; each takes five bytes of the disk.
fn outage(second: u64) -> Counters {
    Counters {
        accepted: 900 + second * 2,
        backlog: second * 2,
        disk_bytes: 1_000 + second * 10,
        max_bytes: 10_000,
        free_bytes: 1 << 40,
        ..Counters::default()
    }
}

#[test]
fn in_an_outage_the_disk_lasts_as_long_as_its_room_at_the_growth_of_the_last_minutes() {
    let seconds = fed(300, outage).full_in_seconds.unwrap();
    assert!(close(seconds, (10_000.0 - 4_000.0) / 10.0), "{seconds}");
    let cramped = fed(300, |s| Counters { free_bytes: 100, ..outage(s) });
    assert!(close(cramped.full_in_seconds.unwrap(), 10.0), "the file system is full first");
}

#[test]
fn half_a_minute_of_growth_is_the_least_that_says_when_the_disk_is_full() {
    assert_eq!(fed(29, outage).full_in_seconds, None);
    assert!(fed(30, outage).full_in_seconds.is_some());
    // The window reaches back into the hour in which nothing stayed.
    let after_an_hour = |length: u64| {
        fed(3_600 + length, |s| Counters { backlog: s.saturating_sub(3_600) * 2, ..outage(s) })
    };
    assert_eq!(after_an_hour(30).full_in_seconds, None);
    assert!(after_an_hour(90).full_in_seconds.is_some());
}

#[test]
fn a_segment_that_grows_while_all_is_delivered_fills_no_disk() {
    // Up to 150 of 200 a second are in flight, more or less of them at each sample.
    let healthy = |s: u64| Counters {
        accepted: s * 200,
        delivered: s * 200 - s * 37 % 150,
        backlog: s * 37 % 150,
        disk_bytes: 1_000 + s * 10,
        max_bytes: 10_000,
        free_bytes: 1 << 40,
        ..Counters::default()
    };
    for seconds in 1..300 {
        assert_eq!(fed(seconds, healthy).full_in_seconds, None, "after {seconds} s");
    }
    let waiting = |s| Counters { backlog: 5_000, ..healthy(s) };
    assert_eq!(fed(300, waiting).full_in_seconds, None, "a backlog that stays the same");
}

#[test]
fn one_record_that_waits_is_no_growth() {
    for seconds in 1..300 {
        let estimates = fed(seconds, |s| Counters {
            accepted: u64::from(s > 10),
            backlog: u64::from(s > 10),
            disk_bytes: if s > 10 { 2 << 20 } else { 4_096 },
            max_bytes: 2 << 30,
            free_bytes: 1 << 40,
            ..Counters::default()
        });
        assert_eq!(estimates.full_in_seconds, None, "after {seconds} s");
    }
}

#[test]
fn a_spool_that_refuses_records_says_nothing_about_being_full_later() {
    let estimates = fed(300, |s| Counters { refusing: s == 300, ..outage(s) });
    assert_eq!(estimates.full_in_seconds, None);
}

#[test]
fn a_spool_that_does_not_grow_is_never_full() {
    let estimates = fed(60, |s| Counters { disk_bytes: 5_000 - s, ..outage(s) });
    assert_eq!(estimates.full_in_seconds, None);
}

#[test]
fn the_drain_ends_when_what_leaves_beyond_what_comes_has_emptied_the_spool() {
    let counters = |s| Counters {
        accepted: s * 100,
        delivered: s * 600,
        backlog: 50_000 - s * 500,
        ..Counters::default()
    };
    let seconds = fed(20, counters).drain_eta_seconds.unwrap();
    assert!(close(seconds, 80.0), "{seconds}");
    let slower = fed(20, |s| Counters { delivered: s * 50, ..counters(s) });
    assert_eq!(slower.drain_eta_seconds, None);
}

#[test]
fn the_first_minute_is_not_stretched_to_a_day() {
    let estimates = fed(2, |_| Counters { syncs: 60, bytes_written: 0, ..Counters::default() });
    assert_eq!(estimates.syncs_per_day, 86_400);
}

#[test]
fn an_age_is_never_negative_when_the_clock_is_set_back() {
    assert!(close(age_seconds(Millis(5_000), Millis(3_500)), 1.5));
    assert!(close(age_seconds(Millis(0), Millis(i64::MAX)), 0.0));
    assert!(age_seconds(Millis(i64::MAX), Millis(i64::MIN)).is_finite());
}

prop_compose! {
    fn any_counters()(numbers in any::<[u64; 8]>(), refusing in any::<bool>()) -> Counters {
        let [accepted, delivered, backlog, disk_bytes, max_bytes, free_bytes, syncs, bytes_written] = numbers;
        Counters { accepted, delivered, backlog, disk_bytes, max_bytes, free_bytes, syncs, bytes_written, refusing }
    }
}

proptest! {
    #[test]
    fn no_estimate_is_negative_or_not_a_number(
        samples in prop::collection::vec((any::<u32>(), any_counters()), 0..50),
    ) {
        let mut rates = Rates::default();
        for (millis, counters) in samples {
            rates.feed(Duration::from_millis(u64::from(millis)), counters);
            let found = rates.estimates();
            let options = [found.full_in_seconds, found.drain_eta_seconds];
            for number in [found.accepted_per_second, found.delivered_per_second]
                .into_iter()
                .chain(options.into_iter().flatten())
            {
                prop_assert!(number.is_finite() && number >= 0.0, "{:?}", found);
            }
        }
    }

    #[test]
    fn memory_is_bounded_however_often_it_is_fed(step in 1_u64..5_000) {
        let mut rates = Rates::default();
        for index in 0..1_000_u64 {
            rates.feed(Duration::from_millis(index * step), Counters::default());
        }
        prop_assert!(rates.samples.len() <= SAMPLES);
    }
}
