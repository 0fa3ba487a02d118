//! An HTTP connection that is kept open, and single questions.
//!
//! Nothing is sent twice by itself, and connecting is a step of its own: so whoever sends knows
//! what certainly never left and may be sent again.

use super::PATIENCE;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::net::TcpStream;

pub type Body = Full<Bytes>;

/// An answer that arrived whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The value of a header, or "" without it.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A connection that is opened again after it broke.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    open: Option<SendRequest<Body>>,
}

impl Connection {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, open: None }
    }

    /// Opens the connection where it is not open. False when nobody listens.
    pub async fn connect(&mut self) -> bool {
        if self.open.as_ref().is_none_or(SendRequest::is_closed) {
            self.open = connect(self.address).await;
        }
        self.open.is_some()
    }

    /// Sends a request once and waits for its answer; without one the connection broke, and
    /// the request may or may not have been taken. Panics when neither comes in time.
    pub async fn send(&mut self, request: Request<Body>) -> Option<Answer> {
        let mut sender = self.open.take()?;
        let answer = tokio::time::timeout(PATIENCE, answer(&mut sender, request));
        let answer = answer.await.expect("an answer, or the connection's end").ok()?;
        self.open = Some(sender);
        Some(answer)
    }
}

async fn connect(address: SocketAddr) -> Option<SendRequest<Body>> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    // How the connection ends is seen by the request that waits on it.
    tokio::spawn(async move { drop(connection.await) });
    Some(sender)
}

async fn answer(sender: &mut SendRequest<Body>, request: Request<Body>) -> hyper::Result<Answer> {
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(Answer { status, headers, body })
}

/// A request without any header but the one that HTTP wants.
pub fn request(method: Method, path: &str, body: Bytes) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header(HOST, "waystation");
    request.body(Full::new(body)).unwrap()
}

/// A message as a tracker posts it.
pub fn post(body: Bytes) -> Request<Body> {
    post_to("/endpoint", body)
}

/// The same, by another route.
pub fn post_to(path: &str, body: Bytes) -> Request<Body> {
    let mut request = request(Method::POST, path, body);
    request.headers_mut().insert(CONTENT_TYPE, "application/x-protobuf".parse().unwrap());
    request
}

/// One question over a connection of its own; nothing when nobody answers.
pub fn ask(address: SocketAddr, request: Request<Body>) -> Option<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = Connection::new(address);
        if connection.connect().await { connection.send(request).await } else { None }
    })
}
