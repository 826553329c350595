//! The application: which request gets which response, and the stream of samples.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::actions;
use super::guard::{Guard, offers_token};
use super::history::{History, TimeRange};
use super::metrics::{self, OwnFigures};
use super::reset::Resets;
use super::rooms;
use super::sampler::{INTERVAL, Sampler};
use super::sources::Sources;
use crate::protocol::http::{Origins, Request, Response, encode_stream_head, path_of, sse};
use crate::reactor::{
    App, Client, Connections, LogThrottle, Message, NextTurn, ReactorMetrics, Refused, Verdict,
};
use crate::web::Dashboard;

/// Fields of every response that is data and not a file, so that no browser renders it.
const PRIVATE: [(&str, &str); 1] = [(
    "Content-Security-Policy",
    "default-src 'none'; frame-ancestors 'none'",
)];

/// The admin side.
#[derive(Debug)]
pub(super) struct AdminApp {
    guard: Guard,
    /// The metrics of the admin side's own reactor.
    metrics: Arc<ReactorMetrics>,
    /// Number of requests with a wrong token.
    denied: u64,
    denied_log: LogThrottle,
    dashboard: Dashboard,
    sources: Sources,
    sampler: Sampler,
    history: History,
    /// The last sample, encoded as an event.
    event: Bytes,
    /// Keys of the connections that get samples.
    subscribers: Vec<u32>,
    max_subscribers: usize,
    resets: Resets,
    due: Instant,
}

impl AdminApp {
    pub(super) fn new(
        guard: Guard,
        sources: Sources,
        metrics: Arc<ReactorMetrics>,
        max_subscribers: usize,
    ) -> Self {
        let now = Instant::now();
        Self {
            guard,
            max_subscribers,
            metrics,
            denied: 0,
            denied_log: LogThrottle::default(),
            dashboard: Dashboard::new(),
            sampler: Sampler::new(&sources, now),
            sources,
            history: History::default(),
            event: Bytes::new(),
            subscribers: Vec::new(),
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

    /// Counts a request with a wrong token, and logs it once a minute.
    fn note_denied(&mut self, client: Client<'_>) {
        self.denied += 1;
        if self.denied_log.allows(Instant::now()) {
            let client = client.limited_address();
            let client = client.map_or_else(|| "this machine".to_owned(), |it| it.to_string());
            tracing::warn!(%client, denied = self.denied, "wrong admin token");
        }
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
                Ok(()) => actions::act(&self.sources.shared, &mut self.resets, path),
                Err(refusal) => refusal,
            },
            _ => Response::text(405, &b"Method not allowed: use GET, HEAD or POST"[..]),
        }
    }

    fn get(&self, path: &str, target: &str) -> Response<'static> {
        match path {
            "/readyz" => readiness(&self.sources.problems(Instant::now())),
            "/metrics" => {
                let own = OwnFigures {
                    connections: self.metrics.connections.get(),
                    turned_away: self.metrics.turned_away(),
                    denied: self.denied,
                };
                let text = metrics::text(&self.sources, &self.sampler, own);
                Response::of_type(200, metrics::MEDIA_TYPE, text.into_bytes())
            }
            // A request that may have an event stream has got one.
            "/events" => Response::text(503, &b"Too many event streams"[..]),
            "/rooms" => rooms::list(&self.sources.shared, target),
            "/history" => {
                let range = target.split_once("?range=").map_or("15m", |(_, name)| name);
                match TimeRange::named(range) {
                    Some(range) => {
                        let columns = self.history.columns(range);
                        // Strings and numbers always serialize.
                        Response::json(200, serde_json::to_vec(&columns).unwrap_or_default())
                    }
                    None => Response::text(400, &b"Unknown range: use 15m, 6h or 7d"[..]),
                }
            }
            _ => Response::text(404, &b"Not found"[..]),
        }
    }
}

/// The response of a server that has these problems.
fn readiness(problems: &[String]) -> Response<'static> {
    match problems {
        [] => Response::text(200, &b"ready\n"[..]),
        _ => Response::text(503, (problems.join("\n") + "\n").into_bytes()),
    }
}

impl App for AdminApp {
    /// The key of a connection that gets samples.
    type Member = u32;
    type Notice = Infallible;

    fn respond(
        &mut self,
        client: Client<'_>,
        request: &Request<'_>,
        _body: &[u8],
        output: &mut Vec<u8>,
    ) -> Option<Verdict> {
        const CHALLENGE: (&str, &str) = ("WWW-Authenticate", r#"Basic realm="Ovation admin""#);
        let response = self.response(request);
        if response.status == 401 && offers_token(request) {
            self.note_denied(client);
        }
        let mut fields = PRIVATE.to_vec();
        fields.extend((response.status == 401).then_some(CHALLENGE));
        response.encode_private(request, &fields, output);
        None
    }

    fn respond_shared(&mut self, request: &Request<'_>, output: &mut Vec<u8>) -> Option<Bytes> {
        let asset = self.dashboard.find(path_of(request.target))?;
        // `respond` answers what the guard refuses.
        let may_have =
            matches!(request.method, "GET" | "HEAD") && self.guard.check(request).is_ok();
        may_have.then(|| asset.answer(request, output))
    }

    fn join(
        &mut self,
        _key: u32,
        _request: &Request<'_>,
        _first: &mut Vec<u8>,
    ) -> Result<u32, Refused> {
        Err(Response::text(404, &b"Not found"[..]).into())
    }

    fn join_stream(&mut self, key: u32, request: &Request<'_>, first: &mut Vec<u8>) -> Option<u32> {
        if path_of(request.target) != "/events" || self.guard.check(request).is_err() {
            return None;
        }
        // A stream never gives way to a newcomer, and health checks must always find a place.
        if self.subscribers.len() >= self.max_subscribers {
            return None;
        }
        encode_stream_head(request, &Origins::none(), first);
        first.extend_from_slice(&self.event);
        self.subscribers.push(key);
        Some(key)
    }

    fn receive(&mut self, _: &Client<'_>, _: &mut u32, _: Message<'_>, _: &mut Vec<u8>) -> Verdict {
        Verdict::Invalid
    }

    fn leave(&mut self, key: u32, _: &mut Connections<u32>) {
        self.subscribers.retain(|subscriber| *subscriber != key);
    }

    // The next sample is newer than the one that was missed.
    fn drained(&mut self, _: u32, _: &mut Connections<u32>) {}

    fn notice(&mut self, notice: Infallible, _: Instant) {
        match notice {}
    }

    fn turn(&mut self, now: Instant, connections: &mut Connections<u32>) -> NextTurn {
        if now >= self.due {
            self.sample(now);
            for key in &self.subscribers {
                if let Some(mut connection) = connections.open_mut(*key) {
                    connection.send(&self.event);
                }
            }
            // After a pause, one sample stands for all that were missed.
            self.due = (self.due + INTERVAL).max(now + INTERVAL / 2);
        }
        NextTurn::At(self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_every_problem() {
        assert_eq!(readiness(&[]).status, 200);
        let problems = ["the disk is full".to_owned(), "memory is short".to_owned()];
        let expected = Response::text(503, &b"the disk is full\nmemory is short\n"[..]);
        assert_eq!(readiness(&problems), expected);
    }
}
