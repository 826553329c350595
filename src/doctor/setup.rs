//! The server that is assessed, what it uses without connections, and what a connection costs.

use serde::Serialize;

use crate::config::threads::THREADS_BESIDE_REACTORS;
use crate::os::descriptors::FdTables;
use crate::rooms::MAX_REACTORS;

/// Kernel memory of one end of an idle connection, in bytes: socket, inode, dentry, file, epoll
/// item and its wait entry. A little more than was measured on Linux 6.18 (`README.md`).
/// Kernels with smaller sockets need less. An estimate that is too high keeps the kernel from
/// killing the server.
const KERNEL_BYTES_PER_END: u64 = 4_200;
/// Kernel memory of one short frame that its receiver has not read yet, in bytes of slab; `tcp_mem`
/// counts it as a page. A fan-out to all members leaves one frame with each member that is slower
/// than the server. The fan-out pauses while much data is in flight, but not for ever.
pub(super) const UNREAD_FRAME_BYTES: u64 = 1_100;
/// User memory of a connection of the server, in bytes: its entry, its membership, and its share of
/// the allocator's slack. A little more than was measured.
pub(super) const SERVER_BYTES: u64 = 64;
/// User memory of a connection of the load generator, in bytes. A little more than was measured.
pub(super) const CLIENT_BYTES: u64 = 40;

/// Descriptors of a table that are not connections: standard streams, the snapshot, signals, poll,
/// listeners, the reserve descriptor.
const TABLE_DESCRIPTORS: u64 = 16;
/// Descriptors that a reactor adds to a shared table: its mailbox, poll, listeners and reserve
/// descriptor.
const REACTOR_DESCRIPTORS: u64 = 6;
/// Registrations of a reactor that are not connections: its mailbox and its listeners.
pub(super) const REACTOR_WATCHES: u64 = 4;
/// Mappings of a process without reactors and connections.
const PROCESS_MAPPINGS: u64 = 512;
/// Mappings of a reactor's thread: its stack and its allocator's arena.
const REACTOR_MAPPINGS: u64 = 8;
/// Number of standard deviations that a table's share may lie above the mean. SO_REUSEPORT
/// distributes connections by hash, so the tables fill unevenly, and the first full table refuses
/// connections.
const SPREAD_DEVIATIONS: u64 = 5;

/// The server that is assessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Setup {
    pub(super) reactors: u64,
    pub(super) fd_tables: FdTables,
    /// Whether the clients run on this machine too.
    pub(super) both_ends: bool,
    /// The server's own limit on connections; `None` if the assessment is to ignore it.
    #[serde(skip)]
    pub(super) max_connections: Option<u64>,
    /// The number of connections that must fit; `None` if there is no such number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wanted: Option<u64>,
}

impl Setup {
    /// Returns how many ends of each connection are on this machine.
    pub(super) fn ends(&self) -> u64 {
        1 + u64::from(self.both_ends)
    }

    /// Returns this setup with `reactors` reactors, each with its own table.
    pub(super) fn with_tables(&self, reactors: u64) -> Self {
        Self {
            reactors,
            fd_tables: FdTables::PerThread,
            ..*self
        }
    }

    /// Returns this setup with as many reactors as a server may have.
    pub(super) fn with_most_reactors(&self) -> Self {
        self.with_tables(MAX_REACTORS as u64)
    }

    /// Returns how many connections fit if a table holds `descriptors`.
    pub(super) fn held_by_tables(&self, descriptors: u64) -> u64 {
        let usable = descriptors.saturating_sub(TABLE_DESCRIPTORS);
        match self.fd_tables {
            FdTables::Shared => usable.saturating_sub(self.reactors * REACTOR_DESCRIPTORS),
            // Before the tables part, one table holds the first descriptors of all reactors.
            FdTables::PerThread if usable < self.reactors * REACTOR_DESCRIPTORS => 0,
            FdTables::PerThread => {
                // Every table has a copy of every reactor's mailbox.
                let usable = usable.saturating_sub(self.reactors);
                let uneven = match self.reactors {
                    1 => 0,
                    _ => usable.isqrt().saturating_mul(SPREAD_DEVIATIONS),
                };
                usable.saturating_sub(uneven).saturating_mul(self.reactors)
            }
        }
    }

    /// Returns how many descriptors a table must hold for `connections` to fit.
    pub(super) fn descriptors_for(&self, connections: u64) -> u64 {
        match self.fd_tables {
            FdTables::Shared => {
                connections + TABLE_DESCRIPTORS + self.reactors * REACTOR_DESCRIPTORS
            }
            FdTables::PerThread => {
                let mean = connections.div_ceil(self.reactors);
                // `held_by_tables` takes the root of the table's size, which is larger than the
                // mean. The last two summands make up for the difference.
                let uneven = (mean.isqrt() + SPREAD_DEVIATIONS + 1) * SPREAD_DEVIATIONS;
                mean + uneven + TABLE_DESCRIPTORS + self.reactors
            }
        }
    }

    /// Returns the minimum number of reactors that hold `connections` if each has its own table of
    /// `descriptors`; `None` if no server may have so many.
    pub(super) fn reactors_for(&self, connections: u64, descriptors: u64) -> Option<u64> {
        (1..=MAX_REACTORS as u64)
            .find(|&reactors| self.with_tables(reactors).held_by_tables(descriptors) >= connections)
    }

    /// Returns how much of the machine's memory a connection costs, in bytes.
    pub(super) fn bytes_per_connection(&self) -> u64 {
        let client = KERNEL_BYTES_PER_END + CLIENT_BYTES;
        let clients = if self.both_ends { client } else { 0 };
        KERNEL_BYTES_PER_END + SERVER_BYTES + UNREAD_FRAME_BYTES + clients
    }

    /// Returns how many files the server opens before its first connection.
    pub(super) fn own_files(&self) -> u64 {
        TABLE_DESCRIPTORS + self.reactors * REACTOR_DESCRIPTORS
    }

    /// Returns how many mappings the server has before its first connection.
    pub(super) fn own_mappings(&self) -> u64 {
        PROCESS_MAPPINGS + self.reactors * REACTOR_MAPPINGS
    }

    /// Returns how many threads the server has at most.
    pub(super) fn threads(&self) -> u64 {
        self.reactors + THREADS_BESIDE_REACTORS.len() as u64
    }
}
