//! Moving rooms out of files and into files.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::Failure;
use super::lines::{self, LineError, MAX_LINE_BYTES};
use super::progress::progress;
use crate::figures::whole;
use crate::store::{Lock, MAX_FILE_BYTES, Rewrite, RoomContents, Snapshot, StoreLimits};

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

/// Opens a file that must be whole.
fn open_whole(path: &Path) -> Result<Snapshot, Failure> {
    let snapshot = Snapshot::open(path)?;
    if !snapshot.damage().is_empty() {
        return Err(Failure::damaged(path, snapshot.damage()));
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
        // An existing file might be the snapshot itself.
        Some(to) => {
            let failed = || Failure::io(format!("write {}", to.display()));
            let file = File::create_new(to).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Failure::Exists(to.to_owned()),
                _ => failed()(error),
            })?;
            write_lines(&snapshot, &mut BufWriter::new(&file))?;
            file.sync_all().map_err(failed())?;
        }
    }
    if !snapshot.damage().is_empty() {
        return Err(Failure::damaged(path, snapshot.damage()));
    }
    Ok(())
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
            Box::new(File::open(from).map_err(failed)?)
        }
        None => Box::new(io::stdin().lock()),
    };
    // Held until the new file has replaced the old one.
    let is_new = !path.exists();
    let lock = Lock::acquire_or_create(path)?;
    let imported = match import_into(path, &name, input) {
        Ok(imported) => imported,
        Err(error) => {
            if is_new {
                lock.remove_empty(path);
            }
            return Err(error);
        }
    };
    writeln!(
        output,
        "{}: {} rooms imported",
        path.display(),
        whole(imported)
    )
    .map_err(Failure::io("write the report"))
}

/// Writes the file anew with its rooms and those of the input. Returns the number of rooms in the
/// input.
fn import_into(path: &Path, name: &str, input: Box<dyn Read>) -> Result<u64, Failure> {
    let rewrite = Rewrite::begin(path, &limits())?;
    let length = std::fs::metadata(path)
        .map_err(Failure::io("read the size of the file"))?
        .len();
    if length > 0 {
        let old = open_whole(path)?;
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
    rewrite.finish()?;
    Ok(imported)
}

/// Reads a line with its line break, or enough of it to see that it is too long.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let most = MAX_LINE_BYTES as u64 + 1;
    let length = input.take(most).read_until(b'\n', &mut line)?;
    Ok((length > 0).then_some(line))
}

/// Writes the file anew, without rooms that are older than `room_ttl`.
pub(super) fn compact(
    path: &Path,
    room_ttl: Option<Duration>,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let _lock = Lock::acquire(path)?;
    let old = open_whole(path)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let is_kept = |room: &RoomContents| match (room_ttl, room.active) {
        (Some(ttl), Some(active)) => u64::from(active) >= now.saturating_sub(ttl).as_secs(),
        _ => true,
    };
    let rewrite = Rewrite::begin(path, &limits())?;
    let bar = progress(old.rooms(), "Compacting");
    let mut kept = 0;
    for room in bar.wrap_iter(old.contents()).filter(is_kept) {
        rewrite.add(&room)?;
        kept += 1;
    }
    rewrite.finish()?;
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
    if copy.exists() {
        return Err(Failure::Exists(copy.to_owned()));
    }
    for _ in 0..MAX_TRIES {
        let snapshot = open_whole(path)?;
        let rewrite = Rewrite::begin(copy, &limits())?;
        let bar = progress(snapshot.rooms(), "Copying");
        bar.wrap_iter(snapshot.contents())
            .try_for_each(|room| rewrite.add(&room))?;
        if snapshot.is_current() {
            rewrite.finish_copy_of(path)?;
            let rooms = whole(snapshot.rooms() as u64);
            return writeln!(output, "{}: {rooms} rooms copied", copy.display())
                .map_err(Failure::io("write the report"));
        }
    }
    let busy = io::Error::other("a server changes it too fast; try again");
    Err(Failure::io(format!("copy {}", path.display()))(busy))
}
