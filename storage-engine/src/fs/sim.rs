//! A disk in memory whose power can be cut.
//!
//! [`SimDisk`] keeps two versions of everything: what the running process sees,
//! and what a power cut would leave. `sync` and `sync_dir` carry the first into
//! the second. [`SimDisk::crash`] builds the disk a machine would find after the
//! cut, choosing for everything unsynced by the rules a journalling file system
//! gives us, and nothing friendlier:
//!
//! - each 4 KiB page written since the last sync of its file is there, or not, or
//!   torn: some of its 512-byte sectors new, some old;
//! - a file's length is the synced one, the current one, or anything between; a
//!   page inside it that was never written back reads as zeros;
//! - names created, renamed or removed in a directory since it was last synced
//!   survive as a prefix of those changes, in order; a rename is atomic.
//!
//! Clones of a [`SimDisk`] share the disk; [`SimDisk::snapshot`] copies it (pages
//! are shared until written), so one run of a script can be cut at every step.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Component, Path};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use uuid::Uuid;

use super::{Backend, DirEntry, OpenMode, RawDir, RawFile, RawMapping};

/// The unit in which unsynced content is lost.
pub const PAGE_BYTES: usize = 4096;
/// The unit in which a page can be torn.
pub const SECTOR_BYTES: usize = 512;

type Page = Arc<[u8; PAGE_BYTES]>;
type NodeId = usize;

const ROOT: NodeId = 0;
const EIO: i32 = 5;
/// Tells ids given out here from those of others.
const ID_MARK: u128 = 0x5D15_0000 << 96;

fn zero_page() -> Page {
    Arc::new([0; PAGE_BYTES])
}

/// Chooses among the outcomes of a power cut.
pub trait Choice {
    /// A number below `below`, which is at least 1.
    fn pick(&mut self, below: u64) -> u64;
}

/// Nothing unsynced survives.
#[derive(Debug)]
pub struct LoseAll;

impl Choice for LoseAll {
    fn pick(&mut self, _below: u64) -> u64 {
        0
    }
}

/// Everything unsynced survives.
#[derive(Debug)]
pub struct KeepAll;

impl Choice for KeepAll {
    fn pick(&mut self, below: u64) -> u64 {
        below - 1
    }
}

/// A reproducible random choice (SplitMix64).
#[derive(Clone, Debug)]
pub struct Seeded(pub u64);

impl Choice for Seeded {
    fn pick(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }
}

#[derive(Clone, Debug, Default)]
struct FileNode {
    pages: Vec<Page>,
    len: u64,
    synced_pages: Vec<Page>,
    synced_len: u64,
    /// Pages that differ from their synced version.
    dirty: BTreeSet<usize>,
    reserved: u64,
    modified_ms: i64,
}

impl FileNode {
    fn page_mut(&mut self, index: usize) -> &mut [u8; PAGE_BYTES] {
        while self.pages.len() <= index {
            self.pages.push(zero_page());
        }
        self.dirty.insert(index);
        Arc::make_mut(&mut self.pages[index])
    }

