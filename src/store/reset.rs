//! Resets: setting the counts of a room to zero, so that it survives a crash at any instruction.

use std::sync::MutexGuard;

use super::error::StoreError;
use super::format::{CellId, CounterId, Resetting, RoomId};
use super::handle::Store;
use super::seal;

/// The reset of a room, in this order:
/// 1. The counts are sealed, and the room is marked: its counts are to go. Both are on the disk.
/// 2. [`Reset::zero`]: counts and sealed copies are zero, and the room is marked so. What is
///    counted from now on is not sealed until the reset is over.
/// 3. The zeros are on the disk.
/// 4. The mark is removed.
///
/// If the process dies before step 2, the next one finishes the reset: all counts go. If it dies
/// later, what was counted since step 2 stays. Counts in sectors that did not reach the disk are
/// still as they were sealed, and so can be told apart.
#[derive(Debug)]
pub(crate) struct Reset<'s> {
    store: &'s Store,
    room: RoomId,
    counters: Vec<CounterId>,
    /// Keeps other threads from sealing, moving or freeing.
    _maintenance: MutexGuard<'s, ()>,
}

impl Store {
    /// Begins to set the counts of a room to zero. Waits for the disk.
    ///
    /// # Errors
    /// [`StoreError::Sync`] if the disk fails. The counts stay, but what is on the disk is not
    /// known: if the machine dies before a flush succeeds, they may be zero after all.
    pub(crate) fn begin_reset(&self, room: RoomId) -> Result<Reset<'_>, StoreError> {
        let maintenance = self.maintenance();
        let (room, counters) = {
            let catalog = self.catalog();
            let room = catalog.overflow.resolve(room);
            (room, catalog.index.counters(room).collect())
        };
        let reset = Reset {
            store: self,
            room,
            counters,
            _maintenance: maintenance,
        };
        for counter in &reset.counters {
            seal::seal(&self.space, *counter);
        }
        reset.mark(Resetting::Begun);
        // A mark that did not reach the disk is removed in memory.
        let begun = reset.sync().inspect_err(|_| reset.mark(Resetting::No));
        begun.map(|()| reset)
    }
}

impl Reset<'_> {
    /// Sets the counts to zero. What is added from now on counts.
    pub(crate) fn zero(&self) {
        let file = &self.store.space.file;
        // Tells processes that are copying the file to start again.
        file.header_words().count_removal();
        let counters: Vec<CounterId> = {
            let catalog = self.store.catalog();
            // Includes counters that were created since the reset began.
            catalog.index.counters(self.room).collect()
        };
        for counter in counters {
            self.store.space.zero(counter);
        }
        self.mark(Resetting::Done);
        file.header_words().count_removal();
    }

    /// Makes the reset last. Waits for the disk.
    ///
    /// # Errors
    /// [`StoreError::Sync`] if the disk fails. The counts are zero nevertheless, and a later
    /// flush writes that.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        let zeroed = self.sync();
        self.mark(Resetting::No);
        zeroed.and_then(|()| self.sync())
    }

    fn mark(&self, resetting: Resetting) {
        self.store.space.set_resetting(self.room, resetting);
    }

    /// Writes the room and its counters to the disk.
    fn sync(&self) -> Result<(), StoreError> {
        let counters = self.counters.iter().map(|counter| counter.cell());
        let in_file: Vec<CellId> = counters
            .chain([self.room.cell()])
            .filter(|cell| cell.is_in_file())
            .collect();
        if let (Some(first), Some(last)) = (in_file.iter().min(), in_file.iter().max()) {
            let file = &self.store.space.file;
            file.sync(*first..*last + 1).map_err(StoreError::Sync)?;
        }
        Ok(())
    }
}
