//! Where a request may have its token.

use super::{Tokens, bearer, get, post};
use crate::support::{Http, Server, upgrade_head};

/// Opens a WebSocket with additional fields. Returns the status and the selected subprotocol.
fn upgrade(server: &Server, target: &str, fields: &str) -> (u16, Option<String>) {
    let mut http = Http::connect(server);
    http.send(upgrade_head(target, fields));
    let response = http.response();
    let selected = response.field("Sec-WebSocket-Protocol");
    (response.status, selected.map(str::to_owned))
}

#[test]
fn a_token_counts_in_each_of_its_places() {
    let tokens = Tokens::make();
    let server = tokens.server(&[]);
    let (good, bad) = (tokens.get("good"), tokens.get("wrong_key"));
    let query = |token: &str| format!("/party/talk?token={token}");
    let cookie = |token: &str| format!("Cookie: theme=dark; ovation_token={token}\r\n");
    let offer = |token: &str| format!("Sec-WebSocket-Protocol: ovation, ovation.token.{token}\r\n");
    for (target, fields, status) in [
        ("/party/talk".to_owned(), String::new(), 401),
        ("/party/talk".to_owned(), bearer(good), 101),
        ("/party/talk".to_owned(), offer(good), 101),
        (query(good), String::new(), 101),
        ("/party/talk".to_owned(), cookie(good), 101),
        ("/party/talk".to_owned(), bearer(bad), 401),
        ("/party/talk".to_owned(), offer(bad), 401),
        (query(bad), String::new(), 401),
        ("/party/talk".to_owned(), cookie(bad), 401),
        // The first place that has one counts.
        (query(good), bearer(bad), 401),
        (query(bad), bearer(good), 101),
        (query(bad), offer(good), 101),
        (query(good), cookie(bad), 101),
        // Two credentials are none.
        ("/party/talk".to_owned(), bearer(good).repeat(2), 401),
    ] {
        let (answered, selected) = upgrade(&server, &target, &fields);
        assert_eq!(answered, status, "{target} {fields}");
        let is_offered = fields.contains("Protocol: ovation,") && status == 101;
        assert_eq!(selected.as_deref(), is_offered.then_some("ovation"));
    }
    let response = Http::connect(&server).get("/party/talk");
    assert_eq!(response.status, 401);
    assert_eq!(response.field("WWW-Authenticate"), Some("Bearer"));
    assert!(!server.log().contains(&good[..40]), "{}", server.log());
}

#[test]
fn a_cookie_counts_only_for_pages_that_the_operator_named() {
    let tokens = Tokens::make();
    let cookie = format!("Cookie: ovation_token={}\r\n", tokens.get("good"));
    let any = tokens.server(&["--allow-origin", "*"]);
    let listed = tokens.server(&["--allow-origin", "https://a.example"]);
    for (server, origin, status) in [
        (&any, "", 200),
        (&any, "Origin: https://ovation.test\r\n", 200),
        (&any, "Origin: https://a.example\r\n", 401),
        (&any, "Origin: null\r\n", 401),
        (&listed, "Origin: https://a.example\r\n", 200),
        (&listed, "Origin: https://ovation.test\r\n", 200),
        (&listed, "Origin: https://b.example\r\n", 403),
    ] {
        let fields = format!("{cookie}{origin}");
        assert_eq!(post(server, &fields).status, status, "{origin}");
    }
    // A token that the page itself adds counts from any page.
    let fields = format!(
        "{}Origin: https://a.example\r\n",
        bearer(tokens.get("good"))
    );
    assert_eq!(post(&any, &fields).status, 200);
}

#[test]
fn a_page_may_ask_whether_it_may_send_a_token() {
    let tokens = Tokens::make();
    let server = tokens.server(&[]);
    let fields = "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n\
                  Access-Control-Request-Headers: authorization\r\n";
    let response = Http::connect(&server).request("OPTIONS", "/party/talk", fields);
    assert_eq!(response.status, 204);
    let allowed = |field: &str| response.field(field).unwrap_or_default().to_owned();
    assert!(allowed("Access-Control-Allow-Headers").contains("Authorization"));
    for method in ["POST", "PATCH", "DELETE"] {
        assert!(allowed("Access-Control-Allow-Methods").contains(method));
    }
    assert_eq!(get(&server, tokens.get("good")).status, 200);
}