    /// Calls `piece(page, offset in page, range of the request)` for each page touched.
    fn pieces(
        position: u64,
        len: usize,
    ) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            if done == len {
                return None;
            }
            let at = position as usize + done;
            let within = at % PAGE_BYTES;
            let take = (PAGE_BYTES - within).min(len - done);
            let item = (at / PAGE_BYTES, within, done..done + take);
            done += take;
            Some(item)
        })
    }

    fn read(&self, buf: &mut [u8], position: u64) {
        for (page, within, range) in Self::pieces(position, buf.len()) {
            let len = range.len();
            match self.pages.get(page) {
                Some(page) => buf[range].copy_from_slice(&page[within..within + len]),
                None => buf[range].fill(0),
            }
        }
    }

    fn write(&mut self, buf: &[u8], position: u64) {
        for (page, within, range) in Self::pieces(position, buf.len()) {
            let len = range.len();
            self.page_mut(page)[within..within + len].copy_from_slice(&buf[range]);
        }
        self.len = self.len.max(position + buf.len() as u64);
        self.reserved = self.reserved.max(self.len);
    }

    fn zero(&mut self, position: u64, len: u64) {
        let end = position.saturating_add(len).min(self.len);
        if position >= end {
            return;
        }
        for (page, within, range) in Self::pieces(position, (end - position) as usize) {
            self.page_mut(page)[within..within + range.len()].fill(0);
        }
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            // What lies behind the end is gone: growing again must show zeros.
            let old = self.len;
            self.zero(len, old - len);
            self.pages
                .truncate(len.div_ceil(PAGE_BYTES as u64) as usize);
            self.dirty = self.dirty.range(..self.pages.len()).copied().collect();
        }
        self.len = len;
        self.reserved = len;
    }

    fn sync(&mut self) {
        self.synced_pages.clone_from(&self.pages);
        self.synced_len = self.len;
        self.dirty.clear();
    }

    fn crash(&self, choice: &mut dyn Choice) -> FileNode {
        let mut pages: Vec<Page> = Vec::new();
        let (low, high) = (self.synced_len.min(self.len), self.synced_len.max(self.len));
        // The length on disk: one of the two, or a page boundary between them.
        let boundaries = (high / PAGE_BYTES as u64).saturating_sub(low / PAGE_BYTES as u64);
        let len = match choice.pick(boundaries + 2) {
            0 => self.synced_len,
            n if n == boundaries + 1 => self.len,
            n => (low / PAGE_BYTES as u64 + n) * PAGE_BYTES as u64,
        };
        for index in 0..len.div_ceil(PAGE_BYTES as u64) as usize {
            let old = self
                .synced_pages
                .get(index)
                .cloned()
                .unwrap_or_else(zero_page);
            let page = if self.dirty.contains(&index) {
                let new = self.pages.get(index).cloned().unwrap_or_else(zero_page);
                match choice.pick(5) {
                    0 | 1 => old,
                    2 => torn(&old, &new, choice),
                    _ => new,
                }
            } else {
                old
            };
            pages.push(page);
        }
        let mut node = FileNode {
            pages,
            len,
            modified_ms: self.modified_ms,
            ..FileNode::default()
        };
        // Bytes behind the end are not part of the file.
        if let (Some(last), within @ 1..) = (node.pages.last_mut(), len as usize % PAGE_BYTES) {
            Arc::make_mut(last)[within..].fill(0);
        }
        node.sync();
        node
    }
}

fn torn(old: &Page, new: &Page, choice: &mut dyn Choice) -> Page {
    let mut page = old.clone();
    let bytes = Arc::make_mut(&mut page);
    for sector in (0..PAGE_BYTES).step_by(SECTOR_BYTES) {
        if choice.pick(2) == 1 {
            bytes[sector..sector + SECTOR_BYTES]
                .copy_from_slice(&new[sector..sector + SECTOR_BYTES]);
        }
    }
    page
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, NodeId),
    Remove(String),
    Rename(String, String),
}

