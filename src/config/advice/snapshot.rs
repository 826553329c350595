//! Advice about the snapshot file: what is wrong, followed by what the operator can do.

use std::io;

use crate::store::format::HeaderError;
use crate::store::{CloseError, GrowthError, OpenError, Problem, ProblemKind, Refusal, StoreError};

const MAKE_SPACE: &str = "make space on that disk";
const RAISE_FILE_LIMIT: &str = "raise the limit on file sizes (ulimit -f)";
const CHECK_DISK: &str = "check the disk";
const OTHER_FILE: &str = "or choose another file with --snapshot";

/// A command of `ovation snapshot`, as far as advice depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SnapshotTool {
    /// Only reads the file: `inspect`, `verify` and `export`.
    Read,
    /// Replaces the file: `import` and `compact`.
    Replace,
    /// Reads the file and writes a copy: `backup`.
    Copy,
}

/// Why `ovation serve` can't open its snapshot, and what to do.
pub(crate) fn open_error(error: &OpenError) -> String {
    let advice = match error {
        OpenError::Io { source, .. } => serve_io(source),
        OpenError::Refused { reason, .. } => format!("{}, {OTHER_FILE}", refusal(*reason)),
        OpenError::Locked { .. } => format!("stop that server, {OTHER_FILE}"),
        OpenError::Unreadable { reason, .. } => {
            let salvage = match reason {
                HeaderError::Checksum => "start once with --salvage, or ",
                _ => "",
            };
            format!("the file was left unchanged: {salvage}move it away, {OTHER_FILE}")
        }
        OpenError::Damaged { .. } => {
            "the file was left unchanged: restore a backup, or start once with \
             --salvage, which keeps what is provably whole and puts the original beside it"
                .to_owned()
        }
        OpenError::TooLarge { .. } => format!("raise --snapshot-max-bytes, {OTHER_FILE}"),
    };
    format!("{error}; {advice}")
}

/// What to do about a path that is refused.
fn refusal(reason: Refusal) -> &'static str {
    match reason {
        Refusal::NotRegular(_) => "check the path",
        Refusal::DanglingLink => "make an empty file where it leads",
        Refusal::ForeignLink => "remove it, or name the file itself",
    }
}

fn serve_io(error: &io::Error) -> String {
    use io::ErrorKind::*;
    let advice = match error.kind() {
        StorageFull | QuotaExceeded => MAKE_SPACE,
        FileTooLarge => RAISE_FILE_LIMIT,
        PermissionDenied => "give this user the right to read and write it",
        ReadOnlyFilesystem => "mount that file system for writing",
        NotFound => {
            return format!("make the directory, {OTHER_FILE}, or none with --no-snapshot");
        }
        _ => return "choose another file with --snapshot, or none with --no-snapshot".to_owned(),
    };
    format!("{advice}, {OTHER_FILE}")
}

/// Why `ovation serve` can't save everything when it ends, and what to do.
pub(crate) fn close_error(error: &CloseError) -> String {
    let advice = match error {
        // This error comes from Ovation, not from the operating system, and needs no advice.
        CloseError::Io(source) if source.kind() == io::ErrorKind::Other => {
            return error.to_string();
        }
        CloseError::Io(source) => disk(source.kind()).to_owned(),
        CloseError::Reclaim(error) | CloseError::Unsaved { reason: error, .. } => store(error),
    };
    format!("{error}; {advice}")
}

/// What keeps the store of a running server from doing its job, and what to do.
pub(crate) fn problem(problem: &Problem) -> String {
    let advice = match &problem.kind {
        ProblemKind::Growth { error, .. } => match error {
            GrowthError::Disk(error) => running_disk(error.kind),
            GrowthError::Full => "raise --snapshot-max-bytes, and restart".to_owned(),
            GrowthError::Late => CHECK_DISK.to_owned(),
        },
        ProblemKind::Flush(error) => running_disk(error.kind),
        ProblemKind::Slow(_) => CHECK_DISK.to_owned(),
        ProblemKind::TooManyRooms(_) => {
            "raise --max-rooms or lower --room-ttl, and restart".to_owned()
        }
        ProblemKind::Full => {
            "raise --snapshot-max-bytes or lower --room-ttl, and restart".to_owned()
        }
    };
    format!("{problem}; {advice}")
}

