//! The client against a true listener and against what else may stand there.

use super::*;
use crate::admin::fake::{Fake, Served, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Something that answers one connection with these bytes, then closes it; with none, it keeps
/// the connection open and says nothing.
async fn stranger(reply: Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        // The client may hang up first; that is its right.
        while let Ok(read) = stream.read(&mut request).await {
            let Some(reply) = reply else {
                if read == 0 {
                    return;
                }
                continue;
            };
            stream.write_all(reply.as_bytes()).await.unwrap();
            return;
        }
    });
    address
}

async fn refused(reply: Option<&'static str>) -> String {
    let error = within(fetch(stranger(reply).await)).await.unwrap_err();
    error.to_string()
}

#[tokio::test]
async fn the_snapshot_comes_as_it_was_served() {
    let served = Served::new(Fake::default()).await;
    let fetched = fetch(served.address).await.unwrap();
    assert_eq!(fetched.snapshot, Fake::default().snapshot);
    assert_eq!(fetched.json, serde_json::to_string_pretty(&fetched.snapshot).unwrap() + "\n");
    served.stop().await;
}

#[tokio::test]
async fn an_address_for_all_interfaces_is_asked_by_loopback() {
    let served = Served::new(Fake::default()).await;
    let all = SocketAddr::from(([0, 0, 0, 0], served.address.port()));
    fetch(all).await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn where_nothing_listens_it_says_what_to_do() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let error = fetch(address).await.unwrap_err();
    assert!(matches!(error, FetchError::Nothing(tried) if tried == address), "{error}");
    assert!(error.to_string().contains("start the service"));
}

#[tokio::test]
async fn another_program_is_not_taken_for_waystation() {
    let replies = [
        "SSH-2.0-something\r\n",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"schema\":1}",
        "",
    ];
    for reply in replies {
        let error = refused(Some(reply)).await;
        assert!(error.contains("is not Waystation's admin listener"), "{reply}: {error}");
    }
}

#[tokio::test]
async fn a_newer_service_is_named_as_such() {
    let reply = "HTTP/1.1 200 OK\r\ncontent-length: 25\r\n\r\n{\"schema\":2,\"other\":true}";
    let error = refused(Some(reply)).await;
    assert!(error.contains("is newer than this command (status schema 2"), "{error}");
}

#[tokio::test]
async fn who_says_nothing_is_given_up() {
    let error = refused(None).await;
    assert!(error.contains("did not answer within 3 s"), "{error}");
}
