//! What keeps ingest from starting, and how is it told?

use super::*;
use crate::ingest::test_pki::Authority;
use std::fs;

#[tokio::test]
async fn a_port_in_use_is_one_sentence_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let running = start(|_, _| ());
    let config = Config { listen: address, routes: vec![], ..defaults() };
    let error = Server::bind(config.clone(), running.writer.clone()).unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && !error.contains('\n'), "{error}");

    let routes = vec![route("/a", "a", Some("device"))];
    let config = Config { routes, ..config };
    let error = Server::bind(config, running.writer.clone()).unwrap_err().to_string();
    assert!(error.contains("/a") && error.contains("device_id"), "{error}");
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_is_named_and_is_broken_is_one_sentence_that_names_it() {
    let running = start(|_, _| ());
    let dir = tempfile::tempdir().unwrap();
    let [certificate, key, tokens] = ["tls.crt", "tls.key", "tokens"].map(|n| dir.path().join(n));
    fs::write(&certificate, Authority::new("a").server().certificate).unwrap();
    fs::write(&key, Authority::new("a").server().key).unwrap();
    fs::write(&tokens, "depot-7 sha256:00\n").unwrap();
    let tls = Some(tls::Config { certificate, key: key.clone(), client_ca: None });
    let no_key = Config { tls, ..defaults() };
    let no_hash = Config { tokens: Some(tokens.clone()), ..defaults() };
    for (config, begins) in [
        (no_key, format!("{}: is not the key of the certificate in ", key.display())),
        (no_hash, format!("{}:1: the hash of depot-7 is none; it takes ", tokens.display())),
    ] {
        let faults = config.rehearse();
        assert_eq!(faults.len(), 1);
        let error = Server::bind(config, running.writer.clone()).unwrap_err().to_string();
        assert!(error.starts_with(&begins) && !error.contains('\n'), "{error}");
        assert_eq!(faults[0].to_string(), error);
    }
    running.stop().await;
}

#[test]
fn tokens_that_everybody_on_the_way_can_read_are_worth_a_warning() {
    let warns = |listen: &str, tokens: bool| {
        let tokens = tokens.then(|| "/etc/waystation/tokens".into());
        let config = Config { listen: listen.parse().unwrap(), tokens, ..defaults() };
        config.warnings().len()
    };
    assert_eq!((warns("0.0.0.0:80", true), warns("192.0.2.7:80", true)), (1, 1));
    assert_eq!((warns("127.0.0.1:80", true), warns("0.0.0.0:80", false)), (0, 0));
}
