//! Opens connections with spread source addresses, at a bounded pace.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::plan::Plan;
use super::target::source_address;
use crate::os::tcp;

/// Number of connections of one source address to the target, well below the number of ports.
const CONNECTIONS_PER_SOURCE: u64 = 10_000;

/// The receive buffer of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReceiveBuffer {
    /// The system's default size.
    Default,
    /// The smallest size that the system allows.
    Minimal,
}

/// Decides when a worker's next connection may begin, and begins it.
#[derive(Debug)]
pub(super) struct Connector {
    target: SocketAddr,
    spread: Option<Spread>,
    no_delay: bool,
    window: u64,
    /// Maximum number of new connections per second of this worker.
    rate: Option<f64>,
    began: Instant,
    begun_in_wave: u64,
}

/// The source addresses of a worker: every n-th address, so that no two workers share one.
#[derive(Debug)]
struct Spread {
    thread: u64,
    threads: u64,
    serial: u64,
}

impl Connector {
    pub(super) fn new(plan: &Plan, thread: u16, no_delay: bool) -> Self {
        Self {
            target: plan.target.address,
            spread: plan.spread_sources.then(|| Spread {
                thread: thread.into(),
                threads: plan.threads.into(),
                serial: 0,
            }),
            no_delay,
            window: plan.connect_window.into(),
            rate: plan.connect_rate.map(|rate| rate / f64::from(plan.threads)),
            began: Instant::now(),
            begun_in_wave: 0,
        }
    }

    /// Begins a wave of connections.
    pub(super) fn begin_wave(&mut self) {
        self.began = Instant::now();
        self.begun_in_wave = 0;
    }

    /// Returns how many connections may begin now, while `in_flight` connections are under way.
    pub(super) fn allowance(&self, in_flight: u64) -> u64 {
        let window = self.window.saturating_sub(in_flight);
        match self.rate {
            Some(rate) => {
                let due = (self.began.elapsed().as_secs_f64() * rate) as u64 + 1;
                window.min(due.saturating_sub(self.begun_in_wave))
            }
            None => window,
        }
    }

    /// Returns the time until another connection may begin if only the rate delays it.
    pub(super) fn pause(&self) -> Duration {
        match self.rate {
            Some(rate) => Duration::from_secs_f64((1.0 / rate).clamp(0.001, 0.05)),
            None => Duration::from_millis(50),
        }
    }

    /// Begins a connection with a receive buffer of the given size.
    pub(super) fn begin(&mut self, receive_buffer: ReceiveBuffer) -> io::Result<TcpStream> {
        self.begun_in_wave += 1;
        let domain = Domain::for_address(self.target);
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(domain, kind, Some(Protocol::TCP))?;
        if receive_buffer == ReceiveBuffer::Minimal {
            socket.set_recv_buffer_size(1)?;
        }
        if self.no_delay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(spread) = &mut self.spread {
            tcp::choose_port_at_connect(&socket)?;
            socket.bind(&spread.next())?;
        }
        match socket.connect(&self.target.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(TcpStream::from_std(socket.into()))
    }
}

const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

impl Spread {
    fn next(&mut self) -> SockAddr {
        let block = self.serial / CONNECTIONS_PER_SOURCE;
        self.serial += 1;
        let address = source_address(block * self.threads + self.thread);
        SockAddr::from(SocketAddrV4::new(address, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_threads_share_a_source_address() {
        let mut seen = std::collections::HashSet::new();
        for thread in 0..3 {
            let mut spread = Spread {
                thread,
                threads: 3,
                serial: 0,
            };
            for _ in 0..2 {
                let address = spread.next();
                assert!(seen.insert(address.as_socket_ipv4().unwrap()));
                spread.serial += CONNECTIONS_PER_SOURCE - 2;
                assert_eq!(spread.next().as_socket_ipv4(), address.as_socket_ipv4());
            }
        }
    }
}
