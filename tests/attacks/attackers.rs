//! Clients that want too much: each attack is some connections that do what they do until told to stop,
//! and connect again when they are thrown out.

use super::Deeds;
use crate::support::fleet::message;
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// A kind of attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    SlowHeaders,
    SlowBodies,
    FatBodies,
    GzipBombs,
    ZstdBombs,
    EmptyMembers,
    BombBatches,
    EndlessBodies,
    EndlessBatches,
    SlowBatches,
    Idle,
    Crowd,
    PipelinedFlood,
    Unread,
    HeaderFlood,
}

/// Between two bytes of those that are slow.
const SLOW: Duration = Duration::from_millis(200);
/// How long an attacker waits for an answer before it goes on.
const IMPATIENT: Duration = Duration::from_secs(5);

impl Attack {
    pub const ALL: [Self; 15] = [
        Self::SlowHeaders,
        Self::SlowBodies,
        Self::FatBodies,
        Self::GzipBombs,
        Self::ZstdBombs,
        Self::EmptyMembers,
        Self::BombBatches,
        Self::EndlessBodies,
        Self::EndlessBatches,
        Self::SlowBatches,
        Self::Idle,
        Self::Crowd,
        Self::PipelinedFlood,
        Self::Unread,
        Self::HeaderFlood,
    ];

