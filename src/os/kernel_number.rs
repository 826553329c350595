//! Numbers of the kernel that bound the server, asked for once in a while by whoever needs them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// More than any of the files has before the number that is wanted.
const READ_BYTES: usize = 1024;

/// One number of a file of the kernel. The file is opened before the reactors have tables of
/// descriptors of their own: it must be readable when those are full.
#[derive(Debug)]
pub(crate) struct KernelNumber {
    file: Option<File>,
    parse: fn(&str) -> Option<u64>,
    /// How often the kernel is asked at most, by all reactors together.
    interval: Duration,
    asked: Mutex<Option<Instant>>,
    last: AtomicU64,
}

impl KernelNumber {
    /// The number that `parse` finds in the file at `path`; `unknown` until it has been read, and
    /// where there is none.
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
            asked: Mutex::new(None),
            last: AtomicU64::new(unknown),
        }
    }

    /// The number as it was at most one interval ago.
    pub(crate) fn get(&self, now: Instant) -> u64 {
        // Whoever finds the lock taken uses what the holder last knew.
        if let Ok(mut asked) = self.asked.try_lock()
            && asked.is_none_or(|at| now.saturating_duration_since(at) >= self.interval)
        {
            *asked = Some(now);
            if let Some(number) = self.ask() {
                self.last.store(number, Ordering::Relaxed);
            }
        }
        self.last.load(Ordering::Relaxed)
    }

    fn ask(&self) -> Option<u64> {
        let mut text = [0; READ_BYTES];
        let length = self.file.as_ref()?.read_at(&mut text, 0).ok()?;
        (self.parse)(std::str::from_utf8(&text[..length]).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_kernel_is_not_asked_again_at_once() {
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
    fn what_is_not_there_stays_unknown() {
        let nowhere = "/proc/nowhere";
        let number = KernelNumber::new(nowhere, |text| text.parse().ok(), Duration::ZERO, 3);
        assert_eq!(number.get(Instant::now()), 3);
    }
}
