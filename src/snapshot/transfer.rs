//! Moving rooms out of files and into files.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::Failure;
use super::lines::{self, LineError, MAX_LINE_BYTES};
use super::progress::progress;
use crate::figures::whole;
use crate::store::{
    Access, Lock, MAX_FILE_BYTES, NewFile, Rewrite, RoomContents, Snapshot, StoreLimits,
    open_regular,
};

/// Number of times that a copy is tried, because a server has reused cells.
const MAX_TRIES: usize = 5;

/// Limits of files that tools write: none but those of the format. A server has limits of its
/// own.
fn limits() -> StoreLimits {
    StoreLimits {
        max_file_bytes: MAX_FILE_BYTES,
        max_rooms: usize::MAX,
        max_overflow_bytes: 0,
    }
}

/// Refuses a damaged file.
fn whole_file(snapshot: Snapshot) -> Result<Snapshot, Failure> {
    if !snapshot.damage().is_empty() {
        return Err(Failure::damaged(snapshot.path(), snapshot.damage()));
    }
    Ok(snapshot)
}

/// Writes the rooms as JSON Lines. For a damaged file, writes what is provably whole, and returns
/// the error.
pub(super) fn export(
    path: &Path,
    to: Option<&Path>,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let snapshot = Snapshot::open(path)?;
    match to {
        None => write_lines(&snapshot, &mut BufWriter::new(&mut *output))?,
        Some(to) => write_file(&snapshot, to)?,
    }
    if !snapshot.damage().is_empty() {
        return Err(Failure::damaged(path, snapshot.damage()));
    }
    Ok(())
}

/// Writes the rooms into a new file, which has its name only when it is complete.
fn write_file(snapshot: &Snapshot, to: &Path) -> Result<(), Failure> {
    // An existing file might be the snapshot itself.
    refuse_existing(to)?;
    let failed = || Failure::io(format!("write {}", to.display()));
    let new = NewFile::create(to).map_err(failed())?;
    write_lines(snapshot, &mut BufWriter::new(new.file()))?;
    new.copy_access(snapshot.metadata()).map_err(failed())?;
    new.finish().map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Exists(to.to_owned()),
        _ => failed()(error),
    })
}

/// Refuses a path that has something, even a link that leads nowhere.
fn refuse_existing(path: &Path) -> Result<(), Failure> {
    match path.symlink_metadata() {
        Ok(_) => Err(Failure::Exists(path.to_owned())),
        Err(_) => Ok(()),
    }
}

fn write_lines(snapshot: &Snapshot, output: &mut impl Write) -> Result<(), Failure> {
    let bar = progress(snapshot.rooms(), "Exporting");
    for room in bar.wrap_iter(snapshot.contents()) {
        lines::encode(&room)
            .map_err(io::Error::from)
            .and_then(|line| writeln!(output, "{line}"))
            .map_err(Failure::io("write the rooms"))?;
    }
    output.flush().map_err(Failure::io("write the rooms"))?;
    if snapshot.is_current() {
        return Ok(());
    }
    let busy = io::Error::other("a server has removed rooms; try again");
    Err(Failure::io("read all rooms")(busy))
}

/// Adds the rooms of JSON Lines to those of the file.
pub(super) fn import(
    path: &Path,
    from: Option<&Path>,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let name = from.map_or("standard input".to_owned(), |it| it.display().to_string());
    let input: Box<dyn Read> = match from {
        Some(from) => {
            let failed = Failure::io(format!("read {}", from.display()));
            let opened = open_regular(from, Access::Read).map_err(io::Error::from);
            Box::new(opened.map_err(failed)?.file)
        }
        None => Box::new(io::stdin().lock()),
    };
    // Held until the new file has replaced the old one.
    let lock = Lock::acquire_or_create(path)?;
    let was_empty = !lock.is_new() && lock.metadata()?.len() == 0;
    let imported = import_into(&lock, &name, input);
    let imported = imported.inspect_err(|_| lock.remove_if_new())?;
    let note = if was_empty {
        "; the file was empty"
    } else {
        ""
    };
    writeln!(
        output,
        "{}: {} rooms imported{note}",
        path.display(),
        whole(imported)
    )
    .map_err(Failure::io("write the report"))
}

