//! The admin side: what it tells, what it lets an operator do, and whom it turns away.

use std::collections::HashMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Client, EventStream, Http, PATIENCE, Response, Server, directory, eventually, reaction,
    refused, resident_bytes, stream_request, switches_of,
};

const TOKEN: &str = "a token that is long enough";

/// A server with an admin side, and where that is.
fn start(arguments: &[&str]) -> (Server, String) {
    let server = Server::start(&[&["--admin", "127.0.0.1:0"], arguments].concat());
    let address = server.admin_address();
    (server, address)
}

fn ask(address: &str, method: &str, target: &str, fields: &str) -> Response {
    let mut http = Http::connect_to(address);
    let host = match fields.contains("Host:") {
        true => String::new(),
        false => format!("Host: {address}\r\n"),
    };
    http.send(format!("{method} {target} HTTP/1.1\r\n{host}{fields}\r\n"));
    http.response_to(method)
}

fn get(address: &str, target: &str) -> Response {
    ask(address, "GET", target, "")
}

fn json(address: &str, target: &str) -> Value {
    let response = get(address, target);
    assert_eq!(response.status, 200, "{target}: {}", response.body);
    serde_json::from_str(&response.body).unwrap_or_else(|error| panic!("{target}: {error}"))
}

fn act(address: &str, target: &str) -> Response {
    ask(address, "POST", target, "X-Ovation: 1\r\n")
}

