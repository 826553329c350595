//! Numbers of the kernel that bound the server, read again at a bounded rate.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes read from a file. In each file the number lies within them.
const READ_BYTES: usize = 1024;

/// A number in a file of the kernel. The file is opened before the reactors leave the common table
/// of descriptors, so that it can be read even when their tables are full.
#[derive(Debug)]
pub(crate) struct KernelNumber {
    file: Option<File>,
    parse: fn(&str) -> Option<u64>,
    /// Minimum time between two reads of the file, over all reactors.
    interval: Duration,
    read_at: Mutex<Option<Instant>>,
    last: AtomicU64,
}

impl KernelNumber {
    /// Opens the file at `path`, in which `parse` finds the number. The number is `unknown` until
    /// the file has been read, and for ever if there is no such file.
    pub(crate) fn new(
        path: &str,
        parse: fn(&str) -> Option<u64>,
        interval: Duration,
        unknown: u64,
    ) -> Self {
        Self {
            file: File::open(path).ok(),
            parse,
            interval,
            read_at: Mutex::new(None),
            last: AtomicU64::new(unknown),
        }
    }

    /// Returns the number, which is at most one interval old.
    pub(crate) fn get(&self, now: Instant) -> u64 {
        // A caller that finds the lock taken uses the last number instead of waiting.
        if let Ok(mut read_at) = self.read_at.try_lock()
            && read_at.is_none_or(|at| now.saturating_duration_since(at) >= self.interval)
        {
            *read_at = Some(now);
            if let Some(number) = self.read() {
                self.last.store(number, Ordering::Relaxed);
            }
        }
        self.last.load(Ordering::Relaxed)
    }

    fn read(&self) -> Option<u64> {
        let mut text = [0; READ_BYTES];
        let length = self.file.as_ref()?.read_at(&mut text, 0).ok()?;
        (self.parse)(std::str::from_utf8(&text[..length]).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_file_is_read_once_an_interval() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"7").unwrap();
        let interval = Duration::from_millis(5);
        let path = file.path().to_str().unwrap();
        let number = KernelNumber::new(path, |text| text.parse().ok(), interval, 3);
        let now = Instant::now();
        assert_eq!(number.get(now), 7);
        file.as_file().write_at(b"8", 0).unwrap();
        assert_eq!(number.get(now + interval / 2), 7);
        assert_eq!(number.get(now + interval), 8);
    }

    #[test]
    fn a_missing_file_leaves_the_number_unknown() {
        let nowhere = "/proc/nowhere";
        let number = KernelNumber::new(nowhere, |text| text.parse().ok(), Duration::ZERO, 3);
        assert_eq!(number.get(Instant::now()), 3);
    }
}
