//! The pages as HTTP sees them. What they do in a browser is proved in `tests/browser`.

use std::io::Read;
use std::net::SocketAddr;

use flate2::read::GzDecoder;
use socket2::{Domain, Socket, Type};

use crate::support::{Client, Http, PATIENCE, Server, reaction, resident_bytes};

/// Every file that is served, with the start of its content type.
const FILES: [(&str, &str); 6] = [
    ("/", "text/html"),
    ("/ovation.js", "text/javascript"),
    ("/pages/page.js", "text/javascript"),
    ("/pages/hearts.js", "text/javascript"),
    ("/pages/page.css", "text/css"),
    ("/pages/icon.svg", "image/svg+xml"),
];

/// What is answered to a browser that takes gzip: the size as it is sent, and the text.
fn compressed(server: &Server, target: &str) -> (usize, String) {
    let mut http = Http::connect(server);
    http.send(format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: close\r\n\r\n"
    ));
    let mut answer = Vec::new();
    http.into_inner().read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = &answer[end.expect("a head that ends") + 4..];
    let mut text = String::new();
    GzDecoder::new(body).read_to_string(&mut text).unwrap();
    (body.len(), text)
}

#[test]
fn every_file_comes_with_its_type_and_the_rules_of_the_page() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    for (target, content_type) in FILES {
        let response = http.get(target);
        assert_eq!(response.status, 200, "{target}");
        let found = response.field("Content-Type").unwrap();
        assert!(found.starts_with(content_type), "{target}: {found}");
        assert_eq!(response.field("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(response.field("Referrer-Policy"), Some("no-referrer"));
        assert_eq!(response.field("Cache-Control"), Some("no-cache"));
        assert_eq!(response.field("Vary"), Some("Accept-Encoding"));
        let policy = response.field("Content-Security-Policy").unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
        let cors = (target == "/ovation.js").then_some("*");
        assert_eq!(
            response.field("Access-Control-Allow-Origin"),
            cors,
            "{target}"
        );
    }
    let page = http.get("/").body;
    assert!(
        !page.contains("<style") && !page.contains("style="),
        "{page}"
    );
    assert!(
        !page.contains("http:") && !page.contains("https:"),
        "{page}"
    );
    for target in ["/r/talk", "/r/a%2Fb", "/r/%E2%9D%A4?view=stage", "/?room=x"] {
        assert_eq!(http.get(target).body, page, "{target}");
    }
    for target in ["/r/", "/r/a/b", "/pages/", "/pages/mod.rs", "/favicon.ico"] {
        assert_eq!(http.get(target).status, 404, "{target}");
    }
}

#[test]
fn the_page_is_small_over_the_wire_and_the_element_too() {
    let server = Server::start(&[]);
    let mut total = 0;
    for (target, _) in FILES {
        let (size, text) = compressed(&server, target);
        assert_eq!(text, Http::connect(&server).get(target).body, "{target}");
        if target == "/ovation.js" {
            assert!(size < 6 * 1024, "the element has {size} bytes");
        }
        total += size;
    }
    assert!(total < 30 * 1024, "the page has {total} bytes");
}

#[test]
fn what_a_browser_has_is_not_sent_again() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    for (target, _) in FILES {
        let plain = http.get(target).field("ETag").unwrap().to_owned();
        let head = http.request("HEAD", target, "Accept-Encoding: gzip\r\n");
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(head.field("Content-Encoding"), Some("gzip"));
        let gzip = head.field("ETag").unwrap().to_owned();
        assert_ne!(plain, gzip, "two forms, two strong tags");
        for (accepts, tags, status) in [
            ("identity", plain.as_str(), 304),
            ("gzip", &gzip, 304),
            ("gzip", &format!("\"x\", W/{gzip}"), 304),
            ("gzip", "*", 304),
            ("gzip", &plain, 200),
            ("identity", "\"x\"", 200),
        ] {
            let fields = format!("Accept-Encoding: {accepts}\r\nIf-None-Match: {tags}\r\n");
            let response = http.request("HEAD", target, &fields);
            assert_eq!(response.status, status, "{target}: {fields}");
            if status == 304 {
                assert_eq!(response.field("Content-Length"), None);
                assert!(response.field("ETag").is_some() && response.field("Vary").is_some());
                // Nothing follows: the next request on this connection is answered right.
                assert_eq!(http.request("GET", target, &fields).body, "");
            }
        }
    }
    // The tag is made of the content: another server of the same kind has the same.
    let tag = |server: &Server| {
        Http::connect(server)
            .get("/ovation.js")
            .field("ETag")
            .map(str::to_owned)
    };
    assert_eq!(tag(&server), tag(&Server::start(&[])));
    assert_ne!(tag(&server), tag(&Server::start(&["--kinds", "love"])));
}

