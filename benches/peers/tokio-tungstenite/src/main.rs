//! The reaction counter, written well with tokio-tungstenite: a task per connection, a watch
//! channel per room, so that slow members get the newest counts, and one encoded message per tick
//! that all members share. Run as `tokio-tungstenite-peer PORT`.

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

const BACKLOG: u32 = 4096;
const TICK: Duration = Duration::from_millis(50);
/// The default of 128 KiB is too much for many connections.
const READ_BUFFER_BYTES: usize = 4 << 10;

#[derive(Deserialize)]
struct Reaction<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

struct Room {
    counts: Mutex<BTreeMap<String, u64>>,
    changed: tokio::sync::Notify,
    shown: watch::Sender<Utf8Bytes>,
}

type Rooms = Arc<Mutex<HashMap<String, Arc<Room>>>>;

impl Room {
    fn new() -> Arc<Self> {
        let room = Arc::new(Self {
            counts: Mutex::default(),
            changed: tokio::sync::Notify::new(),
            shown: watch::Sender::new(Utf8Bytes::from_static("{}")),
        });
        tokio::spawn(Arc::clone(&room).broadcast());
        room
    }

    fn react(&self, text: &str) {
        let Ok(reaction) = serde_json::from_str::<Reaction>(text) else {
            return;
        };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&*reaction.kind) {
            Some(count) => *count += 1,
            None => {
                counts.insert(reaction.kind.into_owned(), 1);
            }
        }
        drop(counts);
        self.changed.notify_one();
    }

    async fn broadcast(self: Arc<Self>) {
        loop {
            self.changed.notified().await;
            let counts = self
                .counts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if let Ok(json) = serde_json::to_string(&counts) {
                self.shown.send_replace(json.into());
            }
            tokio::time::sleep(TICK).await;
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::args()
        .nth(1)
        .ok_or("usage: tokio-tungstenite-peer PORT")?
        .parse()?;
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    let listener = socket.listen(BACKLOG)?;
    let rooms = Rooms::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, Arc::clone(&rooms)));
            }
            Err(_) => tokio::time::sleep(TICK).await,
        }
    }
}

async fn serve(stream: TcpStream, rooms: Rooms) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let mut path = String::new();
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    #[expect(
        clippy::result_large_err,
        reason = "tungstenite defines the type of the callback"
    )]
    let read_path = |request: &Request, response: Response| {
        path = request.uri().path().to_owned();
        Ok(response)
    };
    let mut socket = accept_hdr_async_with_config(stream, read_path, Some(config)).await?;
    let room = {
        let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(rooms.entry(path).or_insert_with(Room::new))
    };
    let mut shown = room.shown.subscribe();
    let first = shown.borrow_and_update().clone();
    socket.send(Message::Text(first)).await?;
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => room.react(&text),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(()),
            },
            _ = shown.changed() => {
                let counts = shown.borrow_and_update().clone();
                socket.send(Message::Text(counts)).await?;
            }
        }
    }
}
