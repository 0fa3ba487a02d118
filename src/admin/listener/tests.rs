//! The listener over real connections.

use super::*;
use crate::admin::client;
use crate::admin::fake::{Fake, Served, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What comes back for these bytes, until the connection ends.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    within(stream.read_to_string(&mut reply)).await.unwrap();
    reply
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let served = Served::new(Fake::default()).await;
    for path in ["/", "/status", "/metrics", "/livez", "/readyz"] {
        let rest = format!("{path} HTTP/1.1\r\nhost: box\r\nconnection: close\r\n\r\n");
        let head = raw(served.address, &format!("HEAD {rest}")).await;
        let get = raw(served.address, &format!("GET {rest}")).await;
        let (get_head, body) = get.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{path}: no body after a HEAD");
        let length = format!("content-length: {}", body.len());
        assert!(head.contains(&length) && get_head.contains(&length), "{path}");
    }
    served.stop().await;
}

#[tokio::test]
async fn what_is_not_http_ends_its_own_connection_only() {
    let served = Served::new(Fake::default()).await;
    let reply = raw(served.address, "\u{1}\u{2}\u{3} what\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 400"), "{reply}");
    let long = format!("GET / HTTP/1.1\r\nhost: box\r\nx: {}\r\n\r\n", "x".repeat(2 * BUFFER));
    let reply = raw(served.address, &long).await;
    assert!(reply.starts_with("HTTP/1.1 431"), "{reply}");
    within(client::fetch(served.address)).await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn silent_connections_keep_nobody_out_and_do_not_delay_the_end() {
    let served = Served::new(Fake::default()).await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS / 2 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET /status HTTP/1.1\r\n").await.unwrap();
        silent.push(stream);
    }
    within(client::fetch(served.address)).await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_said_and_taken_over_once_it_is_free() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let state = Arc::new(AdminState::default());
    let serving = tokio::spawn(serve(
        Config { listen: address },
        Arc::new(Fake::default()),
        Arc::clone(&state),
        std::future::pending(),
    ));
    let trouble = eventually(|| state.trouble()).await;
    let start = format!("the admin listener cannot use {address} (");
    assert!(trouble.starts_with(&start) && !trouble.ends_with('.'), "{trouble}");
    assert_eq!(state.address(), None);
    drop(taken);
    assert_eq!(eventually(|| state.address()).await, address);
    assert_eq!(state.trouble(), None);
    within(client::fetch(address)).await.unwrap();
    serving.abort();
}
