//! Opening the files that an operator names: regular files only, behind links that can be trusted.
//!
//! A link in the place of the named file is followed if it belongs to this process's user, to root,
//! or to the owner of the file that it leads to. So a user who may write to a directory can't lead
//! root to a file of somebody else. Links in the path's directories are the kernel's business.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fcntl_setfl};

use crate::store::error::{OpenError, Refusal};

/// Maximum number of links on the way to a file, as in the kernel.
const MAX_LINKS: usize = 40;
/// Mode of the files that are made here. With more, other users could take the lock: that needs
/// only an open descriptor, whatever kind of lock it is.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Only reading.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// Whether a file was there before it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was there.
    Found,
    /// It was created.
    Created,
}

/// An open regular file.
#[derive(Debug)]
pub(crate) struct RegularFile {
    pub(crate) file: File,
    /// Path of the file itself, behind all links.
    pub(super) path: PathBuf,
    pub(super) origin: Origin,
}

/// Why a file can't be opened.
#[derive(Debug)]
pub(crate) enum FileError {
    /// It must not be opened.
    Refused(Refusal),
    /// The operating system refused.
    Io(io::Error),
}

impl FileError {
    /// Adds the path of the snapshot.
    pub(in crate::store) fn at(path: &Path) -> impl FnOnce(Self) -> OpenError {
        let path = path.to_owned();
        move |error| match error {
            Self::Refused(reason) => OpenError::Refused { path, reason },
            Self::Io(source) => OpenError::io(&path, "open it")(source),
        }
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Refused(reason) => Self::other(reason),
            FileError::Io(error) => error,
        }
    }
}

/// Opens a file that must exist, without waiting for anything.
///
/// # Errors
/// [`FileError::Refused`] for what is not a regular file, and for links that can't be trusted.
pub(crate) fn open(path: &Path, access: Access) -> Result<RegularFile, FileError> {
    let mut path = path.to_owned();
    let mut link_owners = Vec::new();
    while link_owners.len() < MAX_LINKS {
        match look(&path) {
            Ok(Found::Link { owner, target }) => {
                link_owners.push(owner);
                path = directory_of(&path).join(target);
            }
            Ok(Found::Other(kind)) => {
                // A device must not even be opened: some act on it.
                refuse_odd(kind)?;
                let file = open_itself(&path, access)?;
                let metadata = file.metadata()?;
                refuse_odd(metadata.file_type())?;
                if !link_owners.iter().all(|it| is_trusted(*it, &metadata)) {
                    return Err(FileError::Refused(Refusal::ForeignLink));
                }
                let origin = Origin::Found;
                return Ok(RegularFile { file, path, origin });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !link_owners.is_empty() => {
                return Err(FileError::Refused(Refusal::DanglingLink));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(FileError::Io(rustix::io::Errno::LOOP.into()))
}

/// Opens a file for reading and writing, and creates it if it does not exist. A new file is
/// private.
///
/// # Errors
/// Those of [`open`]. A link that leads nowhere is refused.
pub(super) fn open_or_create(path: &Path) -> Result<RegularFile, FileError> {
    loop {
        match open(path, Access::ReadWrite) {
            Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match create_new(path) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => {
                return Ok(RegularFile {
                    file: created?,
                    path: path.to_owned(),
                    origin: Origin::Created,
                });
            }
        }
    }
}

/// Creates a private file where nothing is, not even a link.
fn create_new(path: &Path) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    create_in(rustix::fs::CWD, path, flags)
}

/// Creates a private file in `directory` by its name, or without a name if `flags` say so.
pub(super) fn create_in(directory: impl AsFd, name: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, PRIVATE)?.into())
}

/// The directory that a file is in.
pub(in crate::store) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What is under a path.
enum Found {
    Link { owner: u32, target: PathBuf },
    Other(FileType),
}

/// Looks at what is under a path. Owner and target are those of the same link, even if another
/// user replaces it meanwhile.
#[cfg(target_os = "linux")]
fn look(path: &Path) -> io::Result<Found> {
    use std::os::unix::ffi::OsStringExt;

    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entry = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = entry.metadata()?;
    if !metadata.is_symlink() {
        return Ok(Found::Other(metadata.file_type()));
    }
    let target = rustix::fs::readlinkat(&entry, "", Vec::new())?.into_bytes();
    Ok(Found::Link {
        owner: metadata.uid(),
        target: std::ffi::OsString::from_vec(target).into(),
    })
}

/// Looks at what is under a path.
#[cfg(not(target_os = "linux"))]
fn look(path: &Path) -> io::Result<Found> {
    let metadata = path.symlink_metadata()?;
    if !metadata.is_symlink() {
        return Ok(Found::Other(metadata.file_type()));
    }
    let owner = metadata.uid();
    let target = path.read_link()?;
    Ok(Found::Link { owner, target })
}

/// Opens the file under this path, not one that a link leads to.
fn open_itself(path: &Path, access: Access) -> io::Result<File> {
    // What was a regular file may be a FIFO by now, and opening that would wait.
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).write(access == Access::ReadWrite);
    let file = options.custom_flags(flags.bits() as i32).open(path)?;
    fcntl_setfl(&file, OFlags::empty())?;
    Ok(file)
}

fn refuse_odd(kind: FileType) -> Result<(), FileError> {
    let what = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "something else",
    };
    Err(FileError::Refused(Refusal::NotRegular(what)))
}

/// Whether a link of this owner may lead to the file.
fn is_trusted(link_owner: u32, file: &Metadata) -> bool {
    let own = rustix::process::geteuid().as_raw();
    [own, 0, file.uid()].contains(&link_owner)
}
