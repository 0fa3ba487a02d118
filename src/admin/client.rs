//! How a command asks a running service for its snapshot.
//!
//! One request, one answer, within three seconds; every failure is a sentence that says what was
//! tried and what to do. It changes nothing, and does not know what the answer is used for.

use crate::status::{SCHEMA, Snapshot};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

/// The whole exchange; the service answers in milliseconds or not at all.
const WITHIN: Duration = Duration::from_secs(3);
/// A snapshot has a few kilobytes; whatever sends more is not Waystation.
const BODY: usize = 1024 * 1024;

/// What a running service said.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    pub snapshot: Snapshot,
    /// The JSON as it was served.
    pub json: String,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    #[error(
        "nothing listens at {0}: start the service, or name its admin address as the \
         configuration does ([admin] listen)"
    )]
    Nothing(SocketAddr),
    #[error("cannot reach {address}: {source}")]
    Unreachable { address: SocketAddr, source: std::io::Error },
    #[error("{address} did not answer within {} s: the service hangs, or it is another program", WITHIN.as_secs())]
    TimedOut { address: SocketAddr },
    #[error("what listens at {address} is not Waystation's admin listener ({found})")]
    NotWaystation { address: SocketAddr, found: String },
    #[error(
        "the service at {address} is newer than this command (status schema {found}, this command \
         knows {SCHEMA}): use the `waystation` that was installed with it"
    )]
    Newer { address: SocketAddr, found: u64 },
}

/// Fetches `/status` from the admin listener at `listen`. An address that stands for all of a
/// host's (`0.0.0.0`, `::`) is asked by loopback.
pub async fn fetch(listen: SocketAddr) -> Result<Fetched, FetchError> {
    let address = reachable(listen);
    match tokio::time::timeout(WITHIN, exchange(address)).await {
        Ok(result) => result.and_then(|json| read(address, json)),
        Err(_) => Err(FetchError::TimedOut { address }),
    }
}

fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn exchange(address: SocketAddr) -> Result<String, FetchError> {
    let stream = TcpStream::connect(address).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::ConnectionRefused => FetchError::Nothing(address),
        _ => FetchError::Unreachable { address, source },
    })?;
    let other = |found: String| FetchError::NotWaystation { address, found };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| other(error.to_string()))?;
    let request = Request::get("/status")
        .header("host", address.to_string())
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| other(error.to_string()))?;
    // The sender goes with the answer, and with the sender the connection ends.
    let answer = async move {
        let reply = sender.send_request(request).await.map_err(|error| other(error.to_string()))?;
        if reply.status() != StatusCode::OK {
            return Err(other(format!("it answered {}", reply.status())));
        }
        let body = Limited::new(reply.into_body(), BODY).collect().await;
        let body = body.map_err(|error| other(error.to_string()))?.to_bytes();
        String::from_utf8(body.into()).map_err(|_| other("its answer is not text".to_owned()))
    };
    // The connection only moves bytes; how it ended shows in the answer.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

fn read(address: SocketAddr, json: String) -> Result<Fetched, FetchError> {
    #[derive(Deserialize)]
    struct Versioned {
        schema: u64,
    }
    let other = |found: String| FetchError::NotWaystation { address, found };
    let Versioned { schema } =
        serde_json::from_str(&json).map_err(|_| other("its answer is not a status".to_owned()))?;
    if schema > u64::from(SCHEMA) {
        return Err(FetchError::Newer { address, found: schema });
    }
    let snapshot = serde_json::from_str(&json)
        .map_err(|error| other(format!("its status cannot be read: {error}")))?;
    Ok(Fetched { snapshot, json })
}

#[cfg(test)]
mod tests;
