//! Flushing: the store's side of sealing and syncing.

use std::io;
use std::time::Instant;

use super::handle::Store;
use super::seal;

impl Store {
    /// Seals what has changed, writes it to the disk, and waits for it. A store without a file
    /// only seals, which tells which rooms have counted something.
    ///
    /// # Errors
    /// The operating system's. The next call writes all of it again.
    pub fn flush(&self) -> io::Result<()> {
        self.statistics().begin();
        let _maintenance = self.maintenance();
        let used_end = self.catalog().free.used_end();
        let start = Instant::now();
        let flushed = seal::flush(&self.space, used_end);
        self.statistics().end(&flushed, start.elapsed());
        flushed.map(|_| ())
    }
}
