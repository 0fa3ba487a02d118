//! Does a box that nobody tends keep its Kerberos login: over tickets that expire, a KDC that is away,
//! a keytab that is written anew?
//!
//! There is no kinit and no shell (see `logins.rs`), and the broker wants a ticket shown again
//! every few seconds.

use crate::broker::{Broker, Door};
use crate::kerberos::CLIENT;
use crate::logins::site;
use crate::support::PATIENCE;
use crate::support::fleet::{Fate, Fleet};
use crate::support::until_some;
use crate::table::{Row, without_time};
use std::time::{Duration, Instant};

/// How long a ticket lasts.
const LIFETIME: &str = "10s";
const PARTITIONS: i32 = 3;
/// How soon it must be well again once the cause is gone. The goal is 15 s, which a machine that is busy misses:
/// what it took is printed.
const SOON: Duration = Duration::from_mins(1);

#[test]
fn expired_tickets_a_kdc_that_was_away_and_a_new_keytab_cost_nothing_and_need_no_hand() {
    let Some(mut broker) = Broker::start_with_tickets(LIFETIME) else { return };
    broker.topic("test", PARTITIONS, &[]);
    let reader = broker.read_along("test", PARTITIONS);
    let site = site(&broker, Door::Kerberos, "test");
    let service = site.start();
    let fleet = Fleet::start_slow(site.ingest, 8, Duration::from_millis(50));
    let read_on = |what: &str, within: Duration| {
        let (start, goal) = (Instant::now(), reader.witness().distinct() + 50);
        until_some(what, within, || (reader.witness().distinct() > goal).then_some(()));
        println!("{what}: after {:.1} s", start.elapsed().as_secs_f64());
        start.elapsed()
    };
    read_on("it is logged in", PATIENCE);

    let before = broker.realm.issued();
    until_some("three more tickets are issued", PATIENCE, || {
        (broker.realm.issued() >= before + 3).then_some(())
    });
    read_on("tickets have expired", SOON);

    broker.realm.take_away();
    let says = "the ticket has expired, and there is no new one: no KDC answers";
    let status = service.until_status("the KDC is missed", |s| s.sentence.contains(says));
    println!("{}", status.sentence);
    let sentence = status.sentence;
    broker.realm.give_back();
    let back_after = read_on("the KDC is back", SOON);

    // Every key that was given out before is worth nothing from here on.
    broker.realm.keytab("client", CLIENT);
    let before = broker.realm.issued();
    until_some("a ticket is issued for the new key", PATIENCE, || {
        (broker.realm.issued() > before).then_some(())
    });
    read_on("the keytab is another", SOON);

    let sent = fleet.stop();
    let compared = reader.compared(&sent, PATIENCE);
    println!("{compared}");
    assert_eq!(sent.count(Fate::Unanswered), 0);
    let memory = service.memory().highest;
    service.stop();
    let log = site.log();
    println!("{log}");
    Row {
        failure: "KDC away",
        provoked: "stopped until the tickets have expired, started again; then a new keytab",
        status: vec![sentence],
        log: log.lines().map(without_time).collect(),
        compared: vec![compared],
        memory,
        back_after,
    }
    .add();
}
