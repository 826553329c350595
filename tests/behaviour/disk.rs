//! Counts while the disk is full, failing or slow, and snapshots that are damaged.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    AdminSide, Client, Http, Server, directory, eventually, post_request, reaction, refused, skip,
};

/// Size of a page of the snapshot, and of a word in it.
const PAGE_BYTES: usize = 4096;
const WORD_BYTES: usize = 8;

/// More requests at once would fill the small send buffer and wait for a delayed ACK.
const BATCH: usize = 10;

/// Posts a reaction of each of so many kinds in a room. All must be counted.
fn post_kinds(http: &mut Http, room: usize, kinds: usize) {
    let target = format!("/party/{room}");
    let posts: Vec<String> = (0..kinds)
        .map(|kind| post_request(&target, &reaction(&kind.to_string())))
        .collect();
    for batch in posts.chunks(BATCH) {
        http.send(batch.concat());
        for _ in batch {
            assert_eq!(http.response().status, 200);
        }
    }
}

/// Adds counters until the server has no space for another.
fn fill(server: &Server) {
    const MAX_ROOMS: usize = 1000;
    const KINDS_EACH: usize = 64;
    let mut http = Http::connect(server);
    for room in 0..MAX_ROOMS {
        let target = format!("/party/{room}");
        let posts: Vec<String> = (0..KINDS_EACH)
            .map(|kind| post_request(&target, &reaction(&kind.to_string())))
            .collect();
        for batch in posts.chunks(BATCH) {
            http.send(batch.concat());
            let mut statuses = batch.iter().map(|_| http.response().status);
            if let Some(other) = statuses.find(|status| *status != 200) {
                return assert_eq!(other, 507, "in room {room}");
            }
        }
    }
    panic!("{MAX_ROOMS} rooms all had space");
}

#[test]
fn a_full_snapshot_still_counts_known_kinds() {
    let server = Server::start(&["--snapshot-max-bytes", "1048576"]);
    assert_known_kinds_still_count(&server);
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn memory_overflow_is_bounded_if_the_file_cannot_grow() {
    // Shells count blocks of 512 or 1024 bytes. Either way the limit is above the first megabyte
    // of the file and below the third.
    let mut server = Server::start_limited("-f 2048", &["--max-spare-bytes", "65536"]);
    assert_known_kinds_still_count(&server);
    eventually("the log says why", || {
        let log = server.log();
        log.contains("can't grow") && log.contains("ulimit -f")
    });
    // At the end, the server reports what it could not save.
    server.terminate();
    assert_eq!(server.wait().code(), Some(4));
    assert!(
        server.log().contains("could not be saved"),
        "{}",
        server.log()
    );
}

fn assert_known_kinds_still_count(server: &Server) {
    let mut member = Client::enter(server, "talk");
    member.react("love");
    member.wait_for(|counts| counts.of("love") == 1);
    fill(server);
    member.react("love");
    member.wait_for(|counts| counts.of("love") == 2);
    let mut http = Http::connect(server);
    assert_eq!(http.post("/party/0", &reaction("0")).status, 200);
    let refusal = http.post("/party/too%20late", &reaction("love"));
    assert_eq!(refusal.status, 507);
    assert!(refusal.body.contains("snapshot"), "{}", refusal.body);
}

/// A file system of two megabytes in memory. Dropping it unmounts it.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let disk = Self(directory());
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "none"])
            .arg(disk.path())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(disk);
        }
        skip("this user may not mount a file system");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_loses_no_count_once_space_returns() {
    const ROOMS: usize = 400;
    const KINDS: usize = 50;
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let ballast = disk.path().join("ballast");
    let arguments = ["--flush-interval-ms", "20", "--admin", "127.0.0.1:0"];
    let mut server = Server::start_in(disk.path(), &arguments);
    let admin = AdminSide::of(&server);
    assert_eq!(admin.get("/readyz").status, 200);
    let mut member = Client::enter(&server, "talk");
    fs::write(&ballast, vec![1; 2 << 20]).unwrap_err();
    let mut http = Http::connect(&server);
    for room in 0..ROOMS {
        post_kinds(&mut http, room, KINDS);
    }
    // A room that exists only in memory works like any other.
    let mut late = Client::enter(&server, "late");
    for count in 1..=3 {
        late.react("love");
        late.wait_for(|counts| counts.of("love") == count);
    }
    member.react("love");
    member.wait_for(|counts| counts.of("love") == 1);
    eventually("the log says that the disk is full", || {
        let log = server.log();
        log.contains("can't grow") && log.contains("make space on that disk")
    });
    let readiness = admin.get("/readyz");
    assert_eq!(readiness.status, 503);
    assert!(
        readiness.body.contains("make space on that disk"),
        "{}",
        readiness.body
    );
    assert!(admin.metric("ovation_unsaved_records") > 0.0);

    fs::remove_file(&ballast).unwrap();
    eventually("the log reports the recovery", || {
        server.log().contains("snapshot recovered")
    });
    assert_eq!(admin.get("/readyz").status, 200);
    assert_eq!(admin.metric("ovation_unsaved_records"), 0.0);
    late.react("love");
    late.wait_for(|counts| counts.of("love") == 4);
    server.kill();
    let server = Server::start_in(disk.path(), &arguments);
    assert_eq!(Client::join(&server, "late").1.of("love"), 4);
    assert_eq!(Client::join(&server, "talk").1.of("love"), 1);
    for room in 0..ROOMS {
        let counts = Client::join(&server, &room.to_string()).1;
        assert_eq!(counts.total(), KINDS as u64, "room {room}: {counts}");
    }
}