/// The metrics, by name and labels, after a parser that is strict has read them.
fn metrics(address: &str) -> HashMap<String, f64> {
    let response = get(address, "/metrics");
    assert_eq!(response.status, 200);
    let media_type = response.field("Content-Type").unwrap_or_default();
    assert!(
        media_type.starts_with("text/plain; version=0.0.4"),
        "{media_type}"
    );
    let families = openmetrics_parser::prometheus::parse_prometheus(&response.body)
        .unwrap_or_else(|error| panic!("{error}:\n{}", response.body));
    for name in families.families.keys() {
        assert!(
            name.starts_with("ovation_") || name.starts_with("process_"),
            "{name}"
        );
    }
    let lines = response.body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

#[test]
fn it_says_that_it_lives_and_is_ready() {
    let (_server, admin) = start(&[]);
    assert_eq!(get(&admin, "/healthz").body, "alive\n");
    assert_eq!(get(&admin, "/readyz").body, "ready\n");
    assert_eq!(get(&admin, "/nothing").status, 404);
    assert_eq!(ask(&admin, "PUT", "/", "").status, 405);
}

#[test]
fn a_server_that_takes_nobody_in_is_not_ready() {
    let (server, admin) = start(&["--max-connections", "1"]);
    let member = Client::enter(&server, "talk");
    let full = get(&admin, "/readyz");
    assert_eq!(full.status, 503);
    assert!(full.body.contains("--max-connections"), "{}", full.body);
    assert_eq!(get(&admin, "/healthz").status, 200);
    assert_eq!(metrics(&admin)["ovation_ready"], 0.0);
    drop(member);
    eventually("ready again", || get(&admin, "/readyz").status == 200);
    let (_server, admin) = start(&["--min-free-memory-percent", "100"]);
    let short = get(&admin, "/readyz");
    assert_eq!(short.status, 503);
    assert!(short.body.contains("memory"), "{}", short.body);
}

#[test]
fn metrics_are_what_happened() {
    let (server, admin) = start(&["--reactors", "2"]);
    let mut members: Vec<_> = (0..10).map(|_| Client::enter(&server, "talk")).collect();
    let stream = EventStream::join(&server, "talk").0;
    for _ in 0..5 {
        members[0].react("love");
    }
    members[0].send("no reaction");
    members[0].wait_for(|counts| counts.of("love") == 5);
    let posted = Http::connect(&server).post("/party/talk", &reaction("clap"));
    assert_eq!(posted.status, 200);
    Http::connect(&server).post("/party/talk", "no reaction");
    members.truncate(9);
    let sum = |metrics: &HashMap<String, f64>, name: &str| {
        let of_reactors = (0..2).map(|number| metrics[&format!("{name}{{reactor=\"{number}\"}}")]);
        of_reactors.sum::<f64>()
    };
    eventually("a member who left is counted", || {
        metrics(&admin)[r#"ovation_closed_total{reason="client"}"#] >= 1.0
            && sum(&metrics(&admin), "ovation_connections") == 10.0
    });
    let all = metrics(&admin);
    for (name, expected) in [
        ("ovation_event_streams", 1.0),
        ("ovation_reactions_total", 6.0),
        ("ovation_invalid_messages_total", 2.0),
        ("ovation_dropped_messages_total", 0.0),
    ] {
        assert_eq!(sum(&all, name), expected, "{name}");
    }
    assert!(sum(&all, "ovation_frames_sent_total") >= 10.0);
    assert!(sum(&all, "ovation_requests_total") >= 13.0);
    assert!(all["process_resident_memory_bytes"] > 1e6);
    eventually("the rooms are looked at", || {
        let all = metrics(&admin);
        all["ovation_rooms"] == 1.0 && all["ovation_members"] == 10.0
    });
    drop(stream);
}

#[test]
fn rooms_are_listed_found_and_bounded() {
    let (server, admin) = start(&["--reactors", "2", "--room-grace-ms", "0"]);
    let mut crowd: Vec<_> = (0..5).map(|_| Client::enter(&server, "keynote")).collect();
    let _small: Vec<_> = (0..20)
        .map(|number| Client::enter(&server, &format!("talk-{number}")))
        .collect();
    let _named = Client::open(&server, "/party/%22%3Cb%3E%20%E2%9D%A4");
    crowd[0].react("❤");
    crowd[4].wait_for(|counts| counts.of("❤") == 1);
    let list = json(&admin, "/rooms?limit=3");
    assert_eq!(
        (&list["inMemory"], &list["matching"]),
        (&22.into(), &22.into())
    );
    let rooms = list["rooms"].as_array().unwrap();
    assert_eq!(rooms.len(), 3);
    assert_eq!(rooms[0]["room"], "keynote");
    assert_eq!(rooms[0]["party"], "main");
    assert_eq!(rooms[0]["members"], 5);
    assert_eq!(rooms[0]["counts"], serde_json::json!({ "❤": 1 }));
    let found = json(&admin, "/rooms?search=TALK-1");
    assert_eq!(found["matching"], 11);
    let odd = json(&admin, "/rooms?search=%3Cb%3E");
    assert_eq!(odd["rooms"][0]["room"], "\"<b> ❤");
    let by_name = json(&admin, "/rooms?sort=name&limit=2&search=talk");
    assert_eq!(by_name["rooms"][1]["room"], "talk-1");
    eventually("the reaction is seen at the next look", || {
        json(&admin, "/rooms?sort=reactions&limit=1")["rooms"][0]["reactions"] == 1
    });
    drop(crowd);
    eventually("a room without members is not in memory", || {
        json(&admin, "/rooms?limit=1")["inMemory"] == 21
    });
}

#[test]
fn a_reset_is_seen_at_once_and_stays() {
    let home = directory();
    let arguments = ["--reactors", "2", "--admin", "127.0.0.1:0"];
    let mut server = Server::start_in(home.path(), &arguments);
    let admin = server.admin_address();
    let mut members: Vec<_> = (0..6).map(|_| Client::enter(&server, "talk")).collect();
    let (mut stream, _) = EventStream::join(&server, "talk");
    let mut bystander = Client::enter(&server, "other");
    bystander.react("love");
    bystander.wait_for(|counts| counts.of("love") == 1);
    members[0].react("love");
    for member in &mut members {
        member.wait_for(|counts| counts.of("love") == 1);
    }
    assert_eq!(stream.next_data(), r#"{"love":1}"#);
    let done = act(&admin, "/rooms/main/talk/reset");
    assert_eq!((done.status, &*done.body), (200, r#"{"members":7}"#));
    for member in &mut members {
        assert_eq!(member.next_text(), "{}");
    }
    assert_eq!(stream.next_data(), "{}");
    members[1].react("clap");
    assert_eq!(members[2].next_text(), r#"{"clap":1}"#);
    // A room that nobody is in can be reset too.
    drop(bystander);
    assert_eq!(act(&admin, "/rooms/main/other/reset").status, 200);
    assert_eq!(Http::connect(&server).get("/party/other").body, "{}");
    assert_eq!(act(&admin, "/rooms/main/other/reset").status, 404);
    eventually("both acts are in the log", || {
        server.log().matches("the operator acts").count() == 2
    });
    server.kill();
    let server = Server::start_in(home.path(), &[]);
    let counts = Client::join(&server, "talk").1.to_string();
    assert_eq!(counts, r#"{"clap": 1}"#);
}

#[test]
fn a_room_that_is_closed_sends_its_members_away_and_no_others() {
    let (server, admin) = start(&["--reactors", "2"]);
    let mut members: Vec<_> = (0..1500).map(|_| Client::enter(&server, "talk")).collect();
    let (mut stream, _) = EventStream::join(&server, "talk");
    let mut other = Client::enter(&server, "other");
    members[0].react("love");
    members[0].wait_for(|counts| counts.of("love") == 1);
    let done = act(&admin, "/rooms/main/talk/close");
    assert_eq!((done.status, &*done.body), (200, r#"{"members":1501}"#));
    for member in &mut members {
        assert_eq!(member.close_code(), Some(1000));
    }
    assert_eq!(stream.close_code(), 1000);
    other.react("love");
    other.wait_for(|counts| counts.of("love") == 1);
    let closed = r#"ovation_closed_total{reason="operator"}"#;
    assert_eq!(metrics(&admin)[closed], 1501.0);
    // The door is open again, and the counts are kept.
    let (mut again, counts) = Client::join(&server, "talk");
    assert_eq!(counts.of("love"), 1);
    again.react("love");
    again.wait_for(|counts| counts.of("love") == 2);
    assert_eq!(act(&admin, "/rooms/main/nobody/close").status, 404);
}

#[test]
fn a_rooms_name_cannot_begin_a_line_of_the_log() {
    let (server, admin) = start(&[]);
    let _member = Client::enter(&server, "a%0A%1B[2Jb");
    assert_eq!(act(&admin, "/rooms/main/a%0A%1B[2Jb/close").status, 200);
    eventually("the act is in the log", || {
        server.log().contains("the operator acts")
    });
    let log = server.log();
    let mut lines = log.lines();
    let line = lines.find(|line| line.contains("the operator acts"));
    let name = r#""a\n\u{1b}[2Jb""#;
    assert!(line.is_some_and(|line| line.contains(name)), "{log}");
}

#[test]
fn what_is_no_action_is_refused() {
    let (server, admin) = start(&[]);
    let mut member = Client::enter(&server, "talk");
    for (target, status) in [
        ("/rooms/main/talk", 404),
        ("/rooms/main/talk/explode", 404),
        ("/rooms/main/talk/close/now", 404),
        ("/rooms/main/%ff/close", 400),
        ("/", 404),
    ] {
        assert_eq!(act(&admin, target).status, status, "{target}");
    }
    for (fields, status) in [
        ("", 403),
        ("X-Ovation: 1\r\nOrigin: https://evil.example\r\n", 403),
        ("X-Ovation: 1\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("X-Ovation: 1\r\nHost: rebound.example\r\n", 403),
    ] {
        let response = ask(&admin, "POST", "/rooms/main/talk/close", fields);
        assert_eq!(response.status, status, "{fields}");
        assert_eq!(response.field("Access-Control-Allow-Origin"), None);
    }
    // None of this has closed the room.
    member.react("love");
    assert_eq!(member.next_text(), r#"{"love":1}"#);
}

#[test]
fn pages_of_other_sites_see_nothing() {
    let (_server, admin) = start(&[]);
    for target in ["/", "/rooms", "/metrics", "/history", "/events"] {
        let rebound = "Host: rebound.example\r\nAccept: text/event-stream\r\n";
        assert_eq!(ask(&admin, "GET", target, rebound).status, 403, "{target}");
        let foreign = "Sec-Fetch-Site: cross-site\r\nAccept: text/event-stream\r\n";
        assert_eq!(ask(&admin, "GET", target, foreign).status, 403, "{target}");
    }
    let page = get(&admin, "/");
    let policy = page.field("Content-Security-Policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
}

#[test]
fn the_dashboard_is_served_with_all_that_it_asks_for() {
    let (_server, admin) = start(&[]);
    let page = get(&admin, "/");
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    assert!(!page.body.contains("<style") && !page.body.contains("style="));
    let mut files = 0;
    for (at, _) in page.body.match_indices("=\"/") {
        let path = &page.body[at + 2..];
        let path = &path[..path.find('"').unwrap()];
        assert_eq!(get(&admin, path).status, 200, "{path}");
        files += 1;
    }
    assert!(files >= 3, "only {files} files");
    let etag = page.field("ETag").expect("a tag");
    let known = format!("If-None-Match: {etag}\r\n");
    assert_eq!(ask(&admin, "GET", "/", &known).status, 304);
    let grafana = json(&admin, "/grafana.json");
    let names = metrics(&admin);
    let text = grafana.to_string();
    // Every metric that the board asks for is one that there is.
    let mut asked = 0;
    for (at, _) in text.match_indices("ovation_") {
        let end = text[at..].find(|it: char| !it.is_alphanumeric() && it != '_');
        let name = &text[at..at + end.unwrap()];
        let is_there = names
            .keys()
            .any(|known| known.split('{').next() == Some(name));
        assert!(is_there, "{name}");
        asked += 1;
    }
    assert!(asked >= 8, "only {asked} metrics");
}

#[test]
fn samples_come_each_second_and_are_remembered() {
    let (server, admin) = start(&["--reactors", "1"]);
    let crowd: Vec<_> = (0..120).map(|_| Client::enter(&server, "talk")).collect();
    let mut events = EventStream::over(Http::connect_to(&admin), "/events");
    let mut sample: Value = Value::Null;
    while sample["series"]["connections"] != 120.0 {
        sample = serde_json::from_str(&events.next_data()).expect("JSON");
    }
    assert_eq!(sample["rooms"], serde_json::json!([["main/talk", 120]]));
    assert_eq!(sample["reactors"].as_array().map(Vec::len), Some(1));
    let (mut member, _) = Client::join(&server, "talk");
    for _ in 0..50 {
        member.react("love");
    }
    member.wait_for(|counts| counts.of("love") == 50);
    while sample["series"]["reactions"] == 0.0 {
        sample = serde_json::from_str(&events.next_data()).expect("JSON");
    }
    assert!(sample["series"]["deliveries"].as_f64() > Some(0.0));
    drop(crowd);
    for (range, step) in [("15m", 1), ("6h", 10), ("7d", 60)] {
        let history = json(&admin, &format!("/history?range={range}"));
        assert_eq!(history["step"], step);
        assert_eq!(history["rooms"][0]["name"], "main/talk");
        let connections = history["series"]["connections"].as_array().unwrap();
        let peak = connections
            .iter()
            .filter_map(Value::as_f64)
            .fold(0.0, f64::max);
        assert!(peak >= 120.0, "{range}: {peak}");
        let points = history["at"].as_array().unwrap().len();
        assert_eq!(connections.len(), points);
    }
    assert_eq!(get(&admin, "/history?range=1y").status, 400);
}

#[test]
fn nobody_needs_to_ask_for_samples_to_be_taken() {
    let (server, admin) = start(&[]);
    let _member = Client::enter(&server, "talk");
    eventually("the admin thread has woken up by itself", || {
        switches_of(&server, "admin") >= 3
    });
    let history = json(&admin, "/history");
    let points = history["at"].as_array().map_or(0, Vec::len);
    assert!(points >= 2, "{history}");
    assert_eq!(history["rooms"][0]["name"], "main/talk");
}

#[test]
fn reactors_sleep_while_the_admin_side_does_not() {
    let (server, admin) = start(&["--ping-interval-ms", "0", "--head-timeout-ms", "100"]);
    let _members: Vec<_> = (0..20).map(|_| Client::enter(&server, "talk")).collect();
    let mut events = EventStream::over(Http::connect_to(&admin), "/events");
    for _ in 0..2 {
        events.next_data();
    }
    let before = switches_of(&server, "reactor-");
    for _ in 0..3 {
        events.next_data();
        assert_eq!(get(&admin, "/metrics").status, 200);
        assert_eq!(get(&admin, "/rooms").status, 200);
    }
    assert_eq!(switches_of(&server, "reactor-") - before, 0);
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
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
    fs::write(&file, "short").unwrap();
    let failed = refused(directory.path(), &with_file);
    assert!(failed.message.contains("at least 16"), "{}", failed.message);

    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let server = Server::start_in(directory.path(), &with_file);
    let port = server
        .admin_address()
        .rsplit_once(':')
        .unwrap()
        .1
        .to_owned();
    let admin = format!("127.0.0.1:{port}");
    assert_eq!(get(&admin, "/healthz").status, 200);
    for target in [
        "/",
        "/readyz",
        "/metrics",
        "/rooms",
        "/history",
        "/grafana.json",
    ] {
        let refused = get(&admin, target);
        assert_eq!(refused.status, 401, "{target}");
        assert!(
            refused
                .field("WWW-Authenticate")
                .is_some_and(|it| it.starts_with("Basic "))
        );
        let bearer = format!("Host: ops.example\r\nAuthorization: Bearer {TOKEN}\r\n");
        assert_eq!(ask(&admin, "GET", target, &bearer).status, 200, "{target}");
        let wrong = "Authorization: Bearer a token that is long enougH\r\n";
        assert_eq!(ask(&admin, "GET", target, wrong).status, 401, "{target}");
    }
    let mut stream = Http::connect_to(&admin);
    stream.send(stream_request("/events"));
    assert_eq!(stream.response().status, 401);
    let basic = data_encoding::BASE64.encode(format!("admin:{TOKEN}").as_bytes());
    let basic = format!("Authorization: Basic {basic}\r\n");
    assert_eq!(ask(&admin, "GET", "/", &basic).status, 200);
    // What a browser adds by itself lets no other site's page change anything.
    assert_eq!(
        ask(&admin, "POST", "/rooms/main/talk/close", &basic).status,
        403
    );
}

#[test]
fn a_second_server_goes_on_without_the_default_address() {
    // If something else has it, it is as good as this.
    let _first = TcpListener::bind("127.0.0.1:1998");
    let directory = directory();
    let file = directory.path().join("token");
    fs::write(&file, TOKEN).unwrap();
    let with_default = ["--admin-token-file", file.to_str().unwrap()];
    let second = Server::start_in(directory.path(), &with_default);
    assert_eq!(Http::connect(&second).get("/party/talk").status, 200);
    assert!(second.log().contains("no admin"), "{}", second.log());
    assert_eq!(second.stop().code(), Some(0));
    // Where the operator says which, that one it must be.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let failed = refused(directory.path(), &["--admin", &address]);
    assert_eq!(failed.code, Some(3), "{}", failed.message);
    assert!(failed.message.contains("--no-admin"), "{}", failed.message);
    assert!(failed.message.contains("in use"), "{}", failed.message);
}

#[test]
fn the_admin_side_bounds_what_it_takes() {
    const FLOOD: usize = 100;
    let (server, admin) = start(&["--reactors", "1"]);
    let mut member = Client::enter(&server, "talk");
    assert_eq!(get(&admin, "/healthz").status, 200);
    let before = resident_bytes(&server);
    // More than it has room for, none of which reads what it asks for.
    let requests = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n").repeat(200);
    let flood: Vec<_> = (0..FLOOD)
        .filter_map(|_| {
            let stream = TcpStream::connect(&admin).ok()?;
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
    eventually("room for others again", || {
        Http::connect_to(&admin)
            .try_get("/healthz")
            .is_some_and(|it| it.status == 200)
    });
}

#[test]
fn the_admin_side_stops_with_the_server() {
    let (mut server, admin) = start(&[]);
    let mut events = EventStream::over(Http::connect_to(&admin), "/events");
    server.terminate();
    assert_eq!(events.close_code(), 1001);
    assert_eq!(server.wait().code(), Some(0));
    assert!(TcpStream::connect(&admin).is_err());
}

#[test]
fn no_reactor_keeps_the_admin_address_alive() {
    let (server, admin) = start(&["--reactors", "4"]);
    let sockets = |name: &str| {
        let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        let mut count = 0;
        for thread in threads.map(|thread| thread.unwrap().path()) {
            let is_meant = fs::read_to_string(thread.join("comm"))
                .unwrap()
                .starts_with(name);
            let descriptors = fs::read_dir(thread.join("fd")).unwrap();
            let is_socket = |it: &std::path::Path| {
                fs::read_link(it).is_ok_and(|to| to.display().to_string().starts_with("socket:"))
            };
            if is_meant {
                count += descriptors
                    .filter(|it| is_socket(&it.as_ref().unwrap().path()))
                    .count();
            }
        }
        count
    };
    // Each reactor has its own listener, the pair that signals come by, and nothing of others.
    let before = sockets("reactor-");
    let kept: Vec<_> = (0..10).map(|_| Http::connect_to(&admin)).collect();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(sockets("reactor-"), before, "in {PATIENCE:?}");
    assert_eq!(before, 4 * 3, "a listener and a pair for each");
    drop(kept);
}

#[test]
fn more_connections_than_the_admin_side_may_have_are_turned_away() {
    let (server, address) = start(&["--admin-max-connections", "2"]);
    let held: Vec<Http> = (0..2)
        .map(|_| {
            let mut http = Http::connect_to(&address);
            http.send(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n"));
            assert_eq!(http.response().status, 200);
            http
        })
        .collect();
    assert_eq!(get(&address, "/healthz").status, 503);
    // The rooms have limits of their own.
    assert_eq!(Http::connect(&server).get("/party/talk").status, 200);
    drop(held);
    eventually("there is place again", || {
        get(&address, "/healthz").status == 200
    });
}
