//! What the tests stand on: a server process, clients, and waits that have an end.

mod client;
mod events;
mod http;
mod process;
mod server;
mod wire;

use std::thread;
use std::time::{Duration, Instant};

pub(crate) use client::{Client, Counts, dial, reaction};
pub(crate) use events::{EventStream, Item, stream_request};
pub(crate) use http::{Http, Response, post_request, upgrade_head};
pub(crate) use process::{cpu_time, open_sockets, resident_bytes, switches, switches_of};
pub(crate) use server::{Server, directory, refused};
pub(crate) use wire::{RawSocket, close_payload, frame_with_length, masked};

/// How long anything may take that must happen: far more than it needs on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that nothing tells of.
///
/// # Panics
/// When it has not come true in time.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "in {PATIENCE:?} never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Says that a test could not run, where the harness does not keep it to itself.
pub(crate) fn skipped(why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Lets this process have as many sockets as the hard limit allows.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may rise to the hard one");
}

/// SplitMix64: enough chance for a test, and the same again for the same seed.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
