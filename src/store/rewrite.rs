//! Writing a snapshot file anew, for salvage, compaction and backup. The new file is whole, on the
//! disk, and closed before it takes its name.

use std::fs::Metadata;
use std::io;
use std::path::Path;

use super::contents::RoomContents;
use super::disk::FileSystem;
use super::error::{OpenError, StoreError};
use super::file::{NewFile, SnapshotFile};
use super::handle::{Store, StoreLimits};

/// A new file, which has no name yet.
#[derive(Debug)]
pub(crate) struct Rewrite {
    store: Store,
    file: NewFile,
}

impl Rewrite {
    /// Begins a new file that is to become `target`, which is not a link.
    ///
    /// # Errors
    /// [`OpenError`] if the file can't be created.
    pub(crate) fn begin(target: &Path, limits: &StoreLimits) -> Result<Self, OpenError> {
        let file = NewFile::create(target).map_err(OpenError::io(target, "create it"))?;
        let snapshot = SnapshotFile::of_new(&file, limits.max_file_bytes, Box::new(FileSystem))?;
        let (store, _) = Store::load(snapshot, limits)?;
        Ok(Self { store, file })
    }

    /// Adds a room.
    ///
    /// # Errors
    /// [`StoreError`] if the room does not fit.
    pub(crate) fn add(&self, room: &RoomContents) -> Result<(), StoreError> {
        self.store.put(room)
    }

    /// Puts the new file in the place of the target, with the mode and owner of `original`.
    ///
    /// # Errors
    /// [`OpenError::Io`]; the target is then as it was.
    pub(crate) fn replace(self, original: &Metadata) -> Result<(), OpenError> {
        self.finish_by(original, NewFile::replace)
    }

    /// Gives the new file the name of the target, which must not exist, and the mode and owner of
    /// `original`, which holds the same counts.
    ///
    /// # Errors
    /// [`OpenError::Io`], also if the target exists by now.
    pub(crate) fn finish(self, original: &Metadata) -> Result<(), OpenError> {
        self.finish_by(original, NewFile::finish)
    }

    fn finish_by(
        self,
        original: &Metadata,
        give_name: impl FnOnce(NewFile) -> io::Result<()>,
    ) -> Result<(), OpenError> {
        let Self { store, file } = self;
        let target = file.target().to_owned();
        let failed = |action| OpenError::io(&target, action);
        let closed = store.close_trimmed().map_err(io::Error::from);
        closed.map_err(failed("write it anew"))?;
        let copied = file.copy_access(original);
        copied.map_err(failed("give it its mode and owner"))?;
        give_name(file).map_err(failed("give it its name"))
    }
}
