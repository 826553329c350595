//! The admin side: health, metrics, the rooms, and the dashboard. A listener of its own on a thread
//! of its own, for which no reactor ever waits. It is another application of the reactor, so the
//! bounds on requests, connections and slow readers are those that are tested there.
//!
//! - This file: which request is answered by what, and the stream of samples.
//! - `start`: settings, binding, the thread. `guard`: who may ask.
//! - `sampler`, `process`: a sample each second. `history`: the samples, in bounded rings.
//! - `metrics`: Prometheus. `rooms`: the list, and closing. `reset`: resetting, which waits for the disk.
//!   `assets`: the dashboard.
//!
//! It reads atomics that the reactors write and asks the kernel. The one lock that it shares with
//! reactors, that of the room table, it holds for a few hundred rooms at a time.

mod guard;
mod history;
mod metrics;
mod process;
mod reset;
mod rooms;
mod sampler;
mod start;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::protocol::http::request::Request;
use crate::protocol::http::{Origins, Response, encode_stream_head, path_of, sse};
use crate::reactor::{Admission, App, Connections, Message, Next, ReactorMetrics, Verdict};
use crate::rooms::Shared;
use crate::store::{Problem, Store};
use crate::web::Dashboard;
use guard::Guard;
use history::{History, Range};
use reset::Resets;
use sampler::{INTERVAL, Sampler};
pub use start::{
    AdminError, AdminSettings, DEFAULT_ADMIN_MAX_CONNECTIONS, Listening, Running, listen,
};

/// The default address: next to that of the rooms.
pub const DEFAULT_ADMIN: &str = "127.0.0.1:1998";

/// Fields of every answer that is no file: it is data, whatever a browser takes it for.
const PRIVATE: [(&str, &str); 2] = [
    (
        "Content-Security-Policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
];

/// What the admin side looks at.
#[derive(Debug)]
pub struct Sources {
    /// What the reactors share: the rooms and the bells.
    pub shared: Arc<Shared>,
    /// The reactors' numbers, in their order.
    pub metrics: Vec<Arc<ReactorMetrics>>,
    /// Who may come in.
    pub admission: Arc<Admission>,
    /// The counts.
    pub store: Arc<Store>,
    /// Describes a problem of the store to the operator.
    pub(crate) describe_problem: fn(&Problem) -> String,
}

/// The application.
#[derive(Debug)]
struct Admin {
    guard: Guard,
    dashboard: Dashboard,
    sources: Sources,
    sampler: Sampler,
    history: History,
    /// The last sample, as an event.
    event: Bytes,
    /// The connections that get samples.
    listeners: Vec<u32>,
    resets: Resets,
    due: Instant,
}

impl Admin {
    fn new(guard: Guard, sources: Sources) -> Self {
        let now = Instant::now();
        Self {
            guard,
            dashboard: Dashboard::new(),
            sampler: Sampler::new(&sources, now),
            sources,
            history: History::default(),
            event: Bytes::new(),
            listeners: Vec::new(),
            resets: Resets::default(),
            due: now,
        }
    }

    fn sample(&mut self, now: Instant) {
        let unsynced = self.sources.store.status().unsynced;
        let sample = self.sampler.take(&self.sources, unsynced, now);
        self.history.push(&sample.point);
        let mut event = Vec::new();
        sse::encode(&sample.json(), &mut event);
        self.event = event.into();
    }

    fn response(&mut self, request: &Request<'_>) -> Response<'static> {
        let path = path_of(request.target);
        if path == "/healthz" {
            return Response::text(200, &b"alive\n"[..]);
        }
        if let Err(refusal) = self.guard.check(request) {
            return refusal;
        }
        match request.method {
            "GET" | "HEAD" => self.get(path, request.target),
            "POST" => match self.guard.check_change(request) {
                Ok(()) => rooms::act(&self.sources.shared, &mut self.resets, path),
                Err(refusal) => refusal,
            },
            _ => Response::text(405, &b"GET, HEAD and POST are what is known here"[..]),
        }
    }

    fn get(&self, path: &str, target: &str) -> Response<'static> {
        match path {
            "/readyz" => readiness(&self.troubles()),
            "/metrics" => {
                let is_ready = self.troubles().is_empty();
                let store = self.sources.store.status();
                let metrics = &self.sources.metrics;
                let text = metrics::text(metrics, &self.sampler, store, is_ready);
                Response::of_type(200, metrics::MEDIA_TYPE, text.into_bytes())
            }
            "/rooms" => rooms::list(&self.sources.shared, target),
            "/history" => {
                let range = target.split_once("?range=").map_or("15m", |(_, name)| name);
                match Range::named(range) {
                    Some(range) => {
                        let columns = self.history.columns(range);
                        // Strings and numbers always serialize.
                        Response::json(200, serde_json::to_vec(&columns).unwrap_or_default())
                    }
                    None => Response::text(400, &b"The range is 15m, 6h or 7d"[..]),
                }
            }
            _ => Response::text(404, &b"Not found"[..]),
        }
    }

    /// Why this server should not be sent to, if it shouldn't.
    fn troubles(&self) -> Vec<String> {
        let problems = self.sources.store.status().problems.into_iter();
        let describe = self.sources.describe_problem;
        let mut troubles: Vec<String> = problems.map(|problem| describe(&problem)).collect();
        let admission = self.sources.admission.trouble(Instant::now());
        troubles.extend(admission.map(str::to_owned));
        troubles
    }
}

/// The answer of a server that has these troubles.
fn readiness(troubles: &[String]) -> Response<'static> {
    match troubles {
        [] => Response::text(200, &b"ready\n"[..]),
        _ => Response::text(503, (troubles.join("\n") + "\n").into_bytes()),
    }
}

