//! Devices that post as fast as they are answered, and what each was told.
//!
//! A device has one connection and one message under way. Each message is posted once: after
//! a broken connection the device goes on with the next one, so that a message that is read
//! twice was repeated behind the 200, not in front of it. One that never left (nobody
//! listened) is posted again.

use super::client::{Connection, post_to};
use bytes::Bytes;
use hyper::StatusCode;
use prost::Message as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;
use waystation::convert::{Event, FixType, RealtimeGps, Timestamp};

/// Between two tries while nobody listens, and after a refusal.
const AGAIN: Duration = Duration::from_millis(20);
/// Bytes of noise in a message, beside its values.
const NOISE: usize = 32;

/// The device's name in its messages.
pub fn device_id(device: usize) -> String {
    format!("tracker-{device:04}")
}

/// Which device a name is of.
pub fn device_of(id: &str) -> Option<usize> {
    id.strip_prefix("tracker-")?.parse().ok()
}

/// The message that a device sends under a number of its own, from 1 on.
///
/// Its values are noise, so that a spool of them is about as large as one of real messages,
/// or larger: alike ones would be compressed to nothing.
pub fn message(device: usize, number: u64) -> RealtimeGps {
    large_message(device, number, NOISE)
}

/// [`message`], with so many bytes of noise: to fill a disk with few of them.
pub fn large_message(device: usize, number: u64, bytes: usize) -> RealtimeGps {
    let mut noise = fastrand::Rng::with_seed(((device as u64) << 32) ^ number);
    let signature = std::iter::repeat_with(|| noise.alphanumeric()).take(bytes).collect();
    RealtimeGps {
        device_id: device_id(device),
        fix_time: Some(Timestamp { seconds: 1_767_225_600 + number.cast_signed(), nanos: 0 }),
        latitude: Some(48.0 + noise.f64()),
        longitude: Some(11.0 + noise.f64()),
        altitude: Some(500.0 + noise.f64()),
        speed: Some(noise.f32() * 30.0),
        heading: Some(noise.f32() * 360.0),
        hdop: Some(0.8),
        satellites: Some(noise.u32(4..20)),
        fix_type: FixType::Fix3d.into(),
        ignition: Some(true),
        odometer: Some(noise.u64(..)),
        event: Event::Position.into(),
        sequence: number,
        vehicle_id: format!("bus-{device}"),
        battery_voltage: Some(noise.f32() * 28.0),
        attributes: [("signature".to_owned(), signature)].into(),
        ..RealtimeGps::default()
    }
}

/// What became of a message, as far as its device can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Answered with 200.
    Acknowledged,
    /// Answered with something else.
    Refused(StatusCode),
    /// The connection broke: it may or may not have been kept.
    Unanswered,
}

/// Everything that was posted: for each device, the fates of its messages 1, 2, 3 ...
#[derive(Debug)]
pub struct Sent {
    pub fates: Vec<Vec<Fate>>,
}

impl Sent {
    pub fn count(&self, fate: Fate) -> u64 {
        self.fates.iter().flatten().filter(|known| **known == fate).count() as u64
    }

    /// The answers that were neither 200 nor the connection's end.
    pub fn refusals(&self) -> Vec<StatusCode> {
        let refusal = |fate: &Fate| match fate {
            Fate::Refused(status) => Some(*status),
            Fate::Acknowledged | Fate::Unanswered => None,
        };
        self.fates.iter().flatten().filter_map(refusal).collect()
    }
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Nothing is posted for now.
    held: AtomicBool,
    acknowledged: AtomicU64,
    unanswered: AtomicU64,
    /// Posted, and neither answered nor broken.
    waiting: AtomicU64,
}

/// The devices, on a thread of their own.
#[derive(Debug)]
pub struct Fleet {
    shared: Arc<Shared>,
    thread: JoinHandle<Sent>,
}

impl Fleet {
    /// So many devices begin to post.
    pub fn start(ingest: SocketAddr, devices: usize) -> Self {
        Self::start_large(ingest, devices, NOISE)
    }

