//! A disk that keeps apart what is synced and what is only written.
//!
//! `now` is what programs see, `durable` what a power cut cannot take, and `pending` the
//! operations between the two. A sync of a file makes its bytes and its length durable, a sync
//! of a directory its entries, and neither does the other's: a new file whose directory was not
//! synced is gone with its name. Strict on purpose: file systems that promise more differ in what.

use super::tree::{Inode, Kind, Node, Op, Place, ROOT, Tree};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fmt;

/// The layers of a disk: plain data.
#[derive(Debug, Clone)]
pub struct Layers {
    pub now: Tree,
    pub durable: Tree,
    pub pending: Vec<Op>,
    next_inode: Inode,
}

impl Layers {
    pub fn new() -> Self {
        Self::durable(Tree::new(), ROOT + 1)
    }

    fn durable(tree: Tree, next_inode: Inode) -> Self {
        Self { now: tree.clone(), durable: tree, pending: Vec::new(), next_inode }
    }

    /// A disk on which this is durable and nothing is pending, after these layers.
    pub fn followed_by(&self, mut durable: Tree) -> Self {
        durable.forget_unreachable();
        Self::durable(durable, self.next_inode)
    }

    fn change(&mut self, op: Op) {
        self.now.apply(&op);
        self.pending.push(op);
    }

    fn sync(&mut self, inode: Inode) {
        let Some(node) = self.now.node(inode) else { return };
        self.durable.ensure(inode, node.kind());
        for op in self.pending.extract_if(.., |op| op.is_of(inode)) {
            self.durable.apply(&op);
        }
    }

    /// What the kernel does when a sync fails: the bytes are taken for written, so that a program
    /// goes on to read them, and no later sync makes them durable.
    fn give_up(&mut self, inode: Inode) {
        self.pending.retain(|op| op.is_entry() || !op.is_of(inode));
    }
}

/// What a program does to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Of a file that is there.
    Open,
    /// Of a file's bytes.
    Read,
    /// A write where the file has its place on the disk, or a truncation.
    Overwrite,
    /// A write that needs room.
    Grow,
    /// A new file or directory.
    Create,
    /// One more name of a file.
    Link,
    Rename,
    Remove,
    Sync,
}

/// Asked before each access, with the file or the directory and the disk as it is then; an error is what the program gets, and
/// the access does not happen. A sync that fails with `EIO` has done its harm all the same.
pub type Guard = Box<dyn FnMut(Access, Inode, &Layers) -> Result<(), Errno> + Send>;

/// A disk that programs use.
pub struct Disk {
    layers: Layers,
    guard: Option<Guard>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.layers.fmt(f)
    }
}

impl Disk {
    pub fn new(layers: Layers) -> Self {
        Self { layers, guard: None }
    }

    /// As it is now: with `pending` what a killed process leaves, of which a power cut is free to
    /// take any part (`crash.rs`).
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    pub fn guard(&mut self, guard: Guard) {
        self.guard = Some(guard);
    }

    pub fn unguarded(&mut self) {
        self.guard = None;
    }

    fn ask(&mut self, access: Access, inode: Inode) -> Result<(), Errno> {
        self.guard.as_mut().map_or(Ok(()), |guard| guard(access, inode, &self.layers))
    }

    pub fn find(&self, dir: Inode, name: &OsStr) -> Result<Inode, Errno> {
        let names = self.layers.now.names(dir).ok_or(Errno::NOENT)?;
        names.get(name).copied().ok_or(Errno::NOENT)
    }

    pub fn node(&self, inode: Inode) -> Result<&Node, Errno> {
        self.layers.now.node(inode).ok_or(Errno::STALE)
    }

    pub fn open(&mut self, file: Inode) -> Result<(), Errno> {
        self.ask(Access::Open, file)
    }

    pub fn read(&mut self, file: Inode, offset: u64, size: usize) -> Result<Vec<u8>, Errno> {
        self.ask(Access::Read, file)?;
        match self.node(file)? {
            Node::File(content) => Ok(content.read(offset, size)),
            Node::Dir(_) => Err(Errno::ISDIR),
        }
    }

    pub fn create(&mut self, at: Place, kind: Kind) -> Result<Inode, Errno> {
        self.ask(Access::Create, at.0)?;
        if self.find(at.0, &at.1).is_ok() {
            return Err(Errno::EXIST);
        }
        let inode = self.layers.next_inode;
        self.layers.next_inode += 1;
        self.layers.change(Op::Create { at, inode, kind });
        Ok(inode)
    }

    pub fn link(&mut self, inode: Inode, at: Place) -> Result<(), Errno> {
        self.ask(Access::Link, at.0)?;
        if self.find(at.0, &at.1).is_ok() {
            return Err(Errno::EXIST);
        }
        let kind = self.node(inode)?.kind();
        self.layers.change(Op::Create { at, inode, kind });
        Ok(())
    }

    pub fn remove(&mut self, at: Place) -> Result<(), Errno> {
        self.ask(Access::Remove, at.0)?;
        let inode = self.find(at.0, &at.1)?;
        if self.layers.now.names(inode).is_some_and(|names| !names.is_empty()) {
            return Err(Errno::NOTEMPTY);
        }
        self.layers.change(Op::Remove { at });
        Ok(())
    }

    pub fn rename(&mut self, from: Place, to: Place) -> Result<(), Errno> {
        self.ask(Access::Rename, from.0)?;
        self.find(from.0, &from.1)?;
        if let Ok(there) = self.find(to.0, &to.1)
            && self.layers.now.names(there).is_some_and(|names| !names.is_empty())
        {
            return Err(Errno::NOTEMPTY);
        }
        self.layers.change(Op::Rename { from, to });
        Ok(())
    }

    pub fn set_len(&mut self, file: Inode, len: u64) -> Result<(), Errno> {
        self.ask(Access::Overwrite, file)?;
        self.node(file)?;
        self.layers.change(Op::SetLen { file, len });
        Ok(())
    }

    pub fn write(&mut self, file: Inode, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let has_room = match self.node(file)? {
            Node::File(content) => content.has(offset, bytes.len()),
            Node::Dir(_) => return Err(Errno::ISDIR),
        };
        self.ask(if has_room { Access::Overwrite } else { Access::Grow }, file)?;
        self.layers.change(Op::Write { file, offset, bytes: bytes.into() });
        Ok(())
    }

    pub fn sync(&mut self, inode: Inode) -> Result<(), Errno> {
        self.node(inode)?;
        if let Err(error) = self.ask(Access::Sync, inode) {
            if error == Errno::IO {
                self.layers.give_up(inode);
            }
            return Err(error);
        }
        self.layers.sync(inode);
        Ok(())
    }
}
