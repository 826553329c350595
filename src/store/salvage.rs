//! Salvage: replaces a damaged file by one with everything that is provably whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::cells::CellSource;
use super::contents::{FileUse, contents};
use super::disk::FileSystem;
use super::error::OpenError;
use super::file::SnapshotFile;
use super::format::HeaderError;
use super::handle::{Store, StoreLimits};
use super::open::{OpenReport, Salvaged};
use super::rewrite::Rewrite;
use super::survey::{Survey, survey_file};

impl Store {
    /// Opens the snapshot file at `path` like [`Store::open`]. A damaged file is first replaced
    /// by one with everything that is provably whole. The damaged file is kept beside it.
    ///
    /// # Errors
    /// [`OpenError`], which says what becomes of the file.
    pub fn open_or_salvage(
        path: &Path,
        limits: &StoreLimits,
    ) -> Result<(Self, OpenReport), OpenError> {
        let file = SnapshotFile::open(path, limits.max_file_bytes, Box::new(FileSystem))?;
        let header = file.header().check();
        if file.is_blank() || !matches!(header, Ok(()) | Err(HeaderError::Checksum)) {
            return Self::load(file, limits);
        }
        let survey = survey_file(&file).map_err(OpenError::io(path, "map it"))?;
        if header.is_ok() && survey.damage.is_empty() {
            return Self::load(file, limits);
        }
        let salvaged = salvage(&file, survey, limits)?;
        drop(file);
        let (store, report) = Self::open(path, limits)?;
        let report = OpenReport {
            salvaged: Some(salvaged),
            ..report
        };
        Ok((store, report))
    }
}

/// Replaces a damaged file, which is locked.
fn salvage(
    file: &SnapshotFile,
    survey: Survey,
    limits: &StoreLimits,
) -> Result<Salvaged, OpenError> {
    let path = file.path();
    let rewrite = Rewrite::begin(path, limits)?;
    let mut kept = 0;
    for room in contents(file, &survey, FileUse::AtRest) {
        kept += room.counts.len();
        let added = rewrite.add(&room).map_err(io::Error::from);
        added.map_err(OpenError::io(path, "write it anew"))?;
    }
    let original = keep_original(path).map_err(OpenError::io(path, "keep the original"))?;
    rewrite.finish()?;
    Ok(Salvaged {
        original,
        damage: survey.damage,
        lost_counts: survey.counters + survey.orphans - kept,
    })
}

/// Gives the file a second name, and returns it.
fn keep_original(path: &Path) -> io::Result<PathBuf> {
    let mut number = 1;
    loop {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".damaged-{number}"));
        let kept = path.with_file_name(name);
        match fs::hard_link(path, &kept) {
            Ok(()) => return Ok(kept),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            // Not every file system has links.
            Err(_) if !kept.exists() => {
                fs::copy(path, &kept)?;
                File::open(&kept)?.sync_all()?;
                return Ok(kept);
            }
            Err(error) => return Err(error),
        }
    }
}
