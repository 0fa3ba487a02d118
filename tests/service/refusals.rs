//! Does a service that cannot start say in one sentence why, with the right exit code?

use crate::support::client::{ask, post, request};
use crate::support::fleet::message;
use crate::support::service::Site;
use crate::support::{PATIENCE, until, until_some};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use prost::Message as _;
use std::fs;
use std::net::TcpListener;
use std::process::Output;

/// The one sentence of a refusal. Log lines may stand before it; a backtrace may not.
fn sentence(outcome: &Output, code: i32) -> String {
    let text = String::from_utf8(outcome.stderr.clone()).unwrap();
    assert_eq!(outcome.status.code(), Some(code), "{text}");
    for word in ["panicked", "backtrace", "RUST_BACKTRACE"] {
        assert!(!text.contains(word), "{text}");
    }
    let sentences: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("waystation: ")).collect();
    assert_eq!(sentences.len(), 1, "{text}");
    sentences[0].to_owned()
}

#[test]
fn a_second_service_on_one_spool_names_the_first() {
    let site = Site::new(None);
    let service = site.start();
    let mut second = Site::new(None);
    second.set("spool.dir", site.spool().to_str().unwrap());
    let text = sentence(&second.outcome("run"), 75);
    assert!(text.contains(&format!("process {}", service.pid())), "{text}");
    // The first one is none the worse for it.
    let answer = ask(site.ingest, post(message(0, 1).encode_to_vec().into())).unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    service.stop();
}

#[test]
fn a_port_in_use_is_named() {
    let site = Site::new(None);
    let _holder = TcpListener::bind(site.ingest).unwrap();
    let text = sentence(&site.outcome("run"), 69);
    assert!(text.contains(&site.ingest.to_string()), "{text}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let mut site = Site::new(None);
    let file = site.root().join("a-file");
    fs::write(&file, "in the way").unwrap();
    // Below a file, and in a file system that takes no directories: this holds for root, too.
    for dir in [file.join("spool").to_str().unwrap(), "/proc/waystation/spool"] {
        site.set("spool.dir", dir);
        let text = sentence(&site.outcome("run"), 73);
        assert!(text.contains(dir), "{text}");
    }
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    let mut site = Site::new(None);
    site.set("spool.min_fre", "0");
    for subcommand in ["run", "check"] {
        let text = sentence(&site.outcome(subcommand), 78);
        assert!(text.contains("spool.min_fre ") && text.contains("mean min_free"), "{text}");
        assert!(text.contains("waystation.toml:"), "{text}");
    }
    assert!(!site.spool().exists(), "nothing is made before the configuration is right");
}

#[test]
fn a_property_that_would_break_the_promise_is_named() {
    let mut site = Site::new(Some("127.0.0.1:9"));
    site.set("kafka.acks", "1");
    let text = sentence(&site.outcome("run"), 78);
    assert!(text.contains("acks"), "{text}");
}

#[test]
fn an_admin_port_in_use_does_not_stop_the_service() {
    let site = Site::new(None);
    let holder = TcpListener::bind(site.admin).unwrap();
    let service = site.launch();
    until_some("a record is taken", PATIENCE, || {
        let message = message(0, 1).encode_to_vec();
        ask(site.ingest, post(message.into())).filter(|answer| answer.status == StatusCode::OK)
    });
    until("the log says so", || site.log().contains(&site.admin.to_string()));
    drop(holder);
    // By itself, some seconds later.
    until_some("the admin listener is there", PATIENCE, || {
        ask(site.admin, request(Method::GET, "/livez", Bytes::new()))
    });
    assert_eq!(service.status().ledger.accepted, 1);
    service.stop();
}
