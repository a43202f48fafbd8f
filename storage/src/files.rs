//! The file system as a component: log, lock, local segments and quarantine notes go through it.
//!
//! There is no other way from this crate to a local disk, so that a simulation with a seed can stand
//! in for it. All calls block: they are made from dedicated threads or from `spawn_blocking`, but
//! for reads of a few chunks, which cost less than a hop between threads.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::io::Errno;

use crate::folders::Folders;

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    pub name: String,
    /// Units: bytes. 0 for a folder.
    pub bytes: u64,
    pub is_folder: bool,
    /// Last change, nanoseconds since the Unix epoch; 0 where the system does not say.
    pub modified_ns: i64,
}

/// A file that only grows.
pub trait AppendFile: Send + fmt::Debug {
    /// Appends all parts, in order.
    ///
    /// Errors: some prefix of the parts may have been written then.
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()>;

    /// Returns when everything appended is on disk. After an error the state of the file on disk is
    /// unknown, and calling again must not be taken as a success.
    fn sync_data(&mut self) -> io::Result<()>;
}

/// What this crate asks of a file system.
pub trait Files: Send + Sync + fmt::Debug {
    /// Creates a folder with its parents, durably.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Creates a file that must not exist, with room for `reserve_bytes` (a wish). Its name is
    /// durable after [`Files::sync_folder`] of its parent.
    fn create(&self, path: &Path, reserve_bytes: u64) -> io::Result<Box<dyn AppendFile>>;

    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Fills `buf` from `offset`.
    ///
    /// Errors: UnexpectedEof where the file ends before.
    fn read_at(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Entries of a folder, sorted by name; none where the folder does not exist.
    fn list(&self, path: &Path) -> io::Result<Vec<FileEntry>>;

    /// Renames, replacing `target`.
    fn rename(&self, source: &Path, target: &Path) -> io::Result<()>;

    /// Gives a file a second name, which must not exist.
    ///
    /// Errors: AlreadyExists.
    fn link(&self, source: &Path, target: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes a file that another process may have written, and its name, durable, and forgets what only
    /// memory holds of it: what is read next is what the disk has. After a failed sync memory may hold
    /// bytes, taken for written, that the disk never got.
    fn settle(&self, path: &Path) -> io::Result<()>;

    /// Bytes that may still be written below `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// The room of the disk below `path`.
    fn space(&self, path: &Path) -> io::Result<Space> {
        let free_bytes = self.free_bytes(path)?;
        Ok(Space { free_bytes, total_bytes: None, free_files: None, files: None })
    }

    /// Takes the lock of a file, creating it if need be, until the guard is dropped or the process
    /// ends.
    ///
    /// Errors: WouldBlock when somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>>;
}

/// The room of a disk; nothing where the file system does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub free_bytes: u64,
    pub total_bytes: Option<u64>,
    /// Files that may still be made, and all that may be.
    pub free_files: Option<u64>,
    pub files: Option<u64>,
}

/// A lock that is held until it is dropped.
pub trait FileLock: Send + Sync + fmt::Debug {}

/// What this process knows of the disk's folders.
static FOLDERS: Folders = Folders::new();

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFiles;

#[derive(Debug)]
struct DiskAppend(File);

#[derive(Debug)]
struct DiskLock(#[expect(dead_code, reason = "held, not read")] File);

impl FileLock for DiskLock {}

impl AppendFile for DiskAppend {
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest = slices.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match self.0.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl Files for DiskFiles {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        FOLDERS.create(path, &|parent| self.sync_folder(parent))
    }

    fn create(&self, path: &Path, reserve_bytes: u64) -> io::Result<Box<dyn AppendFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        if reserve_bytes > 0 {
            let flags = rustix::fs::FallocateFlags::empty();
            // File systems without it (some overlays) merely grow the file as it is written.
            let _a_wish = rustix::fs::fallocate(&file, flags, 0, reserve_bytes);
        }
        Ok(Box::new(DiskAppend(file)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        File::open(path)?.read_exact_at(buf, offset)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<FileEntry>> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed since the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_folder = metadata.is_dir();
            let bytes = if is_folder { 0 } else { metadata.len() };
            found.push(FileEntry { name, bytes, is_folder, modified_ns: modified_ns(&metadata) });
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        fs::rename(source, target)
    }

    fn link(&self, source: &Path, target: &Path) -> io::Result<()> {
        fs::hard_link(source, target)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn settle(&self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        let synced = file.sync_data();
        let forgotten = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        synced?;
        // Kernels and file systems without the call keep nothing that could be told to go.
        if let Err(error) = forgotten
            && !matches!(error, Errno::NOSYS | Errno::OPNOTSUPP)
        {
            return Err(error.into());
        }
        path.parent().map_or(Ok(()), |folder| self.sync_folder(folder))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(path)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let space = rustix::fs::statvfs(path)?;
        // Some file systems make files as they go and count none.
        let counts_files = space.f_files != 0;
        Ok(Space {
            free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
            total_bytes: Some(space.f_blocks.saturating_mul(space.f_frsize)),
            free_files: counts_files.then_some(space.f_favail),
            files: counts_files.then_some(space.f_files),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(DiskLock(file))),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn modified_ns(metadata: &fs::Metadata) -> i64 {
    let since =
        metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    since.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

/// Replaces the content of `path` so that after a crash it is either the old or the new one.
pub(crate) fn replace(files: &dyn Files, path: &Path, content: &[u8]) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut staged = path.as_os_str().to_owned();
    staged.push(".tmp");
    let staged = Path::new(&staged);
    match files.remove(staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = files.create(staged, 0)?;
    file.append(&[content])?;
    file.sync_data()?;
    files.rename(staged, path)?;
    files.sync_folder(folder)
}
