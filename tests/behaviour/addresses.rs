//! Limits by address, and trusted proxies that name their clients.

use std::io::Write;
use std::net::{IpAddr, TcpStream};
use std::os::unix::net::UnixStream;

use crate::support::{
    AdminSide, Http, PATIENCE, RawSocket, Server, clean_command, directory, eventually,
    own_address, post_request, reaction, reaction_frame, skip, upgrade_head,
};

const LIMITED: &str = "ovation_limited_room_creations_total";
/// Flags of a server that trusts this machine to send PROXY headers.
const HEADERS: [&str; 3] = ["--trusted-proxy", "127.0.0.1", "--proxy-protocol"];
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Encodes a PROXY header of version 1.
fn line(client: &str) -> Vec<u8> {
    let (family, server) = match client.parse().unwrap() {
        IpAddr::V4(_) => ("TCP4", "10.0.0.1"),
        IpAddr::V6(_) => ("TCP6", "::1"),
    };
    format!("PROXY {family} {client} {server} 4711 80\r\n").into_bytes()
}

/// Encodes a PROXY header of version 2. `rest` follows the addresses.
fn binary(command: u8, client: &str, rest: &[u8]) -> Vec<u8> {
    let (family, mut block) = match client.parse().unwrap() {
        IpAddr::V4(client) => (0x11, [&client.octets()[..], &[127, 0, 0, 1]].concat()),
        IpAddr::V6(client) => (0x21, [&client.octets()[..], &[0; 16]].concat()),
    };
    block.extend([0x12, 0x34, 0, 80]);
    block.extend(rest);
    let length = (block.len() as u16).to_be_bytes();
    [SIGNATURE, &[command, family], &length, &block].concat()
}

/// Connects like a proxy that sends `header` first.
fn through(server: &Server, header: impl AsRef<[u8]>) -> Http {
    let mut http = Http::connect(server);
    http.send(header);
    http
}

fn is_served(http: &mut Http) -> bool {
    http.try_get("/party/talk")
        .is_some_and(|response| response.status == 200)
}

/// Whether a proxy's request for `client` is served. The connection stays open.
fn is_served_for(http: &mut Http, forwarded: &str) -> bool {
    http.send(format!(
        "GET /party/talk HTTP/1.1\r\nHost: a\r\n{forwarded}\r\n"
    ));
    http.try_response("GET")
        .is_some_and(|response| response.status == 200)
}

fn limited(server_flags: &[&'static str], max: &'static str) -> Vec<&'static str> {
    let limit = ["--max-connections-per-ip", max, "--reactors", "2"];
    [server_flags, &limit].concat()
}

#[test]
fn each_client_of_a_proxy_has_its_own_connection_limit() {
    let server = Server::start(&limited(&HEADERS, "2"));
    let mut first = through(&server, line("10.0.0.2"));
    let mut second = through(&server, binary(0x21, "10.0.0.2", &[]));
    assert!(is_served(&mut first) && is_served(&mut second));
    let mut third = through(&server, line("10.0.0.2"));
    let refusal = third.response();
    assert_eq!(refusal.status, 503);
    assert!(refusal.field("Retry-After").is_some());
    third.expect_end();
    let mut other = through(&server, line("10.0.0.3"));
    assert!(is_served(&mut other), "another client did not get in");
    assert!(is_served(&mut first), "the first is no longer served");
    drop(second);
    eventually("another connection of the client is admitted", || {
        is_served(&mut through(&server, line("10.0.0.2")))
    });
}

