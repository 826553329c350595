//! The minimal server of this protocol, as a baseline for the others.
//!
//! Each thread has a descriptor table and a listener. Once a tick it sends the same bytes to every
//! socket in the order of joining. It trusts its clients: it takes the kind from the first
//! reaction, counts every later text frame as one of that kind, loses messages for full sockets,
//! and has one room. Run as `bare PORT [--tables N]`.
#![allow(unsafe_code)]

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use slab::Slab;
use socket2::{Domain, Socket, Type};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tungstenite::handshake::derive_accept_key;

const TICK: Duration = Duration::from_millis(50);
const LISTENER: Token = Token(usize::MAX);
const BACKLOG: i32 = 4096;
/// Maximum reads from a socket before the next socket has its turn.
const READS_PER_TURN: usize = 4;
const MASKED_HEADER_BYTES: usize = 6;

static COUNT: AtomicU64 = AtomicU64::new(0);
static KIND: OnceLock<String> = OnceLock::new();

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let port: u16 = args
        .next()
        .ok_or("usage: bare PORT [--tables N]")?
        .parse()?;
    let tables: usize = match (args.next().as_deref(), args.next()) {
        (None, None) => 1,
        (Some("--tables"), Some(tables)) => tables.parse()?,
        _ => return Err("usage: bare PORT [--tables N]".into()),
    };
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?;
    let threads: Vec<_> = (0..tables)
        .map(|_| std::thread::spawn(move || serve(port, tables > 1)))
        .collect();
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")??;
    }
    Ok(())
}

fn serve(port: u16, own_table: bool) -> io::Result<()> {
    if own_table {
        #[cfg(target_os = "linux")]
        // SAFETY: this thread owns no descriptor yet, and shares no later one with another thread.
        unsafe {
            rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES)?;
        }
    }
    let mut poll = Poll::new()?;
    let mut listener = listen(port)?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut sockets: Slab<TcpStream> = Slab::new();
    let mut partial: HashMap<usize, Vec<u8>> = HashMap::new();
    let mut greeted: Vec<bool> = Vec::new();
    let mut buffer = vec![0_u8; 256 << 10];
    let mut events = Events::with_capacity(1024);
    let mut shown = 0;
    let mut next_tick = Instant::now();
    let mut unread: Vec<usize> = Vec::new();
    loop {
        let wait = if unread.is_empty() {
            next_tick.saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        };
        poll.poll(&mut events, Some(wait))?;
        let mut readable = std::mem::take(&mut unread);
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut sockets, &mut greeted)?;
            } else {
                readable.push(event.token().0);
            }
        }
        for index in readable {
            match read(index, &mut sockets, &mut greeted, &mut partial, &mut buffer) {
                Reading::Drained => {}
                Reading::Unfinished if unread.contains(&index) => {}
                Reading::Unfinished => unread.push(index),
                Reading::Ended => {
                    sockets.try_remove(index);
                    partial.remove(&index);
                }
            }
        }
        if Instant::now() >= next_tick {
            next_tick = Instant::now() + TICK;
            let count = COUNT.load(Relaxed);
            if count != shown {
                shown = count;
                let frame = frame(count);
                for (index, socket) in &mut sockets {
                    if greeted[index] {
                        let _ = socket.write(&frame);
                    }
                }
            }
        }
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    sockets: &mut Slab<TcpStream>,
    greeted: &mut Vec<bool>,
) -> io::Result<()> {
    loop {
        let mut socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(_) => continue,
        };
        let entry = sockets.vacant_entry();
        let index = entry.key();
        poll.registry()
            .register(&mut socket, Token(index), Interest::READABLE)?;
        entry.insert(socket);
        if greeted.len() <= index {
            greeted.resize(index + 1, false);
        }
        greeted[index] = false;
    }
}

enum Reading {
    Drained,
    Unfinished,
    Ended,
}

/// Reads a socket until it is empty or its turn ends.
fn read(
    index: usize,
    sockets: &mut Slab<TcpStream>,
    greeted: &mut [bool],
    partial: &mut HashMap<usize, Vec<u8>>,
    buffer: &mut [u8],
) -> Reading {
    let Some(socket) = sockets.get_mut(index) else {
        return Reading::Drained;
    };
    for _ in 0..READS_PER_TURN {
        let earlier = partial.remove(&index).unwrap_or_default();
        buffer[..earlier.len()].copy_from_slice(&earlier);
        let length = match socket.read(&mut buffer[earlier.len()..]) {
            Ok(0) => return Reading::Ended,
            Ok(length) => earlier.len() + length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !earlier.is_empty() {
                    partial.insert(index, earlier);
                }
                return Reading::Drained;
            }
            Err(_) => return Reading::Ended,
        };
        let data = &buffer[..length];
        let used = if greeted[index] {
            match scan(data) {
                Some(used) => used,
                None => return Reading::Ended,
            }
        } else if data.ends_with(b"\r\n\r\n") {
            greeted[index] = true;
            let _ = socket.write(&greeting(data));
            length
        } else {
            0
        };
        if used < length {
            partial.insert(index, data[used..].to_vec());
        }
        if length < buffer.len() {
            return Reading::Drained;
        }
    }
    Reading::Unfinished
}

/// Counts the text frames at the start of `data`. Returns their length, or `None` after a close.
fn scan(data: &[u8]) -> Option<usize> {
    let mut used = 0;
    let mut texts = 0;
    while let [first, second, ..] = data[used..] {
        let end = used + MASKED_HEADER_BYTES + usize::from(second & 0x7f);
        if end > data.len() {
            break;
        }
        match first & 0x0f {
            8 => return None,
            1 => {
                if texts == 0 && KIND.get().is_none() {
                    learn_kind(&data[used..end]);
                }
                texts += 1;
            }
            _ => {}
        }
        used = end;
    }
    COUNT.fetch_add(texts, Relaxed);
    Some(used)
}

fn learn_kind(frame: &[u8]) {
    let (mask, payload) = frame[2..].split_at(4);
    let plain = payload
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask);
    let text = String::from_utf8(plain.collect()).unwrap_or_default();
    if let Some(kind) = text.split('"').nth(3) {
        KIND.get_or_init(|| kind.to_owned());
    }
}

fn frame(count: u64) -> Vec<u8> {
    let text = match KIND.get() {
        Some(kind) if count > 0 => format!("{{\"{kind}\":{count}}}"),
        _ => "{}".to_owned(),
    };
    let mut frame = vec![0x81, text.len() as u8];
    frame.extend(text.as_bytes());
    frame
}

fn greeting(request: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(request);
    let key = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .map_or("", |(_, key)| key.trim());
    let accept = derive_accept_key(key.as_bytes());
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    answer.extend(frame(COUNT.load(Relaxed)));
    answer
}
