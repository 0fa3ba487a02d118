//! Records as vehicles make them, put into a spool in commits of a certain size.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use waystation::cli::fleet;
use waystation::convert::Converter;
use waystation::record::{Millis, NewRecord, Reception, Route};
use waystation::spool::{self, Append, AppendError, Spool, SpoolWriter};

use prost::Message;

/// Some thousand different records: several of the largest blocks that are ever packed.
const POOL: usize = 16_384;

#[derive(Debug)]
pub struct Load {
    pool: Vec<(Vec<u8>, Vec<u8>)>,
    next: usize,
    route: Arc<Route>,
    pub records: u64,
    pub json_bytes: u64,
    /// How long each batch waited until all of it was durable, seconds.
    pub waits: Vec<f64>,
}

impl Load {
    pub fn new() -> Self {
        let converter = Converter::built_in(Some("device_id")).expect("the built-in message");
        let mut vehicles = fleet::vehicles(500, 7);
        let start = SystemTime::now();
        let pool = (0..POOL).map(|place| {
            let now = start + Duration::from_secs((place / 500) as u64);
            let message = vehicles[place % 500].report(now).encode_to_vec();
            let mut json = Vec::new();
            let said = converter.convert(&message, &mut json).expect("a sound message");
            (said.key.unwrap_or_default(), json)
        });
        let route = Route { path: "/endpoint".to_owned(), topic: "test".to_owned() };
        let (pool, route) = (pool.collect(), Arc::new(route));
        Self { pool, next: 0, route, records: 0, json_bytes: 0, waits: Vec::new() }
    }

    /// Records of so many random bytes, which no compression makes smaller: to fill a disk.
    pub fn incompressible(len: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let value = |_| (0..len).map(|_| random.u8(..)).collect();
        let pool = (0..64).map(value).map(|value| (b"bus".to_vec(), value)).collect();
        Self { pool, ..Self::new() }
    }

    /// The next record's key and JSON.
    pub fn next(&mut self) -> &(Vec<u8>, Vec<u8>) {
        self.next = (self.next + 1) % self.pool.len();
        let record = &self.pool[self.next];
        self.records += 1;
        self.json_bytes += record.1.len() as u64;
        record
    }

    fn append(&mut self, writer: &SpoolWriter) -> Result<Append, AppendError> {
        let route = self.route.clone();
        let (key, json) = self.next();
        let at = Millis::now();
        writer.append(&NewRecord {
            route: &route,
            key: Some(key),
            timestamp: at,
            received: Reception { at, clock_synchronised: true },
            origin: None,
            headers: &[],
            value: json,
        })
    }

    /// Appends so many records, waits until they are durable, and again, for as long as `more`
    /// says. (With a second batch under way the spool would commit both at once.)
    pub async fn batches(
        &mut self,
        writer: &SpoolWriter,
        size: u64,
        mut more: impl FnMut(&Self) -> bool,
    ) {
        while more(self) {
            let start = Instant::now();
            let batch: Vec<_> = (0..size).map(|_| self.append(writer).expect("room")).collect();
            for append in batch {
                append.await.expect("a commit");
            }
            self.waits.push(start.elapsed().as_secs_f64());
        }
    }

    /// The same work without a spool and a disk: as many records, put together and compressed as
    /// a commit does. Records a second.
    pub fn bare(&mut self, size: u64) -> f64 {
        let mut zstd = zstd::bulk::Compressor::new(1).expect("zstd");
        let (mut raw, mut done) = (Vec::new(), 0_u32);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(500) {
            raw.clear();
            for _ in 0..size {
                let (key, json) = self.next();
                raw.extend_from_slice(key);
                raw.extend_from_slice(json);
            }
            std::hint::black_box(zstd.compress(&raw).expect("zstd"));
            done += 1;
        }
        f64::from(done) * size as f64 / start.elapsed().as_secs_f64()
    }
}

/// Runs `work` as the service would: one thread, on which promises are woken too.
pub fn run<F: Future>(work: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// A spool that is never too full, and is not repacked.
pub fn config(dir: &Path, segment_bytes: Option<u64>) -> spool::Config {
    let config = spool::Config::new(dir);
    let segment_bytes = segment_bytes.unwrap_or(config.segment_bytes);
    let (max_size, min_free, repack_after) = (u64::MAX, 0, Duration::MAX);
    spool::Config { max_size, min_free, segment_bytes, repack_after, ..config }
}

pub fn open(dir: &Path, segment_bytes: Option<u64>) -> Spool {
    spool::open(config(dir, segment_bytes)).expect("a spool")
}

/// What is there is repacked at once, with such pauses.
pub fn open_repacking(dir: &Path, repack_pause: u32) -> Spool {
    let repack_after = Duration::from_millis(1);
    let config = spool::Config { repack_after, repack_pause, ..config(dir, None) };
    spool::open(config).expect("a spool")
}