#[test]
fn a_failing_disk_is_reported_and_retried() {
    let home = directory();
    // The first calls of each thread create and open the file. After the eighth the disk recovers.
    let fault = "msync:error=EIO:when=4..8";
    let Some(server) = Server::start_injected(home.path(), fault, &["--flush-interval-ms", "5"])
    else {
        return;
    };
    let mut member = Client::enter(&server, "talk");
    let mut count = 0;
    eventually("the log reports the failure and then the recovery", || {
        count += 1;
        member.react("love");
        member.wait_for(|counts| counts.of("love") == count);
        let log = server.log();
        log.contains("can't be written to the disk") && log.contains("snapshot recovered")
    });
    let log = server.log();
    let path = server.snapshot();
    assert!(
        log.contains(path.file_name().unwrap().to_str().unwrap()),
        "{log}"
    );
    assert!(log.contains("Input/output error"), "{log}");
    assert_eq!(server.stop().code(), Some(0));
    let server = Server::start_in(home.path(), &[]);
    assert_eq!(Client::join(&server, "talk").1.of("love"), count);
}

/// Repeats an attempt that returns false if strace failed to delay a thread, which happens now and
/// then. strace reports that in the server's log.
fn attempt(try_once: impl Fn() -> bool) {
    assert!((0..5).any(|_| try_once()), "strace failed in five attempts");
}

#[test]
fn a_slow_disk_delays_no_reaction() {
    attempt(reactions_come_while_the_disk_is_slow);
}

#[test]
fn slow_file_growth_delays_no_reaction() {
    attempt(rooms_are_made_while_the_file_grows_slowly);
}

