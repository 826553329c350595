//! Resetting a room. A reset waits for the disk, perhaps for long, while the admin side must go on
//! answering. So a reset runs on a thread of its own, one at a time.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::protocol::http::Response;
use crate::rooms::{RoomHandle, Shared};

/// Time that the operator's request waits for the outcome.
const PATIENCE: Duration = Duration::from_secs(1);

/// The reset that is under way, if any.
#[derive(Debug, Default)]
pub(super) struct Resets {
    running: Option<JoinHandle<()>>,
}

impl Resets {
    /// Sets the counts of a room to zero. Answers with the number of its members, or with 202 if
    /// the disk takes longer than [`PATIENCE`]; the reset then goes on.
    pub(super) fn begin(&mut self, shared: &Arc<Shared>, room: RoomHandle) -> Response<'static> {
        let shared = Arc::clone(shared);
        self.run(PATIENCE, move || {
            let reset = room.reset();
            // Publish a failed reset too: it may have failed after the counts were zero.
            shared.publish_reset(&room);
            let (party, name) = (room.party(), room.name());
            match reset {
                Ok(()) => {
                    tracing::info!(?party, room = ?name, "room reset by operator");
                    Ok(room.members())
                }
                Err(error) => {
                    let error = (shared.explain)(&error);
                    tracing::error!(?party, room = ?name, %error, "could not reset a room");
                    Err(error)
                }
            }
        })
    }

    fn run(
        &mut self,
        patience: Duration,
        reset: impl FnOnce() -> Result<u64, String> + Send + 'static,
    ) -> Response<'static> {
        if self.running.as_ref().is_some_and(|it| !it.is_finished()) {
            return Response::text(
                503,
                &b"Another reset is waiting for the disk; try again later"[..],
            );
        }
        let (outcome, outcomes) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("reset".to_owned())
            // The request may not have waited for the outcome.
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
            Ok(Err(error)) => Response::text(503, error.into_bytes()),
            Err(RecvTimeoutError::Timeout) => {
                Response::text(202, &b"The reset is waiting for the disk and continues"[..])
            }
            Err(RecvTimeoutError::Disconnected) => {
                Response::text(500, &b"The reset failed; see the log"[..])
            }
        }
    }

    fn wait(&mut self) {
        if let Some(running) = self.running.take() {
            // A thread that panicked has logged it.
            let _ = running.join();
        }
    }
}

impl Drop for Resets {
    /// Waits for the reset: the store closes next, and nothing may change it then.
    fn drop(&mut self) {
        self.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reset_goes_on_alone_in_the_background() {
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
    fn a_failed_reset_is_reported() {
        let mut resets = Resets::default();
        let patience = Duration::from_secs(60);
        let failing = || Err("the disk failed".to_owned());
        let response = resets.run(patience, failing);
        assert_eq!(response, Response::text(503, &b"the disk failed"[..]));
        assert_eq!(resets.run(patience, || panic!("as asked")).status, 500);
    }
}
