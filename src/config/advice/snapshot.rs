//! Advice about the snapshot file.
