//! Is what an export takes out of a spool safe in its file, and free again when the export hangs?
//!
//! The file lies on a medium (`medium/`) that knows what was synced, that can be slow to answer, and
//! whose power can be cut; the spool lies elsewhere.

use crate::medium::crash::Keep;
use crate::medium::disk::{Access, Layers};
use crate::medium::mount::{Inserted, Mount};
use crate::medium::random;
use crate::medium::tree::Op;
use crate::support::fleet::{Fate, Fleet};
use crate::support::kafka::Kafka;
use crate::support::service::Site;
use crate::support::{PATIENCE, until};
use rustix::io::Errno;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

/// A service and so many records in its spool, of which Kafka's client has none.
fn filled(records: u64, bytes: usize) -> Site {
    let site = Site::new(None);
    let service = site.start();
    let fleet = Fleet::start_large(site.ingest, 8, bytes);
    fleet.until_more(records);
    fleet.stop();
    service.stop();
    site
}

fn file(stick: &Inserted) -> PathBuf {
    stick.path().join("out.ndjson")
}

/// The export that takes everything out onto the stick.
fn taking_out(site: &Site, stick: &Inserted) -> Command {
    let mut command = site.command("spool");
    command.args(["export", "--remove", "-o"]).arg(file(stick));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Fails without the sync of the file in `NewFile::keep`, and without that of its directory, by
/// either way to its name: most sticks have no hard links.
#[test]
fn a_power_cut_right_after_an_export_leaves_the_whole_file() {
    let Some(mount) = Mount::new() else { return };
    let mut random = random();
    for links in [true, false] {
        let site = filled(200, 500);
        let all = site.command("spool").arg("export").output().unwrap().stdout;
        let stick = mount.insert(Layers::new());
        stick.disk().guard(Box::new(move |access, _, _| match access {
            Access::Link if !links => Err(Errno::PERM),
            _ => Ok(()),
        }));
        let output = taking_out(&site, &stick).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let left = stick.layers();
        assert!(site.command("spool").arg("export").output().unwrap().stdout.is_empty());
        for keep in Keep::ALL {
            let stick = mount.insert(left.crash(keep, &mut random));
            let read = fs::read(file(&stick)).unwrap_or_default();
            assert!(read == all, "{keep:?}, links: {links}: {} of {}", read.len(), all.len());
        }
    }
}

/// Fails without the steps in `NewFile::write`: the last sync then takes as long as the whole file
/// does, and nobody can tell it from a medium that hangs.
#[test]
fn a_large_file_is_synced_in_steps() {
    let Some(mount) = Mount::new() else { return };
    let site = filled(1_000, 16_000);
    let stick = mount.insert(Layers::new());
    let synced = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&synced);
    stick.disk().guard(Box::new(move |access, _, layers| {
        if access == Access::Sync {
            let bytes = |op: &Op| if let Op::Write { bytes, .. } = op { bytes.len() } else { 0 };
            seen.lock().unwrap().push(layers.pending.iter().map(bytes).sum::<usize>());
        }
        Ok(())
    }));
    assert!(taking_out(&site, &stick).output().unwrap().status.success());
    let len = fs::metadata(file(&stick)).unwrap().len();
    let synced = synced.lock().unwrap();
    println!("{len} bytes, synced in steps of {synced:?}");
    assert!(len > 15 << 20 && synced.iter().all(|bytes| *bytes <= 6 << 20), "{synced:?}");
}

/// A stick that does not answer writes; it does again when this is dropped.
struct Hanging(Arc<(Mutex<bool>, Condvar)>);

impl Hanging {
    fn of(stick: &Inserted) -> Self {
        let hanging = Self(Arc::new((Mutex::new(true), Condvar::new())));
        let asked = Arc::clone(&hanging.0);
        stick.disk().guard(Box::new(move |access, _, _| {
            if access == Access::Grow {
                drop(asked.1.wait_while(asked.0.lock().unwrap(), |hangs| *hangs).unwrap());
            }
            Ok(())
        }));
        hanging
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap() = false;
        self.0.1.notify_all();
    }
}

/// An export onto a hanging stick. When it is dropped the stick answers, without which nothing could
/// kill the export, and it is killed.
struct Export {
    child: Child,
    hanging: Option<Hanging>,
}

impl Drop for Export {
    fn drop(&mut self) {
        drop(self.hanging.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Fails when a client that holds something asks on, whatever its command does (`Life::moved`), and
/// when the status does not show what is held.
#[test]
fn an_export_whose_stick_hangs_gives_its_records_back_and_the_status_names_it_meanwhile() {
    let Some(mount) = Mount::new() else { return };
    let kafka = Kafka::start();
    let reader = kafka.read_along();
    kafka.take_away();
    let mut site = Site::new(Some(&kafka.servers()));
    site.set_number("forward.max_in_flight", 1);
    let service = site.start();
    let fleet = Fleet::start(site.ingest, 8);
    fleet.until_more(200);
    let sent = fleet.stop();
    let all = sent.count(Fate::Acknowledged);

    let stick = mount.insert(Layers::new());
    let hanging = Some(Hanging::of(&stick));
    let mut export = Export { child: taking_out(&site, &stick).spawn().unwrap(), hanging };
    let held = service.until_status("records are held", |status| status.spool.held_records > 0);
    assert!(held.spool.held_records + 50 > all, "{held:?}");
    assert!(held.sentence.contains("an export has held"), "{}", held.sentence);
    kafka.give_back();
    let before = all - held.spool.held_records;
    let waits =
        service.until_status("what is before them is delivered", |s| s.ledger.delivered >= before);
    if waits.spool.held_records > 0 {
        assert!(waits.sentence.contains("records wait"), "{}", waits.sentence);
    }
    reader.compared(&sent, PATIENCE);
    let status = service.until_status("all is delivered", |status| status.ledger.spooled == 0);
    assert_eq!((status.spool.held_records, status.ledger.exported), (0, 0));
    assert_eq!(status.spool.held_seconds, None);

    drop(export.hanging.take());
    until("the export ends", || export.child.try_wait().unwrap().is_some());
    let mut says = String::new();
    std::io::Read::read_to_string(export.child.stderr.as_mut().unwrap(), &mut says).unwrap();
    assert!(says.contains("the connection to the service broke"), "{says}");
    assert!(says.contains("Kafka gets them too"), "{says}");
    service.stop();
}
