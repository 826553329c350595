//! Attackers of all kinds at once, beside honest members. It is a test of its own, because it takes
//! all cores of a small machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test, a panic is a verdict"
)]

mod attackers;
mod members;
#[allow(dead_code, unused_imports, reason = "the harness of another test")]
#[path = "../behaviour/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use attackers::{COLD_ROOMS, PROXY_NETWORK, attack};
use members::Members;
use support::{
    AdminSide, Http, Server, eventually, open_sockets, post_request, raise_descriptor_limit,
    reaction, resident_bytes,
};

const MEMBERS: usize = 1000;
const ATTACKERS: usize = 2000;
/// Time that the members react without and with attackers.
const QUIET: Duration = Duration::from_secs(8);
const UNDER_ATTACK: Duration = Duration::from_secs(20);
/// Time of the attack that comes first, after which memory is measured.
const WARM_UP: Duration = Duration::from_secs(10);
/// Latency that is good enough, whatever it was without attackers.
const GOOD_LATENCY: Duration = Duration::from_millis(150);
/// The reaction rate and burst of one connection.
const RATE: u64 = 20;
const BURST: u64 = 200;

/// Starts a server as an operator would on a public address, with shorter timeouts.
fn start() -> (Server, AdminSide) {
    let kinds = (0..62).map(|number| format!("k{number}"));
    let kinds: Vec<String> = ["love", "clap"]
        .map(str::to_owned)
        .into_iter()
        .chain(kinds)
        .collect();
    AdminSide::start(&[
        "--kinds",
        &kinds.join(","),
        "--allow-origin",
        "https://talks.example",
        "--trusted-proxy",
        PROXY_NETWORK,
        "--proxy-protocol",
        "--max-connections-per-ip",
        "100",
        "--reaction-rate",
        &RATE.to_string(),
        "--reactors",
        "2",
        "--room-grace-ms",
        "0",
        "--head-timeout-ms",
        "3000",
        "--ping-interval-ms",
        "2000",
    ])
}

/// Creates rooms with all kinds, which then leave memory.
fn prepare_cold_rooms(server: &Server) {
    let mut http = Http::connect(server);
    for room in 0..COLD_ROOMS {
        let target = format!("/party/cold{room}");
        let posts = (0..62).map(|kind| post_request(&target, &reaction(&format!("k{kind}"))));
        http.send(posts.collect::<String>());
        for _ in 0..62 {
            assert_eq!(http.response().status, 200);
        }
    }
}

/// Runs `during` while attackers attack. Returns its result, when all attackers have gone.
fn under_attack<T>(server: &Server, during: impl FnOnce() -> T) -> T {
    let address: SocketAddr = server.address().parse().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let attackers = scope.spawn(|| attack(address, ATTACKERS, &is_over));
        // Ends the attack even if `during` panics, because the scope waits for it.
        let end = SetOnDrop(&is_over);
        let result = during();
        drop(end);
        println!("rounds of the attack: {}", attackers.join().unwrap());
        result
    })
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn connections(admin: &AdminSide) -> usize {
    let metrics = admin.metrics();
    let of = |reactor: usize| metrics[&format!("ovation_connections{{reactor=\"{reactor}\"}}")];
    (of(0) + of(1)) as usize
}

fn count_of(server: &Server, kind: &str) -> u64 {
    let body = Http::connect(server).get("/party/talk").body;
    let counts: serde_json::Value = serde_json::from_str(&body).unwrap();
    counts[kind].as_u64().unwrap_or(0)
}

#[test]
fn members_hardly_notice_two_thousand_attackers() {
    raise_descriptor_limit();
    let (server, admin) = start();
    prepare_cold_rooms(&server);
    let mut members = Members::join(&server, MEMBERS);
    let settle = |what: &str| {
        eventually(what, || connections(&admin) == MEMBERS);
        open_sockets(&server)
    };
    settle("only members are connected");
    let began = Instant::now();
    under_attack(&server, || members.react_for(WARM_UP));
    let sockets = settle("the attackers of the first round have gone");
    let resident = resident_bytes(&server);

    let quiet = members.react_for(QUIET);
    let attacked = under_attack(&server, || {
        let latency = members.react_for(UNDER_ATTACK);
        assert_eq!(admin.get("/healthz").status, 200);
        latency
    });
    println!("99th percentile: {quiet:?} without attackers, {attacked:?} with them");
    let seconds = began.elapsed().as_secs() + 1;

    assert_eq!(
        settle("the attackers have gone"),
        sockets,
        "sockets are left"
    );
    let resident_after = resident_bytes(&server);
    println!("resident memory: {resident} bytes before, {resident_after} after");
    assert!(
        resident_after <= resident + resident / 10,
        "{resident_after}"
    );
    assert_eq!(count_of(&server, "love"), members.sent);
    let claps = count_of(&server, "clap");
    println!(
        "{} reactions of members, {claps} of attackers",
        members.sent
    );
    let metrics = admin.get("/metrics").body;
    for reason in [
        "policy",
        "rate_limit",
        "bad_request",
        "origin",
        "overload",
        "head_timeout",
        "message_timeout",
        "client",
    ] {
        let none = format!("ovation_closed_total{{reason=\"{reason}\"}} 0\n");
        assert!(!metrics.contains(&none), "no connection ended by {reason}");
    }
    assert!(claps <= seconds * RATE * ATTACKERS as u64 + BURST * ATTACKERS as u64);
    assert!(
        attacked <= (2 * quiet).max(GOOD_LATENCY),
        "{attacked:?} after {quiet:?}"
    );
}
