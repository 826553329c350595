//! Which tokens are accepted with which keys, and which keys are.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::{Tokens, get, tool};
use crate::support::{Server, directory, refused};

/// What becomes of each token of a back end that shares the secret, as far as claims and signature
/// go: the status of a request for the counts, and what the check says.
const WITH_SECRET: [(&str, u16, &str); 28] = [
    ("good", 200, "accepted"),
    ("expired", 401, "expired"),
    ("expired_connection", 401, "expired"),
    ("wrong_room", 403, "another room"),
    ("wrong_party", 403, "another room"),
    ("wrong_key", 401, "signature"),
    ("none", 401, "algorithm"),
    ("not_yet", 401, "not hold yet"),
    ("made_later", 401, "not hold yet"),
    ("barely_ahead", 200, "accepted"),
    ("endless", 200, "without end"),
    ("endless_connection", 200, "without end"),
    ("float", 200, "accepted"),
    ("watch", 200, "may watch in"),
    ("react", 200, "may watch, react in"),
    ("moderate", 403, "may moderate in"),
    ("nothing", 403, "may nothing in"),
    ("unknown_cap", 200, "may watch in"),
    ("prefix", 200, "accepted"),
    ("other_prefix", 403, "another room"),
    ("party", 200, "accepted"),
    ("no_channel", 401, "claims"),
    ("audience", 401, "audience"),
    ("other_audience", 401, "audience"),
    ("issuer", 200, "accepted"),
    ("HS512", 401, "algorithm"),
    ("RS256", 401, "algorithm"),
    ("ES256_forged", 401, "signature"),
];

#[test]
fn tokens_of_pyjwt_are_checked_as_promised() {
    let tokens = Tokens::make();
    let server = tokens.server(&[]);
    let [flag, secret] = tokens.secret();
    for (name, status, says) in WITH_SECRET {
        let token = tokens.get(name);
        let response = get(&server, token);
        assert_eq!(response.status, status, "{name}: {}", response.body);
        let arguments = ["check", &flag, &secret, "--room", "main/talk", token];
        let (code, text) = tool(tokens.home.path(), &arguments);
        let is_valid = status == 200 || says.starts_with("may ");
        assert_eq!(code, i32::from(!is_valid), "{name}: {text}");
        assert!(text.contains(says), "{name}: {text}");
    }
}

#[test]
fn each_algorithm_is_that_of_its_key() {
    let tokens = Tokens::make();
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        for (file, with_kid) in [
            (format!("{algorithm}.pem"), false),
            ("set.json".into(), true),
        ] {
            let key = tokens.key(&file);
            let key = key.each_ref().map(String::as_str);
            let server = Server::start(&key);
            // A key without a kid is for all tokens, and one with a kid for its own.
            for (suffix, is_accepted) in [
                ("", !with_kid),
                ("_kid", true),
                ("_other_kid", !with_kid),
                ("_other_key", false),
                ("_other_key_kid", false),
                ("_forged", false),
            ] {
                let token = tokens.get(&format!("{algorithm}{suffix}"));
                let status = if is_accepted { 200 } else { 401 };
                let response = get(&server, token);
                assert_eq!(response.status, status, "{file}: {algorithm}{suffix}");
                let checked = tool(
                    tokens.home.path(),
                    &[&["check"], &key[..], &[token]].concat(),
                );
                assert_eq!(checked.0, i32::from(!is_accepted), "{file}: {checked:?}");
            }
            for name in ["good", "none", "RS384", "PS256", "wrong_key"] {
                assert_eq!(get(&server, tokens.get(name)).status, 401, "{file}: {name}");
            }
        }
    }
}

#[test]
fn several_keys_are_in_force_together() {
    let tokens = Tokens::make();
    let [secret, rsa] = [tokens.secret(), tokens.key("RS256.pem")];
    let files = [secret, rsa].concat();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let server = Server::start(&files);
    for (name, status) in [
        ("good", 200),
        ("RS256", 200),
        ("ES256", 401),
        ("RS256_forged", 401),
    ] {
        assert_eq!(get(&server, tokens.get(name)).status, status, "{name}");
    }
    let own = directory();
    let list = format!("{},{}", tokens.path("ES256.pem"), tokens.path("EdDSA.pem"));
    let server = Server::start_with(&[("OVATION_TOKEN_KEY_FILE", &list)], &[]);
    for (name, status) in [("good", 401), ("ES256", 200), ("EdDSA", 200)] {
        assert_eq!(get(&server, tokens.get(name)).status, status, "{name}");
    }
    drop(own);
}

