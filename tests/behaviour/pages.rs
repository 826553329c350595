//! The pages as HTTP sees them. `tests/browser` tests what they do in a browser.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::support::{
    Client, Http, Server, dial_with_small_buffer, directory, reaction, resident_bytes,
};

/// Every file and the start of its content type.
const FILES: [(&str, &str); 7] = [
    ("/", "text/html"),
    ("/ovation.js", "text/javascript"),
    ("/pages/page.js", "text/javascript"),
    ("/ovation-extras.js", "text/javascript"),
    ("/pages/qr.js", "text/javascript"),
    ("/pages/page.css", "text/css"),
    ("/pages/icon.svg", "image/svg+xml"),
];

/// Requests a file with gzip. Returns its size over the wire and its text.
fn compressed(server: &Server, target: &str) -> (usize, String) {
    let mut http = Http::connect(server);
    http.send(format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip, deflate, br\r\n\
         Connection: close\r\n\r\n"
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
fn every_file_has_its_type_and_security_headers() {
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
        let cors = target.starts_with("/ovation").then_some("*");
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
fn the_page_and_the_element_are_small() {
    let server = Server::start(&[]);
    let mut total = 0;
    for (target, _) in FILES {
        let (size, text) = compressed(&server, target);
        assert_eq!(text, Http::connect(&server).get(target).body, "{target}");
        if target == "/ovation.js" {
            assert!(size < 8 * 1024, "the element has {size} bytes");
        }
        total += size;
    }
    assert!(total < 30 * 1024, "the page has {total} bytes");
}

#[test]
fn a_cached_file_is_not_sent_again() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    for (target, _) in FILES {
        let plain = http.get(target).field("ETag").unwrap().to_owned();
        let head = http.request("HEAD", target, "Accept-Encoding: gzip\r\n");
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(head.field("Content-Encoding"), Some("gzip"));
        let gzip = head.field("ETag").unwrap().to_owned();
        assert_ne!(plain, gzip, "the two encodings need different strong tags");
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
                // No body follows, so the next request on this connection gets its own response.
                assert_eq!(http.request("GET", target, &fields).body, "");
            }
        }
    }
    // The tag depends only on the content, so servers with the same settings agree.
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
fn the_servers_kinds_are_the_default_buttons() {
    let server = Server::start(&["--kinds", "love,\"><script>", "--max-kind-bytes", "20"]);
    let element = Http::connect(&server).get("/ovation.js").body;
    let expected = "\nexport const DEFAULT_KINDS = [\"love\",\"\\\"><script>\"];\n";
    assert!(element.contains(expected), "{element}");
    let page = Http::connect(&server).get("/").body;
    assert!(page.contains("data-max-kind-bytes=\"20\""), "{page}");
    assert!(page.contains("data-party=\"main\""), "{page}");
}

#[test]
fn the_sites_own_look_is_in_the_page() {
    let home = directory();
    let logo = home.path().join("logo");
    std::fs::write(&logo, "<svg xmlns=\"http://www.w3.org/2000/svg\"/>").unwrap();
    let server = Server::start(&[
        "--brand-name",
        "<Talks> & \"more\"",
        "--brand-color",
        "#0a7cff",
        "--brand-logo",
        logo.to_str().unwrap(),
        "--theme",
        "dark",
    ]);
    let mut http = Http::connect(&server);
    let page = http.get("/").body;
    let name = "&lt;Talks&gt; &amp; &quot;more&quot;";
    for part in [
        "data-theme=\"dark\" data-branded",
        &format!("<title>{name}</title>"),
        &format!("<img src=\"/pages/logo\" alt=\"\"><span>{name}</span>"),
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let style = http.get("/pages/page.css").body;
    assert!(
        style.contains("--brand:#0a7cff;--on-brand:#000000"),
        "{style}"
    );
    let logo = http.get("/pages/logo");
    assert_eq!(logo.field("Content-Type"), Some("image/svg+xml"));
    assert_eq!(logo.field("X-Content-Type-Options"), Some("nosniff"));
    let policy = logo.field("Content-Security-Policy").unwrap();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("sandbox"),
        "{policy}"
    );
    let plain = Server::start(&[]);
    assert_eq!(Http::connect(&plain).get("/pages/logo").status, 404);
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
fn no_pages_turns_the_pages_off() {
    let server = Server::start(&["--no-pages"]);
    let mut http = Http::connect(&server);
    for (target, _) in FILES {
        assert_eq!(http.get(target).status, 404, "{target}");
    }
    assert_eq!(http.get("/r/talk").status, 404);
    assert_eq!(http.post("/party/talk", &reaction("love")).status, 200);
}

#[test]
fn any_site_may_load_the_element_but_not_react() {
    let server = Server::start(&["--allow-origin", "https://a.example"]);
    let mut http = Http::connect(&server);
    let foreign = "Origin: https://b.example\r\n";
    let element = http.request("GET", "/ovation.js", foreign);
    assert_eq!(element.status, 200);
    assert_eq!(element.field("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(http.request("GET", "/party/talk", foreign).status, 403);
}

#[test]
fn pipelined_pages_arrive_whole_and_in_order() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    let script = http.get("/ovation.js").body;
    http.post("/party/talk", &reaction("love"));
    let both =
        "GET /party/talk HTTP/1.1\r\nHost: a\r\n\r\nGET /ovation.js HTTP/1.1\r\nHost: a\r\n\r\n";
    // A megabyte of responses. The client reads only after it has sent all requests.
    http.send(both.repeat(60));
    for _ in 0..60 {
        assert_eq!(http.response().body, r#"{"love":1}"#);
        assert_eq!(http.response().body, script);
    }
    assert_eq!(http.get("/party/talk").body, r#"{"love":1}"#);
}

/// Connects a client that doesn't read yet.
fn dial_slowly(server: &Server) -> Http {
    Http::over(dial_with_small_buffer(server, 1024))
}

#[test]
fn a_slow_reader_gets_the_whole_file_and_blocks_no_one() {
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
fn slow_readers_share_one_copy_of_a_file() {
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