/// Returns whether the disk was slow all the time.
fn reactions_come_while_the_disk_is_slow() -> bool {
    const SYNC: Duration = Duration::from_secs(1);
    let home = directory();
    let fault = format!("msync:delay_enter={}:when=2+", SYNC.as_micros());
    let arguments = [
        "--flush-interval-ms",
        "1",
        "--tick-ms",
        "1",
        "--admin",
        "127.0.0.1:0",
    ];
    let Some(server) = Server::start_injected(home.path(), &fault, &arguments) else {
        return true;
    };
    let admin = AdminSide::of(&server);
    let mut member = Client::enter(&server, "talk");
    let mut http = Http::connect(&server);
    let start = Instant::now();
    let mut longest = Duration::ZERO;
    let mut count = 0;
    // Long enough for two slow syncs.
    while start.elapsed() < 3 * SYNC {
        let asked = Instant::now();
        count += 1;
        member.react("love");
        member.wait_for(|counts| counts.of("love") == count);
        // New rooms and kinds are written to the file too.
        http.post(&format!("/party/{count}"), &reaction("love"));
        longest = longest.max(asked.elapsed());
        thread::sleep(Duration::from_millis(2));
    }
    if server.log().contains("strace:") {
        return false;
    }
    let slowest = admin.metric("ovation_longest_flush_seconds");
    assert!(
        slowest >= SYNC.as_secs_f64(),
        "no flush took longer than {slowest} s"
    );
    assert!(count > 50, "{count} reactions");
    assert!(longest < SYNC / 2, "one reaction took {longest:?}");
    true
}

/// Returns whether the file grew slowly all the time.
fn rooms_are_made_while_the_file_grows_slowly() -> bool {
    const GROWTH: Duration = Duration::from_secs(1);
    /// More counters than the server has space ready for.
    const ROOMS: usize = 1200;
    const KINDS: usize = 40;
    let home = directory();
    // The first call creates the file.
    let fault = format!("fallocate:delay_enter={}:when=2+", GROWTH.as_micros());
    let Some(server) = Server::start_injected(home.path(), &fault, &["--admin", "127.0.0.1:0"])
    else {
        return true;
    };
    let admin = AdminSide::of(&server);
    let mut member = Client::enter(&server, "talk");
    let mut http = Http::connect(&server);
    let mut longest = Duration::ZERO;
    for room in 0..ROOMS {
        let asked = Instant::now();
        let posts =
            |kind: usize| post_request(&format!("/party/{room}"), &reaction(&kind.to_string()));
        http.send((0..KINDS).map(posts).collect::<String>());
        for _ in 0..KINDS {
            assert_eq!(http.response().status, 200);
        }
        longest = longest.max(asked.elapsed());
        if server.log().contains("strace:") {
            return false;
        }
    }
    member.react("love");
    member.wait_for(|counts| counts.of("love") == 1);
    assert!(longest < GROWTH / 2, "one room took {longest:?}");
    eventually("all records are in the file", || {
        admin.metric("ovation_unsaved_records") == 0.0
    });
    let kinds = admin.metric("ovation_snapshot_used_bytes") / 64.0;
    assert!(kinds > (ROOMS * KINDS) as f64, "{kinds} cells");
    !server.log().contains("strace:")
}

#[test]
fn a_hanging_disk_is_reported_while_it_hangs() {
    attempt(a_hang_is_reported);
}

/// Returns whether the disk hung for as long as it should.
fn a_hang_is_reported() -> bool {
    let home = directory();
    // The first call of a thread opens the file or is its first flush.
    let fault = "msync:delay_enter=15000000:when=2";
    let arguments = ["--flush-interval-ms", "1", "--admin", "127.0.0.1:0"];
    drop(Server::start_in(home.path(), &[]));
    let Some(server) = Server::start_injected(home.path(), fault, &arguments) else {
        return true;
    };
    let admin = AdminSide::of(&server);
    let mut member = Client::enter(&server, "talk");
    member.react("love");
    member.wait_for(|counts| counts.of("love") == 1);
    let report = "has not been written to the disk for";
    eventually("the log reports the hang", || {
        member.react("love");
        let log = server.log();
        log.contains(report) || log.contains("strace:")
    });
    if server.log().contains("strace:") {
        return false;
    }
    let readiness = admin.get("/readyz");
    assert!(
        readiness.status == 503 && readiness.body.contains(report),
        "{}",
        readiness.body
    );
    let (mut other, counts) = Client::join(&server, "talk");
    other.react("clap");
    other.wait_for(|now| now.of("clap") == counts.of("clap") + 1);
    eventually("the log reports the recovery", || {
        member.react("love");
        server.log().contains("snapshot recovered")
    });
    true
}