fn apply(names: &mut BTreeMap<String, NodeId>, change: &NameChange) {
    match change {
        NameChange::Set(name, node) => {
            names.insert(name.clone(), *node);
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct DirNode {
    names: BTreeMap<String, NodeId>,
    synced: BTreeMap<String, NodeId>,
    pending: Vec<NameChange>,
}

impl DirNode {
    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        self.synced.clone_from(&self.names);
        self.pending.clear();
    }

    fn crash(&self, choice: &mut dyn Choice) -> DirNode {
        let mut names = self.synced.clone();
        let kept = choice.pick(self.pending.len() as u64 + 1) as usize;
        for change in &self.pending[..kept] {
            apply(&mut names, change);
        }
        DirNode {
            synced: names.clone(),
            names,
            pending: Vec::new(),
        }
    }
}

#[derive(Clone, Debug)]
enum Node {
    File(Arc<FileNode>),
    Dir(Arc<DirNode>),
}

#[derive(Clone, Debug)]
struct Tree {
    nodes: Vec<Node>,
    /// What the clock says that files are stamped with.
    now_ms: i64,
    /// Ids given out.
    ids: u128,
    /// What is a link to another file system, with all below it.
    elsewhere: BTreeSet<NodeId>,
}

impl Tree {
    /// The file system of a path: the nearest link on the way there, or the root.
    fn file_system(&self, path: &Path) -> io::Result<NodeId> {
        let (mut at, mut own) = (ROOT, ROOT);
        for name in names(path) {
            let dir = self.dir(at)?;
            at = *dir.names.get(name).ok_or(io::ErrorKind::NotFound)?;
            if self.elsewhere.contains(&at) {
                own = at;
            }
        }
        Ok(own)
    }

    /// Everything on one file system.
    fn on(&self, file_system: NodeId) -> Vec<NodeId> {
        let mut found = Vec::new();
        let mut pending = vec![(ROOT, ROOT)];
        while let Some((id, of_parent)) = pending.pop() {
            let own = match self.elsewhere.contains(&id) {
                true => id,
                false => of_parent,
            };
            if own == file_system {
                found.push(id);
            }
            if let Node::Dir(dir) = &self.nodes[id] {
                pending.extend(dir.names.values().map(|id| (*id, own)));
            }
        }
        found
    }

    fn file(&self, id: NodeId) -> &FileNode {
        match &self.nodes[id] {
            Node::File(file) => file,
            Node::Dir(_) => unreachable!("a file handle names a file"),
        }
    }

    fn file_mut(&mut self, id: NodeId) -> &mut FileNode {
        match &mut self.nodes[id] {
            Node::File(file) => Arc::make_mut(file),
            Node::Dir(_) => unreachable!("a file handle names a file"),
        }
    }

    /// The same for a change of content, which leaves its time.
    fn file_changed(&mut self, id: NodeId) -> &mut FileNode {
        let now_ms = self.now_ms;
        let file = self.file_mut(id);
        file.modified_ms = now_ms;
        file
    }

    fn dir(&self, id: NodeId) -> io::Result<&DirNode> {
        match &self.nodes[id] {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn dir_mut(&mut self, id: NodeId) -> io::Result<&mut DirNode> {
        match &mut self.nodes[id] {
            Node::Dir(dir) => Ok(Arc::make_mut(dir)),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut at = ROOT;
        for name in names(path) {
            at = *self
                .dir(at)?
                .names
                .get(name)
                .ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    /// The parent directory and the last name of a path.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(NodeId, &'a str)> {
        let name = names(path).last().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.find(parent)?, name))
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}

fn names(path: &Path) -> impl Iterator<Item = &str> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    })
}

#[derive(Debug)]
struct State {
    tree: Tree,
    operations: u64,
    read_bytes: u64,
    recording: Option<Vec<Tree>>,
    capacity: Option<u64>,
    locked: BTreeSet<String>,
    /// Living mappings of each file.
    mapped: BTreeMap<NodeId, usize>,
    /// Failures to write back.
    lost_writes: u64,
}

/// A disk in memory whose power can be cut.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl Default for SimDisk {
    fn default() -> SimDisk {
        SimDisk::new()
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> SimDisk {
        SimDisk::of(Tree {
            nodes: vec![Node::Dir(Arc::default())],
            now_ms: 0,
            ids: 0,
            elsewhere: BTreeSet::new(),
        })
    }

    fn of(tree: Tree) -> SimDisk {
        let state = State {
            tree,
            operations: 0,
            read_bytes: 0,
            recording: None,
            capacity: None,
            locked: BTreeSet::new(),
            mapped: BTreeMap::new(),
            lost_writes: 0,
        };
        SimDisk {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changing operations so far: writes, syncs, renames, reservations, removals.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Bytes read out of files so far, through handles and mappings alike.
    pub fn read_bytes(&self) -> u64 {
        self.lock().read_bytes
    }

    /// Limits the bytes files may take together; more is `ENOSPC`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// The kernel failed to write something back, and somebody else asked first: who opens
    /// a directory from now on is not told.
    pub fn fail_to_write_back(&self) {
        self.lock().lost_writes += 1;
    }

    /// Makes what is at `path` a link to the same on another file system.
    pub fn link_elsewhere(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let id = state.tree.find(path)?;
        state.tree.elsewhere.insert(id);
        Ok(())
    }

    /// Sets the clock that stamps files when their content changes.
    pub fn set_time_ms(&self, now_ms: i64) {
        self.lock().tree.now_ms = now_ms;
    }

    /// From now on keeps a copy of the disk from after every changing operation.
    pub fn record(&self) {
        let mut state = self.lock();
        let now = state.tree.clone();
        state.recording = Some(vec![now]);
    }

    /// The copies kept since [`SimDisk::record`]: the disk before the first
    /// operation, then after each one.
    pub fn recorded(&self) -> Vec<SimDisk> {
        self.lock()
            .recording
            .take()
            .unwrap_or_default()
            .into_iter()
            .map(SimDisk::of)
            .collect()
    }

    /// An independent copy, as the running process sees it.
    pub fn snapshot(&self) -> SimDisk {
        SimDisk::of(self.lock().tree.clone())
    }

    /// The disk a machine finds after its power was cut now.
    pub fn crash(&self, choice: &mut dyn Choice) -> SimDisk {
        let state = self.lock();
        let nodes = state
            .tree
            .nodes
            .iter()
            .map(|node| match node {
                Node::File(file) => {
                    if file.dirty.is_empty() && file.len == file.synced_len {
                        return node.clone();
                    }
                    Node::File(Arc::new(file.crash(choice)))
                }
                Node::Dir(dir) => {
                    if dir.pending.is_empty() {
                        return node.clone();
                    }
                    Node::Dir(Arc::new(dir.crash(choice)))
                }
            })
            .collect();
        SimDisk::of(Tree {
            nodes,
            now_ms: state.tree.now_ms,
            ids: state.tree.ids,
            elsewhere: state.tree.elsewhere.clone(),
        })
    }

    /// Every file below `dir` with its content, for comparing two disks.
    pub fn contents(&self, dir: &Path) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        let mut found = BTreeMap::new();
        let mut pending = match state.tree.find(dir) {
            Ok(id) => vec![(String::new(), id)],
            Err(_) => Vec::new(),
        };
        while let Some((path, id)) = pending.pop() {
            match &state.tree.nodes[id] {
                Node::File(file) => {
                    let mut content = vec![0; file.len as usize];
                    file.read(&mut content, 0);
                    found.insert(path, content);
                }
                Node::Dir(dir) => {
                    pending.extend(
                        dir.names
                            .iter()
                            .map(|(name, id)| (format!("{path}/{name}"), *id)),
                    );
                }
            }
        }
        found
    }

    fn change<T>(&self, run: impl FnOnce(&mut Tree) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.lock();
        let result = run(&mut state.tree)?;
        state.operations += 1;
        let now = state.recording.is_some().then(|| state.tree.clone());
        if let (Some(recording), Some(now)) = (&mut state.recording, now) {
            recording.push(now);
        }
        Ok(result)
    }

    fn is_mapped(&self, id: NodeId) -> bool {
        self.lock().mapped.contains_key(&id)
    }

    fn check_space(&self, id: NodeId, end: u64) -> io::Result<()> {
        let state = self.lock();
        let Some(capacity) = state.capacity else {
            return Ok(());
        };
        let own = state.tree.file(id).reserved;
        if end > own && used(&state.tree) + (end - own) > capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

fn used(tree: &Tree) -> u64 {
    tree.nodes
        .iter()
        .map(|node| match node {
            Node::File(file) => file.reserved,
            Node::Dir(_) => 0,
        })
        .sum()
}

impl Backend for SimDisk {
    fn new_id(&self) -> Uuid {
        let tree = &mut self.lock().tree;
        tree.ids += 1;
        uuid::Builder::from_random_bytes((tree.ids | ID_MARK).to_be_bytes()).into_uuid()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn RawFile>> {
        let found = self.lock().tree.find(path);
        let id = match found {
            Ok(id) => {
                if matches!(self.lock().tree.nodes[id], Node::Dir(_)) {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                if mode == OpenMode::Truncate && self.is_mapped(id) {
                    self.remove_file(path)?;
                    return self.open(path, OpenMode::Create);
                }
                if mode == OpenMode::Truncate {
                    self.change(|tree| {
                        tree.file_changed(id).set_len(0);
                        Ok(())
                    })?;
                }
                id
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && mode != OpenMode::Existing => {
                self.change(|tree| {
                    let (parent, name) = tree.parent(path)?;
                    let id = tree.add(Node::File(Arc::default()));
                    tree.file_changed(id);
                    tree.dir_mut(parent)?
                        .change(NameChange::Set(name.to_owned(), id));
                    Ok(id)
                })?
            }
            Err(error) => return Err(error),
        };
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            id,
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|tree| {
            let (parent, name) = tree.parent(path)?;
            if tree.dir(parent)?.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let id = tree.add(Node::Dir(Arc::default()));
            tree.dir_mut(parent)?
                .change(NameChange::Set(name.to_owned(), id));
            Ok(())
        })
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.lock();
        let dir = state.tree.dir(state.tree.find(path)?)?;
        Ok(dir
            .names
            .iter()
            .map(|(name, id)| match &state.tree.nodes[*id] {
                Node::Dir(_) => DirEntry {
                    name: name.clone(),
                    is_dir: true,
                    is_link: state.tree.elsewhere.contains(id),
                    len: 0,
                },
                Node::File(file) => DirEntry {
                    name: name.clone(),
                    is_dir: false,
                    is_link: state.tree.elsewhere.contains(id),
                    len: file.len,
                },
            })
            .collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|tree| {
            let (from_dir, from_name) = tree.parent(from)?;
            let (to_dir, to_name) = tree.parent(to)?;
            assert_eq!(from_dir, to_dir, "the engine renames within one directory");
            let dir = tree.dir_mut(from_dir)?;
            if !dir.names.contains_key(from_name) {
                return Err(io::ErrorKind::NotFound.into());
            }
            dir.change(NameChange::Rename(from_name.to_owned(), to_name.to_owned()));
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(|tree| {
            tree.find(path)?;
            let (parent, name) = tree.parent(path)?;
            tree.dir_mut(parent)?
                .change(NameChange::Remove(name.to_owned()));
            Ok(())
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|tree| {
            let id = tree.find(path)?;
            if !tree.dir(id)?.names.is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            let (parent, name) = tree.parent(path)?;
            tree.dir_mut(parent)?
                .change(NameChange::Remove(name.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|tree| {
            let id = tree.find(path)?;
            tree.dir_mut(id)?.sync();
            Ok(())
        })
    }

    fn open_dir(&self, path: &Path) -> io::Result<Arc<dyn RawDir>> {
        let state = self.lock();
        state.tree.dir(state.tree.find(path)?)?;
        let told = state.lost_writes;
        Ok(Arc::new(SimDir {
            disk: self.clone(),
            file_system: state.tree.file_system(path)?,
            told: AtomicU64::new(told),
        }))
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let key = path.to_string_lossy().into_owned();
        if !self.lock().locked.insert(key.clone()) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimLock {
            disk: self.clone(),
            key,
        })))
    }

    fn file_system(&self, path: &Path) -> io::Result<u64> {
        Ok(self.lock().tree.file_system(path)? as u64)
    }

    fn bytes_free(&self, _path: &Path) -> io::Result<u64> {
        let state = self.lock();
        Ok(state.capacity.map_or(u64::MAX, |capacity| {
            capacity.saturating_sub(used(&state.tree))
        }))
    }
}

#[derive(Debug)]
struct SimDir {
    disk: SimDisk,
    file_system: NodeId,
    /// Failures to write back that this handle was told of, or that came before it.
    told: AtomicU64,
}

impl RawDir for SimDir {
    fn sync_file_system(&self) -> io::Result<()> {
        let lost = self.disk.lock().lost_writes;
        if self.told.swap(lost, Ordering::Relaxed) < lost {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.disk.change(|tree| {
            for id in tree.on(self.file_system) {
                match &mut tree.nodes[id] {
                    Node::File(file) => Arc::make_mut(file).sync(),
                    Node::Dir(dir) => Arc::make_mut(dir).sync(),
                }
            }
            Ok(())
        })
    }
}

struct SimLock {
    disk: SimDisk,
    key: String,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.lock().locked.remove(&self.key);
    }
}

#[derive(Clone, Debug)]
struct SimFile {
    disk: SimDisk,
    id: NodeId,
}

impl RawFile for SimFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.disk.lock();
        let file = state.tree.file(self.id);
        let len = buf.len().min(file.len.saturating_sub(position) as usize);
        file.read(&mut buf[..len], position);
        state.read_bytes += len as u64;
        Ok(len)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        self.disk
            .check_space(self.id, position + buf.len() as u64)?;
        self.disk.change(|tree| {
            tree.file_changed(self.id).write(buf, position);
            Ok(buf.len())
        })
    }

    fn reserve(&self, position: u64, len: u64) -> io::Result<()> {
        self.disk.check_space(self.id, position + len)?;
        self.disk.change(|tree| {
            let file = tree.file_mut(self.id);
            file.reserved = file.reserved.max(position + len);
            Ok(())
        })
    }

    fn zero(&self, position: u64, len: u64) -> io::Result<()> {
        self.disk.change(|tree| {
            tree.file_changed(self.id).zero(position, len);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mapped = self.disk.is_mapped(self.id);
        self.disk.change(|tree| {
            let file = tree.file_changed(self.id);
            if mapped && len < file.len {
                file.zero(len, file.len - len);
            } else {
                file.set_len(len);
            }
            Ok(())
        })
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.lock().tree.file(self.id).len)
    }

    fn modified_ms(&self) -> io::Result<i64> {
        Ok(self.disk.lock().tree.file(self.id).modified_ms)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.change(|tree| {
            tree.file_mut(self.id).sync();
            Ok(())
        })
    }

    fn map(&self, len: usize) -> io::Result<Arc<dyn RawMapping>> {
        *self.disk.lock().mapped.entry(self.id).or_default() += 1;
        let file = self.clone();
        Ok(Arc::new(SimMapping { file, len }))
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// A living mapping, counted as the real ones are.
#[derive(Debug)]
struct SimMapping {
    file: SimFile,
    /// It ends here, however long the file becomes.
    len: usize,
}

impl Drop for SimMapping {
    fn drop(&mut self) {
        let mut state = self.file.disk.lock();
        if let Some(count) = state.mapped.get_mut(&self.file.id) {
            *count -= 1;
            if *count == 0 {
                state.mapped.remove(&self.file.id);
            }
        }
    }
}

impl RawMapping for SimMapping {
    fn bytes(self: Arc<Self>, position: usize, len: usize) -> io::Result<Bytes> {
        let mut copy = vec![0; len];
        self.copy(position, &mut copy)?;
        Ok(Bytes::from(copy))
    }

    fn copy(&self, position: usize, into: &mut [u8]) -> io::Result<()> {
        let mut state = self.file.disk.lock();
        let file = state.tree.file(self.file.id);
        let end = position.checked_add(into.len());
        if end.is_none_or(|end| end > self.len || end as u64 > file.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.read(into, position as u64);
        state.read_bytes += into.len() as u64;
        Ok(())
    }
}
