//! Moderators: what a token with the cap `moderate` can do to its room.

use super::{Tokens, bearer, get};
use crate::support::{Client, Http, Response, Server, reaction};

fn moderate(server: &Server, method: &str, target: &str, request: &str) -> Response {
    let mut http = Http::connect(server);
    http.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: ovation.test\r\n{request}"
    ));
    http.response()
}

fn patch(server: &Server, fields: &str, body: &str) -> Response {
    let length = body.len();
    let request = format!("Content-Length: {length}\r\n{fields}\r\n{body}");
    moderate(server, "PATCH", "/party/talk", &request)
}

fn delete(server: &Server, target: &str, fields: &str) -> Response {
    moderate(server, "DELETE", target, &format!("{fields}\r\n"))
}

#[test]
fn a_moderator_sets_the_mode_of_its_room() {
    let tokens = Tokens::make();
    let server = tokens.server(&["--anonymous", "react"]);
    let field = bearer(tokens.get("moderate"));
    let mut member = Client::open(&server, "/party/talk?state=1");
    assert_eq!(member.next_text(), "{}");
    for state in ["frozen", "open"] {
        let body = format!(r#"{{"state":"{state}"}}"#);
        let answer = patch(&server, &field, &body);
        assert_eq!((answer.status, answer.body), (200, body));
        assert_eq!(member.next_text(), format!(r#"{{"$state":"{state}"}}"#));
    }
    assert_eq!(patch(&server, &field, r#"{"state":"closed"}"#).status, 200);
    assert_eq!(member.close_code(), Some(4503));
    for body in [
        "",
        "{}",
        r#"{"state":"ajar"}"#,
        r#"["open"]"#,
        r#"{"state":"open","x":"open"}"#,
    ] {
        assert_eq!(patch(&server, &field, body).status, 400, "{body}");
    }
}

#[test]
fn a_moderator_removes_kinds_and_the_room_and_nothing_by_mistake() {
    let tokens = Tokens::make();
    let server = tokens.server(&["--anonymous", "react"]);
    let field = bearer(tokens.get("moderate"));
    let mut http = Http::connect(&server);
    for kind in ["love", "a&b"] {
        assert_eq!(http.post("/party/talk", &reaction(kind)).status, 200);
    }
    for query in ["?", "?kind", "?Kind=love", "?kind=love&kind=x", "?x=1"] {
        let answer = delete(&server, &format!("/party/talk{query}"), &field);
        assert_eq!(answer.status, 400, "{query}");
    }
    assert_eq!(http.get("/party/talk").body, r#"{"love":1,"a&b":1}"#);
    assert_eq!(
        delete(&server, "/party/talk?kind=a%26b", &field).status,
        204
    );
    assert_eq!(
        delete(&server, "/party/talk?kind=a%26b", &field).status,
        404
    );
    assert_eq!(http.get("/party/talk").body, r#"{"love":1}"#);
    assert_eq!(delete(&server, "/party/talk", &field).status, 204);
    assert_eq!(delete(&server, "/party/talk", &field).status, 404);
    assert_eq!(http.get("/party/talk").body, "{}");
}

#[test]
fn nobody_else_moderates() {
    let tokens = Tokens::make();
    let server = tokens.server(&["--anonymous", "react"]);
    let frozen = r#"{"state":"frozen"}"#;
    let moderator = tokens.get("moderate");
    assert_eq!(patch(&server, "", frozen).status, 401);
    let cookie = format!("Cookie: ovation_token={moderator}\r\n");
    assert_eq!(
        patch(&server, &cookie, frozen).status,
        401,
        "a page could make the browser send it"
    );
    let target = format!("/party/talk?token={moderator}");
    assert_eq!(
        delete(&server, &target, "").status,
        401,
        "a link could carry it"
    );
    let other = moderate(
        &server,
        "DELETE",
        "/party/other",
        &format!("{}\r\n", bearer(moderator)),
    );
    assert_eq!(other.status, 403, "the token is for another room");
    // On a server without tokens, only the operator moderates.
    let open = Server::start(&[]);
    assert_eq!(patch(&open, &bearer(moderator), frozen).status, 405);
    assert_eq!(get(&open, moderator).status, 200);
}
