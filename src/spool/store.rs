//! The live tail's database: the only file that names sled.
//!
//! [`Store`] and [`Stores`] are the seam: what the spool needs of a database, and what makes one.
//! [`Sled`] is the one that is used; tests put one in memory in its place that loses what was not
//! synced.
//!
//! sled only ever creates here: [`SledStore::create`] takes an empty directory, and no database
//! is opened a second time. sled 0.34.7 writes when it opens, panics on most damaged files
//! and destroys intact data behind a damaged page; what a crash leaves is therefore read from
//! the file's bytes (`scan.rs`), never through sled.
//!
//! What sled does not promise is done here: its `flush()` ends in `sync_file_range`, which
//! survives `kill -9` but not a power cut, so [`SledStore::sync`] calls `sync_data` on a file
//! descriptor of our own after it. Deletes and transactions are not used.
//!
//! What it deliberately does not know: what the values mean, and when a segment is full.

use super::mutex::lock;
use super::part;
use std::fmt::Debug;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// The name of sled's data file in a segment's directory.
pub const DATA_FILE: &str = "db";
/// sled rewrites a leaf whole at its tenth link, every value with it; a new tree every eight
/// values means that no value is written twice.
const PARTS_PER_TREE: usize = 8;
/// Opening a tree rewrites the table of trees: quadratic, hence bounded.
const MAX_TREES: usize = 256;
/// How many parts a store takes.
pub const MAX_PARTS: usize = PARTS_PER_TREE * MAX_TREES;
/// Bytes of one sled segment; parts stay under a quarter of it.
const SLED_SEGMENT: usize = 2 << 20;

const _: () = assert!(part::MAX_LEN < SLED_SEGMENT / 4);

/// What the spool needs of the live segment's database.
pub trait Store: Debug + Send + Sync {
    /// Puts a part at `place`; places are given in order, from 0, below [`MAX_PARTS`].
    /// Durable only after [`Store::sync`].
    fn put(&self, place: usize, header: &part::Header, bytes: &[u8]) -> io::Result<()>;

    /// The part that was put at `place`.
    fn get(&self, place: usize, header: &part::Header) -> io::Result<Option<Vec<u8>>>;

    /// Makes everything put so far survive a power cut.
    fn sync(&self) -> io::Result<()>;

    /// Bytes that the data file takes on the disk.
    fn disk_bytes(&self) -> io::Result<u64>;

    /// Whether every value stands in the data file, verbatim, where a scan will find it.
    fn is_whole(&self) -> io::Result<bool>;
}

/// What makes the database of a new segment.
pub trait Stores: Debug + Send + Sync {
    /// Creates it in `dir`, which must exist and be empty, with its values in [`DATA_FILE`].
    /// Nothing of it is durable yet: its values are after [`Store::sync`], once the caller has
    /// synced `dir` and the parent of `dir`.
    fn create(&self, dir: &Path) -> io::Result<Box<dyn Store>>;
}

/// Databases of sled.
#[derive(Debug)]
pub struct Sled;

impl Stores for Sled {
    fn create(&self, dir: &Path) -> io::Result<Box<dyn Store>> {
        Ok(Box::new(SledStore::create(dir)?))
    }
}

/// A sled database under creation: parts go in by their place and come out by it.
#[derive(Debug)]
struct SledStore {
    /// Taken only when it is dropped.
    db: Option<sled::Db>,
    /// Our own descriptor of sled's data file, for `sync_data`.
    data: File,
    blobs: PathBuf,
    trees: Mutex<Vec<sled::Tree>>,
}

impl SledStore {
    fn create(dir: &Path) -> io::Result<Self> {
        let db = sled::Config::new()
            .path(dir)
            .segment_size(SLED_SEGMENT)
            .cache_capacity(2 << 20)
            .flush_every_ms(None)
            .use_compression(false)
            .open()?;
        // From here on a `SledStore`: whatever fails below, sled is shut by its `drop`.
        let data = File::open(dir.join(DATA_FILE))?;
        let (blobs, trees) = (dir.join("blobs"), Mutex::default());
        Ok(Self { db: Some(db), data, blobs, trees })
    }

    fn tree(&self, place: usize, key: &[u8]) -> io::Result<sled::Tree> {
        let mut trees = lock(&self.trees);
        if place / PARTS_PER_TREE == trees.len() {
            if trees.len() == MAX_TREES {
                return Err(io::Error::other("a segment was given more parts than it takes"));
            }
            trees.push(self.db()?.open_tree(key)?);
        }
        let tree = trees.get(place / PARTS_PER_TREE).cloned();
        tree.ok_or_else(|| io::Error::other("a part was put out of its place"))
    }

    fn db(&self) -> io::Result<&sled::Db> {
        self.db.as_ref().ok_or_else(|| io::Error::other("the database is shut"))
    }
}

/// How long the first write of all may take.
const FIRST_WRITE: Duration = Duration::from_secs(1);

