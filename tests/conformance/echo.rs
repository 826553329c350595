//! An echo server on Ovation's reactor and decoder, for the Autobahn|Testsuite:
//! `cargo run --release --example echo -- 127.0.0.1:9001`.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use ovation::protocol::http::Response;
use ovation::protocol::http::request::Request;
use ovation::protocol::websocket::frame;
use ovation::reactor::{
    App, Client, ConnectionLimits, Connections, ListenAddress, Message, NextTurn, Reactor,
    ReactorParts, Refused, SocketOptions, Verdict, bind,
};

/// Maximum size of a message: sections 9.1 and 9.2 of the suite go to 16 MiB.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

struct Echo;

impl App for Echo {
    type Member = ();
    type Notice = Infallible;

    fn respond(
        &mut self,
        _: Client<'_>,
        request: &Request<'_>,
        _: &[u8],
        output: &mut Vec<u8>,
    ) -> Option<Verdict> {
        let response = Response::text(404, &b"This server speaks WebSocket"[..]);
        response.encode(request, &Default::default(), output);
        None
    }

    fn join(&mut self, _: u32, _: &Request<'_>, _: &mut Vec<u8>) -> Result<(), Refused> {
        Ok(())
    }

    fn receive(
        &mut self,
        _: &Client<'_>,
        _: &mut (),
        message: Message<'_>,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        match message {
            Message::Text(text) => frame::encode(frame::TEXT, text.as_bytes(), reply),
            Message::Binary(bytes) => frame::encode(frame::BINARY, bytes, reply),
        }
        Verdict::Accepted
    }

    fn leave(&mut self, _: (), _: &mut Connections<()>) {}

    fn drained(&mut self, _: u32, _: &mut Connections<()>) {}

    fn notice(&mut self, notice: Infallible, _: Instant) {
        match notice {}
    }

    fn turn(&mut self, _: Instant, _: &mut Connections<()>) -> NextTurn {
        NextTurn::OnEvent
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address: ListenAddress = std::env::args()
        .nth(1)
        .ok_or("usage: echo ADDRESS:PORT")?
        .parse()?;
    let options = SocketOptions {
        send_buffer_bytes: None,
        ..SocketOptions::default()
    };
    let (mut listeners, bound) = bind(&[address], 1, &options)?;
    let parts = ReactorParts::new(listeners.remove(0))?;
    let limits = ConnectionLimits {
        max_message_bytes: MAX_MESSAGE_BYTES,
        ..ConnectionLimits::default()
    };
    println!("Echo listens on {}", bound[0]);
    Reactor::new(parts, Echo, limits, Arc::default())?.run()?;
    Ok(())
}