    /// What it is, in a few words.
    pub fn name(self) -> &'static str {
        match self {
            Self::SlowHeaders => "slow headers (a byte each 200 ms)",
            Self::SlowBodies => "slow bodies (a byte each 200 ms)",
            Self::FatBodies => "bodies of 60 KB that lack their last byte",
            Self::GzipBombs => "gzip bombs of 60 MB",
            Self::ZstdBombs => "zstd bombs of 60 MB",
            Self::EmptyMembers => "batches of empty gzip members",
            Self::BombBatches => "gzip and zstd bombs as batches",
            Self::EndlessBodies => "chunked bodies without end",
            Self::EndlessBatches => "chunked batches without end",
            Self::SlowBatches => "batches that never end (a message each 200 ms)",
            Self::Idle => "idle connections",
            Self::Crowd => "more idle connections than there may be, all from the devices' address",
            Self::PipelinedFlood => "pipelined requests, answers read",
            Self::Unread => "pipelined requests, answers not read",
            Self::HeaderFlood => "headers without end",
        }
    }

    /// How many connections it has at once.
    pub fn connections(self) -> usize {
        match self {
            Self::Idle | Self::FatBodies => 1_000,
            // More than there may be.
            Self::SlowHeaders | Self::SlowBodies | Self::SlowBatches | Self::Crowd => 1_500,
            _ => 8,
        }
    }

    /// Whether what it posts is messages that are to be kept.
    pub fn is_kept(self) -> bool {
        matches!(self, Self::SlowBatches)
    }

    /// Until it is told to stop.
    pub fn run(self, address: SocketAddr, deeds: &Arc<Deeds>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pieces: Arc<[Vec<u8>]> = self.pieces().into();
        runtime.block_on(async {
            let mut attackers = JoinSet::new();
            for number in 0..self.connections() {
                let (deeds, pieces) = (Arc::clone(deeds), Arc::clone(&pieces));
                attackers.spawn(async move {
                    while !deeds.is_over() {
                        // Refused, or thrown out: it is back at once.
                        let _ = self.connection(address, &pieces, number, &deeds).await;
                        tokio::task::yield_now().await;
                    }
                });
            }
            while !deeds.is_over() {
                sleep(Duration::from_millis(10)).await;
            }
            attackers.shutdown().await;
        });
    }

    /// What it sends, made once: of several, each connection sends one.
    fn pieces(self) -> Vec<Vec<u8>> {
        let none = || vec![0; 60 << 20];
        // One message of a length that is none, as far as that is.
        let batch = || [&[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f][..], &none()].concat();
        match self {
            Self::GzipBombs => vec![post("/endpoint", "gzip", &gzip(&none()))],
            Self::ZstdBombs => vec![post("/endpoint", "zstd", &zstd(&none()))],
            Self::EmptyMembers => vec![post("/endpoint/batch", "gzip", &gzip(b"").repeat(100_000))],
            Self::BombBatches => vec![
                post("/endpoint/batch", "gzip", &gzip(&batch())),
                post("/endpoint/batch", "zstd", &zstd(&batch())),
            ],
            Self::EndlessBodies => vec![chunked("/endpoint")],
            Self::EndlessBatches | Self::SlowBatches => vec![chunked("/endpoint/batch")],
            Self::SlowBodies => vec![announced().to_vec()],
            Self::FatBodies => vec![[announced(), &[0; 59_999]].concat()],
            Self::PipelinedFlood | Self::Unread => {
                vec![b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".repeat(100)]
            }
            Self::HeaderFlood => vec![b"POST /endpoint HTTP/1.1\r\nhost: x\r\n".to_vec()],
            Self::SlowHeaders => vec![b"POST /endpoint HTTP/1.1\r\nhost: x\r\nx: ".to_vec()],
            Self::Idle | Self::Crowd => vec![Vec::new()],
        }
    }

    /// Whether it comes from where the devices come from, and has all connections that may be open.
    pub fn is_at_the_devices_address(self) -> bool {
        self == Self::Crowd
    }

    async fn connect(self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let from = if self.is_at_the_devices_address() { [127, 0, 0, 1] } else { [127, 0, 0, 2] };
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        socket.connect(address).await
    }

    /// One connection, to its end.
    async fn connection(
        self,
        address: SocketAddr,
        pieces: &[Vec<u8>],
        number: usize,
        deeds: &Deeds,
    ) -> std::io::Result<()> {
        let stream = self.connect(address).await?;
        deeds.connections.fetch_add(1, SeqCst);
        let (mut answers, mut stream) = stream.into_split();
        let first = &pieces[number % pieces.len()];
        stream.write_all(first).await?;
        deeds.bytes.fetch_add(first.len() as u64, SeqCst);
        let more = match self {
            Self::SlowHeaders | Self::SlowBodies => vec![b'1'],
            Self::EndlessBodies => chunk(&[0; 16_000]),
            // Messages that are passed over, one after the other.
            Self::EndlessBatches => {
                let message = [vec![0x80, 0x80, 0x08], vec![0; 1 << 17]].concat();
                chunk(&message.repeat(2))
            }
            Self::SlowBatches => chunk(&message(100 + number, 1).encode_length_delimited_to_vec()),
            Self::PipelinedFlood | Self::Unread => first.clone(),
            Self::HeaderFlood => {
                b"x-flood: 0123456789012345678901234567890123456789\r\n".repeat(20)
            }
            // All is said.
            _ => Vec::new(),
        };
        let slow = matches!(self, Self::SlowHeaders | Self::SlowBodies | Self::SlowBatches);
        let writing = async {
            while !more.is_empty() {
                if slow {
                    sleep(SLOW).await;
                }
                stream.write_all(&more).await?;
                deeds.bytes.fetch_add(more.len() as u64, SeqCst);
            }
            std::future::pending::<std::io::Result<()>>().await
        };
        let reading = async {
            if self == Self::Unread {
                std::future::pending::<()>().await;
            }
            let mut answer = [0; 4096];
            let patience =
                if more.is_empty() && !first.is_empty() { IMPATIENT } else { Duration::MAX };
            while let Ok(Ok(1..)) = timeout(patience, answers.read(&mut answer)).await {
                deeds.answers.fetch_add(1, SeqCst);
                if more.is_empty() && !first.is_empty() {
                    return;
                }
            }
        };
        tokio::select! {
            end = writing => end,
            () = reading => Ok(()),
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn post(path: &str, coding: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-encoding: {coding}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// The head of a request whose body has 60,000 bytes.
fn announced() -> &'static [u8] {
    b"POST /endpoint HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n"
}

fn chunked(path: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}
