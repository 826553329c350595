//! The admin side of a server, as an operator or a monitoring system asks it.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::{Http, Response, Server};

/// The address of an admin side, and the requests that tests send to it.
#[derive(Debug)]
pub(crate) struct AdminSide {
    pub(crate) address: String,
}

impl AdminSide {
    /// Starts a server whose admin side listens on a free port.
    pub(crate) fn start(arguments: &[&str]) -> (Server, Self) {
        let server = Server::start(&[&["--admin", "127.0.0.1:0"], arguments].concat());
        let admin = Self::of(&server);
        (server, admin)
    }

    /// Starts a server whose snapshot is in `home`, with an admin side on a free port.
    pub(crate) fn start_in(home: &Path, arguments: &[&str]) -> (Server, Self) {
        let server = Server::start_in(home, &[&["--admin", "127.0.0.1:0"], arguments].concat());
        let admin = Self::of(&server);
        (server, admin)
    }

    /// Reads the address of the server's admin side. Works once per server.
    pub(crate) fn of(server: &Server) -> Self {
        Self {
            address: server.admin_address(),
        }
    }

    pub(crate) fn connect(&self) -> Http {
        Http::connect_to(&self.address)
    }

    /// Sends a request on a new connection. Adds a `Host` unless `fields` has one.
    pub(crate) fn request(&self, method: &str, target: &str, fields: &str) -> Response {
        let mut http = self.connect();
        let host = if fields.contains("Host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address)
        };
        http.send(format!("{method} {target} HTTP/1.1\r\n{host}{fields}\r\n"));
        http.response_to(method)
    }

    pub(crate) fn get(&self, target: &str) -> Response {
        self.request("GET", target, "")
    }

    pub(crate) fn json(&self, target: &str) -> Value {
        let response = self.get(target);
        assert_eq!(response.status, 200, "{target}: {}", response.body);
        serde_json::from_str(&response.body).unwrap_or_else(|error| panic!("{target}: {error}"))
    }

    /// Posts an operator's action.
    pub(crate) fn act(&self, target: &str) -> Response {
        self.request("POST", target, "X-Ovation: 1\r\n")
    }

    /// Returns the metrics by name and labels, after a strict parser has accepted them.
    pub(crate) fn metrics(&self) -> HashMap<String, f64> {
        let response = self.get("/metrics");
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

    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.metrics()[name]
    }

    /// Returns the sum of a metric over its labels.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let metrics = self.metrics().into_iter();
        let is_meant = |known: &str| known.split('{').next() == Some(name);
        metrics
            .filter(|(known, _)| is_meant(known))
            .map(|(_, value)| value)
            .sum()
    }
}
