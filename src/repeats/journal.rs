//! The marks of durable records on the disk, so that a restart does not forget them.
//!
//! Two files in the spool's directory, `repeats` and the one before it, `repeats.old`. A line is
//! appended after its record has become durable, by a thread of its own, and not synced: what a
//! power cut takes of them was perhaps not written, and never says too much. The file is exchanged when
//! all that it begins with is older than the window, or when it holds as many lines as are kept in
//! memory; so both together stay within a few windows, and within 17 MB.
//!
//! Little-endian; a header, then lines:
//!
//! | bytes | header | bytes | line |
//! |---|---|---|---|
//! | 4 | magic `WSRP` | 16 | mark |
//! | 4 | format version, 1 | 8 | sequence of its record |
//! | 16 | the spool's id | 8 | reception of its record, ms since 1970, signed |
//! | 16 | the key of the marks, random | 4 | CRC-32C of all before it |
//! | 8 | records gone when it was begun | | |
//! | 4 | CRC-32C of all before it | | |
//!
//! Any bytes may be read here: what is not whole is passed over. It deliberately does not know
//! which lines may be believed; `mod.rs` does.

use super::table::Mark;
use crate::record::{Millis, Sequence};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

const MAGIC: [u8; 4] = *b"WSRP";
const VERSION: u32 = 1;
const HEADER_LEN: usize = 52;
const LINE_LEN: usize = 36;
const CURRENT: &str = "repeats";
const BEFORE: &str = "repeats.old";
const UNFINISHED: &str = "repeats.new";
/// Lines on their way to the disk; where it is slower, more are forgotten.
const WAITING: usize = 16 * 1024;

/// What the lines of a file are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub spool_id: [u8; 16],
    /// What marks are hashed with.
    pub key: [u8; 16],
    /// Records that had been lost or dropped by the books.
    pub gone: u64,
}

/// The mark of a durable record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    pub mark: Mark,
    pub sequence: Sequence,
    pub at: Millis,
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.spool_id);
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.gone.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let sound = crc32c::crc32c(body) == u32::from_le_bytes(*crc);
        let known = body[..4] == MAGIC && body[4..8] == VERSION.to_le_bytes();
        (sound && known).then_some(())?;
        Some(Self {
            spool_id: *body[8..].first_chunk()?,
            key: *body[24..].first_chunk()?,
            gone: u64::from_le_bytes(*body[40..].first_chunk()?),
        })
    }
}

impl Line {
    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        for half in self.mark.0 {
            out.extend_from_slice(&half.to_le_bytes());
        }
        out.extend_from_slice(&self.sequence.0.to_le_bytes());
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out[start..]).to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        (crc32c::crc32c(body) == u32::from_le_bytes(*crc)).then_some(())?;
        let number = |at: usize| Some(u64::from_le_bytes(*body.get(at..)?.first_chunk()?));
        Some(Self {
            mark: Mark([number(0)?, number(8)?]),
            sequence: Sequence(number(16)?),
            at: Millis(number(24)?.cast_signed()),
        })
    }
}

