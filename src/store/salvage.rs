//! Salvage: replaces a damaged file by one with everything that is provably whole.

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use super::cells::CellSource;
use super::contents::{FileUse, contents};
use super::disk::FileSystem;
use super::error::OpenError;
use super::file::{NewFile, SnapshotFile, directory_of, link_file};
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
    let failed = |action| OpenError::io(path, action);
    let Some(damaged) = file.file() else {
        return Err(failed("salvage it")(io::ErrorKind::Unsupported.into()));
    };
    let rewrite = Rewrite::begin(file.real_path(), limits)?;
    let mut kept = 0;
    for room in contents(file, &survey, FileUse::AtRest) {
        kept += room.counts.len();
        let added = rewrite.add(&room).map_err(io::Error::from);
        added.map_err(failed("write it anew"))?;
    }
    let metadata = damaged.metadata().map_err(failed("read its metadata"))?;
    let original = keep_original(damaged, file.real_path());
    let original = original.map_err(failed("keep the original"))?;
    rewrite.replace(&metadata)?;
    Ok(Salvaged {
        original,
        damage: survey.damage,
        lost_counts: survey.counters + survey.orphans - kept,
    })
}

/// Gives the file, which is at `path`, a second name beside that, and returns it.
fn keep_original(file: &File, path: &Path) -> io::Result<PathBuf> {
    let directory = File::open(directory_of(path))?;
    for number in 1.. {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".damaged-{number}"));
        let kept = path.with_file_name(&name);
        // Not every file system has links.
        let linked = link_file(file, &directory, &name).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Err(error),
            _ => copy(file, &kept),
        });
        match linked {
            Ok(()) => return Ok(kept),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn copy(mut file: &File, target: &Path) -> io::Result<()> {
    let copy = NewFile::create(target)?;
    file.rewind()?;
    io::copy(&mut file, &mut copy.file())?;
    copy.copy_access(&file.metadata()?)?;
    copy.file().sync_all()?;
    copy.finish()
}
