//! A file that takes its name when it is whole.
//!
//! Until then it has no name, so that nothing is left of it if the process dies, and no other
//! process can put a link in its place. Where the file system can't do that, it has a temporary
//! name, which the next process removes if this one dies. Names are looked up in the directory's
//! descriptor, mode and owner are set on the file's.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, linkat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::regular::{create_in, directory_of};

/// The bits of a mode that give rights.
const RIGHTS: u32 = 0o777;
/// The bits of a mode that give rights to the group.
const GROUP_RIGHTS: u32 = 0o070;

/// A new private file, which does not have the name of its target yet.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    directory: File,
    target: PathBuf,
    temporary_name: TemporaryName,
    is_named: bool,
}

/// `TARGET.new-PID`.
#[derive(Debug)]
struct TemporaryName(OsString);

impl NewFile {
    /// Creates a file that is to become `target`, and removes what dead processes have left of
    /// theirs.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        let directory = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECTORY.bits() as i32)
            .open(directory_of(target))?;
        remove_leftovers(&directory, target);
        let temporary_name = TemporaryName::of(target);
        let nameless = create_nameless(&directory);
        let is_named = nameless.is_err();
        let file = match nameless {
            Ok(file) => file,
            Err(_) => temporary_name.create(&directory)?,
        };
        Ok(Self {
            file,
            directory,
            target: target.to_owned(),
            temporary_name,
            is_named,
        })
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The path that the file is to have.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the file the owner, group and mode of another one, as far as this user may. If the
    /// group can't be the same, it gets no rights.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn copy_access(&self, original: &Metadata) -> io::Result<()> {
        copy_access(&self.file, original)?;
        self.file.sync_all()
    }

    /// Gives the file its name, which no other file must have.
    ///
    /// # Errors
    /// The operating system's, also if something has that name.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        match link_file(&self.file, &self.directory, self.name()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {
                // Not every file system has links.
                self.take_temporary_name()?;
                self.rename_no_replace()?;
            }
        }
        self.directory.sync_all()
    }

    /// Puts the file in the place of its target.
    ///
    /// # Errors
    /// The operating system's. The target is then as it was.
    pub(crate) fn replace(mut self) -> io::Result<()> {
        self.take_temporary_name()?;
        let name = self.name();
        renameat(
            &self.directory,
            &self.temporary_name.0,
            &self.directory,
            name,
        )?;
        self.is_named = false;
        self.directory.sync_all()
    }

    /// Name of the target in its directory.
    fn name(&self) -> &OsStr {
        self.target.file_name().unwrap_or_default()
    }

    fn take_temporary_name(&mut self) -> io::Result<()> {
        if self.is_named {
            return Ok(());
        }
        if link_file(&self.file, &self.directory, &self.temporary_name.0).is_err() {
            let mut copy = self.temporary_name.create(&self.directory)?;
            self.is_named = true;
            self.file.rewind()?;
            io::copy(&mut self.file, &mut copy)?;
            copy_access(&copy, &self.file.metadata()?)?;
            copy.sync_all()?;
            self.file = copy;
        }
        self.is_named = true;
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn rename_no_replace(&mut self) -> io::Result<()> {
        use rustix::fs::{RenameFlags, renameat_with};

        let (from, to) = (&self.temporary_name.0, self.name());
        let flags = RenameFlags::NOREPLACE;
        renameat_with(&self.directory, from, &self.directory, to, flags)?;
        self.is_named = false;
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn rename_no_replace(&mut self) -> io::Result<()> {
        let (from, to) = (&self.temporary_name.0, self.name());
        let flags = AtFlags::empty();
        Ok(linkat(&self.directory, from, &self.directory, to, flags)?)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.is_named {
            // If this fails, the next process tries again.
            let _ = unlinkat(&self.directory, &self.temporary_name.0, AtFlags::empty());
        }
    }
}

impl TemporaryName {
    fn of(target: &Path) -> Self {
        let mut name = prefix(target);
        name.push(std::process::id().to_string());
        Self(name)
    }

    /// Creates and locks a file of this name. The lock tells others that it is in use.
    fn create(&self, directory: &File) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = create_in(directory, Path::new(&self.0), flags)?;
        // Where there are no locks, the pid in the name has to do.
        let _ = file.try_lock();
        Ok(file)
    }
}

/// Gives an open file a name that no other file has.
///
/// # Errors
/// The operating system's, also if the file system has no links.
#[cfg(target_os = "linux")]
pub(crate) fn link_file(file: &File, directory: &File, name: &OsStr) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let open_file = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = AtFlags::SYMLINK_FOLLOW;
    Ok(linkat(rustix::fs::CWD, open_file, directory, name, flags)?)
}

/// Gives an open file a name: needs Linux.
#[cfg(not(target_os = "linux"))]
pub(crate) fn link_file(_: &File, _: &File, _: &OsStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
fn create_nameless(directory: &File) -> io::Result<File> {
    create_in(directory, Path::new("."), OFlags::TMPFILE)
}

#[cfg(not(target_os = "linux"))]
fn create_nameless(_: &File) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

fn copy_access(file: &File, original: &Metadata) -> io::Result<()> {
    let (owner, group) = (original.uid(), original.gid());
    let mut mode = original.mode() & RIGHTS;
    // Only root can change the owner.
    let kept = fchown(file, Some(owner), Some(group)).or_else(|_| fchown(file, None, Some(group)));
    if kept.is_err() {
        mode &= !GROUP_RIGHTS;
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// What the temporary names for `target` begin with.
fn prefix(target: &Path) -> OsString {
    let mut prefix = target.file_name().unwrap_or_default().to_owned();
    prefix.push(".new-");
    prefix
}

/// Removes the temporary files of processes that have died.
fn remove_leftovers(directory: &File, target: &Path) {
    let prefix = prefix(target);
    let Ok(entries) = std::fs::read_dir(directory_of(target)) else {
        return;
    };
    for name in entries.filter_map(|entry| Some(entry.ok()?.file_name())) {
        let pid = name.as_bytes().strip_prefix(prefix.as_bytes());
        if pid.is_some_and(is_pid_of_the_dead) && is_unused_file(directory, &name) {
            // A file that can't be removed is only a waste of space.
            let _ = unlinkat(directory, &name, AtFlags::empty());
        }
    }
}

fn is_pid_of_the_dead(text: &[u8]) -> bool {
    let pid = std::str::from_utf8(text)
        .ok()
        .and_then(|it| it.parse().ok());
    let Some(pid) = pid.and_then(Pid::from_raw).filter(|it| !it.is_init()) else {
        return false;
    };
    // This process has not made one yet, or has given it up.
    pid == rustix::process::getpid() || test_kill_process(pid) == Err(Errno::SRCH)
}

/// Whether this is a regular file that no process has locked. A pid of another container says
/// nothing here, but a lock does.
fn is_unused_file(directory: &File, name: &OsStr) -> bool {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    let is_file = |mode| FileType::from_raw_mode(mode) == FileType::RegularFile;
    if !stat.is_ok_and(|it| is_file(it.st_mode)) {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty());
    file.is_ok_and(|file| File::from(file).try_lock().is_ok())
}
