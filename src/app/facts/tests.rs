//! The facts of a true spool, without Kafka.

use super::*;
use crate::admin::metrics::{Format, render};
use crate::config;
use crate::dead;
use crate::forward::Forwarder;
use crate::ingest::Server;
use crate::record::Sequence;
use crate::spool::Spool;

/// The facts of a new spool, as if its start had given the report changed like this.
fn with_facts(change: impl FnOnce(&mut OpenReport), look: impl FnOnce(&Facts)) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("waystation.toml");
    let (spool_dir, any_port) = (dir.path().join("spool"), "127.0.0.1:0");
    let text = format!("[ingest]\nlisten = {any_port:?}\n[spool]\ndir = {spool_dir:?}\n");
    fs::write(&file, text).unwrap();
    let config = config::load(&file).unwrap().config;
    let Spool { writer, reader, acks: _acks, mut report } =
        spool::open(config.spool.clone()).unwrap();
    change(&mut report);
    let letters = dead::Store::open(&config.spool.dir, config.dead);
    let (_forwarder, monitor) = Forwarder::new(config.forward.clone(), reader, letters).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let server = Server::bind(config.ingest.clone(), writer.clone()).unwrap();
    let state = Arc::new(AdminState::default());
    look(&Facts::new(&config, writer.clone(), server.stats(), monitor, state, report));
    writer.close().unwrap();
}

fn metric(facts: &Facts, series: &str) -> String {
    let text = render(Format::Text, &facts.status(), &facts.metrics());
    let found = text.lines().find_map(|line| line.strip_prefix(series));
    found.unwrap_or_else(|| panic!("no {series} in {text}")).trim().to_owned()
}

#[test]
fn what_a_start_finds_lost_is_counted_since_that_start() {
    let found_five = |report: &mut OpenReport| {
        report.ledger = Ledger { accepted: 30, delivered: 23, lost: 7, ..Ledger::default() };
        report.lost = vec![(Sequence(10), Sequence(13)), (Sequence(20), Sequence(22))];
    };
    with_facts(found_five, |facts| {
        let at_start = facts.metrics().at_start;
        assert_eq!(at_start, Ledger { lost: 2, ..facts.report.ledger });
        // The books as they stand after that start.
        let status = Snapshot { ledger: facts.report.ledger, ..facts.status() };
        let text = render(Format::Text, &status, &facts.metrics());
        assert!(text.contains("\nwaystation_records_lost_total 5\n"), "{text}");
        assert!(text.contains("\nwaystation_records_accepted_total 0\n"), "{text}");
    });
}

#[test]
fn every_reason_of_a_refusal_has_a_counter_from_the_start() {
    with_facts(
        |_| {},
        |facts| {
            let reasons: Vec<_> = facts.stats.rejected().map(|(name, _)| name).collect();
            assert!(reasons.len() > 5, "{reasons:?}");
            for reason in reasons {
                let series = format!("waystation_records_rejected_total{{reason=\"{reason}\"}}");
                assert_eq!(metric(facts, &series), "0", "{series}");
            }
        },
    );
}

#[test]
fn the_kernels_account_is_read_and_what_is_none_is_left_out() {
    let io = "rchar: 9\nwchar: 8\nread_bytes: 7\nwrite_bytes: 40960\ncancelled_write_bytes: 6\n";
    assert_eq!(write_bytes(io), Some(40_960));
    for none in ["", "wchar: 8\n", "write_bytes: \n", "cancelled_write_bytes: 6\n"] {
        assert_eq!(write_bytes(none), None, "{none:?}");
    }
}