/// Why the store of a running server can't do something, and what to do.
pub(crate) fn store_error(error: &StoreError) -> String {
    format!("{error}; {}", store(error))
}

fn store(error: &StoreError) -> String {
    match error {
        StoreError::TooManyRooms(_) => "raise --max-rooms, and restart".to_owned(),
        StoreError::Full => "raise --snapshot-max-bytes, and restart".to_owned(),
        StoreError::Grow(source) | StoreError::Sync(source) => running_disk(source.kind()),
        StoreError::Late => CHECK_DISK.to_owned(),
        StoreError::RoomRemoved => "try again".to_owned(),
        StoreError::TooManyKinds | StoreError::NameTooLong => {
            "use fewer kinds and shorter names".to_owned()
        }
    }
}

/// What to do about a disk while the server runs: a process can't raise its own limits.
fn running_disk(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::FileTooLarge => format!("{RAISE_FILE_LIMIT}, and restart"),
        _ => disk(kind).to_owned(),
    }
}

fn disk(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind::*;
    match kind {
        StorageFull | QuotaExceeded => MAKE_SPACE,
        FileTooLarge => RAISE_FILE_LIMIT,
        ReadOnlyFilesystem => "mount that file system for writing",
        _ => CHECK_DISK,
    }
}

/// Why a tool can't open or write a file, and what to do.
pub(crate) fn tool_open_error(tool: SnapshotTool, error: &OpenError) -> String {
    let advice = match error {
        // This error comes from Ovation, not from the operating system, and needs no advice.
        OpenError::Io { source, .. } if source.kind() == io::ErrorKind::Other => {
            return error.to_string();
        }
        OpenError::Io { source, .. } => tool_io(tool, source),
        OpenError::Refused { reason, .. } => refusal(*reason),
        OpenError::Locked { .. } => "stop that server first",
        OpenError::Unreadable { reason, .. } => match reason {
            HeaderError::Checksum => SALVAGE_BY_SERVER,
            HeaderError::Version(_) => "use the server's version that wrote it",
            HeaderError::NotASnapshot | HeaderError::Truncated(_) => {
                "the file was left unchanged: check the path"
            }
        },
        OpenError::Damaged { .. } => SALVAGE_BY_SERVER,
        OpenError::TooLarge { .. } => "no snapshot can be so large: check the path",
    };
    format!("{error}; {advice}")
}

/// Advice about a damaged file, for tools: none of them salvages.
const SALVAGE_BY_SERVER: &str = "the file was left unchanged: restore a backup, or let \
    `ovation serve --salvage` keep what is provably whole";

fn tool_io(tool: SnapshotTool, error: &io::Error) -> &'static str {
    use io::ErrorKind::*;
    match (error.kind(), tool) {
        (PermissionDenied, SnapshotTool::Read) => "give this user the right to read it",
        (PermissionDenied, SnapshotTool::Replace) => {
            "give this user the right to read and write it and its directory"
        }
        (PermissionDenied, SnapshotTool::Copy) => {
            "give this user the right to read the file and to write where --output is"
        }
        (NotFound, SnapshotTool::Read) => "check the path",
        (NotFound, SnapshotTool::Replace) => "check the path, or make the directory",
        (NotFound, SnapshotTool::Copy) => "check the path, or make the directory where --output is",
        (AlreadyExists, SnapshotTool::Copy) => "choose another name with --output",
        (kind, _) => disk(kind),
    }
}

/// Why a tool can't put a room into a file, and what to do.
pub(crate) fn tool_store_error(error: &StoreError) -> String {
    let advice = match error {
        StoreError::Grow(source) | StoreError::Sync(source) => disk(source.kind()),
        StoreError::Late => CHECK_DISK,
        StoreError::TooManyRooms(_) | StoreError::Full => "use several files",
        StoreError::TooManyKinds | StoreError::NameTooLong | StoreError::RoomRemoved => {
            "leave the room out"
        }
    };
    format!("{error}; {advice}")
}

