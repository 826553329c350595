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
use std::time::Duration;

use attackers::{COLD_ROOMS, PROXY_NETWORK, Signals, attack};
use members::Members;
use support::{
    AdminSide, Http, Server, eventually, open_sockets_of, post_request, raise_descriptor_limit,
    reaction, resident_bytes,
};

const MEMBERS: usize = 1000;
const ATTACKERS: usize = 2000;
/// Shortest time that the members react without and with attackers.
const QUIET: Duration = Duration::from_secs(4);
const UNDER_ATTACK: Duration = Duration::from_secs(8);
/// Shortest time of the attack that comes first, after which memory is measured.
const WARM_UP: Duration = Duration::from_secs(6);
/// Number of times that the latencies are compared, because other programs may disturb one of them.
const MAX_TRIES: usize = 5;
/// Rounds of an attack until all attackers have connected, and until it is over.
const ROUNDS_OF_ASSEMBLY: usize = 15;
const ROUNDS_OF_ATTACK: usize = 60;
/// Latency that is good enough, whatever it was without attackers.
const GOOD_LATENCY: Duration = Duration::from_millis(150);

/// A server on a public address, as its operator sees it.
struct Site {
    server: Server,
    admin: AdminSide,
}

/// Starts a server as an operator would on a public address, with shorter timeouts.
fn start() -> Site {
    let kinds = (0..62).map(|number| format!("k{number}"));
    let kinds: Vec<String> = ["love", "clap"]
        .map(str::to_owned)
        .into_iter()
        .chain(kinds)
        .collect();
    let (server, admin) = AdminSide::start(&[
        "--kinds",
        &kinds.join(","),
        "--allow-origin",
        "https://talks.example",
        "--trusted-proxy",
        PROXY_NETWORK,
        "--proxy-protocol",
        "--max-connections-per-ip",
        "60",
        "--reaction-rate",
        "20",
        "--reactors",
        "2",
        "--room-grace-ms",
        "0",
        "--head-timeout-ms",
        "3000",
        "--ping-interval-ms",
        "2000",
    ]);
    Site { server, admin }
}

impl Site {
    fn connections(&self) -> usize {
        let metrics = self.admin.metrics();
        let of = |reactor: usize| metrics[&format!("ovation_connections{{reactor=\"{reactor}\"}}")];
        (of(0) + of(1)) as usize
    }

    fn count_of(&self, kind: &str) -> u64 {
        let body = Http::connect(&self.server).get("/party/talk").body;
        let counts: serde_json::Value = serde_json::from_str(&body).unwrap();
        counts[kind].as_u64().unwrap_or(0)
    }
}

/// Creates rooms with all kinds, which then leave memory.
fn prepare_cold_rooms(server: &Server) {
    for room in 0..COLD_ROOMS {
        // One connection may send only a burst.
        let mut http = Http::connect(server);
        let target = format!("/party/cold{room}");
        let posts = (0..62).map(|kind| post_request(&target, &reaction(&format!("k{kind}"))));
        http.send(posts.collect::<String>());
        for _ in 0..62 {
            assert_eq!(http.response().status, 200);
        }
    }
}

/// Lets members react while attackers attack, once the attack is in full swing. Returns the members'
/// latency, when all attackers have gone.
fn under_attack(site: &Site, members: &mut Members, period: Duration) -> Duration {
    let address: SocketAddr = site.server.address().parse().unwrap();
    let signals = Signals::default();
    let rounds = |most| signals.rounds.load(Ordering::Relaxed) >= most;
    thread::scope(|scope| {
        let attackers = scope.spawn(|| attack(address, ATTACKERS, &signals));
        // Ends the attack even if a member panics, because the scope waits for it.
        let end = SetOnDrop(&signals.is_over);
        members.react_for(Duration::ZERO, || rounds(ROUNDS_OF_ASSEMBLY));
        let latency = members.react_for(period, || rounds(ROUNDS_OF_ATTACK));
        assert_eq!(site.admin.get("/healthz").status, 200);
        assert!(site.connections() > MEMBERS + ATTACKERS / 3);
        drop(end);
        println!("the attack: {:?}", attackers.join().unwrap());
        latency
    })
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether attackers hardly delay the members.
fn is_calm(site: &Site, members: &mut Members) -> bool {
    let quiet = members.react_for(QUIET, || true);
    let attacked = under_attack(site, members, UNDER_ATTACK);
    println!("99th percentile: {quiet:?} without attackers, {attacked:?} with them");
    attacked <= (2 * quiet).max(GOOD_LATENCY)
}

#[test]
fn members_hardly_notice_two_thousand_attackers() {
    raise_descriptor_limit();
    let site = start();
    let server = &site.server;
    prepare_cold_rooms(server);
    let mut members = Members::join(server, MEMBERS);
    let is_alone = || site.connections() == MEMBERS;
    eventually("only members are connected", is_alone);
    let sockets = open_sockets_of(server, "reactor");
    let settle = || {
        eventually("the attackers have gone", is_alone);
        eventually("their sockets are closed", || {
            open_sockets_of(server, "reactor") == sockets
        });
    };
    under_attack(&site, &mut members, WARM_UP);
    settle();
    let resident = resident_bytes(server);

    assert!(
        (0..MAX_TRIES).any(|_| is_calm(&site, &mut members)),
        "the attackers delay the members each time"
    );
    settle();
    let resident_after = resident_bytes(server);
    println!("resident memory: {resident} bytes before, {resident_after} after");
    assert!(
        resident_after <= resident + resident / 10,
        "{resident_after}"
    );
    assert_eq!(site.count_of("love"), members.sent);
    let claps = site.count_of("clap");
    println!(
        "{} reactions of members, {claps} of attackers",
        members.sent
    );
    let metrics = site.admin.get("/metrics").body;
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
}
