//! The admin side: health, metrics, the dashboard and its samples.

use std::collections::HashMap;

use serde_json::Value;

use crate::support::{AdminSide, Client, EventStream, Http, eventually, reaction, switches_of};

#[test]
fn health_and_readiness_are_reported() {
    let (_server, admin) = AdminSide::start(&[]);
    assert_eq!(admin.get("/healthz").body, "alive\n");
    assert_eq!(admin.get("/readyz").body, "ready\n");
    assert_eq!(admin.get("/nothing").status, 404);
    assert_eq!(admin.request("PUT", "/", "").status, 405);
}

#[test]
fn a_server_that_turns_clients_away_is_not_ready() {
    let (server, admin) = AdminSide::start(&["--max-connections", "1"]);
    let member = Client::enter(&server, "talk");
    let full = admin.get("/readyz");
    assert_eq!(full.status, 503);
    assert!(full.body.contains("--max-connections"), "{}", full.body);
    assert_eq!(admin.get("/healthz").status, 200);
    assert_eq!(admin.metrics()["ovation_ready"], 0.0);
    drop(member);
    eventually("ready again", || admin.get("/readyz").status == 200);
    let (_server, admin) = AdminSide::start(&["--min-free-memory-percent", "100"]);
    let short = admin.get("/readyz");
    assert_eq!(short.status, 503);
    assert!(short.body.contains("memory"), "{}", short.body);
}

#[test]
fn metrics_count_what_happened() {
    let (server, admin) = AdminSide::start(&["--reactors", "2"]);
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
    eventually("the member that left is counted", || {
        admin.metrics()[r#"ovation_closed_total{reason="client"}"#] >= 1.0
            && sum(&admin.metrics(), "ovation_connections") == 10.0
    });
    let all = admin.metrics();
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
    eventually("the rooms are sampled", || {
        let all = admin.metrics();
        all["ovation_rooms"] == 1.0 && all["ovation_members"] == 10.0
    });
    drop(stream);
}

#[test]
fn the_dashboard_and_all_its_files_are_served() {
    let (_server, admin) = AdminSide::start(&[]);
    let page = admin.get("/");
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    assert!(!page.body.contains("<style") && !page.body.contains("style="));
    let mut files = 0;
    for (at, _) in page.body.match_indices("=\"/") {
        let path = &page.body[at + 2..];
        let path = &path[..path.find('"').unwrap()];
        assert_eq!(admin.get(path).status, 200, "{path}");
        files += 1;
    }
    assert!(files >= 3, "only {files} files");
    let etag = page.field("ETag").expect("an entity tag");
    let known = format!("If-None-Match: {etag}\r\n");
    assert_eq!(admin.request("GET", "/", &known).status, 304);
    let grafana = admin.json("/grafana.json");
    let names = admin.metrics();
    let text = grafana.to_string();
    // Every metric on the Grafana dashboard exists.
    let mut found = 0;
    for (at, _) in text.match_indices("ovation_") {
        let end = text[at..].find(|it: char| !it.is_alphanumeric() && it != '_');
        let name = &text[at..at + end.unwrap()];
        let is_there = names
            .keys()
            .any(|known| known.split('{').next() == Some(name));
        assert!(is_there, "{name}");
        found += 1;
    }
    assert!(found >= 8, "only {found} metrics");
}

#[test]
fn samples_are_streamed_and_kept_in_the_history() {
    let (server, admin) = AdminSide::start(&["--reactors", "1"]);
    let crowd: Vec<_> = (0..120).map(|_| Client::enter(&server, "talk")).collect();
    let mut events = EventStream::over(admin.connect(), "/events");
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
        let history = admin.json(&format!("/history?range={range}"));
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
    assert_eq!(admin.get("/history?range=1y").status, 400);
}

#[test]
fn samples_are_taken_without_any_reader() {
    let (server, admin) = AdminSide::start(&[]);
    let _member = Client::enter(&server, "talk");
    eventually("the admin thread has woken up on its own", || {
        switches_of(&server, "admin") >= 3
    });
    let history = admin.json("/history");
    let points = history["at"].as_array().map_or(0, Vec::len);
    assert!(points >= 2, "{history}");
    assert_eq!(history["rooms"][0]["name"], "main/talk");
}

#[test]
fn admin_requests_do_not_wake_the_reactors() {
    let (server, admin) =
        AdminSide::start(&["--ping-interval-ms", "0", "--head-timeout-ms", "100"]);
    let _members: Vec<_> = (0..20).map(|_| Client::enter(&server, "talk")).collect();
    let mut events = EventStream::over(admin.connect(), "/events");
    for _ in 0..2 {
        events.next_data();
    }
    let before = switches_of(&server, "reactor-");
    for _ in 0..3 {
        events.next_data();
        assert_eq!(admin.get("/metrics").status, 200);
        assert_eq!(admin.get("/rooms").status, 200);
    }
    assert_eq!(switches_of(&server, "reactor-") - before, 0);
}
