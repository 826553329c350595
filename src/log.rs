//! The log: lines on their way to standard error.
//!
//! A thread of its own writes them. A thread that logs only copies its line into a queue, so it
//! never waits for a reader that is slow, and never fails on a disk that is full or a pipe that is
//! closed. The queue is bounded: while standard error takes nothing, lines beyond
//! [`MAX_QUEUED_BYTES`] are dropped and counted. A line in the log says so once it takes lines again.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, ErrorKind, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Maximum size of the lines that wait for standard error, in bytes.
const MAX_QUEUED_BYTES: usize = 1024 * 1024;
/// Memory that a buffer of lines may keep from one use to the next, in bytes.
const MAX_IDLE_BYTES: usize = 16 * 1024;
/// Name of the thread that writes.
const THREAD_NAME: &str = "log";
/// Maximum time that the end of the process waits for its last lines.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);
/// Maximum time that a thread that panics waits for its message: an abort may follow.
const PANIC_PATIENCE: Duration = Duration::from_millis(100);
/// Time between two attempts to write to a descriptor that doesn't block.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// The queue of this process.
static QUEUE: Queue = Queue::new();

/// Waits for the last lines when the process ends.
#[derive(Debug)]
pub(crate) struct LogGuard(());

/// Starts the thread that writes, and sends the messages of panics through the log.
///
/// # Errors
/// The operating system's error if it refuses a thread.
pub(crate) fn start() -> io::Result<LogGuard> {
    thread::Builder::new()
        .name(THREAD_NAME.to_owned())
        .spawn(|| QUEUE.write_to(&mut Lines::new(StandardError)))?;
    panic::set_hook(Box::new(report_panic));
    Ok(LogGuard(()))
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        QUEUE.wait_until_written(EXIT_PATIENCE);
    }
}

/// The writer for tracing, which writes each line with one call.
pub(crate) fn writer() -> impl Write {
    LogWriter
}

/// Logs a line as it is, whatever the log level.
pub(crate) fn say(line: &str) {
    QUEUE.push(format!("{line}\n").as_bytes());
}

/// The number of lines that were lost because standard error did not take them.
pub(crate) fn dropped_lines() -> u64 {
    QUEUE.dropped.load(Ordering::Relaxed)
}

struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        QUEUE.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard error without the lock of [`io::Stderr`], which the log would hold while it waits.
struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stderr(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says what a thread says by default when it panics.
fn report_panic(info: &PanicHookInfo<'_>) {
    let current = thread::current();
    let name = current.name().unwrap_or("<unnamed>");
    let backtrace = Backtrace::capture();
    say(&match backtrace.status() {
        BacktraceStatus::Captured => format!("thread '{name}' {info}\n{backtrace}"),
        _ => format!("thread '{name}' {info}"),
    });
    if name != THREAD_NAME {
        QUEUE.wait_until_written(PANIC_PATIENCE);
    }
}

/// Lines that wait to be written.
struct Queue {
    state: Mutex<State>,
    /// Lines have come.
    filled: Condvar,
    /// All lines are written.
    emptied: Condvar,
    dropped: AtomicU64,
}

struct State {
    lines: Vec<u8>,
    /// Whether the thread has taken lines that may not be written yet.
    is_writing: bool,
}

impl Queue {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                lines: Vec::new(),
                is_writing: false,
            }),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Adds a line, or drops and counts it if the queue is full.
    fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.lines.len() + line.len() > MAX_QUEUED_BYTES {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.lines.extend_from_slice(line);
        drop(state);
        self.filled.notify_one();
    }

    /// Writes lines as they come, for ever.
    fn write_to(&self, output: &mut Lines<impl Write>) {
        let mut lines = Vec::new();
        let mut reported = 0;
        loop {
            self.take_into(&mut lines);
            let lost = output.write(&lines);
            self.dropped.fetch_add(lost, Ordering::Relaxed);
            let dropped = self.dropped.load(Ordering::Relaxed);
            if lost == 0 && dropped != reported {
                tracing::warn!(lines = dropped - reported, "log lines were lost");
                reported = dropped;
            }
        }
    }

    /// Waits for lines and moves them to `target`.
    fn take_into(&self, target: &mut Vec<u8>) {
        target.clear();
        target.shrink_to(MAX_IDLE_BYTES);
        let mut state = self.state();
        state.is_writing = false;
        if state.lines.is_empty() {
            self.emptied.notify_all();
        }
        while state.lines.is_empty() {
            let waited = self.filled.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.is_writing = true;
        std::mem::swap(&mut state.lines, target);
    }

    /// Waits until all lines are written, but no longer than `patience`.
    fn wait_until_written(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        while state.is_writing || !state.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.emptied.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole lines to a writer that may fail within a line.
struct Lines<W> {
    output: W,
    /// Whether the writer failed within a line, so that the next begins on a new one.
    is_cut: bool,
}

impl<W: Write> Lines<W> {
    fn new(output: W) -> Self {
        Self {
            output,
            is_cut: false,
        }
    }

    /// Writes `lines`; returns the number of lines that are lost, because the writer failed.
    fn write(&mut self, lines: &[u8]) -> u64 {
        if self.is_cut && self.write_some(b"\n") == 1 {
            self.is_cut = false;
        }
        let written = if self.is_cut {
            0
        } else {
            self.write_some(lines)
        };
        let (written, lost) = lines.split_at(written);
        self.is_cut |= written.last().is_some_and(|byte| *byte != b'\n');
        lost.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    /// Writes until the writer fails; returns the number of bytes that it took.
    fn write_some(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.output.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(length) => written += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(RETRY_INTERVAL);
                }
                Err(_) => break,
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with so many free bytes.
    struct Disk {
        written: Vec<u8>,
        free: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.free);
            if length == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.free -= length;
            self.written.extend_from_slice(&bytes[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_loses_lines_and_cuts_no_later_line() {
        let mut lines = Lines::new(Disk {
            written: Vec::new(),
            free: 6,
        });
        assert_eq!(lines.write(b"one\ntwo\nthree\n"), 2);
        assert_eq!(lines.write(b"four\n"), 1);
        lines.output.free = 100;
        assert_eq!(lines.write(b"five\nsix\n"), 0);
        assert_eq!(lines.output.written, b"one\ntw\nfive\nsix\n");
    }

    #[test]
    fn a_full_queue_drops_and_counts_lines() {
        let queue = Queue::new();
        let line = [b'a'; 1024];
        for _ in 0..MAX_QUEUED_BYTES / line.len() + 3 {
            queue.push(&line);
        }
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 3);
        let mut lines = Vec::new();
        queue.take_into(&mut lines);
        assert_eq!(lines.len(), MAX_QUEUED_BYTES);
        queue.push(b"more\n");
        assert_eq!(queue.state().lines, b"more\n");
    }

    #[test]
    fn the_wait_for_a_stuck_log_ends() {
        let queue = Queue::new();
        queue.wait_until_written(EXIT_PATIENCE);
        queue.push(b"a line that no thread writes\n");
        let start = Instant::now();
        queue.wait_until_written(Duration::from_millis(20));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