#[test]
fn the_kinds_of_the_server_are_the_buttons_of_the_page_and_the_element() {
    let server = Server::start(&["--kinds", "love,\"><script>", "--max-kind-bytes", "20"]);
    let element = Http::connect(&server).get("/ovation.js").body;
    let expected = "\nexport const DEFAULT_KINDS = [\"love\",\"\\\"><script>\"];\n";
    assert!(element.contains(expected), "{element}");
    let page = Http::connect(&server).get("/").body;
    assert!(page.contains("data-max-kind-bytes=\"20\""), "{page}");
    assert!(page.contains("data-party=\"main\""), "{page}");
}

#[test]
fn pages_are_read_only() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let response = http.request(method, "/", "");
        assert_eq!(response.status, 405, "{method}");
        assert_eq!(response.field("Allow"), Some("GET, HEAD"));
    }
    assert_eq!(http.get("/").status, 200);
}

#[test]
fn without_pages_there_are_none() {
    let server = Server::start(&["--no-pages"]);
    let mut http = Http::connect(&server);
    for (target, _) in FILES {
        assert_eq!(http.get(target).status, 404, "{target}");
    }
    assert_eq!(http.get("/r/talk").status, 404);
    assert_eq!(http.post("/party/talk", &reaction("love")).status, 200);
}

#[test]
fn any_site_may_load_the_element_and_only_the_allowed_may_react() {
    let server = Server::start(&["--allow-origin", "https://a.example"]);
    let mut http = Http::connect(&server);
    let foreign = "Origin: https://b.example\r\n";
    let element = http.request("GET", "/ovation.js", foreign);
    assert_eq!(element.status, 200);
    assert_eq!(element.field("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(http.request("GET", "/party/talk", foreign).status, 403);
}

#[test]
fn pages_in_a_pipeline_come_whole_and_in_order() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    let script = http.get("/ovation.js").body;
    http.post("/party/talk", &reaction("love"));
    let both =
        "GET /party/talk HTTP/1.1\r\nHost: a\r\n\r\nGET /ovation.js HTTP/1.1\r\nHost: a\r\n\r\n";
    // A megabyte of answers, and nobody reads until all is asked for.
    http.send(both.repeat(60));
    for _ in 0..60 {
        assert_eq!(http.response().body, r#"{"love":1}"#);
        assert_eq!(http.response().body, script);
    }
    assert_eq!(http.get("/party/talk").body, r#"{"love":1}"#);
}

/// A client for which the kernel keeps as little as it can.
fn dial_slowly(server: &Server) -> Http {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(1024).unwrap();
    let address: SocketAddr = server.address().parse().unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    Http::over(socket.into())
}

#[test]
fn a_client_that_does_not_read_gets_the_whole_file_later_and_holds_nobody_up() {
    let server = Server::start(&["--reactors", "1"]);
    let expected = Http::connect(&server).get("/ovation.js").body;
    for request in [
        "GET /ovation.js HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /ovation.js HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ] {
        let mut slow = dial_slowly(&server);
        slow.send(request);
        slow.stream().peek(&mut [0]).unwrap();
        let mut member = Client::enter(&server, "talk");
        member.react("love");
        member.wait_for(|counts| counts.of("love") > 0);
        assert_eq!(slow.response().body, expected);
    }
}

#[test]
fn clients_that_do_not_read_a_file_share_it() {
    const CLIENTS: usize = 400;
    let server = Server::start(&["--reactors", "1", "--head-timeout-ms", "60000"]);
    let length = Http::connect(&server).get("/ovation.js").body.len();
    let before = resident_bytes(&server);
    let mut slow: Vec<Http> = (0..CLIENTS)
        .map(|_| {
            let mut http = dial_slowly(&server);
            http.send("GET /ovation.js HTTP/1.1\r\nHost: a\r\n\r\n");
            http.stream().peek(&mut [0]).unwrap();
            http
        })
        .collect();
    let grown = resident_bytes(&server).saturating_sub(before);
    let copies = (CLIENTS * length) as u64;
    assert!(
        grown < copies / 4,
        "the server grew by {grown} bytes for {CLIENTS} clients"
    );
    for http in &mut slow {
        assert_eq!(http.response().body.len(), length);
    }
}