/// Writes the file anew with its rooms and those of the input. Returns the number of rooms in the
/// input.
fn import_into(lock: &Lock, name: &str, input: Box<dyn Read>) -> Result<u64, Failure> {
    let rewrite = Rewrite::begin(lock.real_path(), &limits())?;
    let metadata = lock.metadata()?;
    if metadata.len() > 0 {
        let old = whole_file(Snapshot::of_locked(lock)?)?;
        let bar = progress(old.rooms(), "Copying");
        bar.wrap_iter(old.contents())
            .try_for_each(|room| rewrite.add(&room))?;
    }
    let mut imported = 0;
    let mut input = BufReader::new(input);
    for number in 1.. {
        let failed = |source| Failure::Line {
            input: name.to_owned(),
            number,
            source,
        };
        let line = read_line(&mut input).map_err(Failure::io(format!("read {name}")))?;
        match line {
            None => break,
            Some(line) if line.len() > MAX_LINE_BYTES => return Err(failed(LineError::TooLong)),
            Some(line) if line.trim_ascii().is_empty() => {}
            Some(line) => {
                rewrite.add(&lines::decode(&line).map_err(failed)?)?;
                imported += 1;
            }
        }
    }
    rewrite.replace(&metadata)?;
    Ok(imported)
}

/// Reads a line with its line break, or enough of it to see that it is too long.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let most = MAX_LINE_BYTES as u64 + 1;
    let length = input.take(most).read_until(b'\n', &mut line)?;
    Ok((length > 0).then_some(line))
}

/// Writes the file anew, without open rooms that are older than `room_ttl`.
pub(super) fn compact(
    path: &Path,
    room_ttl: Option<Duration>,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let lock = Lock::acquire(path)?;
    let old = whole_file(Snapshot::of_locked(&lock)?)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let is_kept = |room: &RoomContents| match (room_ttl, room.active) {
        (Some(ttl), Some(active)) if room.mode.is_open() => {
            u64::from(active) >= now.saturating_sub(ttl).as_secs()
        }
        _ => true,
    };
    let rewrite = Rewrite::begin(lock.real_path(), &limits())?;
    let bar = progress(old.rooms(), "Compacting");
    let mut kept = 0;
    for room in bar.wrap_iter(old.contents()).filter(is_kept) {
        rewrite.add(&room)?;
        kept += 1;
    }
    rewrite.replace(old.metadata())?;
    let new_bytes = std::fs::metadata(path)
        .map_err(Failure::io("read the size of the new file"))?
        .len();
    writeln!(
        output,
        "{}: {} of {} rooms kept, {} bytes instead of {}",
        path.display(),
        whole(kept),
        whole(old.rooms() as u64),
        whole(new_bytes),
        whole(old.length_bytes()),
    )
    .map_err(Failure::io("write the report"))
}

/// Copies the rooms of a file that may be in use.
pub(super) fn backup(path: &Path, copy: &Path, output: &mut impl Write) -> Result<(), Failure> {
    refuse_existing(copy)?;
    for _ in 0..MAX_TRIES {
        let snapshot = whole_file(Snapshot::open(path)?)?;
        let rewrite = Rewrite::begin(copy, &limits())?;
        let bar = progress(snapshot.rooms(), "Copying");
        bar.wrap_iter(snapshot.contents())
            .try_for_each(|room| rewrite.add(&room))?;
        if snapshot.is_current() {
            rewrite.finish(snapshot.metadata())?;
            let rooms = whole(snapshot.rooms() as u64);
            return writeln!(output, "{}: {rooms} rooms copied", copy.display())
                .map_err(Failure::io("write the report"));
        }
    }
    let busy = io::Error::other("a server changes it too fast; try again");
    Err(Failure::io(format!("copy {}", path.display()))(busy))
}
