//! By which names clients may address this server (RFC 9110, section 7.2).
//!
//! A page of another site can be given the address of this server under its own name (DNS
//! rebinding). To the browser the two are then one site, so that `Origin` protects nothing. The
//! name in `Host` gives such a page away.

use super::request::Request;
use super::target::authority_of;

/// The names by which clients may address a server: any name, or those on a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    names: Option<Vec<String>>,
}

impl Hosts {
    /// Allows these names, without ports. An empty list allows any name.
    pub fn only(names: Vec<String>) -> Self {
        Self {
            names: (!names.is_empty()).then_some(names),
        }
    }

    /// Whether `request` addresses the server by an allowed name, with any port. If the target has
    /// a name too (RFC 9112, section 3.2.2), both must be allowed.
    #[inline]
    pub fn allow(&self, request: &Request<'_>) -> bool {
        let Some(names) = &self.names else {
            return true;
        };
        let is_known = |authority: &str| {
            let name = without_root(without_port(authority));
            let mut names = names.iter();
            names.any(|known| without_root(known).eq_ignore_ascii_case(name))
        };
        request.field("host").is_some_and(is_known)
            && authority_of(request.target).is_none_or(is_known)
    }
}

/// The host in `HOST:PORT`.
pub(crate) fn without_port(authority: &str) -> &str {
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match authority.rsplit_once(':') {
        Some((host, port)) if digits(port) => host,
        _ => authority,
    }
}

/// The name without the dot of the root domain.
fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::super::request;
    use super::*;

    fn allows(hosts: &Hosts, target: &str, fields: &str) -> bool {
        let head = format!("GET {target} HTTP/1.0\r\n{fields}\r\n");
        let (request, _) = request::parse(head.as_bytes(), 8192).unwrap().unwrap();
        hosts.allow(&request)
    }

    #[test]
    fn only_listed_names_are_allowed() {
        let names = ["talks.example", "[::1]", "127.0.0.1"];
        let hosts = Hosts::only(names.map(str::to_owned).to_vec());
        for (host, expected) in [
            ("talks.example", true),
            ("Talks.Example:443", true),
            ("talks.example.:443", true),
            ("127.0.0.1:1999", true),
            ("[::1]:1999", true),
            ("[::1]", true),
            ("evil.example", false),
            ("talks.example.evil.example", false),
            ("talks.example:a", false),
            ("evil@talks.example", false),
            ("talks.example, evil.example", false),
            ("::1", false),
            ("", false),
        ] {
            assert_eq!(
                allows(&hosts, "/", &format!("Host: {host}\r\n")),
                expected,
                "{host}"
            );
        }
        assert!(!allows(&hosts, "/", ""));
        let twice = "Host: talks.example\r\nHost: talks.example\r\n";
        assert!(!allows(&hosts, "/", twice));
        let host = "Host: talks.example\r\n";
        assert!(allows(&hosts, "http://talks.example/party/x", host));
        assert!(!allows(&hosts, "http://evil.example/party/x", host));
        assert!(!allows(
            &hosts,
            "http://talks.example/",
            "Host: evil.example\r\n"
        ));
    }

    #[test]
    fn an_empty_list_allows_any_name() {
        for hosts in [Hosts::default(), Hosts::only(Vec::new())] {
            assert!(allows(&hosts, "/", "Host: any.example\r\n"));
            assert!(allows(&hosts, "/", ""));
        }
    }
}
