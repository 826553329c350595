//! Files with secrets and keys: small, regular, and closed to other users.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use thiserror::Error;

/// Maximum size of such a file, in bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 64 * 1024;

/// What other users of the machine may not do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// A secret: they may neither read nor change it.
    Secret,
    /// A public key: they may not change it.
    Public,
}

/// Why a file is refused.
#[derive(Debug, Error)]
pub(crate) enum SecretFileError {
    /// The operating system refuses the file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The path leads to a directory, a pipe or the like.
    #[error("it is not a regular file")]
    NotRegular,
    /// The file is too large to be what it should be.
    #[error("it is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    /// Other users may do what they must not. Holds the file's mode.
    #[error("other users can read or change it (mode {0:o})")]
    OpenToOthers(u32),
}

/// Reads the file at `path`, without the newline at its end.
///
/// # Errors
/// [`SecretFileError`] says why the file is refused.
pub(crate) fn read(path: &Path, content: Content) -> Result<Vec<u8>, SecretFileError> {
    // Opening a pipe must not wait for its other end.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits() as i32);
    let file = options.open(path)?;
    // The metadata is that of the open file: the path may lead elsewhere by now.
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(SecretFileError::NotRegular);
    }
    let forbidden = match content {
        Content::Secret => 0o006,
        Content::Public => 0o002,
    };
    let mode = metadata.mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(SecretFileError::OpenToOthers(mode));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(SecretFileError::TooLarge);
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    bytes.truncate(line.len());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn read_with(text: &[u8], mode: u32, content: Content) -> Result<Vec<u8>, SecretFileError> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        read(&path, content)
    }

    #[test]
    fn one_newline_at_the_end_is_dropped() {
        for (text, expected) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            ("secret\n\n", "secret\n"),
            (" secret \n", " secret "),
            ("\n", ""),
        ] {
            let read = read_with(text.as_bytes(), 0o600, Content::Secret).unwrap();
            assert_eq!(read, expected.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn other_users_may_read_public_keys_only() {
        for (mode, secret, public) in [
            (0o400, true, true),
            (0o640, true, true),
            (0o660, true, true),
            (0o644, false, true),
            (0o602, false, false),
            (0o666, false, false),
        ] {
            let is_read = |content| match read_with(b"a", mode, content) {
                Ok(_) => true,
                Err(SecretFileError::OpenToOthers(found)) => {
                    assert_eq!(found, mode);
                    false
                }
                Err(error) => panic!("{error}"),
            };
            assert_eq!(is_read(Content::Secret), secret, "{mode:o}");
            assert_eq!(is_read(Content::Public), public, "{mode:o}");
        }
    }

    #[test]
    fn only_small_regular_files_are_read() {
        let home = tempfile::tempdir().unwrap();
        let refused = read(home.path(), Content::Secret);
        assert!(matches!(refused, Err(SecretFileError::NotRegular)));
        let refused = read(Path::new("/dev/zero"), Content::Secret);
        assert!(matches!(refused, Err(SecretFileError::NotRegular)));
        let missing = read(&home.path().join("none"), Content::Secret);
        assert!(matches!(missing, Err(SecretFileError::Io(_))));
        let large = vec![b'a'; MAX_FILE_BYTES as usize];
        assert!(read_with(&large, 0o600, Content::Secret).is_ok());
        let larger = [&*large, b"a"].concat();
        let refused = read_with(&larger, 0o600, Content::Secret);
        assert!(matches!(refused, Err(SecretFileError::TooLarge)));
    }
}
