//! The rules of who leaves: by hand, and against a look at all of them.

use super::*;
use futures_util::FutureExt as _;
use proptest::prelude::*;
use std::net::Ipv4Addr;

/// A room, and the time so many milliseconds after its start.
fn room() -> (Arc<Room>, impl Fn(u64) -> Instant) {
    let start = Instant::now();
    (Arc::new(Room::new(start, 64, 100_000)), move |millis| start + Duration::from_millis(millis))
}

/// Where connections come from, unless it matters.
const HERE: Network = network(0);

const fn network(number: u8) -> Network {
    Network::V4(Ipv4Addr::new(192, 0, 2, number))
}

/// The number of the connection that would leave for another one from here.
fn leaves(room: &Room, now: Instant) -> Result<u64, Duration> {
    room.leaves(HERE, now).map(|seat| seat.number)
}

#[test]
fn who_has_been_without_a_request_for_longest_leaves() {
    let (room, at) = room();
    let seats: Vec<_> = (0..3).map(|number| room.enter(HERE, at(number))).collect();
    assert_eq!(leaves(&room, at(1_000)), Ok(0));
    seats[0].0.is_here();
    seats[0].0.answered();
    seats[0].0.flushed(|| at(500));
    assert_eq!(leaves(&room, at(1_000)), Ok(1));
    drop(seats);
    assert_eq!(room.seats().len(), 0);
}

#[test]
fn whose_request_is_here_stays() {
    let (room, at) = room();
    let (first, second) = (room.enter(HERE, at(0)), room.enter(HERE, at(1)));
    first.0.is_here();
    // What is written before the answer does not end the request.
    first.0.flushed(|| at(2));
    second.0.is_here();
    second.0.answered();
    assert_eq!(leaves(&room, at(1_000)), Err(MOMENT));
    second.0.flushed(|| at(1_000));
    assert_eq!(leaves(&room, at(2_000)), Ok(1));
}

/// Fails where the headers of a request are enough to stay.
#[test]
fn whose_body_does_not_come_leaves_in_its_turn() {
    let (room, at) = room();
    let (slow, idle) = (room.enter(HERE, at(0)), room.enter(HERE, at(100)));
    slow.0.begin(at(200));
    assert_eq!(leaves(&room, at(1_000)), Ok(idle.0.seat.number));
    idle.0.is_here();
    assert_eq!(leaves(&room, at(250)), Err(Duration::from_millis(50)));
    assert_eq!(leaves(&room, at(1_000)), Ok(slow.0.seat.number));
}

/// A connection that is served by a task, which holds its seat.
fn served(room: &Arc<Room>, now: Instant) -> (Guest, tokio::task::JoinHandle<()>) {
    served_from(HERE, room, now)
}

fn served_from(
    network: Network,
    room: &Arc<Room>,
    now: Instant,
) -> (Guest, tokio::task::JoinHandle<()>) {
    let seated = room.enter(network, now);
    let guest = seated.guest();
    let task = tokio::spawn(async move {
        let _seated = seated;
        std::future::pending::<()>().await;
    });
    guest.is_served_by(task.abort_handle());
    (guest, task)
}

/// Fails without `unload`, and where what is whole or gone is still counted.
#[tokio::test]
async fn of_bodies_that_hold_too_much_those_that_were_waited_for_longest_end() {
    let (room, at) = room();
    let _idle = served(&room, at(0));
    let guests: Vec<_> = (1..=4).map(|millis| served(&room, at(millis))).collect();
    let holds = async |guest: &Guest, bytes| {
        let ended = std::cell::Cell::new(0);
        guest.holds(bytes, |connections| ended.set(ended.get() + connections)).await;
        ended.get()
    };
    for (guest, _) in &guests[..3] {
        guest.begin(at(10 - guest.seat.number));
        assert_eq!(holds(guest, 33_000).await, 0);
    }
    // The first of them is whole.
    guests[0].0.is_here();
    assert_eq!(holds(&guests[3].0, 34_000).await, 0);
    assert_eq!(room.held.load(Relaxed), 100_000);
    guests[3].0.begin(at(20));
    assert_eq!(holds(&guests[3].0, 60_000).await, 2, "the two that began before");
    assert_eq!(room.held.load(Relaxed), 94_000, "what they held is free by now");
    let mut ended = Vec::new();
    for (guest, task) in guests {
        tokio::task::yield_now().await;
        ended.push(task.is_finished());
        drop(guest);
        task.abort();
        let _ = task.await;
    }
    assert_eq!(ended, [false, true, true, false]);
    assert_eq!(room.held.load(Relaxed), 0);
}

