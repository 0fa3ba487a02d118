//! Files and directories at one moment, and the operations that change them.
//!
//! An operation that has lost its ground is skipped: after a power cut the directory that a file
//! was made in, or the name that was renamed, may never have been there.

use super::content::Content;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

pub type Inode = u64;
pub const ROOT: Inode = 1;

#[derive(Debug, Clone)]
pub enum Node {
    File(Content),
    Dir(BTreeMap<OsString, Inode>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Dir,
}

/// A name in a directory.
pub type Place = (Inode, OsString);

#[derive(Debug, Clone)]
pub enum Op {
    Create { at: Place, inode: Inode, kind: Kind },
    Remove { at: Place },
    Rename { from: Place, to: Place },
    SetLen { file: Inode, len: u64 },
    Write { file: Inode, offset: u64, bytes: Arc<[u8]> },
}

impl Op {
    /// Whether a sync of this file or directory makes the operation durable. A rename is one
    /// step: it is durable with either of its directories.
    pub fn is_of(&self, inode: Inode) -> bool {
        match self {
            Self::Create { at, .. } | Self::Remove { at } => at.0 == inode,
            Self::Rename { from, to } => from.0 == inode || to.0 == inode,
            Self::SetLen { file, .. } | Self::Write { file, .. } => *file == inode,
        }
    }

    /// Whether it changes a directory, not a file's bytes.
    pub fn is_entry(&self) -> bool {
        !matches!(self, Self::SetLen { .. } | Self::Write { .. })
    }

    /// The file or the directory that it changes (of a rename, where it came from).
    pub fn inode(&self) -> Inode {
        match self {
            Self::Create { at, .. } | Self::Remove { at } => at.0,
            Self::Rename { from, .. } => from.0,
            Self::SetLen { file, .. } | Self::Write { file, .. } => *file,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Tree {
    nodes: BTreeMap<Inode, Node>,
}

impl Tree {
    /// An empty root.
    pub fn new() -> Self {
        Self { nodes: [(ROOT, Node::new(Kind::Dir))].into() }
    }

    pub fn node(&self, inode: Inode) -> Option<&Node> {
        self.nodes.get(&inode)
    }

    pub fn names(&self, dir: Inode) -> Option<&BTreeMap<OsString, Inode>> {
        match self.nodes.get(&dir)? {
            Node::Dir(names) => Some(names),
            Node::File(_) => None,
        }
    }

    /// Whether a file is called this, wherever it lies.
    pub fn is_called(&self, inode: Inode, name: &str) -> bool {
        let names = |dir: &Node| match dir {
            Node::Dir(names) => names.get(OsStr::new(name)) == Some(&inode),
            Node::File(_) => false,
        };
        self.nodes.values().any(names)
    }

    /// Makes room for what is in an inode, whether or not a name leads to it.
    pub fn ensure(&mut self, inode: Inode, kind: Kind) {
        self.nodes.entry(inode).or_insert_with(|| Node::new(kind));
    }

    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Create { at: (dir, name), inode, kind } => {
                if let Some(names) = self.names_mut(*dir) {
                    names.insert(name.clone(), *inode);
                    self.ensure(*inode, *kind);
                }
            }
            Op::Remove { at: (dir, name) } => {
                self.names_mut(*dir).and_then(|names| names.remove(name));
            }
            Op::Rename { from, to } => {
                let known = self.names(from.0).and_then(|names| names.get(&from.1)).copied();
                if let (Some(inode), Some(_)) = (known, self.names(to.0)) {
                    self.names_mut(from.0).map(|names| names.remove(&from.1));
                    self.names_mut(to.0).map(|names| names.insert(to.1.clone(), inode));
                }
            }
            Op::SetLen { file, len } => {
                if let Some(Node::File(content)) = self.nodes.get_mut(file) {
                    content.set_len(*len);
                }
            }
            Op::Write { file, offset, bytes } => {
                if let Some(Node::File(content)) = self.nodes.get_mut(file) {
                    content.write(*offset, bytes);
                }
            }
        }
    }

    /// Forgets everything that no name leads to.
    pub fn forget_unreachable(&mut self) {
        let mut reachable = BTreeSet::from([ROOT]);
        let mut open = vec![ROOT];
        while let Some(dir) = open.pop() {
            for inode in self.names(dir).into_iter().flat_map(BTreeMap::values) {
                if reachable.insert(*inode) {
                    open.push(*inode);
                }
            }
        }
        self.nodes.retain(|inode, _| reachable.contains(inode));
    }

    fn names_mut(&mut self, dir: Inode) -> Option<&mut BTreeMap<OsString, Inode>> {
        match self.nodes.get_mut(&dir)? {
            Node::Dir(names) => Some(names),
            Node::File(_) => None,
        }
    }
}

impl Node {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::File => Self::File(Content::default()),
            Kind::Dir => Self::Dir(BTreeMap::new()),
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::File(_) => Kind::File,
            Self::Dir(_) => Kind::Dir,
        }
    }
}
