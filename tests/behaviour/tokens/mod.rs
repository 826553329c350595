//! Access tokens that another implementation made, against the command `ovation token check` and
//! against a running server.

mod keys;
mod moderation;
mod places;
mod rooms;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::{Http, Response, Server, clean_command, directory};

/// Debian's own Python, which has Debian's PyJWT.
const PYTHON: &str = "/usr/bin/python3";

/// Tokens and key files made by PyJWT.
struct Tokens {
    home: TempDir,
    tokens: HashMap<String, String>,
}

impl Tokens {
    /// Makes new keys and tokens.
    fn make() -> Self {
        let home = directory();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/behaviour/tokens/make.py");
        let output = Command::new(PYTHON).arg(script).arg(home.path()).output();
        let output = output.unwrap_or_else(|error| panic!("{PYTHON}: {error}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "install python3-jwt and python3-cryptography (.ci/install does): {errors}"
        );
        let tokens = serde_json::from_slice(&output.stdout).expect("an object of tokens");
        Self { home, tokens }
    }

    fn get(&self, name: &str) -> &str {
        let token = self.tokens.get(name);
        token.unwrap_or_else(|| panic!("no token is called {name}"))
    }

    /// The path of a key file.
    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    fn secret(&self) -> [String; 2] {
        ["--token-secret-file".to_owned(), self.path("secret")]
    }

    fn key(&self, name: &str) -> [String; 2] {
        ["--token-key-file".to_owned(), self.path(name)]
    }

    /// Starts a server with the secret, and with `arguments`.
    fn server(&self, arguments: &[&str]) -> Server {
        let secret = self.secret();
        let secret = secret.each_ref().map(String::as_str);
        Server::start(&[&secret, arguments].concat())
    }
}

/// Runs `ovation token` with `arguments`. Returns its exit code and all it says.
fn tool(home: &Path, arguments: &[&str]) -> (i32, String) {
    let output = clean_command(home).arg("token").args(arguments).output();
    let output = output.expect("the binary can be run");
    let text = [output.stdout, output.stderr].concat();
    let code = output.status.code().expect("no signal ended it");
    (code, String::from_utf8(text).expect("UTF-8"))
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Asks for the counts of the room `talk` with a token.
fn get(server: &Server, token: &str) -> Response {
    Http::connect(server).request("GET", "/party/talk", &bearer(token))
}

/// Posts a reaction to the room `talk` with additional fields.
fn post(server: &Server, fields: &str) -> Response {
    let mut http = Http::connect(server);
    http.send(format!(
        "POST /party/talk HTTP/1.1\r\nHost: ovation.test\r\nContent-Length: 15\r\n{fields}\r\n\
         {{\"kind\":\"love\"}}"
    ));
    http.response()
}