/// Fails where every body waits, or none: what others hold may be too much for as long as they come back.
#[tokio::test]
async fn a_body_waits_for_no_other_where_it_or_its_network_holds_little() {
    let (room, at) = room();
    let (small, _task) = served(&room, at(0));
    let (large, _other) = served(&room, at(0));
    let (elsewhere, _third) = served_from(network(1), &room, at(0));
    let is_held_back = |guest: &Guest, bytes| guest.holds(bytes, |_| {}).now_or_never().is_none();
    // Others hold too much, and no more may end for now.
    room.held.store(200_000, Relaxed);
    *room.pace.lock().unwrap() = (u64::MAX / 4, ENDED);
    assert!(!is_held_back(&small, SMALL));
    assert!(!is_held_back(&elsewhere, SMALL + 1));
    assert!(is_held_back(&large, SMALL + 1));
    assert!(is_held_back(&small, 1), "it is not small any more");
    assert!(is_held_back(&elsewhere, SMALL), "nor is its network");
    let (another, _fourth) = served_from(network(2), &room, at(0));
    room.held.store(400_001, Relaxed);
    assert!(is_held_back(&another, 1), "there is a bound for all");
}

#[test]
fn a_connection_has_a_moment_for_its_request() {
    let (room, at) = room();
    let _first = room.enter(HERE, at(0));
    assert_eq!(leaves(&room, at(40)), Err(Duration::from_millis(60)));
    assert_eq!(leaves(&room, at(100)), Ok(0));
}

/// Fails where it is the one that has been waited for longest, wherever it is from; where that of a crowd has
/// its time though another comes; and where one more of a crowd takes room from others, or as quickly as they.
#[test]
fn of_a_crowd_one_leaves_before_all_others_and_at_once_for_one_from_elsewhere() {
    let (room, at) = room();
    let mut others: Vec<_> = (1..=8).map(|one| room.enter(network(one), at(0))).collect();
    let mut crowd: Vec<_> = (0..FEW).map(|_| room.enter(HERE, at(1_000))).collect();
    let leaves_for = |from, now| room.leaves(network(from), now).map(|seat| seat.number);
    assert_eq!(leaves(&room, at(1_001)), Ok(0), "they are a few");
    crowd.push(room.enter(HERE, at(1_001)));
    assert_eq!(leaves_for(1, at(1_001)), Ok(8), "the first of the crowd");
    assert_eq!(leaves_for(9, at(1_001)), Ok(8));
    assert_eq!(leaves(&room, at(1_001)), Err(Duration::from_millis(299)), "its own has to wait");
    assert_eq!(leaves(&room, at(1_300)), Ok(8));
    crowd[0].0.is_here();
    assert_eq!(leaves_for(1, at(1_001)), Ok(9));
    for seated in &crowd {
        seated.0.is_here();
    }
    assert_eq!(leaves(&room, at(1_001)), Err(MOMENT), "none of the crowd is waited for");
    assert_eq!(leaves_for(1, at(1_001)), Ok(0));
    for seated in &crowd {
        seated.0.begin(at(1_002));
    }
    assert_eq!(leaves_for(1, at(1_003)), Ok(8));
    // A larger one.
    others.extend((0..10).map(|_| room.enter(network(1), at(1_004))));
    assert_eq!(leaves(&room, at(1_005)), Ok(0), "of that network the first");
    drop(others);
    assert_eq!(leaves(&room, at(1_005)), Err(Duration::from_millis(97)), "nobody else is there");
    drop(crowd);
    assert_eq!(room.seats().len(), 0);
}

/// Fails where they end by time alone: an attacker that comes back is the youngest.
#[tokio::test]
async fn for_memory_those_end_first_whose_network_holds_the_most() {
    for (bytes, expected) in [
        ([60_000, 50_000, 50_000], [true, true, false]),
        ([60_000, 20_000, 30_000], [true, false, false]),
        ([60_000, 70_000, 80_000], [false, true, true]),
    ] {
        let (room, at) = room();
        let from = [network(1), network(2), network(2)];
        let served = from.map(|network| served_from(network, &room, at(0)));
        for ((guest, _), bytes) in served.iter().zip(bytes) {
            room.hold(&guest.seat, bytes);
        }
        room.unload(at(1));
        let leaving = served.map(|(guest, _)| guest.seat.held.load(Relaxed) == 0);
        assert_eq!(leaving, expected, "{bytes:?}");
    }
}

