//! What only root may do to a machine: file systems of one's own. Each is undone when dropped,
//! whatever happened in between.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs a program; what it said if it did not succeed.
///
/// # Errors
/// The program's name and output.
pub fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(format!("{program} {args:?}: {} {}", output.status, text(&output.stderr)))
}

/// A mounted file system of a test's own.
#[derive(Debug)]
pub struct Mount {
    /// Where it is mounted.
    pub path: PathBuf,
    image: Option<PathBuf>,
    is_mounted: bool,
}

impl Mount {
    /// A file system in a file: `make` is its program with arguments, such as `mkfs.ext4 -qF`.
    ///
    /// # Errors
    /// Why this machine cannot do that.
    pub fn image(folder: &Path, make: &[&str], size: &str) -> Result<Mount, String> {
        let image = folder.join("image");
        let text = image.to_string_lossy().into_owned();
        run("truncate", &["-s", size, &text])?;
        let (program, args) = make.split_first().ok_or("no program")?;
        run(program, &[args, &[text.as_str()]].concat())?;
        let path = folder.join("mount");
        std::fs::create_dir_all(&path).map_err(|error| error.to_string())?;
        let mut mount = Mount { path, image: Some(image), is_mounted: false };
        mount.mount()?;
        Ok(mount)
    }

    /// A file system in memory.
    ///
    /// # Errors
    /// Why this machine cannot do that.
    pub fn memory(folder: &Path, size: &str) -> Result<Mount, String> {
        let path = folder.join("mount");
        std::fs::create_dir_all(&path).map_err(|error| error.to_string())?;
        let option = format!("size={size}");
        run("mount", &["-t", "tmpfs", "-o", &option, "tmpfs", &path.to_string_lossy()])?;
        Ok(Mount { path, image: None, is_mounted: true })
    }

    /// Mounts the image (again): the journal is replayed.
    ///
    /// # Errors
    /// What `mount` said.
    pub fn mount(&mut self) -> Result<(), String> {
        let image = self.image.as_ref().ok_or("a file system in memory stays mounted")?;
        let (image, path) = (image.to_string_lossy(), self.path.to_string_lossy());
        run("mount", &["-o", "loop", &image, &path])?;
        self.is_mounted = true;
        Ok(())
    }

    /// # Errors
    /// What `umount` said.
    pub fn unmount(&mut self) -> Result<(), String> {
        run("umount", &[&self.path.to_string_lossy()])?;
        self.is_mounted = false;
        Ok(())
    }

    /// Cuts the power: what is not on disk is gone, the journal's unwritten part included, and
    /// nothing more is written.
    ///
    /// # Errors
    /// What `xfs_io` said; it knows ext4 as well.
    pub fn cut_power(&self) -> Result<(), String> {
        run("xfs_io", &["-x", "-c", "shutdown", &self.path.to_string_lossy()]).map(|_| ())
    }

    /// What the kernel does to a file system with errors: every write is refused from now on.
    ///
    /// # Errors
    /// What `mount` said.
    pub fn abort(&self) -> Result<(), String> {
        run("mount", &["-o", "remount,abort", &self.path.to_string_lossy()]).map(|_| ())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.is_mounted {
            // A process that is still there must not keep it: lazily.
            let _best_effort = run("umount", &["-l", &self.path.to_string_lossy()]);
        }
    }
}
