//! The rate against a model that keeps every request that was ever taken.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn rate<K: Copy + Ord + Hash>(per_second: u32, most: usize) -> Rate<K> {
    Rate::keeping(NonZeroU32::new(per_second).unwrap(), most)
}

/// Since any request that was taken, no more were taken than one second's worth and what that time
/// brought.
#[derive(Default)]
struct Model(BTreeMap<u8, Vec<u64>>);

impl Model {
    fn take(&mut self, per_second: u32, client: u8, now: u64) -> bool {
        let (requests, apart) = (u64::from(per_second), 1_000_000_000 / u64::from(per_second));
        let taken = self.0.entry(client).or_default();
        let fits = taken.iter().rev().zip(2..).all(|(since, with_this_one)| {
            with_this_one <= requests || (with_this_one - requests) * apart <= now - since
        });
        if fits {
            taken.push(now);
        }
        fits
    }
}

/// Clients and the time that passes before each request, of which much is none or little.
fn requests() -> impl Strategy<Value = Vec<(u8, u64)>> {
    let second = 1_000_000_000_u64;
    let pause = prop_oneof![Just(0), 0..second / 50, 0..second / 3, 0..3 * second];
    prop::collection::vec((0_u8..5, pause), 0..300)
}

proptest! {
    #[test]
    fn a_client_gets_what_it_may_and_not_more(per_second in 1_u32..40, requests in requests()) {
        let (mut rate, mut model, mut now) = (rate(per_second, 5), Model::default(), 0);
        for (client, pause) in requests {
            now += pause;
            let taken = rate.take(client, Duration::from_nanos(now)).is_ok();
            prop_assert_eq!(taken, model.take(per_second, client, now));
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_is_kept_twice_alike(
        per_second in 1_u32..40, requests in requests()
    ) {
        let (mut rate, mut now) = (rate(per_second, 3), 0);
        for (client, pause) in requests {
            now += pause;
            let _ = rate.take(client, Duration::from_nanos(now));
            prop_assert!(rate.full.len() <= 3);
            let order: BTreeMap<_, _> = rate.order.iter().map(|(full, key)| (*key, *full)).collect();
            prop_assert_eq!(order, rate.full.iter().map(|(key, full)| (*key, *full)).collect());
            prop_assert!(rate.full.values().all(|full| *full > now && *full <= now + rate.whole));
        }
    }
}

#[test]
fn a_client_that_was_refused_is_taken_again_when_its_time_has_come() {
    let mut rate = rate(4, 10);
    let mut take = |millis| rate.take((), Duration::from_millis(millis)).is_ok();
    assert_eq!([0, 0, 0, 0, 0].map(&mut take), [true, true, true, true, false]);
    assert_eq!([249, 250, 250, 499].map(&mut take), [false, true, false, false]);
    assert_eq!([9_000; 5].map(&mut take), [true, true, true, true, false]);
}

#[test]
fn a_flood_of_others_does_not_make_a_busy_client_forgotten() {
    let mut rate = rate(10, 100);
    let now = Duration::from_secs(5);
    let busy = 0_u32;
    while rate.take(busy, now).is_ok() {}
    for other in 1..100_000 {
        assert_eq!(rate.take(other, now), Ok(()), "{other}");
        assert_eq!(rate.take(busy, now), Err(TooMany), "{other}");
    }
    assert_eq!(rate.full.len(), 100);
}

#[test]
fn who_has_not_asked_for_a_second_is_forgotten_and_so_is_the_room() {
    let mut rate = rate(7, KEPT);
    for client in 0..50_000_u32 {
        assert_eq!(rate.take(client, Duration::ZERO), Ok(()));
    }
    assert_eq!(rate.full.len(), KEPT);
    assert_eq!(rate.take(1, Duration::from_secs(1)), Ok(()));
    assert_eq!(rate.full.len(), 1);
    assert!(rate.full.capacity() < 3_000, "{}", rate.full.capacity());
}

#[test]
fn a_client_has_one_network_however_it_writes_its_address() {
    let network = |text: &str| Network::from(text.parse::<IpAddr>().unwrap());
    assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
    assert_ne!(network("10.0.0.2"), network("10.0.0.1"));
    assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::"));
    assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
    assert_ne!(network("::1"), network("0.0.0.0"));
}
