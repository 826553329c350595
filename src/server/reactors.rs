//! The threads of the reactors.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::error::ServeError;
use super::handover::{Departure, Handover};
use super::supervisor::{EndGuard, Supervisor};
use crate::reactor::{Admission, ConnectionLimits, Mailbox, Reactor, ReactorMetrics, ReactorParts};
use crate::rooms::{RoomNotice, RoomsApp, Shared};

/// What the threads of all reactors share.
pub(super) struct ReactorSettings {
    pub(super) shared: Arc<Shared>,
    pub(super) limits: ConnectionLimits,
    pub(super) admission: Arc<Admission>,
}

/// The running reactors.
pub(super) struct Reactors {
    threads: Vec<JoinHandle<()>>,
    mailboxes: Vec<Arc<Mailbox<RoomNotice>>>,
    pub(super) metrics: Vec<Arc<ReactorMetrics>>,
}

impl Reactors {
    /// Starts a thread for each of `parts`.
    ///
    /// # Errors
    /// [`ServeError`] if the operating system refuses a thread.
    pub(super) fn spawn(
        parts: Vec<ReactorParts<RoomNotice>>,
        settings: &Arc<ReactorSettings>,
        mut handover: Handover,
        supervisor: &Supervisor,
    ) -> Result<Self, ServeError> {
        let mailboxes = parts.iter().map(|it| Arc::clone(&it.mailbox)).collect();
        let metrics = parts.iter().map(|it| Arc::clone(&it.metrics)).collect();
        let mut threads = Vec::new();
        for (number, parts) in parts.into_iter().enumerate() {
            let start = ReactorStart {
                number,
                parts,
                settings: Arc::clone(settings),
                departure: handover.departure(number),
                end: supervisor.guard("a reactor panicked"),
            };
            threads.push(
                start
                    .spawn()
                    .map_err(ServeError::system("start a reactor"))?,
            );
        }
        handover.complete();
        Ok(Self {
            threads,
            mailboxes,
            metrics,
        })
    }

    /// Stops the reactors and waits for their threads.
    pub(super) fn stop(self) -> Vec<Arc<ReactorMetrics>> {
        for mailbox in &self.mailboxes {
            mailbox.stop();
        }
        for thread in self.threads {
            // A reactor that panicked has logged it; the others still stop in order.
            let _ = thread.join();
        }
        self.metrics
    }
}

/// What the thread of a reactor starts with.
struct ReactorStart {
    number: usize,
    parts: ReactorParts<RoomNotice>,
    settings: Arc<ReactorSettings>,
    departure: Departure,
    end: EndGuard,
}

impl ReactorStart {
    fn spawn(self) -> io::Result<JoinHandle<()>> {
        thread::Builder::new()
            .name(format!("reactor-{}", self.number))
            .spawn(move || self.run())
    }

    fn run(self) {
        self.departure.leave();
        let settings = &self.settings;
        let app = RoomsApp::new(self.number, Arc::clone(&settings.shared));
        let (limits, admission) = (settings.limits.clone(), Arc::clone(&settings.admission));
        let reactor = Reactor::new(self.parts, app, limits, admission);
        self.end.end(reactor.and_then(Reactor::run));
    }
}
