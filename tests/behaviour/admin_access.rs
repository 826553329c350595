//! Who may use the admin side, where it listens, and what bounds it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::support::{
    AdminSide, Client, EventStream, Http, Server, directory, eventually, open_sockets_of,
    own_address, refused, resident_bytes, skip, stream_request,
};

const TOKEN: &str = "a token that is long enough";

#[test]
fn other_sites_pages_cannot_use_the_admin_side() {
    let (_server, admin) = AdminSide::start(&[]);
    for target in ["/", "/rooms", "/metrics", "/history", "/events"] {
        let rebound = "Host: rebound.example\r\nAccept: text/event-stream\r\n";
        assert_eq!(
            admin.request("GET", target, rebound).status,
            403,
            "{target}"
        );
        let foreign = "Sec-Fetch-Site: cross-site\r\nAccept: text/event-stream\r\n";
        assert_eq!(
            admin.request("GET", target, foreign).status,
            403,
            "{target}"
        );
    }
    let page = admin.get("/");
    let policy = page.field("Content-Security-Policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
}

#[test]
fn a_public_admin_address_needs_a_token() {
    let directory = directory();
    let failed = refused(directory.path(), &["--admin", "0.0.0.0:0"]);
    assert_eq!(failed.code, Some(2), "{}", failed.message);
    assert!(
        failed.message.contains("--admin-token-file"),
        "{}",
        failed.message
    );

    let file = directory.path().join("token");
    let path = file.to_str().unwrap();
    let with_file = ["--admin", "0.0.0.0:0", "--admin-token-file", path];
    let failed = refused(directory.path(), &with_file);
    assert_eq!(failed.code, Some(2), "{}", failed.message);
    write_token(directory.path(), "short");
    let failed = refused(directory.path(), &with_file);
    assert!(failed.message.contains("at least 16"), "{}", failed.message);
}

#[test]
fn a_public_admin_address_asks_for_its_token() {
    let directory = directory();
    let path = write_token(directory.path(), &format!("{TOKEN}\n"));
    let with_file = ["--admin", "0.0.0.0:0", "--admin-token-file", &path];
    let server = Server::start_in(directory.path(), &with_file);
    let port = server
        .admin_address()
        .rsplit_once(':')
        .unwrap()
        .1
        .to_owned();
    let admin = AdminSide {
        address: format!("127.0.0.1:{port}"),
    };
    assert_eq!(admin.get("/healthz").status, 200);
    for target in [
        "/",
        "/readyz",
        "/metrics",
        "/rooms",
        "/history",
        "/grafana.json",
    ] {
        let refused = admin.get(target);
        assert_eq!(refused.status, 401, "{target}");
        assert!(
            refused
                .field("WWW-Authenticate")
                .is_some_and(|it| it.starts_with("Basic "))
        );
        let bearer = format!("Host: ops.example\r\nAuthorization: Bearer {TOKEN}\r\n");
        assert_eq!(
            admin.request("GET", target, &bearer).status,
            200,
            "{target}"
        );
        let wrong = "Authorization: Bearer a token that is long enougH\r\n";
        assert_eq!(admin.request("GET", target, wrong).status, 401, "{target}");
    }
    let mut stream = admin.connect();
    stream.send(stream_request("/events"));
    assert_eq!(stream.response().status, 401);
    let basic = data_encoding::BASE64.encode(format!("admin:{TOKEN}").as_bytes());
    let basic = format!("Authorization: Basic {basic}\r\n");
    assert_eq!(admin.request("GET", "/", &basic).status, 200);
    // A browser repeats basic credentials by itself, so they are not enough to change anything.
    assert_eq!(
        admin
            .request("POST", "/rooms/main/talk/close", &basic)
            .status,
        403
    );
}

#[test]
fn only_a_chosen_admin_address_must_be_free() {
    // If this fails, another process has the address, which is just as good.
    let _first = TcpListener::bind("127.0.0.1:1998");
    let directory = directory();
    let file = token_file(directory.path());
    let with_default = ["--admin-token-file", &file];
    let second = Server::start_in(directory.path(), &with_default);
    assert_eq!(Http::connect(&second).get("/party/talk").status, 200);
    eventually("the log says it", || second.log().contains("no admin"));
    assert_eq!(second.stop().code(), Some(0));
    // An address that the operator chose must be free.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let failed = refused(directory.path(), &["--admin", &address]);
    assert_eq!(failed.code, Some(3), "{}", failed.message);
    assert!(failed.message.contains("--no-admin"), "{}", failed.message);
    assert!(failed.message.contains("in use"), "{}", failed.message);
}

#[test]
fn an_admin_flood_takes_bounded_memory() {
    const FLOOD: usize = 100;
    let (server, admin) = AdminSide::start(&["--reactors", "1"]);
    let mut member = Client::enter(&server, "talk");
    assert_eq!(admin.get("/healthz").status, 200);
    let before = resident_bytes(&server);
    // More clients than the admin side admits, and none of them reads.
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", admin.address);
    let requests = request.repeat(200);
    let flood: Vec<_> = (0..FLOOD)
        .filter_map(|_| {
            let stream = TcpStream::connect(&admin.address).ok()?;
            stream
                .set_write_timeout(Some(Duration::from_millis(50)))
                .ok()?;
            let _ = std::io::Write::write_all(&mut &stream, requests.as_bytes());
            Some(stream)
        })
        .collect();
    member.react("love");
    member.wait_for(|counts| counts.of("love") == 1);
    let grown = resident_bytes(&server).saturating_sub(before);
    assert!(grown < 64 << 20, "the server grew by {grown} bytes");
    drop(flood);
    eventually("the admin side admits clients again", || {
        admin
            .connect()
            .try_get("/healthz")
            .is_some_and(|it| it.status == 200)
    });
}

#[test]
fn event_streams_leave_places_for_health_checks() {
    let (server, admin) = AdminSide::start(&["--admin-max-connections", "4"]);
    let streams = [(); 2].map(|()| EventStream::over(admin.connect(), "/events"));
    let mut third = admin.connect();
    third.send(stream_request("/events"));
    assert_eq!(third.response().status, 503);
    let _idle = [admin.connect(), admin.connect()];
    // Newcomers of the same moment don't give way to each other.
    for _ in 0..8 {
        eventually("there is a place", || admin.get("/healthz").status == 200);
    }
    // The rooms have their own limits.
    assert_eq!(Http::connect(&server).get("/party/talk").status, 200);
    assert!(admin.metric("ovation_admin_connections") >= 3.0);
    drop(streams);
    eventually("there is a place for another stream", || {
        let mut stream = admin.connect();
        stream.send(stream_request("/events"));
        stream.response().status == 200
    });
}

#[test]
fn idle_connections_do_not_keep_health_checks_out() {
    const PLACES: usize = 64;
    let (_server, admin) = AdminSide::start(&[]);
    let mut silent: Vec<Http> = (0..PLACES).map(|_| admin.connect()).collect();
    // Some have sent a part of a request, and some wait after a response.
    silent[1].send("GET /healthz HTTP/1.1\r\n");
    silent[2].send(health_request(&admin));
    assert_eq!(silent[2].response().status, 200);
    // One is closing, but its client doesn't close.
    silent[3].send("nonsense\r\n\r\n");
    assert_eq!(silent[3].response().status, 400);
    let mut stream = EventStream::over(admin.connect(), "/events");
    stream.next_data();
    for _ in 0..2 * PLACES {
        // Newcomers of the same moment don't give way to each other.
        eventually("a health check is answered", || {
            let mut http = admin.connect();
            http.send(health_request(&admin));
            let is_answered = http.response().status == 200;
            silent.push(http);
            is_answered
        });
    }
    // Those that have waited longest gave way, and a stream never does.
    silent[0].expect_end();
    stream.next_data();
    assert!(admin.metric("ovation_admin_turned_away_total") >= PLACES as f64);
}

#[test]
fn one_address_has_few_admin_connections() {
    let Some(own) = own_address() else {
        return skip("this machine has no address of its own");
    };
    let home = directory();
    let token = token_file(home.path());
    let arguments = ["--admin", "0.0.0.0:0", "--admin-token-file", &token];
    let arguments = [&arguments[..], &["--admin-max-connections-per-ip", "3"]].concat();
    let server = Server::start_in(home.path(), &arguments);
    let address = server.admin_address();
    let port = address.rsplit_once(':').unwrap().1;
    let is_healthy = |http: &mut Http| http.try_get("/healthz").is_some_and(|it| it.status == 200);
    let mut held: Vec<Http> = (0..3)
        .map(|_| Http::connect_to(&format!("{own}:{port}")))
        .collect();
    assert!(held.iter_mut().all(is_healthy));
    let mut over = Http::connect_to(&format!("{own}:{port}"));
    assert!(!is_healthy(&mut over));
    // This machine has no limit.
    let mut local: Vec<Http> = (0..10)
        .map(|_| Http::connect_to(&format!("127.0.0.1:{port}")))
        .collect();
    assert!(local.iter_mut().all(is_healthy));
    eventually("the log names the flag", || {
        server.log().contains("--admin-max-connections-per-ip")
    });
}

#[test]
fn changes_need_a_token_unless_the_operator_says_otherwise() {
    let strict = [("OVATION_ADMIN_CHANGES_WITHOUT_TOKEN", "false")];
    let server = Server::start_with(&strict, &["--admin", "127.0.0.1:0"]);
    let admin = AdminSide::of(&server);
    let mut member = Client::enter(&server, "talk");
    for action in ["close", "reset", "freeze", "remove"] {
        let refused = admin.act(&format!("/rooms/main/talk/{action}"));
        assert_eq!(refused.status, 403, "{action}");
        for flag in ["--admin-token-file", "--admin-changes-without-token"] {
            assert!(refused.body.contains(flag), "{}", refused.body);
        }
    }
    assert_eq!(admin.get("/rooms").status, 200);
    member.react("love");
    member.wait_for(|counts| counts.of("love") == 1);
    let flag = ["--admin", "127.0.0.1:0", "--admin-changes-without-token"];
    let server = Server::start_with(&strict, &flag);
    let admin = AdminSide::of(&server);
    assert_eq!(admin.act("/rooms/main/talk/freeze").status, 200);
}

#[test]
fn a_unix_admin_socket_is_for_the_servers_user_alone() {
    let home = directory();
    let (path, public) = (home.path().join("admin"), home.path().join("public"));
    let listen = format!("unix:{}", public.display());
    let admin = format!("unix:{}", path.display());
    let strict = [("OVATION_ADMIN_CHANGES_WITHOUT_TOKEN", "false")];
    let _server = Server::start_with(&strict, &["--admin", &admin, "--listen", &listen]);
    eventually("the admin side listens", || path.exists());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_ne!(mode(&public), 0o600, "the rooms are for all");
    let mut stream = UnixStream::connect(&path).unwrap();
    let request =
        "POST /rooms/main/talk/freeze HTTP/1.0\r\nHost: localhost\r\nX-Ovation: 1\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[test]
fn a_proxy_cannot_expose_an_admin_side_without_a_token() {
    let (_server, admin) = AdminSide::start(&[]);
    for field in [
        "X-Forwarded-For: 192.0.2.1",
        "x-forwarded-host: admin.example",
        "X-Forwarded-Proto: https",
        "X-Real-IP: 192.0.2.1",
        "Forwarded: for=192.0.2.1",
        "Via: 1.1 proxy",
    ] {
        let fields = format!("{field}\r\nX-Ovation: 1\r\n");
        for (method, target) in [
            ("GET", "/"),
            ("GET", "/rooms"),
            ("GET", "/metrics"),
            ("GET", "/readyz"),
            ("POST", "/rooms/main/talk/freeze"),
        ] {
            let refused = admin.request(method, target, &fields);
            assert_eq!(refused.status, 403, "{method} {target} with {field}");
        }
        let health = admin.request("GET", "/healthz", &fields);
        assert_eq!(health.status, 200, "{field}");
    }
}

#[test]
fn wrong_tokens_are_counted_and_logged_once() {
    let home = directory();
    let token = token_file(home.path());
    let arguments = ["--admin", "127.0.0.1:0", "--admin-token-file", &token];
    let server = Server::start_in(home.path(), &arguments);
    let admin = AdminSide::of(&server);
    // A browser asks without a token first.
    assert_eq!(admin.get("/metrics").status, 401);
    let wrong = "Authorization: Bearer another token of that length\r\n";
    for target in ["/", "/metrics", "/rooms"] {
        assert_eq!(admin.request("GET", target, wrong).status, 401);
    }
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    let metrics = admin.request("GET", "/metrics", &right).body;
    assert!(
        metrics.contains("ovation_admin_denied_total 3\n"),
        "{metrics}"
    );
    eventually("the log says it", || {
        server.log().contains("wrong admin token")
    });
    assert_eq!(server.log().matches("wrong admin token").count(), 1);
    assert!(!server.log().contains("another token"));
}

fn token_file(home: &Path) -> String {
    write_token(home, TOKEN)
}

/// Writes a token that only its owner can read. Returns the path of its file.
fn write_token(home: &Path, token: &str) -> String {
    let file = home.join("token");
    fs::write(&file, token).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file.to_str().expect("UTF-8").to_owned()
}

#[test]
fn the_admin_side_understands_absolute_targets() {
    let (_server, admin) = AdminSide::start(&[]);
    for path in ["/healthz", "/readyz?x", "/dashboard.css"] {
        let target = format!("http://{}{path}", admin.address);
        assert_eq!(admin.get(&target).status, 200, "{target}");
    }
}

#[test]
fn the_admin_side_stops_with_the_server() {
    let (mut server, admin) = AdminSide::start(&[]);
    let mut events = EventStream::over(admin.connect(), "/events");
    server.terminate();
    assert_eq!(events.close_code(), 1001);
    assert_eq!(server.wait().code(), Some(0));
    assert!(TcpStream::connect(&admin.address).is_err());
}

#[test]
fn reactors_hold_no_admin_sockets() {
    const REACTORS: usize = 4;
    /// A listener, and the pair of sockets that signals arrive on.
    const SOCKETS_EACH: usize = 3;
    let (server, admin) = AdminSide::start(&["--reactors", "4"]);
    let kept: Vec<_> = (0..10)
        .map(|_| {
            let mut http = admin.connect();
            // The admin side has accepted the connection once it answers.
            http.send(health_request(&admin));
            assert_eq!(http.response().status, 200);
            http
        })
        .collect();
    let sockets = open_sockets_of(&server, "reactor-");
    assert_eq!(sockets, REACTORS * SOCKETS_EACH);
    drop(kept);
}

fn health_request(admin: &AdminSide) -> String {
    format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", admin.address)
}
