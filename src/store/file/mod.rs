//! The snapshot file. Each of these files uses only files above it.
//!
//! - `regular`: opening a named file, if it is a regular one. `new_file`: a file that takes its
//!   name when it is whole.
//! - `size`: how large a file can be. `lock`: who may use it, and which files are refused.
//! - `mapped`: the mapped file.
//! - `sync`: making changes last. `grow`: making the file larger and shorter.
//! - `open`: from a path to a mapped file.

mod grow;
mod lock;
mod mapped;
mod new_file;
mod open;
mod regular;
mod size;
mod sync;

pub(crate) use lock::Lock;
pub(super) use mapped::SnapshotFile;
pub(crate) use new_file::{NewFile, link_file};
pub(super) use regular::directory_of;
pub(crate) use regular::{Access, FileError, open as open_regular};
pub use size::MIN_FILE_BYTES;
pub(crate) use size::{DEFAULT_MAX_FILE_BYTES, MAX_FILE_BYTES};
