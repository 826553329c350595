//! Growth: makes the file larger ahead of need, and moves overflow records into it.

use super::error::StoreError;
use super::handle::Store;
use super::problem::GrowthError;
use super::status::SLOW_FLUSH;

impl Store {
    /// Makes the file larger whenever little space is left for new records, until
    /// [`Store::stop_waiting`] is called. Calls `check` when a flush may have begun, ended, or
    /// taken too long. Needs a thread of its own: a flush may take long, and new rooms can't
    /// wait for it.
    pub(crate) fn grow_until_stopped(&self, mut check: impl FnMut()) {
        loop {
            // Nothing wakes the thread while nothing happens.
            let longest = self.statistics().is_running().then_some(SLOW_FLUSH);
            self.growth_signal.wait(longest);
            if self.is_stopped() {
                return;
            }
            let used_end = self.catalog().free.used_end();
            let file = &self.space.file;
            if file.is_running_low(used_end)
                && let Err(error) = file.grow_ahead(used_end)
            {
                // An error that is not noted is reported to the thread that finds no space.
                let _ = self.catalog().note_growth_error(error);
            }
            check();
        }
    }

    /// Makes space for the next records, so that the threads that write them need not wait for
    /// the disk, and moves overflow records into the file.
    ///
    /// # Errors
    /// [`StoreError`] if the file can't grow. Records that have space still work.
    pub fn grow_ahead(&self) -> Result<(), StoreError> {
        loop {
            let used_end = self.catalog().free.used_end();
            let grown = self.space.file.grow_ahead(used_end);
            // A reset must find its counters where they were.
            let _maintenance = self.maintenance();
            let mut catalog = self.catalog();
            // Even if the file has not grown, there may be freed cells.
            let moved = catalog.move_overflow(&self.space);
            match (grown, moved) {
                (Ok(()), Ok(true)) => {
                    catalog.growth_error = None;
                    return Ok(());
                }
                (Err(error), Ok(true) | Err(StoreError::Late)) => {
                    return Err(catalog.note_growth_error(error)?);
                }
                (_, Ok(false)) | (Ok(()), Err(StoreError::Late)) => {}
                (_, Err(error)) => {
                    catalog.growth_error = Some(GrowthError::from(&error));
                    return Err(error);
                }
            }
            drop(catalog);
            self.yield_catalog();
        }
    }
}
