//! Does damage to the spool's files cost what it hit, and nothing else?
//!
//! Thousands of copies of one crashed spool are each damaged in one place and opened. What must come
//! of it is worked out here from the bytes alone, by the documented formats: a block is intact
//! when each of its parts is what it was. Every intact block above the watermark is read, once and in
//! order; everything else up to the acknowledged-through mark is lost, by name; the file that lost
//! something ends in quarantine; new records are taken; nobody has to lend a hand.

use crate::support::{append_all, config, segments, values, wait_until};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;
use waystation::record::Sequence;
use waystation::spool::{self, Config, Spool, outside};

/// Copies of each kind of damage; `WAYSTATION_DAMAGE_CASES` asks for more.
fn cases() -> u64 {
    std::env::var("WAYSTATION_DAMAGE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000)
}

const SLOT: usize = 64 * 1024;
const PART_MAGIC: [u8; 4] = [0xF5, b'W', b'S', 0xFF];

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(wide)
}

/// What a file is made of, so that a copy and a look at it need no reading of what is not damaged.
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn load(root: &Path) -> Files {
    let mut files = Files::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(root.join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let path = dir.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                dirs.push(path);
            } else {
                files.insert(path, fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

/// One block of the original, and where its parts stand.
#[derive(Debug)]
struct Block {
    db: PathBuf,
    first: u64,
    end: u64,
    parts: Vec<std::ops::Range<usize>>,
}

/// The blocks of a segment's file, in order. It was not damaged: every magic is a part's.
fn blocks(db: &Path, bytes: &[u8]) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut at = 0;
    while at + 32 <= bytes.len() {
        if bytes[at..at + 4] != PART_MAGIC {
            at += 1;
            continue;
        }
        let part = &bytes[at..];
        let len = 32 + usize::try_from(number::<2>(part, 10)).unwrap();
        let first = number::<8>(part, 20);
        if number::<2>(part, 6) == 0 {
            let end = first + number::<4>(part, 32 + 24);
            found.push(Block { db: db.to_owned(), first, end, parts: Vec::new() });
        }
        found.last_mut().unwrap().parts.push(at..at + len);
        at += len;
    }
    found
}

/// The turn, the watermark, the mark, and the bytes of a slot that count.
fn slot(progress: &[u8], place: usize) -> (u64, u64, u64, std::ops::Range<usize>) {
    let bytes = &progress[place * SLOT..];
    let ranges = usize::try_from(number::<4>(bytes, 96)).unwrap();
    let used = place * SLOT..place * SLOT + 100 + 17 * ranges + 4;
    (number::<8>(bytes, 8), number::<8>(bytes, 48), number::<8>(bytes, 56), used)
}

/// A spool as a crash leaves it: six segments, the first partly delivered, the last one not sealed
/// and with blocks on both sides of the acknowledged-through mark.
struct Original {
    files: Files,
    blocks: Vec<Block>,
    values: Vec<Vec<u8>>,
}

impl Original {
    fn make() -> Self {
        let dir = scratch();
        let mut spool = spool::open(small(dir.path())).unwrap();
        let mut values = Vec::new();
        let more = |spool: &Spool, values: &mut Vec<Vec<u8>>, len: usize| {
            let new = self::values(3, len, values.len() as u64);
            append_all(spool, &new).unwrap();
            values.extend(new);
        };
        let mut blocks_of = 0;
        while segments(dir.path()).len() < 6 {
            // Blocks of two parts, and three of one.
            more(
                &spool,
                &mut values,
                if usize::is_multiple_of(blocks_of, 4) { 9_000 } else { 300 },
            );
            blocks_of += 1;
        }
        // On a busy machine what is appended together may become several blocks.
        let partly = loop {
            let block = spool.reader.next_block().unwrap().expect("a block of several records");
            if block.end().since(block.first()) > 1 {
                break block.end().0 - 1;
            }
        };
        spool.reader.advance_watermark(Sequence(partly));
        let tail = segments(dir.path())[5].clone();
        let begun: u64 = tail.file_name().unwrap().to_str().unwrap()[4..24].parse().unwrap();
        more(&spool, &mut values, 300);
        more(&spool, &mut values, 300);
        let written = |files: &Files| {
            let progress = &files[Path::new("progress")];
            let slots = [slot(progress, 0), slot(progress, 1)];
            let (_, watermark, mark, _) = slots.into_iter().max_by_key(|slot| slot.0).unwrap();
            (watermark, mark)
        };
        wait_until("the marks are in the midst of the tail", || {
            std::thread::sleep(Duration::from_millis(20)); // the keeper needs the processor
            let (watermark, mark) = written(&load(dir.path()));
            watermark > 0 && mark > begun + 3
        });
        // Behind the mark, quicker than it is written again.
        more(&spool, &mut values, 300);
        more(&spool, &mut values, 300);
        let files = load(dir.path());
        let (_, mark) = written(&files);
        let seals: Vec<_> = files.iter().filter(|(path, _)| path.ends_with("seal")).collect();
        let sealed = seals.iter().filter(|(_, seal)| seal[0] != 0).count();
        if (seals.len(), sealed) != (6, 5) || mark + 3 >= values.len() as u64 {
            return Self::make();
        }
        let dbs = files.iter().filter(|(path, _)| path.ends_with("db"));
        let blocks: Vec<_> = dbs.flat_map(|(path, bytes)| blocks(path, bytes)).collect();
        assert_eq!(blocks.last().unwrap().end, values.len() as u64);
        Self { files, blocks, values }
    }

    fn copy(&self) -> tempfile::TempDir {
        let dir = scratch();
        for (path, bytes) in &self.files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        dir
    }
}

/// In memory: thousands of copies wear no disk, and every sync is at once.
fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let place = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(place).unwrap()
}

fn small(dir: &Path) -> Config {
    Config { segment_bytes: 40_000, ..config(dir) }
}

/// What must come of a damaged copy.
#[derive(Debug, PartialEq, Eq)]
struct Expected {
    delivered: Vec<u64>,
    lost: Vec<u64>,
    next: u64,
    /// The segments that lost something.
    quarantined: Vec<PathBuf>,
}

fn expect(original: &Original, root: &Path) -> Expected {
    let now = |path: &Path| {
        let path = root.join(path);
        if path.is_file() { fs::read(path).unwrap() } else { Vec::new() }
    };
    let progress = &original.files[Path::new("progress")];
    let progress_now = now(Path::new("progress"));
    let slots = [0, 1].map(|place| slot(progress, place));
    let known = slots
        .into_iter()
        .filter(|(_, _, _, used)| progress_now.get(used.clone()) == Some(&progress[used.clone()]))
        .max_by_key(|(turn, ..)| *turn);
    let lowest =
        original.blocks.iter().find(|block| root.join(block.db.parent().unwrap()).is_dir());
    let lowest = lowest.map_or(0, |block| block.first);
    let (watermark, mark) =
        known.map_or((lowest, lowest), |(_, watermark, mark, _)| (watermark, mark));

    let mut intact = Vec::new();
    let mut path = PathBuf::new();
    let mut bytes = Vec::new();
    for block in &original.blocks {
        if path != block.db {
            (path, bytes) = (block.db.clone(), now(&block.db));
        }
        let same = |part: &std::ops::Range<usize>| {
            bytes.get(part.clone()) == Some(&original.files[&block.db][part.clone()])
        };
        if block.parts.iter().all(same) {
            intact.push(block);
        }
    }
    let next = intact.last().map_or(0, |block| block.end).max(mark);
    let delivered: Vec<_> =
        intact.iter().flat_map(|block| block.first.max(watermark)..block.end).collect();
    let lost: Vec<_> = (watermark..next).filter(|s| delivered.binary_search(s).is_err()).collect();
    let mut quarantined: Vec<_> = original
        .blocks
        .iter()
        .filter(|block| lost.iter().any(|s| (block.first..block.end).contains(s)))
        .map(|block| block.db.parent().unwrap().to_owned())
        // Of one whose data is gone nothing is left to look at.
        .filter(|segment| fs::metadata(root.join(segment).join("db")).is_ok_and(|db| db.len() > 0))
        .collect();
    quarantined.dedup();
    Expected { delivered, lost, next, quarantined }
}

/// Opens the damaged copy, drains it, goes on with it, and holds it to what must come of it. Fails
/// when a start after a crash does not say from where on it knows nothing (`uncertain_from`), when it
/// does not name what it misses (`OpenReport::lost`), and when one who looks from outside takes
/// whatever has a segment's name for one (`view::list`).
fn hold(original: &Original, root: &Path, what: &str) {
    let want = expect(original, root);
    let mut spool = spool::open(small(root)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let report = spool.report.clone();
    let mut delivered = Vec::new();
    while let Some(block) = spool.reader.next_block().unwrap_or_else(|e| panic!("{what}: {e}")) {
        for record in block.records() {
            let place = usize::try_from(record.sequence.0).unwrap();
            assert!(record.value == original.values[place], "{what}: {} is another", record.id);
            delivered.push(record.sequence.0);
        }
    }
    assert_eq!(delivered, want.delivered, "{what}: delivered");
    // The start names what it misses, and the books what the reader missed behind it.
    let view = outside::look(root).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = view.removed().map(|(how, first, end)| {
        assert_eq!(how, "lost", "{what}: {first} to {end}");
        (first, end)
    });
    let named = report.lost.iter().copied().chain(found);
    let named: BTreeSet<u64> = named.flat_map(|(first, end)| first.0..end.0).collect();
    assert_eq!(Vec::from_iter(named), want.lost, "{what}: named as lost");
    assert_eq!(report.uncertain_from, Some(Sequence(want.next)), "{what}: it was no clean stop");
    let ledger = spool.writer.ledger();
    assert_eq!(ledger.lost, want.lost.len() as u64, "{what}: lost, {:?} wanted", want.lost);
    assert_eq!((ledger.accepted, ledger.balances()), (want.next, true), "{what}");

    let new = append_all(&spool, &[b"new".to_vec()]).unwrap();
    assert_eq!(new[0].sequence.0, want.next, "{what}: goes on");
    let block = spool.reader.next_block().unwrap().expect("the new record");
    assert_eq!(block.records().next().unwrap().value, b"new");
    spool.reader.advance_watermark(block.end());
    spool.writer.close().unwrap();
    let ledger = spool.writer.ledger();
    assert_eq!(
        (ledger.spooled, ledger.lost, ledger.balances()),
        (0, want.lost.len() as u64, true),
        "{what}"
    );
    drop(spool);
    for segment in &want.quarantined {
        assert!(
            root.join("quarantine").join(segment).is_dir(),
            "{what}: {} is kept",
            segment.display()
        );
    }
    let left = segments(root)
        .into_iter()
        .filter(|path| original.files.contains_key(&path.strip_prefix(root).unwrap().join("db")));
    assert_eq!(left.count(), 0, "{what}: everything is done with");
}

/// Damages as many copies by `damage`, which says what it did, and holds each to its expectation.
fn each(seed: u64, damage: impl Fn(&mut Rng, &Original, &Path) -> String + Sync) {
    static ORIGINAL: LazyLock<Original> = LazyLock::new(Original::make);
    let original = &*ORIGINAL;
    let threads = 2;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let damage = &damage;
            scope.spawn(move || {
                for case in (thread..cases()).step_by(2) {
                    let mut random = Rng::with_seed(seed << 32 | case);
                    let copy = original.copy();
                    let what = damage(&mut random, original, copy.path());
                    hold(original, copy.path(), &format!("case {case}: {what}"));
                }
            });
        }
    });
}