#[test]
fn a_refused_websocket_gets_503() {
    let server = Server::start(&limited(&HEADERS, "1"));
    let mut first = through(&server, line("10.0.0.2"));
    first.send(upgrade_head("/party/talk", ""));
    assert_eq!(first.response().status, 101);
    let mut second = through(&server, line("10.0.0.2"));
    second.send(upgrade_head("/party/talk", ""));
    assert_eq!(second.response().status, 503);
    second.expect_end();
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let server = Server::start(&HEADERS);
    for header in [line("10.0.0.2"), binary(0x21, "2001:db8::1", &[4, 0, 1, 7])] {
        let request = b"GET /party/talk HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut http = Http::connect(&server);
        http.stream().set_nodelay(true).unwrap();
        for byte in [&header[..], request].concat() {
            http.send([byte]);
        }
        assert_eq!(http.response().status, 200);
    }
}

#[test]
fn a_second_header_is_refused() {
    let server = Server::start(&limited(&HEADERS, "1"));
    for (client, spoofed, header) in [
        ("10.0.0.2", "10.0.0.8", line("10.0.0.8")),
        ("10.0.0.3", "10.0.0.9", binary(0x21, "10.0.0.9", &[])),
    ] {
        let mut http = through(&server, [line(client), header].concat());
        assert_eq!(http.response().status, 400);
        http.expect_end();
        drop(http);
        eventually("the client's connection has closed", || {
            is_served(&mut through(&server, line(client)))
        });
        let mut other = through(&server, line(spoofed));
        assert!(is_served(&mut other), "the spoofed address was counted");
    }
}

#[test]
fn an_untrusted_peer_names_no_client() {
    let flags = ["--trusted-proxy", "127.0.0.9", "--proxy-protocol"];
    let server = Server::start(&flags);
    for header in [line("10.0.0.2"), binary(0x21, "10.0.0.2", &[])] {
        let mut http = through(&server, header);
        assert_eq!(http.response().status, 400);
        http.expect_end();
    }
    assert!(is_served(&mut Http::connect(&server)));
    // Without a limit, only a named client is over it.
    let server = Server::start(&limited(&["--trusted-proxy", "127.0.0.9"], "1"));
    let mut clients = [(); 3].map(|()| Http::connect(&server));
    for client in &mut clients {
        assert!(is_served_for(client, "X-Forwarded-For: 10.0.0.2\r\n"));
    }
}

#[test]
fn a_proxy_must_send_a_header() {
    let server = Server::start(&HEADERS);
    for start in [
        &b"GET /party/talk HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"PROXY TCP4 10.0.0.2 junk 1 2\r\n",
        b"PROXY TCP6 10.0.0.2 10.0.0.1 1 2\r\n",
        &binary(0x22, "10.0.0.2", &[]),
        &binary(0x31, "10.0.0.2", &[]),
        &binary(0x21, "10.0.0.2", &[0; 5000]),
    ] {
        let mut http = through(&server, start);
        assert_eq!(http.response().status, 400);
        http.expect_end();
    }
}

#[test]
fn a_silent_proxy_is_closed_in_time() {
    let server = Server::start(&[&HEADERS[..], &["--head-timeout-ms", "200"]].concat());
    let mut http = through(&server, &binary(0x21, "10.0.0.2", &[])[..20]);
    assert_eq!(http.response().status, 408);
    http.expect_end();
}

#[test]
fn a_proxys_own_health_checks_have_no_limit() {
    let server = Server::start(&limited(&HEADERS, "1"));
    let local = binary(0x20, "10.0.0.2", &[]);
    let empty = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    for header in [&local[..], &empty, b"PROXY UNKNOWN\r\n"] {
        let mut checks = [(); 3].map(|()| through(&server, header));
        assert!(checks.iter_mut().all(is_served));
    }
}

