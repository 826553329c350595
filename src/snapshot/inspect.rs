//! What a file holds, and whether it is whole.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::error::Failure;
use super::progress::progress;
use crate::figures::whole;
use crate::store::{RoomContents, RoomMode, Snapshot};

/// Number of times that a file is read again, because a server has reused cells.
const MAX_RETRIES: usize = 5;

/// How a summary is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Everything about a file, with the field names of the JSON object.
#[derive(Debug, Serialize)]
struct Summary {
    file: String,
    file_bytes: u64,
    used_bytes: u64,
    freed_bytes: u64,
    rooms: usize,
    frozen_rooms: u64,
    closed_rooms: u64,
    counters: usize,
    reactions: u64,
    created: u64,
    last_active: Option<u32>,
    closed: bool,
    open_in_pid: Option<u32>,
    to_repair: usize,
    damaged: usize,
    damage: Vec<DamagedPlace>,
    top: Vec<Top>,
}

#[derive(Debug, Serialize)]
struct DamagedPlace {
    offset: u64,
    what: &'static str,
}

#[derive(Debug, Serialize)]
struct Top {
    party: String,
    room: String,
    mode: RoomMode,
    reactions: u64,
    active: Option<u32>,
}

/// Prints a summary of the file. For a damaged file, prints it, and returns the error.
pub(super) fn inspect(
    path: &Path,
    top: usize,
    format: OutputFormat,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let mut snapshot = Snapshot::open(path)?;
    let mut summary = summarize(&snapshot, top);
    for _ in 0..MAX_RETRIES {
        if snapshot.is_current() {
            break;
        }
        snapshot = Snapshot::open(path)?;
        summary = summarize(&snapshot, top);
    }
    let written = match format {
        OutputFormat::Json => serde_json::to_string(&summary)
            .map_err(Into::into)
            .and_then(|json| writeln!(output, "{json}")),
        OutputFormat::Text => write_text(&summary, output),
    };
    written.map_err(Failure::io("write the summary"))?;
    if !snapshot.damage().is_empty() {
        return Err(Failure::damaged(path, snapshot.damage()));
    }
    Ok(())
}

/// Checks every record of the file, and prints the verdict.
pub(super) fn verify(path: &Path, output: &mut impl Write) -> Result<(), Failure> {
    let snapshot = Snapshot::open(path)?;
    if !snapshot.damage().is_empty() {
        return Err(Failure::damaged(path, snapshot.damage()));
    }
    let extent = if snapshot.is_closed() {
        "every count is equal to its sealed copy"
    } else {
        "it was not closed, so counts may be ahead of their sealed copies"
    };
    writeln!(
        output,
        "{}: {} rooms and {} counters are whole; {extent}",
        path.display(),
        whole(snapshot.rooms() as u64),
        whole(snapshot.counters() as u64),
    )
    .map_err(Failure::io("write the verdict"))
}

fn summarize(snapshot: &Snapshot, top: usize) -> Summary {
    let mut highest = BinaryHeap::new();
    let mut reactions: u64 = 0;
    let (mut frozen_rooms, mut closed_rooms) = (0, 0);
    let mut last_active = None;
    let bar = progress(snapshot.rooms(), "Reading");
    for room in bar.wrap_iter(snapshot.contents()) {
        let total = room
            .counts
            .iter()
            .fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        reactions = reactions.saturating_add(total);
        let active = room.active;
        last_active = last_active.max(active);
        frozen_rooms += u64::from(room.mode == RoomMode::Frozen);
        closed_rooms += u64::from(room.mode == RoomMode::Closed);
        let RoomContents {
            party, room, mode, ..
        } = room;
        highest.push(Reverse((total, party, room, mode, active)));
        if highest.len() > top {
            highest.pop();
        }
    }
    let highest = highest.into_sorted_vec().into_iter();
    let top = highest.map(|Reverse((reactions, party, room, mode, active))| Top {
        party,
        room,
        mode,
        reactions,
        active,
    });
    let places = snapshot.damage().named().iter();
    Summary {
        file: snapshot.path().display().to_string(),
        file_bytes: snapshot.length_bytes(),
        used_bytes: snapshot.used_bytes(),
        freed_bytes: snapshot.freed_bytes(),
        rooms: snapshot.rooms(),
        frozen_rooms,
        closed_rooms,
        counters: snapshot.counters(),
        reactions,
        created: snapshot.created(),
        last_active,
        closed: snapshot.is_closed(),
        open_in_pid: snapshot.holder(),
        to_repair: snapshot.repairs(),
        damaged: snapshot.damage().total(),
        damage: places
            .map(|(offset, damage)| DamagedPlace {
                offset: *offset,
                what: damage.description(),
            })
            .collect(),
        top: top.collect(),
    }
}

fn write_text(summary: &Summary, output: &mut impl Write) -> io::Result<()> {
    writeln!(output, "{}", summary.file)?;
    writeln!(output, "  state      {}", state(summary))?;
    let damage = match summary.damaged {
        0 => "none".to_owned(),
        number => format!("in {number} places; see `ovation snapshot verify`"),
    };
    writeln!(output, "  damage     {damage}")?;
    writeln!(output, "  created    {}", ago(summary.created))?;
    writeln!(
        output,
        "  reactions  {}, the last {}",
        whole(summary.reactions),
        last_active(summary.last_active)
    )?;
    writeln!(
        output,
        "  rooms      {} with {} counters",
        whole(summary.rooms as u64),
        whole(summary.counters as u64)
    )?;
    if summary.frozen_rooms + summary.closed_rooms > 0 {
        writeln!(
            output,
            "  modes      {} frozen, {} closed",
            whole(summary.frozen_rooms),
            whole(summary.closed_rooms)
        )?;
    }
    writeln!(
        output,
        "  size       {} bytes: {} in use, {} of them free again",
        whole(summary.file_bytes),
        whole(summary.used_bytes),
        whole(summary.freed_bytes)
    )?;
    write_top(&summary.top, output)
}

fn write_top(top: &[Top], output: &mut impl Write) -> io::Result<()> {
    if !top.is_empty() {
        writeln!(output, "  highest counts")?;
    }
    for room in top {
        let mode = match room.mode {
            RoomMode::Open => String::new(),
            other => format!(", {}", other.label()),
        };
        writeln!(
            output,
            "    {:>15}  {}/{}, last {}{mode}",
            whole(room.reactions),
            room.party.escape_debug(),
            room.room.escape_debug(),
            last_active(room.active)
        )?;
    }
    Ok(())
}

/// Says how the file was left.
fn state(summary: &Summary) -> String {
    match (summary.open_in_pid, summary.closed) {
        (Some(pid), _) => format!("in use by pid {pid}"),
        (None, true) => "closed in order".to_owned(),
        (None, false) => format!(
            "not closed in order; the next server repairs {} records",
            summary.to_repair
        ),
    }
}

fn last_active(unix_seconds: Option<u32>) -> String {
    unix_seconds.map_or_else(|| "never".to_owned(), |time| ago(time.into()))
}

/// Says how long ago a time was, which is in seconds since 1970.
fn ago(unix_seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let age = now
        .unwrap_or_default()
        .as_secs()
        .saturating_sub(unix_seconds);
    match age {
        0..60 => "less than a minute ago".to_owned(),
        // The file is not more exact than a minute.
        _ => format!(
            "{} ago",
            humantime::format_duration(Duration::from_secs(age / 60 * 60))
        ),
    }
}