/// Some file of the spool, the data files more often than others.
fn any_file<'a>(random: &mut Rng, original: &'a Original) -> &'a Path {
    let files: Vec<_> = original.files.keys().filter(|path| !path.ends_with("lock")).collect();
    let data: Vec<_> = files.iter().filter(|path| path.ends_with("db")).collect();
    if random.bool() {
        data[random.usize(..data.len())]
    } else {
        files[random.usize(..files.len())]
    }
}

/// Fails when `SpoolReader::next_block` does not call `record_loss`, when `Survey::miss` lists
/// nothing, and when `part::decode` does not look at the checksum.
#[test]
fn a_flipped_bit_costs_the_block_that_it_is_in() {
    each(1, |random, original, root| {
        let path = any_file(random, original);
        let mut bytes = original.files[path].clone();
        if bytes.is_empty() {
            return "nothing to flip".to_owned();
        }
        // Of the progress only the beginnings of the slots are used.
        let at = if path.ends_with("progress") {
            random.usize(..2) * SLOT + random.usize(..110)
        } else {
            random.usize(..bytes.len())
        };
        bytes[at] ^= 1 << random.u8(..8);
        fs::write(root.join(path), bytes).unwrap();
        format!("a bit of byte {at} of {}", path.display())
    });
}

#[test]
fn a_file_that_is_cut_off_costs_what_stood_behind_the_cut() {
    each(2, |random, original, root| {
        let path = any_file(random, original);
        let len = random.usize(..=original.files[path].len());
        fs::write(root.join(path), &original.files[path][..len]).unwrap();
        format!("{} cut off at {len}", path.display())
    });
}