/// What stands in the files of a spool's directory: the newest header, and the lines that are of its
/// kind. `most` lines of each are read.
pub fn read(dir: &Path, most: usize) -> io::Result<Option<(Head, Vec<Line>)>> {
    let mut found: Option<(Head, Vec<Line>)> = None;
    for name in [CURRENT, BEFORE] {
        let file = match File::open(dir.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let mut bytes = Vec::new();
        let limit = HEADER_LEN + most * LINE_LEN;
        io::Read::read_to_end(&mut io::Read::take(file, limit as u64), &mut bytes)?;
        let Some((head, lines)) = bytes.split_at_checked(HEADER_LEN) else { continue };
        let Some(head) = Head::decode(head) else { continue };
        let lines = lines.chunks_exact(LINE_LEN).filter_map(Line::decode);
        match &mut found {
            Some((newest, all)) if *newest == head => all.extend(lines),
            Some(_) => {}
            None => found = Some((head, lines.collect())),
        }
    }
    Ok(found)
}

/// Removes the files: nothing that stands in them is to be believed later.
pub fn remove(dir: &Path) -> io::Result<()> {
    [CURRENT, BEFORE, UNFINISHED].into_iter().try_for_each(|name| remove_file(dir, name))
}

/// Removes a file that may be there.
fn remove_file(dir: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(dir.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What the thread is told.
#[derive(Debug)]
enum Note {
    Line(Line),
    /// Nothing that was written counts any more; so many records are gone.
    Forget(u64),
}

/// Where lines are appended.
#[derive(Debug)]
pub struct Journal {
    notes: Option<SyncSender<Note>>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Puts these lines, and nothing else, in the place of what is there: on `Ok` for good. Then takes
    /// more of them; a file is exchanged after `most` lines, or once `window` is over.
    pub fn begin(
        dir: &Path,
        head: Head,
        lines: &[Line],
        window: Duration,
        most: usize,
    ) -> io::Result<Self> {
        let mut bytes = head.encode();
        for line in lines {
            line.encode(&mut bytes);
        }
        let unfinished = dir.join(UNFINISHED);
        let file = File::create(&unfinished)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_all()?;
        fs::rename(&unfinished, dir.join(CURRENT))?;
        remove_file(dir, BEFORE)?;
        File::open(dir)?.sync_all()?;
        let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        let (len, count) = (bytes.len() as u64, lines.len());
        let since = lines.first().map(|line| line.at);
        let dir = dir.to_owned();
        let mut files = Files { dir, head, window, most, file: Some(file), len, count, since };
        let (notes, inbox) = sync_channel(WAITING);
        let spawn = std::thread::Builder::new().name("repeats".to_owned());
        let thread = spawn.spawn(move || files.run(&inbox))?;
        Ok(Self { notes: Some(notes), thread: Some(thread) })
    }

    /// Writes the line down, soon.
    pub fn append(&self, line: Line) {
        // Where the disk is too slow, a line is forgotten.
        let _ = self.notes.as_ref().map(|notes| notes.try_send(Note::Line(line)));
    }

    /// Nothing that was written counts any more: `gone` records are gone by now.
    pub fn forget(&self, gone: u64) {
        // Not to be missed: what it takes back is on the disk. The thread is there until the end.
        let _ = self.notes.as_ref().map(|notes| notes.send(Note::Forget(gone)));
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.notes = None;
        if let Some(thread) = self.thread.take() {
            // It has told of what went wrong.
            let _ = thread.join();
        }
    }
}

/// The thread's end of it.
struct Files {
    dir: PathBuf,
    head: Head,
    /// Milliseconds.
    window: i64,
    most: usize,
    /// `None` after an error: the next exchange makes a new one.
    file: Option<File>,
    /// Bytes and lines of the file.
    len: u64,
    count: usize,
    /// Of its first line.
    since: Option<Millis>,
}

impl Files {
    fn run(&mut self, inbox: &Receiver<Note>) {
        let mut bytes = Vec::new();
        let mut complained = false;
        while let Ok(first) = inbox.recv() {
            bytes.clear();
            let mut written = Ok(());
            for note in std::iter::once(first).chain(inbox.try_iter().take(WAITING)) {
                match note {
                    Note::Line(line) => {
                        if self.is_full(line.at) {
                            written = written.and(self.write(&mut bytes)).and(self.exchange());
                        }
                        line.encode(&mut bytes);
                        self.since.get_or_insert(line.at);
                        self.count += 1;
                    }
                    Note::Forget(gone) => {
                        bytes.clear();
                        self.head.gone = gone;
                        self.file = None;
                        written = remove(&self.dir).and(self.exchange());
                    }
                }
            }
            let written = written.and(self.write(&mut bytes));
            if let Err(error) = &written
                && !complained
            {
                let dir = self.dir.display();
                tracing::warn!(
                    "cannot write down in {dir} which messages were seen: {error}; a repeat of one may \
                     pass after a restart"
                );
            }
            complained = written.is_err();
        }
    }

    fn is_full(&self, now: Millis) -> bool {
        let old = |since: Millis| !(0..=self.window).contains(&now.0.saturating_sub(since.0));
        self.count >= self.most || self.since.is_some_and(old)
    }

    /// Appends; what an error leaves behind is written over by the next.
    fn write(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let Some(file) = &self.file else {
            bytes.clear();
            return self.exchange();
        };
        let written = file.write_all_at(bytes, self.len);
        if written.is_ok() {
            self.len += bytes.len() as u64;
        }
        bytes.clear();
        written
    }

    /// Begins a new file; the one at hand takes the place of the one before.
    fn exchange(&mut self) -> io::Result<()> {
        let (current, head) = (self.dir.join(CURRENT), self.head.encode());
        self.file = None;
        (self.len, self.count, self.since) = (head.len() as u64, 0, None);
        match fs::rename(&current, self.dir.join(BEFORE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::create(current)?;
        file.write_all_at(&head, 0)?;
        self.file = Some(file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head { spool_id: [1; 16], key: [2; 16], gone: 3 };

    fn line(n: u64) -> Line {
        let at = Millis(1_000 + n.cast_signed());
        Line { mark: Mark([n, n + 1]), sequence: Sequence(n), at }
    }

    fn lines(range: std::ops::Range<u64>) -> Vec<Line> {
        range.map(line).collect()
    }

    fn found(dir: &Path) -> (Head, Vec<Line>) {
        let (head, mut lines) = read(dir, 1_000).unwrap().unwrap();
        lines.sort_by_key(|line| line.sequence);
        (head, lines)
    }

    #[test]
    fn what_was_written_is_read_again_over_an_exchange_of_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(read(dir, 10).unwrap(), None);
        let window = Duration::from_millis(100);
        let journal = Journal::begin(dir, HEAD, &lines(0..5), window, 40).unwrap();
        for line in lines(5..60) {
            journal.append(line);
        }
        drop(journal);
        assert_eq!(found(dir), (HEAD, lines(0..60)));
        // What is older than the window goes with the file before.
        let journal = Journal::begin(dir, HEAD, &lines(0..60), window, 1_000).unwrap();
        for line in lines(150..152) {
            journal.append(line);
        }
        journal.append(line(300));
        drop(journal);
        let all = [lines(150..152), lines(300..301)].concat();
        assert_eq!(found(dir), (HEAD, all));
        remove(dir).unwrap();
        assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
    }

    #[test]
    fn what_is_forgotten_is_gone_and_what_comes_behind_it_stays() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let window = Duration::from_secs(1);
        let journal = Journal::begin(dir, HEAD, &lines(0..5), window, 3).unwrap();
        for line in lines(5..9) {
            journal.append(line);
        }
        journal.forget(4);
        journal.append(line(9));
        drop(journal);
        assert_eq!(found(dir), (Head { gone: 4, ..HEAD }, lines(9..10)));
    }

    #[test]
    fn a_line_that_is_torn_or_damaged_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let window = Duration::from_secs(1);
        drop(Journal::begin(dir, HEAD, &lines(0..4), window, 10).unwrap());
        let path = dir.join(CURRENT);
        let whole = fs::read(&path).unwrap();
        for at in HEADER_LEN..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let mut expected = lines(0..4);
            expected.remove((at - HEADER_LEN) / LINE_LEN);
            assert_eq!(found(dir).1, expected, "{at}");
        }
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let read = read(dir, 10).unwrap();
            let whole_lines = len.checked_sub(HEADER_LEN).map(|bytes| bytes / LINE_LEN);
            assert_eq!(read.map(|(_, lines)| lines.len()), whole_lines, "{len}");
        }
        for at in 0..HEADER_LEN {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(read(dir, 10).unwrap(), None, "{at}");
        }
    }
}
