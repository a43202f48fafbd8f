//! A disk that keeps what was synced, and of the rest whatever it likes.
//!
//! A file's bytes are durable after `sync_data`, a name after `sync_folder`. At a power cut unsynced
//! bytes survive by sectors, some of them as zeros, and unsynced names survive or not: all in
//! order, or each by itself. When only the process dies, everything stays as it was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::Clock;
use crate::files::{AppendFile, FileEntry, FileLock, Files};
use crate::sim::Mutation;
use crate::sim::world::{Dice, World};

const SECTOR: usize = 512;

#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    /// So many of them are on the platter.
    durable: usize,
    /// Ranges whose sync failed: nobody knows.
    doubtful: Vec<Range<usize>>,
    /// The file is at least so long, with zeros.
    reserved: usize,
    modified_ns: i64,
}

/// A change of names that its folder has not been synced after.
#[derive(Debug, Clone)]
enum Naming {
    Add { path: PathBuf, number: u64 },
    Remove { path: PathBuf },
    Rename { source: PathBuf, target: PathBuf, number: u64 },
}

impl Naming {
    fn folder(&self) -> Option<&Path> {
        match self {
            Naming::Add { path, .. } | Naming::Remove { path } => path.parent(),
            Naming::Rename { target, .. } => target.parent(),
        }
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Naming::Add { path, number } => drop(names.insert(path, number)),
            Naming::Remove { path } => drop(names.remove(&path)),
            Naming::Rename { source, target, number } => {
                names.remove(&source);
                names.insert(target, number);
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    contents: BTreeMap<u64, Content>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending: Vec<Naming>,
    folders: BTreeSet<PathBuf>,
    next: u64,
    locked: bool,
    life: u64,
}

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Disk {
    world: Arc<World>,
    state: Arc<Mutex<State>>,
    mutation: Mutation,
}

/// What a step does, for the names of crash points.
#[derive(Debug, Clone, Copy)]
enum Step {
    Create,
    Append,
    Sync,
    Name,
    Remove,
    FolderSync,
}

/// The crash points of the commit path on a disk.
pub(super) const POINTS: [&str; 24] = [
    "log create",
    "log append",
    "log sync",
    "log remove",
    "log folder sync",
    "hashes create",
    "hashes append",
    "hashes sync",
    "hashes name",
    "hashes folder sync",
    "segment create",
    "segment append",
    "segment sync",
    "segment name",
    "segment remove",
    "segment folder sync",
    "commit create",
    "commit append",
    "commit sync",
    "commit name",
    "commit remove",
    "commit folder sync",
    "other name",
    "other folder sync",
];

fn point(path: &Path, step: Step) -> &'static str {
    let text = path.to_string_lossy();
    let of = |names: [&'static str; 6]| match step {
        Step::Create => names[0],
        Step::Append => names[1],
        Step::Sync => names[2],
        Step::Name => names[3],
        Step::Remove => names[4],
        Step::FolderSync => names[5],
    };
    if path.parent().is_some_and(|folder| folder.ends_with("wal")) {
        return of([
            "hashes create",
            "hashes append",
            "hashes sync",
            "hashes name",
            "hashes remove",
            "hashes folder sync",
        ]);
    }
    if text.contains("/wal/") {
        return of([
            "log create",
            "log append",
            "log sync",
            "log name",
            "log remove",
            "log folder sync",
        ]);
    }
    if text.contains("/store/segments") {
        return of([
            "segment create",
            "segment append",
            "segment sync",
            "segment name",
            "segment remove",
            "segment folder sync",
        ]);
    }
    if text.contains("/store/catalog") {
        return of([
            "commit create",
            "commit append",
            "commit sync",
            "commit name",
            "commit remove",
            "commit folder sync",
        ]);
    }
    of([
        "other create",
        "other append",
        "other sync",
        "other name",
        "other remove",
        "other folder sync",
    ])
}

fn no_space() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk {
    pub(super) fn new(world: Arc<World>, mutation: Mutation) -> Arc<Disk> {
        Arc::new(Disk { world, state: Arc::default(), mutation })
    }

    /// The process died; the machine did not.
    pub(super) fn restart(&self) {
        let mut state = self.state.lock();
        state.life += 1;
        state.locked = false;
        if self.mutation == Mutation::DeleteOrphans {
            state.delete_orphans();
        }
    }

    /// The same disk for itself, in another world.
    pub(super) fn fork(&self, world: Arc<World>) -> Arc<Disk> {
        let state = self.state.lock();
        let state = State {
            contents: state.contents.clone(),
            names: state.names.clone(),
            durable_names: state.names.clone(),
            folders: state.folders.clone(),
            next: state.next,
            ..State::default()
        };
        Arc::new(Disk { world, state: Arc::new(Mutex::new(state)), mutation: self.mutation })
    }

    /// All files with the bytes that were written to them.
    pub(super) fn files(&self) -> Vec<(PathBuf, usize)> {
        let state = self.state.lock();
        let length = |number| state.contents.get(number).map_or(0, |it: &Content| it.bytes.len());
        state.names.iter().map(|(path, number)| (path.clone(), length(number))).collect()
    }

    /// What was written to a file.
    pub(super) fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state.lock();
        state.content(path).map(|content| content.bytes.clone()).unwrap_or_default()
    }

