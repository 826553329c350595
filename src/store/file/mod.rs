//! The snapshot file. Each of these files uses only files above it.
//!
//! - `size`: how large a file can be. `lock`: who may use it, and which files are refused.
//! - `mapped`: the mapped file.
//! - `sync`: making changes last. `grow`: making the file larger and shorter.
//! - `open`: from a path to a mapped file.

mod grow;
mod lock;
mod mapped;
mod open;
mod size;
mod sync;

pub(crate) use lock::Lock;
pub(super) use mapped::SnapshotFile;
pub use size::MIN_FILE_BYTES;
pub(crate) use size::{DEFAULT_MAX_FILE_BYTES, MAX_FILE_BYTES};
pub(super) use sync::directory_of;
