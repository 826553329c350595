//! The store's handle: its parts, and the locks on them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::catalog::Catalog;
use super::file::DEFAULT_MAX_FILE_BYTES;
use super::overflow::DEFAULT_MAX_OVERFLOW_BYTES;
use super::signal::Signal;
use super::space::CellSpace;
use super::statistics::FlushStatistics;

/// Default maximum number of rooms in a store.
pub(crate) const DEFAULT_MAX_ROOMS: usize = 4_000_000;

/// Limits on what a store takes.
#[derive(Debug, Clone)]
pub struct StoreLimits {
    /// Maximum size of the file, in bytes. Address space is reserved for it.
    pub max_file_bytes: u64,
    /// Maximum number of rooms.
    pub max_rooms: usize,
    /// Maximum memory for rooms and kinds that the file has no space for, in bytes.
    pub max_overflow_bytes: u64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            max_file_bytes: DEFAULT_MAX_FILE_BYTES,
            max_rooms: DEFAULT_MAX_ROOMS,
            max_overflow_bytes: DEFAULT_MAX_OVERFLOW_BYTES,
        }
    }
}

/// The counters of all rooms, in a mapped file or, without one, in anonymous memory.
///
/// ```
/// use ovation::store::{Store, StoreLimits};
///
/// let store = Store::anonymous(&StoreLimits::default())?;
/// let room = store.room_or_create("main", "talk")?;
/// let love = store.counter_of(room, "love")?;
/// love.add(2);
/// love.add(1);
/// assert_eq!(love.get(), 3);
///
/// let kinds = store.kinds(room);
/// assert_eq!(kinds.len(), 1);
/// assert_eq!(kinds[0].0, "love");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Store {
    pub(super) space: Arc<CellSpace>,
    /// Locked after `maintenance`.
    catalog: Mutex<Catalog>,
    /// Held while sealing, resetting or freeing, also while the disk works.
    maintenance: Mutex<()>,
    statistics: Mutex<FlushStatistics>,
    /// Set when the file should grow, or a flush begins.
    pub(super) growth_signal: Signal,
    pub(super) max_rooms: usize,
}

impl Store {
    pub(super) fn new(space: CellSpace, catalog: Catalog, max_rooms: usize) -> Self {
        Self {
            space: Arc::new(space),
            catalog: Mutex::new(catalog),
            maintenance: Mutex::default(),
            statistics: Mutex::default(),
            growth_signal: Signal::default(),
            max_rooms,
        }
    }

    pub(super) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        // Every change to the catalog is complete before anything can panic.
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn maintenance(&self) -> MutexGuard<'_, ()> {
        // The lock guards no data.
        let maintenance = self.maintenance.lock();
        maintenance.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn statistics(&self) -> MutexGuard<'_, FlushStatistics> {
        let statistics = self.statistics.lock();
        statistics.unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets threads that wait for the catalog have it. Unlocking it alone does not.
    pub(super) fn yield_catalog(&self) {
        thread::sleep(Duration::from_micros(100));
    }

    /// Waits until something has changed, [`Store::stop_waiting`] is called, or `longest` has
    /// passed. Returns whether the store has changed; the next call of [`Store::flush`] covers
    /// the change.
    pub(crate) fn wait_until_dirty(&self, longest: Option<Duration>) -> bool {
        let is_dirty = self.space.dirty.signal.wait(longest);
        if is_dirty && self.space.file.has_file() {
            // The flush counts as running from now on, even if it first waits for a lock.
            self.statistics().begin();
            self.growth_signal.set();
        }
        is_dirty
    }

    /// Ends the wait for a change, as if there had been one.
    pub(crate) fn wake(&self) {
        self.space.dirty.signal.set();
    }

    /// Waits until `time` has passed or [`Store::stop_waiting`] is called.
    pub(crate) fn rest(&self, time: Duration) {
        self.space.dirty.signal.rest(time);
    }

    /// Whether [`Store::stop_waiting`] was called.
    pub(crate) fn is_stopped(&self) -> bool {
        self.space.dirty.signal.is_stopped()
    }

    /// Ends all waits, now and from now on.
    pub(crate) fn stop_waiting(&self) {
        self.space.dirty.signal.stop();
        self.growth_signal.stop();
    }
}