    /// Puts other bytes into a file.
    pub(super) fn replace(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state.lock();
        let Ok(number) = state.number(path) else { return };
        if let Some(content) = state.contents.get_mut(&number) {
            *content = Content { durable: bytes.len(), bytes, ..content.clone() };
            content.reserved = 0;
        }
    }

    /// Adds a file.
    pub(super) fn add(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state
            .contents
            .insert(number, Content { durable: bytes.len(), bytes, ..Content::default() });
        state.names.insert(path.to_owned(), number);
        state.durable_names.insert(path.to_owned(), number);
    }

    /// Removes a file.
    pub(super) fn take_away(&self, path: &Path) {
        let mut state = self.state.lock();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// Flips one bit of a file.
    pub(super) fn flip(&self, path: &Path, bit: u64) {
        let mut state = self.state.lock();
        let Ok(number) = state.number(path) else { return };
        let byte =
            state.contents.get_mut(&number).and_then(|it| it.bytes.get_mut(bit as usize / 8));
        if let Some(byte) = byte {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// Everything seen so far is durable.
    pub(super) fn write_back(&self) {
        let mut state = self.state.lock();
        for content in state.contents.values_mut() {
            content.durable = content.bytes.len();
            content.doubtful.clear();
        }
        for naming in std::mem::take(&mut state.pending) {
            naming.apply(&mut state.durable_names);
        }
    }

    /// The power went.
    pub(super) fn power_cut(&self, dice: &mut Dice) {
        self.state.lock().power_cut(dice);
        self.restart();
    }

    /// Removes all files below a folder, as a careless hand does.
    pub(super) fn wipe(&self, part: &str) -> usize {
        let mut state = self.state.lock();
        let gone: Vec<PathBuf> =
            state.names.keys().filter(|path| has(path, part)).cloned().collect();
        for path in &gone {
            state.names.remove(path);
            state.durable_names.remove(path);
        }
        state.pending.retain(|naming| match naming {
            Naming::Add { path, .. } | Naming::Remove { path } => !has(path, part),
            Naming::Rename { target, .. } => !has(target, part),
        });
        gone.len()
    }
}

fn has(path: &Path, part: &str) -> bool {
    path.to_string_lossy().contains(part)
}

impl State {
    fn number(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(not_found)
    }

    fn content(&self, path: &Path) -> io::Result<&Content> {
        self.contents.get(&self.number(path)?).ok_or_else(not_found)
    }

    fn rename(&mut self, naming: Naming) {
        naming.clone().apply(&mut self.names);
        self.pending.push(naming);
    }

    fn sync_folder(&mut self, folder: &Path) {
        let (synced, rest): (Vec<_>, Vec<_>) =
            self.pending.drain(..).partition(|naming| naming.folder() == Some(folder));
        self.pending = rest;
        for naming in synced {
            naming.apply(&mut self.durable_names);
        }
    }

    fn power_cut(&mut self, dice: &mut Dice) {
        let pending = std::mem::take(&mut self.pending);
        let count = pending.len();
        let kept = match dice.below(3) {
            0 => 0,
            1 => dice.below(count as u64 + 1) as usize,
            // Each by itself.
            _ => usize::MAX,
        };
        for (index, naming) in pending.into_iter().enumerate() {
            if index < kept.min(count) && (kept != usize::MAX || dice.one_in(2)) {
                naming.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.contents.retain(|number, _| named.contains(number));
        for content in self.contents.values_mut() {
            content.power_cut(dice);
        }
    }

    /// What a product would do that takes what its catalog does not list for rubbish.
    fn delete_orphans(&mut self) {
        let listed: Vec<u8> = self
            .names
            .iter()
            .filter(|(path, _)| has(path, "/store/catalog"))
            .filter_map(|(_, number)| self.contents.get(number))
            .flat_map(|content| content.bytes.iter().copied())
            .collect();
        let is_listed = |path: &Path| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let id = stem.split('.').next().unwrap_or_default();
            memchr::memmem::find(&listed, id.as_bytes()).is_some()
        };
        let orphan = |path: &&PathBuf| has(path, "/store/segments") && !is_listed(path);
        let orphans: Vec<PathBuf> = self.names.keys().filter(orphan).cloned().collect();
        for path in orphans {
            self.names.remove(&path);
            self.durable_names.remove(&path);
        }
    }

    /// Removes every log file but the last of each signal.
    fn truncate_logs(&mut self) {
        let logs: Vec<PathBuf> = self
            .names
            .keys()
            .filter(|path| has(path, "/wal/") && has(path, ".log"))
            .cloned()
            .collect();
        for pair in logs.windows(2) {
            if pair[0].parent() == pair[1].parent() {
                self.names.remove(&pair[0]);
                self.durable_names.remove(&pair[0]);
            }
        }
    }
}

impl Content {
    /// As a reader sees it.
    fn seen(&self) -> Vec<u8> {
        let mut seen = self.bytes.clone();
        if seen.len() < self.reserved {
            seen.resize(self.reserved, 0);
        }
        seen
    }

    fn power_cut(&mut self, dice: &mut Dice) {
        // Dice of its own: how long an index is depends on random names inside it.
        let dice = &mut Dice::new(dice.next());
        for range in std::mem::take(&mut self.doubtful) {
            self.lose(range, dice);
        }
        let (durable, length) = (self.durable, self.bytes.len());
        if durable < length {
            let sectors = (length - durable).div_ceil(SECTOR) as u64;
            let kept = dice.below(sectors + 1) as usize;
            let end = ((durable / SECTOR + kept) * SECTOR).clamp(durable, length);
            if dice.one_in(3) {
                self.lose(durable..end, dice);
            }
            self.bytes.truncate(end);
        }
        if dice.one_in(2) {
            self.reserved = 0;
        }
        self.durable = self.bytes.len();
    }

    /// Some sectors of a range were never written.
    fn lose(&mut self, range: Range<usize>, dice: &mut Dice) {
        let mut start = range.start;
        while start < range.end {
            let end = ((start / SECTOR + 1) * SECTOR).min(range.end);
            if dice.one_in(2)
                && let Some(sector) = self.bytes.get_mut(start..end)
            {
                sector.fill(0);
            }
            start = end;
        }
    }
}

#[derive(Debug)]
struct Appending {
    world: Arc<World>,
    state: Arc<Mutex<State>>,
    path: PathBuf,
    number: u64,
    life: u64,
    mutation: Mutation,
}

impl Appending {
    fn with<T>(&self, work: impl FnOnce(&mut Content) -> T) -> io::Result<T> {
        let mut state = self.state.lock();
        if state.life != self.life {
            return Err(broken());
        }
        state.contents.get_mut(&self.number).map(work).ok_or_else(not_found)
    }
}

impl AppendFile for Appending {
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let at = point(&self.path, Step::Append);
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let is_half = self.world.enter(at, &self.path.to_string_lossy())?;
        let fails = self.world.write_fails();
        let room = match (is_half, fails) {
            (false, false) => length,
            _ => self.world.dice(|dice| dice.below(length as u64 + 1)) as usize,
        };
        let now = self.world.now_ns();
        self.with(|content| {
            let joined = parts.concat();
            content.bytes.extend_from_slice(&joined[..room]);
            content.modified_ns = now;
        })?;
        if fails {
            return Err(no_space());
        }
        self.world.leave(at)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let at = point(&self.path, Step::Sync);
        let is_half = self.world.enter(at, &self.path.to_string_lossy())?;
        let lies = self.mutation == Mutation::AckBeforeSync && at == "log sync";
        let fails = self.world.write_fails();
        self.with(|content| {
            if is_half || lies {
                return;
            }
            if fails {
                let range = content.durable..content.bytes.len();
                content.doubtful.push(range);
            }
            content.durable = content.bytes.len();
        })?;
        if fails {
            return Err(broken());
        }
        self.world.leave(at)
    }
}

#[derive(Debug)]
struct Locked {
    state: Arc<Mutex<State>>,
    life: u64,
}

impl FileLock for Locked {}

impl Drop for Locked {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.life == self.life {
            state.locked = false;
        }
    }
}

impl Files for Disk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        if self.world.is_down() {
            return Err(broken());
        }
        let mut state = self.state.lock();
        for folder in path.ancestors() {
            state.folders.insert(folder.to_owned());
        }
        Ok(())
    }