    /// [`Fleet::start`], with messages that have so many bytes of noise.
    pub fn start_large(ingest: SocketAddr, devices: usize, bytes: usize) -> Self {
        Self::drive_all(ingest, "/endpoint", devices, bytes, Duration::ZERO)
    }

    /// [`Fleet::start`], with a pause between two messages of a device.
    pub fn start_slow(ingest: SocketAddr, devices: usize, pause: Duration) -> Self {
        Self::start_at(ingest, "/endpoint", devices, pause)
    }

    /// The same by another route.
    pub fn start_at(
        ingest: SocketAddr,
        path: &'static str,
        devices: usize,
        pause: Duration,
    ) -> Self {
        Self::drive_all(ingest, path, devices, NOISE, pause)
    }

    fn drive_all(
        ingest: SocketAddr,
        path: &'static str,
        devices: usize,
        bytes: usize,
        pause: Duration,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let watched = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("fleet".to_owned());
        let thread = thread.spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let each = |device| {
                    let load = (path, bytes, pause);
                    tokio::spawn(drive(device, ingest, load, Arc::clone(&watched)))
                };
                let driven: Vec<_> = (0..devices).map(each).collect();
                let mut fates = Vec::with_capacity(devices);
                for device in driven {
                    fates.push(device.await.unwrap());
                }
                Sent { fates }
            })
        });
        Self { shared, thread: thread.unwrap() }
    }

    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(SeqCst)
    }

    /// Messages whose connection broke before the answer.
    pub fn unanswered(&self) -> u64 {
        self.shared.unanswered.load(SeqCst)
    }

    /// Messages that wait for their answer right now.
    pub fn waiting(&self) -> u64 {
        self.shared.waiting.load(SeqCst)
    }

    /// At least as many as were ever posted up to this call, refusals aside.
    pub fn posted(&self) -> u64 {
        // In this order: one that is answered meanwhile is counted twice, never not at all.
        self.waiting() + self.unanswered() + self.acknowledged()
    }

    /// Waits until so many more messages are acknowledged.
    pub fn until_more(&self, more: u64) {
        let goal = self.acknowledged() + more;
        super::until("the fleet's messages are acknowledged", || self.acknowledged() >= goal);
    }

    /// Posts nothing for now; everything that was posted is answered when this returns.
    pub fn hold(&self) {
        self.shared.held.store(true, SeqCst);
        super::until("the fleet holds still", || self.waiting() == 0);
    }

    pub fn go_on(&self) {
        self.shared.held.store(false, SeqCst);
    }

    /// Lets every device finish what it has under way.
    pub fn stop(self) -> Sent {
        self.shared.stop.store(true, SeqCst);
        self.thread.join().expect("every device came to its end")
    }
}

async fn drive(
    device: usize,
    ingest: SocketAddr,
    (path, bytes, pause): (&str, usize, Duration),
    shared: Arc<Shared>,
) -> Vec<Fate> {
    let mut connection = Connection::new(ingest);
    let mut fates = Vec::new();
    while !shared.stop.load(SeqCst) {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        if !connection.connect().await {
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        let message = large_message(device, fates.len() as u64 + 1, bytes);
        let body = Bytes::from(message.encode_to_vec());
        // First, so that whoever holds the fleet sees what is under way.
        shared.waiting.fetch_add(1, SeqCst);
        if shared.held.load(SeqCst) {
            shared.waiting.fetch_sub(1, SeqCst);
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        fates.push(match connection.send(post_to(path, body)).await {
            Some(answer) if answer.status == StatusCode::OK => {
                shared.acknowledged.fetch_add(1, SeqCst);
                Fate::Acknowledged
            }
            Some(answer) => Fate::Refused(answer.status),
            None => {
                shared.unanswered.fetch_add(1, SeqCst);
                Fate::Unanswered
            }
        });
        // Last, so that no message is ever in none of the counts.
        shared.waiting.fetch_sub(1, SeqCst);
        if matches!(fates.last(), Some(Fate::Refused(_))) {
            tokio::time::sleep(AGAIN).await;
        }
    }
    fates
}
