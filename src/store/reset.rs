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
        let room = self.catalog().overflow.resolve(room);
        let reset = Reset {
            store: self,
            room,
            _maintenance: maintenance,
        };
        for counter in reset.counters() {
            seal::seal(&self.space, counter);
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
        // Includes counters that were created since the reset began.
        for counter in self.counters() {
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

    /// The counters that the room has now.
    fn counters(&self) -> Vec<CounterId> {
        self.store.catalog().index.counters(self.room).collect()
    }

    /// Writes all changes to the disk, not only those of the room's pages: kinds may come while
    /// the disk works, and a kind or a room of the same name may just have been removed. What is
    /// still on the disk of these must not come back after the reset.
    fn sync(&self) -> Result<(), StoreError> {
        let used_end = self.store.catalog().free.used_end();
        let file = &self.store.space.file;
        let synced = file.sync(CellId::HEADER..used_end);
        synced.map_err(StoreError::Sync)
    }
}