#[test]
fn a_damaged_snapshot_is_refused_or_salvaged() {
    let home = directory();
    let server = Server::start_in(home.path(), &[]);
    let path = server.snapshot();
    let mut http = Http::connect(&server);
    for room in ["a", "b", "c"] {
        assert_eq!(
            http.post(&format!("/party/{room}"), &reaction("love"))
                .status,
            200
        );
    }
    assert_eq!(server.stop().code(), Some(0));
    let mut bytes = fs::read(&path).unwrap();
    // Damages the name of the first room.
    bytes[PAGE_BYTES + 4 * WORD_BYTES] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let failed = refused(home.path(), &[]);
    assert_eq!(failed.code, Some(4));
    for part in ["is damaged", "a room's name at offset 4096", "--salvage"] {
        assert!(
            failed.message.contains(part),
            "no {part} in {}",
            failed.message
        );
    }
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let server = Server::start_in(home.path(), &["--salvage"]);
    eventually("the log names the original", || {
        let log = server.log();
        log.contains("snapshot salvaged") && log.contains(".damaged-1")
    });
    assert_eq!(
        fs::read(path.with_extension("snapshot.damaged-1")).unwrap(),
        bytes
    );
    for (room, count) in [("a", 0), ("b", 1), ("c", 1)] {
        assert_eq!(Client::join(&server, room).1.of("love"), count, "{room}");
    }
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(Server::start_in(home.path(), &[]).stop().code(), Some(0));
}

#[test]
fn an_unwritable_snapshot_is_refused_with_advice() {
    let home = directory();
    let missing = home.path().join("no/such/directory/counts");
    let failed = refused(home.path(), &["--snapshot", missing.to_str().unwrap()]);
    assert_eq!(failed.code, Some(4));
    assert!(
        failed.message.contains("make the directory"),
        "{}",
        failed.message
    );
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let path = disk.path().join("counts");
    let arguments = ["--snapshot", path.to_str().unwrap()];
    fs::write(disk.path().join("ballast"), vec![1; 3 << 20]).unwrap_err();
    let failed = refused(home.path(), &arguments);
    assert_eq!(failed.code, Some(4));
    assert!(failed.message.contains("make space"), "{}", failed.message);
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(disk.path())
        .status();
    assert!(remounted.unwrap().success());
    let failed = refused(home.path(), &arguments);
    assert_eq!(failed.code, Some(4));
    assert!(failed.message.contains("for writing"), "{}", failed.message);
}

#[test]
fn only_one_of_many_servers_gets_the_snapshot() {
    const SERVERS: usize = 6;
    let home = directory();
    for round in 0..3 {
        let winners = thread::scope(|scope| {
            let started: Vec<_> = (0..SERVERS)
                .map(|_| scope.spawn(|| Server::try_start_in(home.path(), &[])))
                .collect();
            let started = started.into_iter().map(|it| it.join().unwrap());
            started.filter_map(Result::ok).collect::<Vec<_>>()
        });
        let [server] = &winners[..] else {
            panic!("{} servers run in round {round}", winners.len());
        };
        let mut member = Client::enter(server, "talk");
        member.react("love");
        member.wait_for(|counts| counts.of("love") == round + 1);
    }
}

#[test]
fn a_room_ttl_that_is_too_short_is_refused() {
    for wrong in ["5s", "soon", "0"] {
        let failed = refused(directory().path(), &["--room-ttl", wrong]);
        assert_eq!(failed.code, Some(2), "{wrong}");
        assert!(failed.message.contains("--room-ttl"), "{}", failed.message);
    }
}
