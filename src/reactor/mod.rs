//! The reactor: one thread, one poll, and the sockets that it accepted. A library that knows no
//! application: the rooms, the admin side and an echo server each implement [`App`].
//!
//! - `event_loop`: the [`Reactor`] and its turns. [`Reactor::run`] waits for events; a program with
//!   a loop of its own calls [`Reactor::step`] and [`Reactor::adopt`]. `accept`, `input`,
//!   `requests`, `frames` and `closing` are its steps: a connection's way in, what it sends, and
//!   its way out.
//! - `app`: the application, as a trait. `message`: what it receives and answers. `mailbox`: how
//!   other threads notify it.
//! - `connection`, `slab`, `connections`, `open_connection`, `socket`, `token`: a connection, its
//!   memory, and what is written to it.
//! - `bodies`: bodies of requests that have arrived in part.
//! - `close_reason`: why connections end. `limits`: what connections are held to. `rate`,
//!   `offenders`: the limit on the rate of messages, and the connections that are far over it.
//! - `admission`, `gate`: which connections are let in. `address_counts`, `network`: limits by
//!   address. `proxies`, `naming`, `client`: whose connection it is, behind a proxy too.
//! - `listener`, `listen_address`: listening sockets. `deadlines`, `sweep`: timeouts and pings.
//!   `stalled`: connections that end while memory is scarce.
//! - `metrics`, `log_throttle`: what the reactor counts and how often it logs.
//!
//! # Invariants of the edge-triggered loop
//! - An event comes once. If the reactor stops reading a connection before its socket would block,
//!   it puts the connection on the ready queue, which is the only way back. The reactor stops early
//!   if the connection's share of the turn or the whole turn's bytes are used up. It also stops
//!   while the connection's own replies wait for the socket; then draining is the way back.
//! - A read that fills less than the buffer has emptied the socket, unless the peer has closed,
//!   which the event says.
//! - A token carries a generation: an event for a closed connection can't reach its successor.
//! - A turn is bounded: in events, in bytes read, in connections accepted, in frames sent. The next
//!   turn, which then does not sleep, continues with the rest.
//! - With nothing to do, the poll has no timeout.
//!
//! # Example
//! An application that returns every text message to its sender:
//!
//! ```no_run
//! use std::convert::Infallible;
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use ovation::protocol::http::{Request, Response};
//! use ovation::protocol::websocket::frame;
//! use ovation::reactor::{
//!     App, Client, ConnectionLimits, Connections, Message, NextTurn, Reactor, ReactorParts,
//!     Refused, SocketOptions, Verdict, bind,
//! };
//!
//! struct Echo;
//!
//! impl App for Echo {
//!     type Member = ();
//!     type Notice = Infallible;
//!
//!     fn respond(
//!         &mut self,
//!         _: Client<'_>,
//!         request: &Request,
//!         _: &[u8],
//!         output: &mut Vec<u8>,
//!     ) -> Option<Verdict> {
//!         Response::empty(404).encode(request, &Default::default(), output);
//!         None
//!     }
//!
//!     fn join(&mut self, _: u32, _: &Request, _: &mut Vec<u8>) -> Result<(), Refused> {
//!         Ok(())
//!     }
//!
//!     fn receive(
//!         &mut self,
//!         _: &Client<'_>,
//!         _: &mut (),
//!         message: Message,
//!         reply: &mut Vec<u8>,
//!     ) -> Verdict {
//!         let Message::Text(text) = message else {
//!             return Verdict::Invalid;
//!         };
//!         frame::encode(frame::TEXT, text.as_bytes(), reply);
//!         Verdict::Accepted
//!     }
//!
//!     fn leave(&mut self, _: (), _: &mut Connections<()>) {}
//!
//!     fn drained(&mut self, _: u32, _: &mut Connections<()>) {}
//!
//!     fn notice(&mut self, notice: Infallible, _: Instant) {
//!         match notice {}
//!     }
//!
//!     fn turn(&mut self, _: Instant, _: &mut Connections<()>) -> NextTurn {
//!         NextTurn::OnEvent
//!     }
//! }
//!
//! let address = "127.0.0.1:9001".parse()?;
//! let (mut listeners, _) = bind(&[address], 1, &SocketOptions::default())?;
//! let parts = ReactorParts::new(listeners.remove(0))?;
//! Reactor::new(parts, Echo, ConnectionLimits::default(), Arc::default())?.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accept;
mod address_counts;
mod address_rate;
mod admission;
mod app;
mod bodies;
mod client;
mod close_reason;
mod closing;
mod connection;
mod connections;
mod deadlines;
mod event_loop;
mod frames;
mod gate;
mod input;
mod limits;
mod listen_address;
mod listener;
mod log_throttle;
mod mailbox;
mod message;
mod metrics;
mod naming;
mod network;
mod offenders;
mod open_connection;
mod proxies;
mod rate;
mod requests;
mod slab;
mod socket;
mod stalled;
mod sweep;
mod token;

pub(crate) use address_rate::{AddressRate, Enforcement};
pub use admission::{Admission, AdmissionLimits, TurnAway};
pub(crate) use admission::{DEFAULT_MAX_CONNECTIONS, DEFAULT_MIN_FREE_MEMORY_PERCENT};
pub use app::{App, NextTurn, Refused};
pub use client::Client;
pub use close_reason::Dismissal;
pub use connections::Connections;
pub use event_loop::{Reactor, ReactorParts};
pub use limits::ConnectionLimits;
pub(crate) use limits::{
    DEFAULT_CLOSE_TIMEOUT, DEFAULT_HEAD_TIMEOUT, DEFAULT_MAX_INVALID_MESSAGES,
    DEFAULT_PING_INTERVAL,
};
pub use listen_address::ListenAddress;
pub use listener::{BindError, Listener, SocketOptions, bind};
pub(crate) use listener::{
    DEFAULT_BACKLOG, DEFAULT_RECEIVE_BUFFER_BYTES, DEFAULT_SEND_BUFFER_BYTES,
};
pub(crate) use log_throttle::LogThrottle;
pub use mailbox::Mailbox;
pub use message::{Message, Verdict};
pub(crate) use metrics::closed_by_label;
pub use metrics::{Gauge, ReactorMetrics};
pub use open_connection::{OpenConnection, Sent, Transport};
pub use proxies::{Naming, TrustedProxies, TrustedProxy};
pub use rate::MessageRate;
pub(crate) use rate::{
    DEFAULT_MESSAGE_BURST, DEFAULT_MESSAGE_RATE, MAX_MESSAGE_BURST, MAX_MESSAGE_RATE,
};
pub(crate) use slab::CHUNK;
pub(crate) use sweep::Sweep;

/// The bytes that a reactor keeps of each connection, if the application's members are `M`.
pub const fn entry_bytes<M>() -> usize {
    size_of::<Option<connection::Connection<M>>>()
}
