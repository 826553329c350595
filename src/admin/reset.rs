//! Resetting a room waits for the disk, perhaps for long, and the admin side must go on telling
//! how the server is. So a reset runs on a thread of its own, one at a time.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::rooms::tell;
use crate::protocol::http::Response;
use crate::reactor::News;
use crate::rooms::RoomHandle;
use crate::rooms::Shared;
use crate::store::StoreError;

/// How long the one who asks is made to wait for the outcome.
const PATIENCE: Duration = Duration::from_secs(1);

/// The reset that is under way, if there is one.
#[derive(Debug, Default)]
pub(super) struct Resets {
    running: Option<JoinHandle<()>>,
}

impl Resets {
    /// Sets the counts of a room to zero, and says how many members see that; or that it goes
    /// on, if the disk takes its time.
    pub(super) fn begin(&mut self, shared: &Arc<Shared>, room: RoomHandle) -> Response<'static> {
        let shared = Arc::clone(shared);
        self.run(PATIENCE, move || {
            let reset = room.reset();
            // Also if it failed: it may have failed when the counts were zero already.
            tell(&shared, room.publish(None), News::Counts(room.id()));
            reset.map(|()| room.members()).inspect_err(|error| {
                let (party, room) = (room.party(), room.name());
                tracing::error!(?party, ?room, %error, "the room could not be reset");
            })
        })
    }

    fn run(
        &mut self,
        patience: Duration,
        reset: impl FnOnce() -> Result<u64, StoreError> + Send + 'static,
    ) -> Response<'static> {
        if self.running.as_ref().is_some_and(|it| !it.is_finished()) {
            return Response::text(
                503,
                &b"Another reset waits for the disk; try again later"[..],
            );
        }
        let (outcome, outcomes) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("reset".to_owned())
            // Whoever asked may not have waited for it.
            .spawn(move || drop(outcome.send(reset())));
        match thread {
            Ok(thread) => self.running = Some(thread),
            Err(error) => return Response::text(503, error.to_string().into_bytes()),
        }
        let outcome = outcomes.recv_timeout(patience);
        if !matches!(outcome, Err(RecvTimeoutError::Timeout)) {
            self.wait();
        }
        match outcome {
            Ok(Ok(members)) => {
                Response::json(200, format!(r#"{{"members":{members}}}"#).into_bytes())
            }
            Ok(Err(error)) => Response::text(503, error.to_string().into_bytes()),
            Err(RecvTimeoutError::Timeout) => {
                Response::text(202, &b"The reset waits for the disk, and goes on"[..])
            }
            Err(RecvTimeoutError::Disconnected) => {
                Response::text(500, &b"The reset has failed; see the log"[..])
            }
        }
    }

    fn wait(&mut self) {
        if let Some(running) = self.running.take() {
            // If it panicked, it has said so itself.
            let _ = running.join();
        }
    }
}

impl Drop for Resets {
    /// The store is closed next, and nothing may change it then.
    fn drop(&mut self) {
        self.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_takes_long_is_not_waited_for_and_no_other_begins() {
        let mut resets = Resets::default();
        let at_once = Duration::ZERO;
        let (release, gate) = sync_channel(0);
        let slow = move || Ok(gate.recv().unwrap());
        assert_eq!(resets.run(at_once, slow).status, 202);
        let refused = resets.run(at_once, || unreachable!());
        assert_eq!(refused.status, 503);
        release.send(1).unwrap();
        let mut done = || resets.run(Duration::from_secs(60), || Ok(7));
        let done = std::iter::repeat_with(&mut done).find(|it| it.status != 503);
        assert_eq!(done, Some(Response::json(200, &br#"{"members":7}"#[..])));
    }

    #[test]
    fn what_fails_is_said() {
        let mut resets = Resets::default();
        let patience = Duration::from_secs(60);
        let failing = || Err(StoreError::Sync(std::io::Error::from_raw_os_error(5)));
        let why = failing().unwrap_err().to_string();
        let response = resets.run(patience, failing);
        assert_eq!(response, Response::text(503, why.into_bytes()));
        assert_eq!(resets.run(patience, || panic!("as asked")).status, 500);
    }
}
