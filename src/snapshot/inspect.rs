//! What is in a file, and whether it is whole.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{MAX_TRIES, SnapshotError};
use crate::figures::whole;
use crate::store::Snapshot;

/// Everything about a file, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Summary {
    file: String,
    file_bytes: u64,
    used_bytes: u64,
    freed_bytes: u64,
    rooms: usize,
    counters: usize,
    reactions: u64,
    created: u64,
    last_active: Option<u32>,
    closed: bool,
    open_in_pid: Option<u32>,
    to_repair: usize,
    damaged: usize,
    damage: Vec<Place>,
    top: Vec<Top>,
}

#[derive(Debug, Serialize)]
struct Place {
    offset: u64,
    what: &'static str,
}

#[derive(Debug, Serialize)]
struct Top {
    party: String,
    room: String,
    reactions: u64,
    active: Option<u32>,
}

/// Prints a summary of the file.
pub(super) fn inspect(
    path: &Path,
    top: usize,
    as_json: bool,
    output: &mut impl Write,
) -> Result<(), SnapshotError> {
    let mut snapshot = Snapshot::open(path)?;
    let mut summary = summarize(&snapshot, top);
    // A server may have given cells to other rooms meanwhile.
    for _ in 0..MAX_TRIES {
        if snapshot.is_current() {
            break;
        }
        snapshot = Snapshot::open(path)?;
        summary = summarize(&snapshot, top);
    }
    let written = if as_json {
        serde_json::to_string(&summary)
            .map_err(Into::into)
            .and_then(|json| writeln!(output, "{json}"))
    } else {
        write_text(&summary, output)
    };
    written.map_err(SnapshotError::io("write the summary"))
}

/// Says whether the file is whole.
pub(super) fn verify(path: &Path, output: &mut impl Write) -> Result<(), SnapshotError> {
    let snapshot = Snapshot::open(path)?;
    if snapshot.damage().total() > 0 {
        return Err(SnapshotError::Damaged {
            path: path.to_owned(),
            damage: snapshot.damage().clone(),
        });
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
    .map_err(SnapshotError::io("write the verdict"))
}

fn summarize(snapshot: &Snapshot, top: usize) -> Summary {
    let mut highest = BinaryHeap::new();
    let mut reactions: u64 = 0;
    let mut last_active = None;
    let bar = super::progress(snapshot.rooms(), "Reading");
    for room in bar.wrap_iter(snapshot.contents()) {
        let total = room
            .counts
            .iter()
            .fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        reactions = reactions.saturating_add(total);
        last_active = last_active.max(room.active);
        highest.push(Reverse((total, room.party, room.room, room.active)));
        if highest.len() > top {
            highest.pop();
        }
    }
    let highest = highest.into_sorted_vec().into_iter();
    let top = highest.map(|Reverse((reactions, party, room, active))| Top {
        party,
        room,
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
        counters: snapshot.counters(),
        reactions,
        created: snapshot.created(),
        last_active,
        closed: snapshot.is_closed(),
        open_in_pid: snapshot.holder(),
        to_repair: snapshot.repairs(),
        damaged: snapshot.damage().total(),
        damage: places
            .map(|(offset, what)| Place {
                offset: *offset,
                what,
            })
            .collect(),
        top: top.collect(),
    }
}

fn write_text(summary: &Summary, output: &mut impl Write) -> std::io::Result<()> {
    let Summary { file, top, .. } = summary;
    writeln!(output, "{file}")?;
    let state = match (summary.open_in_pid, summary.closed) {
        (Some(pid), _) => format!("in use by pid {pid}"),
        (None, true) => "closed in order".to_owned(),
        (None, false) => format!(
            "not closed in order; the next server sets {} records right",
            summary.to_repair
        ),
    };
    writeln!(output, "  state      {state}")?;
    let damage = match summary.damaged {
        0 => "none".to_owned(),
        number => format!("in {number} places; see `ovation snapshot verify`"),
    };
    writeln!(output, "  damage     {damage}")?;
    writeln!(output, "  created    {}", ago(summary.created))?;
    let last = summary
        .last_active
        .map_or("never".to_owned(), |time| ago(time.into()));
    writeln!(
        output,
        "  reactions  {}, the last {last}",
        whole(summary.reactions)
    )?;
    writeln!(
        output,
        "  rooms      {} with {} counters",
        whole(summary.rooms as u64),
        whole(summary.counters as u64)
    )?;
    writeln!(
        output,
        "  size       {} bytes, of which {} are used and {} are free again",
        whole(summary.file_bytes),
        whole(summary.used_bytes),
        whole(summary.freed_bytes)
    )?;
    if !top.is_empty() {
        writeln!(output, "  highest counts")?;
    }
    for room in top {
        writeln!(
            output,
            "    {:>15}  {}/{}, last {}",
            whole(room.reactions),
            room.party.escape_debug(),
            room.room.escape_debug(),
            room.active
                .map_or("never".to_owned(), |time| ago(time.into()))
        )?;
    }
    Ok(())
}

/// How long ago a time is, in seconds since 1970.
fn ago(unix_seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let age = now
        .unwrap_or_default()
        .as_secs()
        .saturating_sub(unix_seconds);
    match age {
        0..60 => "less than a minute ago".to_owned(),
        // Minutes are as exact as it is known.
        _ => format!(
            "{} ago",
            humantime::format_duration(Duration::from_secs(age / 60 * 60))
        ),
    }
}