/// What to do about a damaged file that a tool has read.
pub(crate) fn tool_damage() -> &'static str {
    SALVAGE_BY_SERVER
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::DamageReport;

    fn errors() -> Vec<OpenError> {
        let path = || PathBuf::from("counts");
        let io = |kind: io::ErrorKind| OpenError::Io {
            path: path(),
            action: "open it",
            source: kind.into(),
        };
        let unreadable = |reason| OpenError::Unreadable {
            path: path(),
            reason,
        };
        vec![
            io(io::ErrorKind::NotFound),
            io(io::ErrorKind::StorageFull),
            io(io::ErrorKind::FileTooLarge),
            io(io::ErrorKind::PermissionDenied),
            io(io::ErrorKind::ReadOnlyFilesystem),
            io(io::ErrorKind::Other),
            unreadable(HeaderError::Checksum),
            unreadable(HeaderError::NotASnapshot),
            unreadable(HeaderError::Version(3)),
            OpenError::Refused {
                path: path(),
                reason: Refusal::NotRegular("a FIFO"),
            },
            OpenError::Refused {
                path: path(),
                reason: Refusal::DanglingLink,
            },
            OpenError::Refused {
                path: path(),
                reason: Refusal::ForeignLink,
            },
            OpenError::Locked {
                path: path(),
                pid: 7,
            },
            OpenError::Damaged {
                path: path(),
                damage: DamageReport::default(),
            },
            OpenError::TooLarge {
                path: path(),
                length_bytes: 2,
                max_bytes: 1,
            },
        ]
    }

    #[test]
    fn a_server_that_cannot_open_its_snapshot_names_a_flag() {
        for error in errors() {
            let message = open_error(&error);
            assert!(message.starts_with(&error.to_string()), "{message}");
            let flags = ["--snapshot", "--salvage", "--no-snapshot"];
            assert!(flags.iter().any(|it| message.contains(it)), "{message}");
        }
    }

    #[test]
    fn a_damaged_snapshot_leads_to_salvage() {
        let salvageable = |error: &OpenError| {
            matches!(
                error,
                OpenError::Damaged { .. }
                    | OpenError::Unreadable {
                        reason: HeaderError::Checksum,
                        ..
                    }
            )
        };
        for error in errors() {
            let has_flag = open_error(&error).contains("--salvage");
            assert_eq!(has_flag, salvageable(&error), "{error}");
        }
    }

    #[test]
    fn a_tool_never_names_a_flag_that_it_lacks() {
        use SnapshotTool::*;
        for error in errors() {
            for (tool, own) in [(Read, ""), (Replace, ""), (Copy, "--output")] {
                let message = tool_open_error(tool, &error);
                // Flags of another command are named with that command.
                let message = message.replace("`ovation serve --salvage`", "");
                let flags = message.split_whitespace().filter(|it| it.starts_with("--"));
                let foreign = flags.filter(|it| own.is_empty() || !it.starts_with(own));
                assert_eq!(foreign.count(), 0, "{tool:?}: {message}");
            }
        }
    }

    #[test]
    fn a_problem_comes_with_advice() {
        let full = StoreError::Grow(io::ErrorKind::StorageFull.into());
        let limited = StoreError::Grow(io::ErrorKind::FileTooLarge.into());
        for (error, advice) in [
            (full, MAKE_SPACE),
            (limited, "ulimit -f"),
            (StoreError::Full, "raise --snapshot-max-bytes"),
        ] {
            let message = problem(&Problem {
                path: PathBuf::from("counts"),
                kind: ProblemKind::Growth {
                    error: GrowthError::from(&error),
                    unsaved_records: 2,
                },
            });
            assert!(message.contains(advice), "{message}");
            assert!(message.contains("can't grow"), "{message}");
        }
    }

    #[test]
    fn counts_that_could_not_be_saved_come_with_advice() {
        let message = close_error(&CloseError::Unsaved {
            records: 2,
            reason: StoreError::Grow(io::ErrorKind::StorageFull.into()),
        });
        assert!(message.contains("could not be saved"), "{message}");
        assert!(message.contains(MAKE_SPACE), "{message}");
    }
}
