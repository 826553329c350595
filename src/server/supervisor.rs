//! What ends the server: a signal, or the end of a thread that it can't do without.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What the main thread waits for.
enum Event {
    Signal,
    ThreadEnded(io::Result<()>),
}

/// The main thread's wait for an end.
pub(super) struct Supervisor {
    sender: Sender<Event>,
    events: Receiver<Event>,
}

impl Supervisor {
    /// Starts to watch for signals. A second signal ends the process at once.
    ///
    /// # Errors
    /// The operating system's error if it refuses the signals or their thread.
    pub(super) fn start() -> io::Result<Self> {
        let (sender, events) = channel();
        spawn_signals(sender.clone())?;
        Ok(Self { sender, events })
    }

    /// A guard for a thread. When the thread drops it, the main thread learns that the thread has
    /// ended; `if_panicked` says so of a thread that panics.
    pub(super) fn guard(&self, if_panicked: &'static str) -> EndGuard {
        EndGuard {
            sender: self.sender.clone(),
            result: Err(io::Error::other(if_panicked)),
        }
    }

    /// Waits for a signal or for a thread that ends.
    ///
    /// # Errors
    /// The error of the thread.
    pub(super) fn wait(&self) -> io::Result<()> {
        match self.events.recv() {
            Ok(Event::ThreadEnded(result)) => result,
            // The channel can't close: this supervisor holds a sender itself.
            Ok(Event::Signal) | Err(_) => Ok(()),
        }
    }
}

/// Tells the main thread when a thread ends, even by a panic.
pub(super) struct EndGuard {
    sender: Sender<Event>,
    result: io::Result<()>,
}

impl EndGuard {
    /// Ends the thread's watch with its result.
    pub(super) fn end(mut self, result: io::Result<()>) {
        self.result = result;
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        // A main thread that no longer waits is already stopping the server.
        let _ = self.sender.send(Event::ThreadEnded(result));
    }
}

fn spawn_signals(sender: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for (count, signal) in signals.forever().enumerate() {
                if count > 0 || sender.send(Event::Signal).is_err() {
                    std::process::exit(128 + signal);
                }
            }
        })?;
    Ok(())
}