#[test]
fn ipv6_networks_have_limits_of_their_own() {
    let server = Server::start(&limited(&HEADERS, "1"));
    let extensions = [0x01, 0, 2, b'h', b'2', 0x04, 0, 4, 0, 0, 0, 0];
    let connect = |client: &str| {
        let mut http = through(&server, binary(0x21, client, &extensions));
        is_served(&mut http).then_some(http)
    };
    let first = connect("2001:db8:1::1").expect("the first of its network");
    assert!(connect("2001:db8:1::2").is_none(), "the same /64");
    let others = (1..16).map(|number| connect(&format!("2001:db8:1:{number}::1")));
    let others: Option<Vec<_>> = others.collect();
    let others = others.expect("16 networks of one /48");
    assert!(connect("2001:db8:1:99::1").is_none(), "the 17th of a /48");
    assert!(connect("2001:db8:2::1").is_some(), "another /48");
    drop((first, others));
    eventually("the network has room again", || {
        connect("2001:db8:1:99::1").is_some()
    });
}

#[test]
fn forwarded_fields_name_the_client() {
    let flags = ["--trusted-proxy", "127.0.0.1,10.0.0.0/8"];
    for (taken, same, other) in [
        (
            "X-Forwarded-For: 192.0.2.1\r\n",
            "X-Forwarded-For: 192.0.2.9, 192.0.2.1, 10.1.1.1\r\n",
            "X-Forwarded-For: 192.0.2.1, 192.0.2.9\r\n",
        ),
        (
            "X-Forwarded-For: 192.0.2.1\r\n",
            "X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-For: 192.0.2.1\r\n",
            "X-Forwarded-For: junk, 192.0.2.9\r\n",
        ),
        (
            "Forwarded: for=192.0.2.1\r\n",
            "Forwarded: for=x, for=\"192.0.2.1:80\";proto=https, for=10.0.0.1\r\n",
            "Forwarded: for=\"[2001:db8::1]\"\r\n",
        ),
        // What names no address counts as the proxy's.
        (
            "X-Forwarded-For: junk\r\n",
            "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.2\r\n",
            "X-Forwarded-For: 192.0.2.1\r\n",
        ),
    ] {
        let server = Server::start(&limited(&flags, "1"));
        let mut held = Http::connect(&server);
        assert!(is_served_for(&mut held, taken), "{taken}");
        assert!(is_served_for(&mut held, taken), "again: {taken}");
        let mut refused = Http::connect(&server);
        assert!(!is_served_for(&mut refused, same), "{same}");
        assert!(is_served_for(&mut Http::connect(&server), other), "{other}");
        // A request that no client caused.
        let mut checks = [(); 3].map(|()| Http::connect(&server));
        assert!(checks.iter_mut().all(is_served));
    }
}

#[test]
fn a_kept_connection_counts_for_the_client_of_its_last_request() {
    let server = Server::start(&limited(&["--trusted-proxy", "127.0.0.1"], "1"));
    let mut kept = Http::connect(&server);
    assert!(is_served_for(&mut kept, "X-Forwarded-For: 192.0.2.1\r\n"));
    assert!(is_served_for(&mut kept, "X-Forwarded-For: 192.0.2.2\r\n"));
    let mut first = Http::connect(&server);
    assert!(is_served_for(&mut first, "X-Forwarded-For: 192.0.2.1\r\n"));
    let mut second = Http::connect(&server);
    assert!(!is_served_for(
        &mut second,
        "X-Forwarded-For: 192.0.2.2\r\n"
    ));
}

#[test]
fn a_unix_socket_can_be_a_trusted_proxy() {
    let home = directory();
    let path = home.path().join("socket");
    let listen = format!("unix:{}", path.display());
    let flags = ["--listen", &listen, "--trusted-proxy", "unix"];
    let limit = ["--max-connections-per-ip", "1", "--proxy-protocol"];
    let _server = Server::start_in(home.path(), &[&flags[..], &limit].concat());
    let enter = |client: &str| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&line(client)).unwrap();
        let request = b"GET /party/talk HTTP/1.1\r\nHost: a\r\n\r\n";
        // A refused connection may have closed already.
        let _ = stream.write_all(request);
        let mut status = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut status).unwrap();
        (stream, String::from_utf8_lossy(&status[9..]).into_owned())
    };
    let (_held, status) = enter("192.0.2.1");
    assert_eq!(status, "200");
    assert_eq!(enter("192.0.2.1").1, "503");
    assert_eq!(enter("192.0.2.2").1, "200");
}

