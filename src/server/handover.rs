//! The hand-over of descriptors from the main thread to reactors with tables of their own. The
//! module [`crate::os::descriptors`] says why it takes these steps.

use std::os::fd::RawFd;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::os::descriptors::{self, FdTables};

/// The main thread's side of the hand-over.
pub(super) struct Handover {
    tables: FdTables,
    /// The descriptors that move to each reactor.
    reactors: Vec<Vec<RawFd>>,
    /// The descriptors that move to other threads.
    others: Vec<RawFd>,
    left: Sender<(usize, bool)>,
    leavers: Receiver<(usize, bool)>,
    /// Dropping these lets the reactors begin.
    starts: Vec<Sender<()>>,
}

/// A reactor's side of the hand-over.
pub(super) struct Departure {
    reactor: usize,
    /// The descriptors that move to other threads, if the reactor is to have its own table.
    foreign: Option<Vec<RawFd>>,
    /// Where the reactor says whether it has its own table.
    left: Sender<(usize, bool)>,
    /// Closes when all reactors have said so. A socket accepted earlier would be copied into
    /// another reactor's table and stay open there.
    begin: Receiver<()>,
}

impl Handover {
    pub(super) fn new(tables: FdTables, reactors: Vec<Vec<RawFd>>, others: Vec<RawFd>) -> Self {
        let (left, leavers) = channel();
        Self {
            tables,
            reactors,
            others,
            left,
            leavers,
            starts: Vec::new(),
        }
    }

    /// The part of the hand-over that the thread of `reactor` does.
    pub(super) fn departure(&mut self, reactor: usize) -> Departure {
        let (start, begin) = channel();
        self.starts.push(start);
        Departure {
            reactor,
            foreign: (self.tables == FdTables::PerThread).then(|| self.foreign_to(reactor)),
            left: self.left.clone(),
            begin,
        }
    }

    /// Waits until every reactor has tried to leave, closes the descriptors that have moved away,
    /// and lets the reactors begin.
    pub(super) fn complete(self) {
        drop(self.left);
        // This ends when the last reactor has spoken.
        let leavers: Vec<_> = self.leavers.iter().collect();
        for (reactor, has_left) in leavers {
            if has_left {
                descriptors::close_copies(&self.reactors[reactor]);
            }
        }
        // No thread copies this table any more: the reactors may open descriptors of their own.
        drop(self.starts);
    }

    fn foreign_to(&self, reactor: usize) -> Vec<RawFd> {
        let reactors = self.reactors.iter().enumerate();
        let others = reactors.filter(|(other, _)| *other != reactor);
        let others = others.flat_map(|(_, descriptors)| descriptors);
        others.chain(&self.others).copied().collect()
    }
}

impl Departure {
    /// Leaves the common table, if the reactor is to have its own, and waits until all reactors
    /// have.
    pub(super) fn leave(self) {
        let has_left = match self
            .foreign
            .map(|foreign| descriptors::unshare_table(&foreign))
        {
            None => false,
            Some(Ok(())) => true,
            Some(Err(error)) => {
                let reactor = self.reactor;
                tracing::warn!(%error, reactor, "could not unshare the fd table");
                false
            }
        };
        // The main thread waits for this, so the channel is open.
        let _ = self.left.send((self.reactor, has_left));
        drop(self.left);
        let _ = self.begin.recv();
    }
}
