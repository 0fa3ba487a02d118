//! One keep-alive HTTP connection: what did the server answer?
//!
//! An answer is a status that arrived whole; everything else is one of two errors. After
//! an error the connection is dropped, and the next request opens another: whether the
//! server took what was on its way is not known here. Nothing is ever sent twice by
//! itself.

use super::target::Target;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// The longest answer that is read, bytes.
const LONGEST_ANSWER: usize = 4 << 20;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// How long the server wants to be left alone (`Retry-After` in seconds).
    pub retry_after: Option<Duration>,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    /// The request may or may not have been taken.
    #[error("the connection broke: {0}")]
    Broken(Box<dyn std::error::Error + Send + Sync>),
    /// The request may or may not have been taken.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Slow(Duration),
}

/// A connection that is opened when it is first needed.
#[derive(Debug)]
pub struct Connection {
    target: Target,
    patience: Duration,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// `patience` bounds each request, from connecting to the end of the answer.
    pub fn new(target: Target, patience: Duration) -> Self {
        Self { target, patience, open: None }
    }

    /// Posts one protobuf message to the target's path.
    pub async fn post(&mut self, body: Bytes) -> Result<Answer, NoAnswer> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.target.path)
            .header(HOST, &self.target.host)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(body));
        self.bounded(request).await
    }

    /// Reads the target's path.
    pub async fn get(&mut self) -> Result<Answer, NoAnswer> {
        let request = Request::builder()
            .uri(&self.target.path)
            .header(HOST, &self.target.host)
            .body(Full::default());
        self.bounded(request).await
    }

    async fn bounded(
        &mut self,
        request: Result<Request<Full<Bytes>>, hyper::http::Error>,
    ) -> Result<Answer, NoAnswer> {
        let request = request.map_err(|error| NoAnswer::Broken(error.into()))?;
        // Taken out, so that whatever goes wrong half-way leaves no connection behind.
        let open = self.open.take();
        let patience = self.patience;
        let exchange = async {
            let mut sender = match open {
                Some(sender) if !sender.is_closed() => sender,
                _ => self.connect().await?,
            };
            let answer = exchange(&mut sender, request).await.map_err(NoAnswer::Broken)?;
            self.open = Some(sender);
            Ok(answer)
        };
        tokio::time::timeout(patience, exchange).await.unwrap_or(Err(NoAnswer::Slow(patience)))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
        let stream = TcpStream::connect(self.target.address).await.map_err(NoAnswer::Connect)?;
        stream.set_nodelay(true).map_err(NoAnswer::Connect)?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| NoAnswer::Broken(error.into()))?;
        // How the connection ends is seen by the request that is waiting on it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let retry_after = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await?.to_bytes();
    Ok(Answer { status, retry_after, body })
}