#[test]
fn a_peer_that_is_not_local_has_a_limit_without_a_proxy() {
    let Some(address) = own_address() else {
        return skip("this machine has no address but loopback");
    };
    let server = Server::start(&[
        "--listen",
        &format!("{address}:0,127.0.0.1:0"),
        "--any-kind",
        "--allow-origin",
        "*",
        "--max-connections-per-ip",
        "1",
        "--room-create-rate",
        "1",
    ]);
    let connect = || Http::over(TcpStream::connect(server.address()).unwrap());
    let mut held = connect();
    assert_eq!(held.post("/party/one", &reaction("love")).status, 200);
    assert_eq!(held.post("/party/two", &reaction("love")).status, 429);
    assert!(!is_served(&mut connect()));
    let local = &server.addresses()[1];
    let mut local = [(); 3].map(|()| Http::connect_to(local));
    assert!(local.iter_mut().all(is_served), "this machine has no limit");
}

#[test]
fn room_creations_of_one_address_are_limited() {
    let flags = ["--room-create-rate", "2", "--reactors", "1"];
    let (server, admin) = AdminSide::start(&[&HEADERS[..], &flags].concat());
    let mut http = through(&server, line("192.0.2.1"));
    assert_eq!(http.post("/party/one", &reaction("love")).status, 200);
    assert_eq!(http.post("/party/two", &reaction("love")).status, 200);
    let refused = http.post("/party/three", &reaction("love"));
    assert_eq!(refused.status, 429);
    assert!(refused.field("Retry-After").is_some());
    assert_eq!(http.get("/party/three").body, "{}");
    let counts = http.post("/party/two", &reaction("clap"));
    assert_eq!(counts.body, r#"{"love":1,"clap":1}"#);
    assert_eq!(admin.metric(LIMITED), 1.0);

    let mut other = through(&server, line("192.0.2.2"));
    assert_eq!(other.post("/party/three", &reaction("love")).status, 200);
    // A room that is there takes reactions from everyone.
    assert_eq!(http.post("/party/three", &reaction("love")).status, 200);

    let mut upgrade = through(&server, line("192.0.2.1"));
    upgrade.send(upgrade_head("/party/four", ""));
    assert_eq!(upgrade.response().status, 101);
    let mut socket = RawSocket::after(upgrade);
    assert_eq!(socket.text(), "{}");
    socket.send(&reaction_frame("love"));
    eventually("the reaction is dropped", || admin.metric(LIMITED) == 2.0);
    assert_eq!(other.post("/party/four", &reaction("wow")).status, 200);
    assert_eq!(socket.text(), r#"{"wow":1}"#);
    socket.send(&reaction_frame("love"));
    assert_eq!(socket.text(), r#"{"wow":1,"love":1}"#);
    assert_eq!(admin.metric("ovation_stored_rooms"), 4.0);
}

#[test]
fn a_dry_run_creates_rooms_over_the_limit() {
    let flags = ["--room-create-rate", "1", "--limits-dry-run"];
    let (server, admin) = AdminSide::start(&[&HEADERS[..], &flags].concat());
    let mut http = through(&server, line("192.0.2.1"));
    for room in ["one", "two", "three"] {
        let response = http.post(&format!("/party/{room}"), &reaction("love"));
        assert_eq!(response.status, 200);
    }
    assert_eq!(admin.metric(LIMITED), 2.0);
}

#[test]
fn clients_on_this_machine_create_rooms_without_limit() {
    let (server, admin) = AdminSide::start(&["--room-create-rate", "1"]);
    let mut http = Http::connect(&server);
    for room in 0..5 {
        let response = http.post(&format!("/party/room{room}"), &reaction("love"));
        assert_eq!(response.status, 200);
    }
    assert_eq!(admin.metric(LIMITED), 0.0);
}

#[test]
fn a_flood_of_new_rooms_leaves_room_for_others() {
    let flags = ["--max-rooms", "100", "--reactors", "1"];
    let (server, admin) = AdminSide::start(&[&HEADERS[..], &flags].concat());
    let mut flooder = through(&server, line("192.0.2.1"));
    let posts = (0..500).map(|room| post_request(&format!("/party/r{room}"), &reaction("a")));
    flooder.send(posts.collect::<String>());
    let statuses: Vec<u16> = (0..500).map(|_| flooder.response().status).collect();
    assert_eq!(statuses.iter().filter(|it| **it == 200).count(), 60);
    assert_eq!(admin.get("/readyz").status, 200);
    let mut honest = through(&server, line("192.0.2.2"));
    assert_eq!(honest.post("/party/talk", &reaction("love")).status, 200);
}

#[test]
fn a_store_without_room_is_not_ready() {
    for (flag, value, problem) in [
        ("--max-rooms", "3", "its limit of 3 rooms"),
        ("--snapshot-max-bytes", "1048576", "has its maximum size"),
    ] {
        let (server, admin) = AdminSide::start(&[flag, value]);
        assert_eq!(admin.get("/readyz").status, 200);
        let mut http = Http::connect(&server);
        let is_full = (0..50_000).any(|room| {
            let target = format!("/party/{}{room}", "x".repeat(200));
            http.post(&target, &reaction("love")).status == 507
        });
        assert!(is_full, "{flag}");
        let readiness = admin.get("/readyz");
        assert_eq!(readiness.status, 503);
        assert!(readiness.body.contains(problem), "{}", readiness.body);
        assert!(readiness.body.contains(flag), "{}", readiness.body);
    }
}

#[test]
fn a_server_without_descriptors_is_not_ready() {
    let flags = ["--reactors", "1", "--admin", "127.0.0.1:0"];
    let server = Server::start_limited("-n 64", &flags);
    let admin = AdminSide::of(&server);
    assert_eq!(admin.get("/readyz").status, 200);
    let _clients: Vec<Http> = (0..120).map(|_| Http::connect(&server)).collect();
    eventually("the server says what has run out", || {
        let readiness = admin.get("/readyz");
        readiness.status == 503 && readiness.body.contains("could not accept a connection")
    });
}

#[test]
fn proxy_headers_need_a_trusted_proxy() {
    let home = directory();
    let failed = crate::support::refused(home.path(), &["--proxy-protocol"]);
    assert_eq!(failed.code, Some(2));
    assert!(
        failed.message.contains("--trusted-proxy"),
        "{}",
        failed.message
    );
    for value in ["1", "yes", "on", "TRUE"] {
        let mut command = clean_command(home.path());
        let command = command.env("OVATION_PROXY_PROTOCOL", value);
        let output = command.output().expect("it can be run");
        assert_eq!(output.status.code(), Some(2), "{value}");
    }
    let off = [("OVATION_PROXY_PROTOCOL", "no")];
    assert!(Server::start_with(&off, &[]).stop().success());
    let failed = crate::support::refused(home.path(), &["--trusted-proxy", "nowhere"]);
    assert_eq!(failed.code, Some(2));
}

#[test]
fn reactions_are_never_limited_by_address() {
    let flags = ["--max-connections-per-ip", "100", "--reaction-rate", "20"];
    let server = Server::start(&[&HEADERS[..], &flags].concat());
    let mut hall: Vec<Http> = (0..20)
        .map(|_| through(&server, line("192.0.2.1")))
        .collect();
    for http in &mut hall {
        for _ in 0..20 {
            assert_eq!(http.post("/party/talk", &reaction("love")).status, 200);
        }
    }
    let counts = hall[0].get("/party/talk").body;
    assert_eq!(counts, r#"{"love":400}"#);
}
