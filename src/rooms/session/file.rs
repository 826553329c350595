//! The file that carries sessions over a restart in order, beside the snapshot.
//!
//! The server writes it after its last count, and the next server reads and removes it before its
//! first. So after a crash there is none: then the clients know that the numbers of their sessions
//! are lost, and send nothing again that may have been counted.
//!
//! ```text
//! u64  magic "OVSESS01"
//! u32  number of the server
//! u32  CRC-32C of the magic, the number of the server, and all that follows
//! then for each session, 24 bytes: u128 name; u64 number up to which it has counted
//! ```
//! All numbers are little-endian.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

const MAGIC: [u8; 8] = *b"OVSESS01";
const HEAD_BYTES: usize = 16;
const SESSION_BYTES: usize = 24;

/// The file with the sessions of a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct SessionFile {
    path: PathBuf,
}

/// The sessions of an earlier run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SavedSessions {
    /// The number of the server.
    pub(crate) server: u32,
    /// The sessions, with the number up to which each has counted.
    pub(crate) sessions: Vec<(u128, u64)>,
}

impl SessionFile {
    /// The file that belongs to `snapshot`.
    pub(crate) fn of(snapshot: &Path) -> Self {
        let mut path = OsString::from(snapshot);
        path.push(".sessions");
        Self { path: path.into() }
    }

    /// Reads and removes the file. `None` if there is none, or it is not whole. Reads at most
    /// `max_sessions`.
    ///
    /// # Errors
    /// The operating system's. The sessions must then not be used: they could be used twice.
    pub(crate) fn take(&self, max_sessions: usize) -> io::Result<Option<SavedSessions>> {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
            .open(&self.path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let max_bytes = HEAD_BYTES + max_sessions.saturating_mul(SESSION_BYTES);
        let mut bytes = Vec::new();
        file.take(max_bytes as u64 + 1).read_to_end(&mut bytes)?;
        fs::remove_file(&self.path)?;
        // The file must not come back after a power loss.
        let directory = self
            .path
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(decode(&bytes))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn save(&self, server: u32, sessions: &[(u128, u64)]) -> io::Result<()> {
        // A leftover is of a server that could not remove it, and has ended.
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)?;
        let written = file
            .write_all(&encode(server, sessions))
            .and_then(|()| file.sync_all());
        if written.is_err() {
            // Half a file would only be refused.
            let _ = fs::remove_file(&self.path);
        }
        written
    }
}

fn encode(server: u32, sessions: &[(u128, u64)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + sessions.len() * SESSION_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(server.to_le_bytes());
    bytes.extend([0; 4]);
    for (id, counted) in sessions {
        bytes.extend(id.to_le_bytes());
        bytes.extend(counted.to_le_bytes());
    }
    let sum = checksum(&bytes);
    bytes[12..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<SavedSessions> {
    let (head, body) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let (records, []) = body.as_chunks::<SESSION_BYTES>() else {
        return None;
    };
    let (magic, rest) = head.split_first_chunk::<8>()?;
    let (server, sum) = rest.split_first_chunk::<4>()?;
    if *magic != MAGIC || sum != checksum(bytes).to_le_bytes() {
        return None;
    }
    let session = |record: &[u8; SESSION_BYTES]| {
        let (id, counted) = record.split_first_chunk::<16>()?;
        let counted = counted.first_chunk::<8>()?;
        Some((u128::from_le_bytes(*id), u64::from_le_bytes(*counted)))
    };
    Some(SavedSessions {
        server: u32::from_le_bytes(*server),
        sessions: records.iter().filter_map(session).collect(),
    })
}

fn checksum(bytes: &[u8]) -> u32 {
    let (before, after) = (bytes.get(..12), bytes.get(HEAD_BYTES..));
    let sum = crc32c::crc32c(before.unwrap_or_default());
    crc32c::crc32c_append(sum, after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_damaged_is_no_session(
            sessions in proptest::collection::vec(any::<(u128, u64)>(), 0..20),
            server: u32,
            at: prop::sample::Index,
            bit in 0..8u8,
        ) {
            let mut bytes = encode(server, &sessions);
            prop_assert_eq!(decode(&bytes), Some(SavedSessions { server, sessions }));
            let cut = at.index(bytes.len());
            prop_assert_eq!(decode(&bytes[..cut]), None);
            bytes[cut] ^= 1u8 << bit;
            prop_assert_eq!(decode(&bytes), None);
        }
    }

    #[test]
    fn the_file_is_read_once() {
        let home = tempfile::tempdir().unwrap();
        let file = SessionFile::of(&home.path().join("ovation.snapshot"));
        assert_eq!(file.take(9).unwrap(), None);
        file.save(7, &[(1, 2)]).unwrap();
        file.save(8, &[(1, 3)]).unwrap();
        let saved = file.take(9).unwrap().unwrap();
        assert_eq!((saved.server, saved.sessions), (8, vec![(1, 3)]));
        assert_eq!(file.take(9).unwrap(), None);
        file.save(8, &[(1, 3), (2, 4)]).unwrap();
        assert_eq!(
            file.take(1).unwrap(),
            None,
            "a file over the limit is not used"
        );
    }

    #[test]
    fn links_and_devices_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let file = SessionFile::of(&home.path().join("ovation.snapshot"));
        std::os::unix::fs::symlink("/dev/zero", &file.path).unwrap();
        assert!(file.take(9).is_err());
        // Saving replaces the link, and not what it leads to.
        file.save(7, &[(1, 2)]).unwrap();
        assert!(file.path.symlink_metadata().unwrap().is_file());
        fs::remove_file(&file.path).unwrap();
        let name = file.path.as_os_str().to_owned();
        rustix::fs::mkfifoat(rustix::fs::CWD, &*name, rustix::fs::Mode::RUSR).unwrap();
        assert!(file.take(9).is_err());
    }
}