#[test]
fn zeros_cost_the_blocks_that_they_are_in() {
    each(3, |random, original, root| {
        let path = any_file(random, original);
        let mut bytes = original.files[path].clone();
        let whole = random.u8(..4) == 0;
        let from = if whole { 0 } else { random.usize(..=bytes.len()) };
        let to = if whole { bytes.len() } else { (from + random.usize(..5_000)).min(bytes.len()) };
        bytes[from..to].fill(0);
        fs::write(root.join(path), bytes).unwrap();
        format!("zeros in {} from {from} to {to}", path.display())
    });
}

#[test]
fn a_file_or_a_segment_that_is_missing_costs_what_it_held() {
    each(4, |random, original, root| {
        let path = any_file(random, original);
        let segment = path.parent().unwrap();
        if random.u8(..3) == 0 && segment != Path::new("") {
            fs::remove_dir_all(root.join(segment)).unwrap();
            return format!("{} removed", segment.display());
        }
        fs::remove_file(root.join(path)).unwrap();
        format!("{} removed", path.display())
    });
}

/// Fails when `dir::segment` takes a file for a segment, when `Survey::believe` believes every name,
/// and when `dir::open_file` opens whatever stands there.
#[test]
fn what_somebody_else_put_there_is_never_in_the_way() {
    each(5, |random, original, root| {
        let end = original.values.len() as u64;
        let names = [
            format!("seg-{:020}-0000", random.u64(..end + 3)),
            format!("seg-{:020}-0000", u64::MAX - random.u64(..3)),
            format!("seg-{:020}-000{}", 0, random.u8(1..9)),
            format!("seg-{end:020}-0000"),
            format!("seg-{:019}-0000", random.u64(..end)),
            "seg-".to_owned(),
            "seg-x".to_owned(),
            "lost+found".to_owned(),
            ".trash/x".to_owned(),
            ".trash".to_owned(),
            "quarantine".to_owned(),
            "set-aside".to_owned(),
            "progress".to_owned(),
        ];
        let name = names[random.usize(..names.len())].clone();
        let inside = any_file(random, original);
        let (path, name) = match random.u8(..4) {
            // In the place of one of the spool's own files.
            0 => (root.join(inside), inside.display().to_string()),
            1 => {
                (root.join(inside).with_file_name("stray"), format!("beside {}", inside.display()))
            }
            _ => (root.join(&name), name),
        };
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        let kind = random.u8(..5);
        match kind {
            0 => drop(fs::create_dir(&path)),
            1 => {
                let _ = fs::create_dir(&path);
                let _ = fs::write(path.join("photo.jpg"), "x");
                let _ = fs::create_dir_all(path.join("a/b"));
            }
            2 => drop(fs::write(&path, "no spool")),
            3 => drop(symlink("nowhere", &path)),
            _ => drop(rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
                0,
            )),
        }
        let kinds = ["a directory", "a full directory", "a file", "a link to nowhere", "a pipe"];
        format!("{} at {name}", kinds[usize::from(kind)])
    });
}
