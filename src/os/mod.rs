//! Everything read from or asked of the operating system, apart from sockets and the snapshot
//! file. These functions don't log: they return results, and their callers log.
//!
//! - [`procfs`]: the formats of files under `/proc`; [`meminfo`], [`tcp`], [`process`]: what such
//!   files say about the machine's memory, the memory of TCP, and a process.
//! - [`kernel_number`]: a number from such a file, read again at a bounded rate.
//! - [`descriptors`]: a table of file descriptors for each thread; [`descriptor_limit`]:
//!   RLIMIT_NOFILE.
//! - [`secret_file`]: files with secrets and keys.
//! - [`allocator`]: how much freed memory the allocator keeps.

pub(crate) mod allocator;
pub(crate) mod descriptor_limit;
pub(crate) mod descriptors;
pub(crate) mod kernel_number;
pub(crate) mod meminfo;
pub(crate) mod process;
pub(crate) mod procfs;
pub(crate) mod secret_file;
pub(crate) mod tcp;