#[tokio::test]
async fn the_connection_that_leaves_is_ended_and_gone() {
    let (room, at) = room();
    assert_eq!(room.make(HERE, at(1_000)), Err(MOMENT), "nobody is there");
    let (_guest, task) = served(&room, at(0));
    assert_eq!(room.make(HERE, at(1_000)), Ok(true));
    assert_eq!(room.make(HERE, at(1_000)), Ok(false), "it is about to go");
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(room.seats().len(), 0);
}

/// Fails where whoever comes back at once with as many bytes is thrown out as often.
#[tokio::test]
async fn only_so_many_end_in_a_time() {
    let (room, at) = room();
    let served: Vec<_> = (0..10).map(|_| served(&room, at(0))).collect();
    for (guest, _) in &served {
        room.hold(&guest.seat, 60_000);
    }
    let ended = [1_000, 1_000, 1_001, 1_002, 1_003, 1_004].map(|millis| room.unload(at(millis)));
    assert_eq!(ended, [2, 0, 2, 2, 2, 1], "until one is left");
    for (_, task) in served {
        task.abort();
    }
}

#[derive(Debug, Clone)]
enum Step {
    Enter(u8),
    Leave(prop::sample::Index),
    Begin(prop::sample::Index),
    Take(prop::sample::Index),
    End(prop::sample::Index),
    Ask(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        // Half of them from one network.
        4 => (0_u8..6).prop_map(|network| Step::Enter(network.saturating_sub(2))),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        2 => any::<prop::sample::Index>().prop_map(Step::Begin),
        3 => any::<prop::sample::Index>().prop_map(Step::Take),
        3 => any::<prop::sample::Index>().prop_map(Step::End),
        2 => (0_u8..6).prop_map(Step::Ask),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_it_is_the_one_that_a_look_at_all_of_them_finds(
        steps in prop::collection::vec(step(), 0..100)
    ) {
        let (room, at) = room();
        // Each with since when its client is waited for.
        let mut all: Vec<(Seated, Option<u64>)> = Vec::new();
        for (millis, step) in (0_u64..).map(|step| step * 30).zip(steps) {
            match step {
                Step::Enter(from) => {
                    all.push((room.enter(network(from), at(millis)), Some(millis)));
                }
                Step::Leave(place) if !all.is_empty() => drop(all.remove(place.index(all.len()))),
                Step::Begin(place) if !all.is_empty() => {
                    let (seated, since) = place.get_mut(&mut all);
                    seated.0.begin(at(millis));
                    *since = Some(millis);
                }
                Step::Take(place) if !all.is_empty() => {
                    let (seated, since) = place.get_mut(&mut all);
                    seated.0.is_here();
                    *since = None;
                }
                Step::End(place) if !all.is_empty() => {
                    let (seated, since) = place.get_mut(&mut all);
                    seated.0.answered();
                    seated.0.flushed(|| at(millis));
                    *since = Some(millis);
                }
                Step::Ask(from_there) => {
                    let from = |seated: &Seated| seated.0.seat.network;
                    let idle = |of: Option<Network>| {
                        let idle = all.iter().filter_map(|(seated, since)| {
                            let is_of = of.is_none_or(|of| from(seated) == of);
                            since.filter(|_| is_of).map(|since| (since, seated.0.seat.number))
                        });
                        idle.min()
                    };
                    let count = |of| all.iter().filter(|(seated, _)| from(seated) == of).count();
                    let (_, largest) = (0..4).map(|n| (count(network(n)), n)).max().unwrap();
                    let largest = network(largest);
                    let crowd = (count(largest) > FEW).then_some(largest);
                    // Of two that are as large either may be the one.
                    let as_large = (0..4).filter(|n| count(network(*n)) == count(largest)).count();
                    prop_assume!(as_large == 1 || crowd.is_none());
                    let comes = network(from_there);
                    let at_once = crowd.filter(|crowd| *crowd != comes).and_then(|of| idle(Some(of)));
                    let own = crowd.filter(|crowd| *crowd == comes && count(*crowd) < all.len());
                    let time = if own.is_some() { 300 } else { 100 };
                    let expected = match at_once.or_else(|| idle(own)) {
                        Some((_, number)) if at_once.is_some() => Ok(number),
                        Some((since, number)) if since + time <= millis => Ok(number),
                        Some((since, _)) => Err(Duration::from_millis(since + time - millis)),
                        None => Err(MOMENT),
                    };
                    let leaves = room.leaves(comes, at(millis)).map(|seat| seat.number);
                    prop_assert_eq!(leaves, expected);
                    prop_assert_eq!(room.seats().len(), all.len());
                }
                Step::Leave(_) | Step::Begin(_) | Step::Take(_) | Step::End(_) => {}
            }
        }
    }
}