    fn create(&self, path: &Path, reserve_bytes: u64) -> io::Result<Box<dyn AppendFile>> {
        let at = point(path, Step::Create);
        self.world.enter(at, &path.to_string_lossy())?;
        if self.world.write_fails() {
            return Err(no_space());
        }
        let mut state = self.state.lock();
        if self.mutation == Mutation::TruncateBeforeCommit && at == "commit create" {
            state.truncate_logs();
        }
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = state.next;
        state.next += 1;
        let content = Content {
            reserved: reserve_bytes as usize,
            modified_ns: self.world.now_ns(),
            ..Content::default()
        };
        state.contents.insert(number, content);
        state.rename(Naming::Add { path: path.to_owned(), number });
        let life = state.life;
        drop(state);
        self.world.leave(at)?;
        Ok(Box::new(Appending {
            world: Arc::clone(&self.world),
            state: Arc::clone(&self.state),
            path: path.to_owned(),
            number,
            life,
            mutation: self.mutation,
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if self.world.is_down() || self.world.read_fails() {
            return Err(broken());
        }
        self.state.lock().content(path).map(Content::seen)
    }

    fn read_at(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if self.world.is_down() || self.world.read_fails() {
            return Err(broken());
        }
        let seen = self.state.lock().content(path)?.seen();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        match start.checked_add(buf.len()).and_then(|end| seen.get(start..end)) {
            Some(part) => buf.copy_from_slice(part),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<FileEntry>> {
        if self.world.is_down() || self.world.read_fails() {
            return Err(broken());
        }
        let state = self.state.lock();
        let is_child = |child: &&PathBuf| child.parent() == Some(path);
        let name = |child: &PathBuf| {
            child.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let files =
            state.names.iter().filter(|(child, _)| is_child(child)).map(|(child, number)| {
                let content = state.contents.get(number);
                FileEntry {
                    name: name(child),
                    bytes: content.map_or(0, |it| it.bytes.len().max(it.reserved)) as u64,
                    is_folder: false,
                    modified_ns: content.map_or(0, |it| it.modified_ns),
                }
            });
        let folders = state.folders.iter().filter(is_child).map(|child| FileEntry {
            name: name(child),
            bytes: 0,
            is_folder: true,
            modified_ns: 0,
        });
        let mut found: Vec<FileEntry> = files.chain(folders).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        let at = point(target, Step::Name);
        self.world.enter(at, &target.to_string_lossy())?;
        if self.world.write_fails() {
            return Err(broken());
        }
        let mut state = self.state.lock();
        let number = state.number(source)?;
        let (source, target) = (source.to_owned(), target.to_owned());
        state.rename(Naming::Rename { source, target, number });
        drop(state);
        self.world.leave(at)
    }

    fn link(&self, source: &Path, target: &Path) -> io::Result<()> {
        let at = point(target, Step::Name);
        self.world.enter(at, &target.to_string_lossy())?;
        if self.world.write_fails() {
            return Err(no_space());
        }
        let mut state = self.state.lock();
        let number = state.number(source)?;
        if state.names.contains_key(target) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.rename(Naming::Add { path: target.to_owned(), number });
        drop(state);
        self.world.leave(at)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let at = point(path, Step::Remove);
        if self.state.lock().number(path).is_err() && !self.world.is_down() {
            return Err(not_found());
        }
        self.world.enter(at, &path.to_string_lossy())?;
        if self.world.write_fails() {
            return Err(broken());
        }
        self.state.lock().rename(Naming::Remove { path: path.to_owned() });
        self.world.leave(at)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let at = point(&path.join("x"), Step::FolderSync);
        self.world.enter(at, &path.to_string_lossy())?;
        if self.world.write_fails() {
            return Err(broken());
        }
        if self.mutation != Mutation::DropFolderSyncs {
            self.state.lock().sync_folder(path);
        }
        self.world.leave(at)
    }

    /// No step of its own, so that where a seed's machine goes down stays as it was.
    fn settle(&self, path: &Path) -> io::Result<()> {
        if self.world.is_down() {
            return Err(broken());
        }
        let mut state = self.state.lock();
        let number = state.number(path)?;
        if self.mutation == Mutation::TrustMemory {
            return Ok(());
        }
        if let Some(content) = state.contents.get_mut(&number) {
            let mut dice = Dice::new(number ^ content.bytes.len() as u64);
            for range in std::mem::take(&mut content.doubtful) {
                content.lose(range, &mut dice);
            }
            content.durable = content.bytes.len();
        }
        if let Some(folder) = path.parent() {
            state.sync_folder(folder);
        }
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(1 << 40)
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn FileLock>> {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Locked { state: Arc::clone(&self.state), life: state.life }))
    }
}
