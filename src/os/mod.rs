//! What is read from and asked of the operating system, apart from sockets and files of ours.
//!
//! - `procfs`: the form of the files under `/proc`; [`kernel_number`]: a number that is asked for
//!   once in a while.
//! - [`descriptors`]: a table of file descriptors for each thread, and its limit.
//! - [`memory`]: the allocator.

pub(crate) mod descriptors;
pub(crate) mod kernel_number;
pub(crate) mod memory;
pub(crate) mod procfs;
