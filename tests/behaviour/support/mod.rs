//! The harness of the integration tests: a server process, clients, and waits that end.

mod admin;
mod client;
mod events;
mod http;
mod process;
mod server;
mod tool;
mod wire;

use std::net::{IpAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use admin::AdminSide;
pub(crate) use client::{Client, Counts, dial, dial_with_small_buffer, reaction};
pub(crate) use events::{EventStream, Item, stream_request};
pub(crate) use http::{Http, Response, post_request, upgrade_head};
pub(crate) use process::{
    cpu_time_during, open_sockets, open_sockets_of, resident_bytes, settled_switches, switches,
    switches_of, thread_names,
};
pub(crate) use server::{Server, clean_command, directory, has_strace, refused};
pub(crate) use tool::{done, failed, snapshot, start_snapshot};
pub(crate) use wire::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RawSocket, TEXT, close_payload,
    frame_with_length, masked, reaction_frame,
};

/// Longest wait for anything that must happen: far more than it needs on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Polls until `is_so` returns true.
///
/// # Panics
/// If that takes longer than [`PATIENCE`].
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(
            Instant::now() < deadline,
            "did not happen in {PATIENCE:?}: {what}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// Reports that the calling test can't run on this machine. The message goes straight to standard
/// error because the test harness captures `eprintln!`.
///
/// # Panics
/// If the environment variable `CI` is set: there, no test may be skipped.
pub(crate) fn skip(why: &str) {
    use std::io::Write;
    assert!(
        std::env::var_os("CI").is_none(),
        "CI is set, so no test may be skipped, but {why}"
    );
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

/// This machine's address to others, if it has one.
pub(crate) fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Connecting a datagram socket sends nothing.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Raises this process's limit on open files to the hard limit.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may rise to the hard limit");
}

/// SplitMix64: random enough for a test, and repeatable by its seed.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number from 0 to `bound - 1`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