impl App for Admin {
    /// A listener is known by its connection's key.
    type Member = u32;

    fn respond(
        &mut self,
        request: &Request<'_>,
        _body: &[u8],
        output: &mut Vec<u8>,
    ) -> Option<Verdict> {
        const CHALLENGE: (&str, &str) = ("WWW-Authenticate", r#"Basic realm="Ovation admin""#);
        let response = self.response(request);
        let mut fields = PRIVATE.to_vec();
        fields.extend((response.status == 401).then_some(CHALLENGE));
        response.encode_private(request, &fields, output);
        None
    }

    fn share(&mut self, request: &Request<'_>, output: &mut Vec<u8>) -> Option<Bytes> {
        let asset = self.dashboard.find(path_of(request.target))?;
        // What is refused is answered as everything that is.
        let may_have =
            matches!(request.method, "GET" | "HEAD") && self.guard.check(request).is_ok();
        may_have.then(|| asset.answer(request, output))
    }

    fn join(
        &mut self,
        _key: u32,
        _request: &Request<'_>,
        _first: &mut Vec<u8>,
    ) -> Result<u32, Response<'static>> {
        Err(Response::text(404, &b"There are no rooms here"[..]))
    }

    fn stream(&mut self, key: u32, request: &Request<'_>, first: &mut Vec<u8>) -> Option<u32> {
        if path_of(request.target) != "/events" || self.guard.check(request).is_err() {
            return None;
        }
        encode_stream_head(request, &Origins::none(), first);
        first.extend_from_slice(&self.event);
        self.listeners.push(key);
        Some(key)
    }

    fn receive(&mut self, _: &mut u32, _: Message<'_>, _: &mut Vec<u8>) -> Verdict {
        Verdict::Invalid
    }

    fn leave(&mut self, key: u32, _: &mut Connections<u32>) {
        self.listeners.retain(|listener| *listener != key);
    }

    // The next sample is newer than what was missed.
    fn drained(&mut self, _: u32, _: &mut Connections<u32>) {}

    fn turn(&mut self, now: Instant, connections: &mut Connections<u32>) -> Next {
        if now >= self.due {
            self.sample(now);
            for key in &self.listeners {
                if let Some(mut connection) = connections.open_mut(*key) {
                    connection.send(&self.event);
                }
            }
            // After a pause, one sample and not all that were missed.
            self.due = (self.due + INTERVAL).max(now + INTERVAL / 2);
        }
        Next::At(self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_is_told() {
        assert_eq!(readiness(&[]).status, 200);
        let troubles = ["the disk is full".to_owned(), "so is the memory".to_owned()];
        let told = readiness(&troubles);
        let expected = Response::text(503, &b"the disk is full\nso is the memory\n"[..]);
        assert_eq!(told, expected);
    }
}
