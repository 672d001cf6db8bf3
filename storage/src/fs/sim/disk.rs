//! The state of a simulated disk: directories, files, the operation counter and planned faults.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use super::chance::Chance;
use super::content::Content;
use super::{Fault, Lie};

/// Number of a file or directory; a file keeps it when it is renamed.
pub(super) type NodeId = u64;

pub(super) const ROOT: NodeId = 0;

/// A change of a directory that no sync has covered.
#[derive(Clone, Debug)]
enum Change {
    Link(String, NodeId),
    Unlink(String),
    Rename(String, String),
}

/// The entries of a directory as programs see them, as the disk holds them, and the changes that
/// lead from the second to the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    live: BTreeMap<String, NodeId>,
    durable: BTreeMap<String, NodeId>,
    pending: Vec<Change>,
}

fn apply(entries: &mut BTreeMap<String, NodeId>, change: &Change) {
    match change {
        Change::Link(name, id) => {
            entries.insert(name.clone(), *id);
        }
        Change::Unlink(name) => {
            entries.remove(name);
        }
        Change::Rename(from, to) => {
            if let Some(id) = entries.remove(from) {
                entries.insert(to.clone(), id);
            }
        }
    }
}

impl Directory {
    pub(super) fn entries(&self) -> &BTreeMap<String, NodeId> {
        &self.live
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.live, &change);
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.pending.clear();
        self.durable = self.live.clone();
    }

    /// Changes reach the disk in their order, so any first part of them may have.
    fn after_power_cut(&self, chance: &mut Chance) -> BTreeMap<String, NodeId> {
        let mut entries = self.durable.clone();
        let survive = chance.below(self.pending.len() + 1);
        for change in self.pending.iter().take(survive) {
            apply(&mut entries, change);
        }
        entries
    }
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    File(Content),
    Dir(Directory),
}

/// Whether a lie is about a path.
type About = fn(&Path) -> bool;

#[derive(Clone, Debug)]
pub(super) struct Disk {
    nodes: BTreeMap<NodeId, Node>,
    next_id: NodeId,
    /// Mutating operations so far.
    pub(super) ops: u64,
    /// Reads of files' content so far.
    pub(super) reads: u64,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) powered_off: bool,
    pub(super) free_bytes: u64,
    pub(super) locks: BTreeSet<PathBuf>,
    /// Lies, and the paths that they are about.
    pub(super) lies: Vec<(Lie, About)>,
    /// What was put under a name about which [`Lie::RenameBringsOlder`] is, by directory and ending.
    older: BTreeMap<(NodeId, String), Vec<u8>>,
    /// What cannot be read.
    pub(super) unreadable: Vec<About>,
}

