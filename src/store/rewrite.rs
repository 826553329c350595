//! Writing a snapshot file anew, for salvage, compaction and backup. The new file is whole, on the
//! disk, and closed before it takes its name.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::contents::RoomContents;
use super::error::{OpenError, StoreError};
use super::file::directory_of;
use super::handle::{Store, StoreLimits};

/// A new file under a temporary name.
#[derive(Debug)]
pub(crate) struct Rewrite {
    store: Store,
    file: TemporaryFile,
}

/// Removes the temporary name when it is dropped.
#[derive(Debug)]
struct TemporaryFile {
    path: PathBuf,
    target: PathBuf,
}

impl Rewrite {
    /// Begins a new file beside `target`.
    ///
    /// # Errors
    /// [`OpenError`] if the file can't be created.
    pub(crate) fn begin(target: &Path, limits: &StoreLimits) -> Result<Self, OpenError> {
        // If `target` is a link, the file behind it is replaced.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".new-{}", std::process::id()));
        let path = target.with_file_name(name);
        // A process with the same pid may have died and left a file.
        let _ = fs::remove_file(&path);
        let (store, _) = Store::open(&path, limits)?;
        let file = TemporaryFile { path, target };
        Ok(Self { store, file })
    }

    /// Adds a room.
    ///
    /// # Errors
    /// [`StoreError`] if the room does not fit.
    pub(crate) fn add(&self, room: &RoomContents) -> Result<(), StoreError> {
        self.store.put(room)
    }

    /// Puts the new file in the place of the target. If that exists, its owner and mode stay.
    ///
    /// # Errors
    /// [`OpenError::Io`]; the target is then as it was.
    pub(crate) fn finish(self) -> Result<(), OpenError> {
        self.finish_by(|file, target| {
            if let Ok(old) = fs::metadata(target) {
                fs::set_permissions(file, old.permissions())?;
                // Only root can change the owner. For others the owner is most likely the same.
                let _ = std::os::unix::fs::chown(file, Some(old.uid()), Some(old.gid()));
            }
            fs::rename(file, target)
        })
    }

    /// Gives the new file the name of the target, which must not exist, and the mode of `source`,
    /// which holds the same counts.
    ///
    /// # Errors
    /// [`OpenError::Io`], also if the target exists by now.
    pub(crate) fn finish_copy_of(self, source: &Path) -> Result<(), OpenError> {
        self.finish_by(|file, target| {
            fs::set_permissions(file, fs::metadata(source)?.permissions())?;
            link_or_rename(file, target)
        })
    }

    fn finish_by(
        self,
        give_name: impl FnOnce(&Path, &Path) -> io::Result<()>,
    ) -> Result<(), OpenError> {
        let Self { store, file } = self;
        let target = &file.target;
        let failed = |action| OpenError::io(target, action);
        store
            .close_trimmed()
            .map_err(io::Error::from)
            .map_err(failed("write it anew"))?;
        give_name(&file.path, target).map_err(failed("give it its name"))?;
        File::open(directory_of(target))
            .and_then(|directory| directory.sync_all())
            .map_err(failed("sync its directory"))
    }
}

/// Gives a file a name that no other file has.
fn link_or_rename(file: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(file, target) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            // Not every file system has links.
            rename_no_replace(file, target).map_err(|_| error)
        }
        // The temporary name is removed with `TemporaryFile`.
        linked => linked,
    }
}

#[cfg(target_os = "linux")]
fn rename_no_replace(file: &Path, target: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(
        CWD,
        file,
        CWD,
        target,
        RenameFlags::NOREPLACE,
    )?)
}

#[cfg(not(target_os = "linux"))]
fn rename_no_replace(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // A finished file no longer has this name, or has another one too.
        let _ = fs::remove_file(&self.path);
    }
}