/// Starts the threads by which sled writes, of which a process has one set. Most of them are started at its
/// first write, by whichever thread comes first, and keep that one's priority for good. That write goes
/// to memory (sled's temporary databases lie in `/dev/shm`), and nothing depends on it.
pub fn start_threads() -> io::Result<()> {
    let write = || -> io::Result<()> {
        let config = sled::Config::new().temporary(true).flush_every_ms(None);
        let db = config.open()?;
        db.insert(b"first", b"write")?;
        db.flush()?;
        Ok(())
    };
    let (tell, told) = mpsc::channel();
    // sled has panics, which end that thread only; and one that hangs is left behind.
    thread::Builder::new()
        .name("first write".to_owned())
        .spawn(move || drop(tell.send(write())))?;
    told.recv_timeout(FIRST_WRITE).unwrap_or_else(|error| Err(io::Error::other(error)))
}

impl Store for SledStore {
    fn put(&self, place: usize, header: &part::Header, bytes: &[u8]) -> io::Result<()> {
        let key = key(header);
        self.tree(place, &key)?.insert(key, bytes)?;
        Ok(())
    }

    fn get(&self, place: usize, header: &part::Header) -> io::Result<Option<Vec<u8>>> {
        let tree = lock(&self.trees).get(place / PARTS_PER_TREE).cloned();
        let value = tree.map(|tree| tree.get(key(header))).transpose()?.flatten();
        Ok(value.map(|value| value.to_vec()))
    }

    fn sync(&self) -> io::Result<()> {
        self.db()?.flush()?;
        self.data.sync_data()
    }

    fn disk_bytes(&self) -> io::Result<u64> {
        Ok(self.data.metadata()?.blocks() * 512)
    }

    fn is_whole(&self) -> io::Result<bool> {
        match fs::read_dir(&self.blobs) {
            Ok(mut entries) => Ok(entries.next().is_none()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(e) => Err(e),
        }
    }
}

impl Drop for SledStore {
    /// sled 0.34.7 syncs when it is dropped and unwraps the result: after an I/O error that is a
    /// panic, on whatever thread held it last. Nothing is lost by it: all that counts was synced
    /// before.
    fn drop(&mut self) {
        let trees = std::mem::take(&mut *lock(&self.trees));
        let db = self.db.take();
        let shut = move || {
            drop(trees);
            drop(db);
        };
        if catch_unwind(AssertUnwindSafe(shut)).is_err() {
            tracing::error!("sled panicked while a segment was shut; its data was synced before");
        }
    }
}

/// Sequence and number of the part, big-endian: also the name of the tree that it begins.
fn key(header: &part::Header) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&header.first.0.to_be_bytes());
    key[8..].copy_from_slice(&u32::from(header.k).to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Epoch, Sequence};

    fn put_all(store: &dyn Store, parts: &[Vec<u8>]) {
        for (place, bytes) in parts.iter().enumerate() {
            store.put(place, &header(place), bytes).unwrap();
        }
        store.sync().unwrap();
    }

    fn header(place: usize) -> part::Header {
        part::Header { epoch: Epoch(1), first: Sequence(place as u64), k: 0, n: 1 }
    }

    fn random_part(place: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(place as u64);
        let payload: Vec<u8> =
            (0..random.usize(1..part::MAX_PAYLOAD)).map(|_| random.u8(..)).collect();
        let mut bytes = Vec::new();
        part::encode(&header(place), &payload, &mut bytes);
        bytes
    }

    /// Holds sled 0.34.7 to what the spool builds on: the version is pinned, and this is why.
    #[test]
    fn every_part_stands_verbatim_in_the_file_right_after_the_sync() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::create(dir.path()).unwrap();
        let parts: Vec<_> = (0..MAX_PARTS).map(random_part).collect();
        put_all(&store, &parts);
        let file = fs::read(dir.path().join(DATA_FILE)).unwrap();
        let mut places: Vec<_> = crate::spool::scan::parts(&mut &file[..]).unwrap();
        places.sort_by_key(|found| found.header.first);
        assert_eq!(places.len(), MAX_PARTS, "each part once, none twice");
        for (place, found) in places.iter().enumerate() {
            let at = usize::try_from(found.offset).unwrap();
            assert_eq!(file[at..at + parts[place].len()], parts[place]);
        }
        assert!(store.is_whole().unwrap(), "sled moved a value out of its file");
    }

    #[test]
    fn a_part_is_read_back_by_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::create(dir.path()).unwrap();
        let parts: Vec<_> = (0..20).map(random_part).collect();
        put_all(&store, &parts);
        for (place, part) in parts.iter().enumerate() {
            assert_eq!(store.get(place, &header(place)).unwrap().as_ref(), Some(part));
        }
        assert_eq!(store.get(20, &header(20)).unwrap(), None);
        assert_eq!(store.get(900, &header(900)).unwrap(), None);
    }

    #[test]
    fn more_parts_than_a_segment_takes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::create(dir.path()).unwrap();
        for place in 0..MAX_PARTS {
            store.put(place, &header(place), b"x").unwrap();
        }
        assert!(store.put(MAX_PARTS, &header(MAX_PARTS), b"x").is_err());
    }
}
