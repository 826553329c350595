//! Writing a snapshot file anew: for salvage, compaction and backup. The new file is whole, on the
//! disk and closed before it takes its name.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::contents::{RoomContents, contents};
use super::error::{OpenError, StoreError};
use super::map::{Map, directory_of};
use super::survey::{DamageReport, Survey};
use super::{Store, StoreLimits};

/// What salvage has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// Where the damaged original is now.
    pub original: PathBuf,
    /// What was damaged in it.
    pub damage: DamageReport,
    /// Counts that could not be proven, and are left out.
    pub lost_counts: usize,
}

/// A new file that has no name yet but its own.
#[derive(Debug)]
pub struct Rewrite {
    store: Store,
    file: Unfinished,
}

#[derive(Debug)]
struct Unfinished {
    path: PathBuf,
    target: PathBuf,
}

impl Rewrite {
    /// Begins a new file beside `target`.
    ///
    /// # Errors
    /// [`OpenError`] if there is no place for it.
    pub fn begin(target: &Path, limits: &StoreLimits) -> Result<Self, OpenError> {
        // Behind a link is the file that is to be replaced.
        let target = &fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".new-{}", std::process::id()));
        let path = target.with_file_name(name);
        // One that a process of the same number left when it died.
        let _ = fs::remove_file(&path);
        let (store, _) = Store::open(&path, limits)?;
        let target = target.to_owned();
        let file = Unfinished { path, target };
        Ok(Self { store, file })
    }

    /// Adds a room.
    ///
    /// # Errors
    /// [`StoreError`] if it does not fit.
    pub fn add(&self, room: &RoomContents) -> Result<(), StoreError> {
        self.store.put(room)
    }

    /// Puts the new file in the place of the old, if there is one, with its owner and mode.
    ///
    /// # Errors
    /// [`OpenError::Io`]; the old one is then where it was.
    pub fn finish(self) -> Result<(), OpenError> {
        self.finish_by(|file, target| {
            if let Ok(old) = fs::metadata(target) {
                fs::set_permissions(file, old.permissions())?;
                // Only root can give a file away; to whom it belongs already is no change.
                let _ = std::os::unix::fs::chown(file, Some(old.uid()), Some(old.gid()));
            }
            fs::rename(file, target)
        })
    }

    /// Gives the new file its name, where there must be none yet, and the mode of `like`, which
    /// has the same counts.
    ///
    /// # Errors
    /// [`OpenError::Io`], also if there is one by now.
    pub fn finish_new(self, like: &Path) -> Result<(), OpenError> {
        self.finish_by(|file, target| {
            fs::set_permissions(file, fs::metadata(like)?.permissions())?;
            name_new(file, target)
        })
    }

    fn finish_by(self, name: impl FnOnce(&Path, &Path) -> io::Result<()>) -> Result<(), OpenError> {
        let Self { store, file } = self;
        let target = &file.target;
        let failed = |action| OpenError::io(target, action);
        store.close_trimmed().map_err(failed("write it anew"))?;
        name(&file.path, target).map_err(failed("give it its name"))?;
        File::open(directory_of(target))
            .and_then(|directory| directory.sync_all())
            .map_err(failed("sync its directory"))
    }
}

/// Gives a file a name, and takes it from no other.
fn name_new(file: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(file, target) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            // Not every file system has links.
            rename_new(file, target).map_err(|_| error)
        }
        // The first name goes with `Unfinished`.
        named => named,
    }
}

#[cfg(target_os = "linux")]
fn rename_new(file: &Path, target: &Path) -> io::Result<()> {
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
fn rename_new(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is of no use to anybody. Once it is finished there is nothing of this name.
        let _ = fs::remove_file(&self.path);
    }
}

/// Replaces the damaged file of `map`, which is locked, by one with all that is provably whole.
/// The original stays beside it.
pub(super) fn salvage(
    map: &Map,
    survey: Survey,
    limits: &StoreLimits,
) -> Result<Salvaged, OpenError> {
    let path = map.path();
    let rewrite = Rewrite::begin(path, limits)?;
    let mut kept = 0;
    for room in contents(map.mapping(), &survey, false) {
        kept += room.counts.len();
        let added = rewrite.add(&room).map_err(io::Error::other);
        added.map_err(OpenError::io(path, "write it anew"))?;
    }
    let original = put_beside(path).map_err(OpenError::io(path, "keep the original"))?;
    rewrite.finish()?;
    Ok(Salvaged {
        original,
        damage: survey.damage,
        lost_counts: survey.counters + survey.orphans - kept,
    })
}

/// Gives the file a second name, under which it stays.
fn put_beside(path: &Path) -> io::Result<PathBuf> {
    let mut number = 1;
    loop {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".damaged-{number}"));
        let beside = path.with_file_name(name);
        match fs::hard_link(path, &beside) {
            Ok(()) => return Ok(beside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            // Not every file system has links.
            Err(_) if !beside.exists() => {
                fs::copy(path, &beside)?;
                File::open(&beside)?.sync_all()?;
                return Ok(beside);
            }
            Err(error) => return Err(error),
        }
    }
}