impl Disk {
    pub(super) fn new(free_bytes: u64) -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::Dir(Directory::default()))]),
            next_id: ROOT + 1,
            ops: 0,
            reads: 0,
            faults: BTreeMap::new(),
            powered_off: false,
            free_bytes,
            locks: BTreeSet::new(),
            lies: Vec::new(),
            older: BTreeMap::new(),
            unreadable: Vec::new(),
        }
    }

    /// Fails where `path` cannot be read.
    pub(super) fn check_readable(&self, path: &Path) -> io::Result<()> {
        match self.unreadable.iter().any(|about| about(path)) {
            true => Err(rustix::io::Errno::IO.into()),
            false => Ok(()),
        }
    }

    /// Whether the disk tells this lie about `path`.
    pub(super) fn lies(&self, lie: Lie, path: &Path) -> bool {
        let told = |(told, about): &(Lie, About)| *told == lie && about(path);
        self.lies.iter().any(told)
    }

    /// Fails once the power is off.
    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.powered_off {
            Err(power_cut())
        } else {
            Ok(())
        }
    }

    /// Counts a mutating operation; the fault planned for it, if any.
    pub(super) fn begin(&mut self) -> io::Result<Option<Fault>> {
        self.check_power()?;
        let fault = self.faults.remove(&self.ops);
        self.ops += 1;
        Ok(fault)
    }

    /// Runs an operation that happens as a whole or not at all. One that the power cut interrupts
    /// happens too, un-synced as it is: chance decides whether it survives.
    pub(super) fn atomically(&mut self, change: impl FnOnce(&mut Self)) -> io::Result<()> {
        match self.begin()? {
            None => change(self),
            Some(Fault::Crash) => {
                change(self);
                self.powered_off = true;
                return Err(power_cut());
            }
            Some(fault) => return Err(fault.error()),
        }
        Ok(())
    }

    pub(super) fn content(&self, id: NodeId) -> io::Result<&Content> {
        match self.nodes.get(&id) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Dir(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn content_mut(&mut self, id: NodeId) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&id) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Dir(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn dir(&self, id: NodeId) -> io::Result<&Directory> {
        match self.nodes.get(&id) {
            Some(Node::Dir(directory)) => Ok(directory),
            _ => Err(ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn dir_mut(&mut self, id: NodeId) -> io::Result<&mut Directory> {
        match self.nodes.get_mut(&id) {
            Some(Node::Dir(directory)) => Ok(directory),
            _ => Err(ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn is_dir(&self, id: NodeId) -> bool {
        matches!(self.nodes.get(&id), Some(Node::Dir(_)))
    }

    /// What is at `path`.
    pub(super) fn find(&self, path: &Path) -> io::Result<Option<NodeId>> {
        self.check_power()?;
        let mut id = ROOT;
        for name in names(path)? {
            let Node::Dir(directory) = &self.nodes[&id] else {
                return Ok(None);
            };
            let Some(next) = directory.live.get(name) else {
                return Ok(None);
            };
            id = *next;
        }
        Ok(Some(id))
    }

    /// The directory that holds `path`, and the last name of it.
    pub(super) fn parent(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let names = names(path)?;
        let Some((last, _)) = names.split_last() else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let parent = self.find(path.parent().unwrap_or(Path::new("/")))?;
        let parent = parent.ok_or(ErrorKind::NotFound)?;
        if !self.is_dir(parent) {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok((parent, (*last).to_owned()))
    }

    /// Makes a file or directory in `parent`.
    pub(super) fn link(&mut self, parent: NodeId, name: String, node: Node) -> io::Result<NodeId> {
        let id = self.next_id;
        self.dir(parent)?;
        self.atomically(|disk| {
            disk.next_id += 1;
            disk.nodes.insert(id, node);
            disk.change(parent, Change::Link(name, id));
        })?;
        Ok(id)
    }

    /// Gives a file a further name, in `parent`.
    pub(super) fn link_again(
        &mut self,
        parent: NodeId,
        name: String,
        id: NodeId,
    ) -> io::Result<()> {
        self.dir(parent)?;
        self.atomically(|disk| disk.change(parent, Change::Link(name, id)))
    }

    /// Takes a name away; the node stays for those who hold it open, and for a crash that brings
    /// the name back.
    pub(super) fn unlink(&mut self, parent: NodeId, name: &str) -> io::Result<()> {
        let id = *self
            .dir(parent)?
            .live
            .get(name)
            .ok_or(ErrorKind::NotFound)?;
        self.atomically(|disk| {
            disk.free_bytes = disk.free_bytes.saturating_add(disk.freed_bytes(id));
            disk.change(parent, Change::Unlink(name.to_owned()));
        })
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let brings_older = self.lies(Lie::RenameBringsOlder, to);
        let (parent, from) = self.parent(from)?;
        let (to_parent, to) = self.parent(to)?;
        if parent != to_parent {
            // The log never does; which of the two syncs would cover it is not modelled.
            return Err(ErrorKind::Unsupported.into());
        }
        let directory = self.dir(parent)?;
        let moved = *directory.live.get(&from).ok_or(ErrorKind::NotFound)?;
        let replaced = directory.live.get(&to).copied();
        if let Some(replaced) = replaced
            && replaced != moved
            && (self.is_dir(moved) || self.is_dir(replaced))
        {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.atomically(|disk| {
            if let Some(replaced) = replaced
                && replaced != moved
            {
                disk.free_bytes = disk.free_bytes.saturating_add(disk.freed_bytes(replaced));
            }
            if brings_older {
                disk.bring_older(parent, &to, moved);
            }
            disk.change(parent, Change::Rename(from, to));
        })
    }

    fn bring_older(&mut self, parent: NodeId, name: &str, id: NodeId) {
        let Some(Node::File(content)) = self.nodes.get_mut(&id) else {
            return;
        };
        let ending = name.rsplit('.').next().unwrap_or_default().to_owned();
        let written = content.live().to_vec();
        if let Some(older) = self.older.insert((parent, ending), written) {
            content.set_len(older.len());
            content.write(0, &older);
            content.sync();
        }
    }

    /// Removes what is in a directory, deepest first, then the directory: each step counts.
    pub(super) fn unlink_tree(&mut self, parent: NodeId, name: &str) -> io::Result<()> {
        let id = *self
            .dir(parent)?
            .live
            .get(name)
            .ok_or(ErrorKind::NotFound)?;
        if self.is_dir(id) {
            let names: Vec<String> = self.dir(id)?.live.keys().cloned().collect();
            for name in names {
                self.unlink_tree(id, &name)?;
            }
        }
        self.unlink(parent, name)
    }

    /// The disk after the power came back: what was synced, and of the rest what chance leaves.
    pub(super) fn after_power_cut(&self, chance: &mut Chance) -> Self {
        let mut after = Self::new(self.free_bytes.saturating_add(self.live_bytes()));
        after.next_id = self.next_id;
        self.copy_surviving(ROOT, &mut after, chance);
        after.free_bytes = after.free_bytes.saturating_sub(after.live_bytes());
        after
    }

    fn copy_surviving(&self, id: NodeId, after: &mut Self, chance: &mut Chance) {
        let node = match &self.nodes[&id] {
            Node::File(content) => Node::File(content.after_power_cut(chance)),
            Node::Dir(directory) => {
                let entries = directory.after_power_cut(chance);
                for child in entries.values() {
                    // What survives of a file with two names does so once.
                    if !after.nodes.contains_key(child) {
                        self.copy_surviving(*child, after, chance);
                    }
                }
                Node::Dir(Directory {
                    live: entries.clone(),
                    durable: entries,
                    pending: vec![],
                })
            }
        };
        after.nodes.insert(id, node);
    }

    /// The disk as the next process finds it: everything written is there, synced or not.
    pub(super) fn after_kill(&self) -> Self {
        let mut after = self.clone();
        after.ops = 0;
        after.faults.clear();
        after.unreadable.clear();
        after.powered_off = false;
        after.locks.clear();
        after
    }

    fn change(&mut self, parent: NodeId, change: Change) {
        if let Some(Node::Dir(directory)) = self.nodes.get_mut(&parent) {
            directory.change(change);
        }
    }

    fn file_len(&self, id: NodeId) -> u64 {
        match self.nodes.get(&id) {
            Some(Node::File(content)) => content.len(),
            _ => 0,
        }
    }

    /// What a file gives back when it loses a name: nothing where it has another one.
    fn freed_bytes(&self, id: NodeId) -> u64 {
        match self.names().filter(|named| *named == id).count() {
            0 | 1 => self.file_len(id),
            _ => 0,
        }
    }

    /// What the names of all directories lead to.
    fn names(&self) -> impl Iterator<Item = NodeId> {
        let dirs = self.nodes.values().filter_map(|node| match node {
            Node::Dir(directory) => Some(directory),
            Node::File(_) => None,
        });
        dirs.flat_map(|directory| directory.live.values().copied())
    }

    /// Bytes of all files that have a name.
    pub(super) fn live_bytes(&self) -> u64 {
        let named: BTreeSet<NodeId> = self.names().collect();
        named.into_iter().map(|id| self.file_len(id)).sum()
    }
}

pub(super) fn power_cut() -> io::Error {
    io::Error::other("the simulated power is off")
}

fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or(ErrorKind::InvalidInput)?),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(names)
}