#[test]
fn a_server_with_a_name_takes_tokens_for_that_name() {
    let tokens = Tokens::make();
    let server = tokens.server(&["--token-audience", "ovation"]);
    for (name, status) in [
        ("audience", 200),
        ("audiences", 200),
        ("other_audience", 401),
        ("good", 401),
    ] {
        assert_eq!(get(&server, tokens.get(name)).status, status, "{name}");
    }
    let server = tokens.server(&["--token-issuer", "https://a.example"]);
    for (name, status) in [("issuer", 200), ("good", 401)] {
        assert_eq!(get(&server, tokens.get(name)).status, status, "{name}");
    }
}

#[test]
fn key_files_that_cannot_be_used_are_refused_with_advice() {
    let home = directory();
    let write = |name: &str, text: &str, mode: u32| {
        let path = home.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let long = "0123456789abcdef0123456789abcdef";
    let open = write("open", long, 0o644);
    let short = write("short", &long[1..], 0o600);
    let writable = write("writable", "{}", 0o646);
    let private = "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n";
    let private = write("private", private, 0o600);
    let noise = write("noise", "noise", 0o644);
    let admin = write("admin", long, 0o604);
    for (flag, path, advice) in [
        ("--token-secret-file", &*open, "chmod 600"),
        ("--token-secret-file", &short, "openssl rand -hex 32"),
        ("--token-secret-file", "none", "correct --token-secret-file"),
        ("--token-secret-file", ".", "not a regular file"),
        ("--token-key-file", &writable, "chmod 644"),
        ("--token-key-file", &private, "openssl pkey -pubout"),
        ("--token-key-file", &noise, "correct --token-key-file"),
        ("--admin-token-file", &admin, "chmod 600"),
    ] {
        let admin = ["--admin", "127.0.0.1:0"];
        let failed = refused(home.path(), &[&admin, &[flag, path][..]].concat());
        assert_eq!(failed.code, Some(2), "{flag} {path}: {}", failed.message);
        assert!(
            failed.message.contains(advice),
            "{flag} {path}: {}",
            failed.message
        );
    }
    for flag in [
        "--anonymous=watch",
        "--token-audience=a",
        "--token-issuer=a",
    ] {
        let failed = refused(home.path(), &[flag]);
        assert_eq!(failed.code, Some(2), "{flag}");
        assert!(
            failed.message.contains("--token-secret-file"),
            "{}",
            failed.message
        );
    }
}

#[test]
fn tokens_of_the_tool_are_accepted_by_the_server() {
    let tokens = Tokens::make();
    let server = tokens.server(&[]);
    let make = |arguments: &[&str]| {
        let secret = tokens.path("secret");
        let new = ["new", "--secret-file", &secret];
        let (code, text) = tool(tokens.home.path(), &[&new, arguments].concat());
        assert_eq!(code, 0, "{text}");
        text.trim().to_owned()
    };
    for (arguments, status) in [
        (&["--room", "main/talk"][..], 200),
        (
            &["--room", "main/t*", "--expires", "never", "--kid", "any"],
            200,
        ),
        (&["--room", "main/talk", "--caps", "react"], 200),
        (&["--room", "main/talk", "--caps", "moderate"], 403),
        (&["--room", "main/talk", "--audience", "other"], 401),
        (&["--room", "main/other"], 403),
        (&["--room", "main/talk", "--expires", "0s"], 401),
    ] {
        assert_eq!(
            get(&server, &make(arguments)).status,
            status,
            "{arguments:?}"
        );
    }
    for wrong in [
        &["new", "--room", "main/talk"][..],
        &[
            "new",
            "--secret-file",
            &tokens.path("secret"),
            "--room",
            "talk",
        ],
        &[
            "new",
            "--secret-file",
            &tokens.path("set.json"),
            "--room",
            "main/talk",
        ],
        &["check", "token"],
    ] {
        assert_eq!(tool(tokens.home.path(), wrong).0, 2, "{wrong:?}");
    }
}
