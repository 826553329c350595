//! Which web pages may use this server (RFC 6454, and RFC 6455, section 10.2).

use crate::protocol::http::request::Request;

/// The origins that are allowed: any, or those on a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    allowed: Option<Vec<String>>,
}

impl Origins {
    /// Only these origins, such as `https://talks.example`. An empty list allows any.
    pub fn only(origins: Vec<String>) -> Self {
        Self {
            allowed: (!origins.is_empty()).then_some(origins),
        }
    }

    /// No origin: only what comes from no web page may pass.
    pub fn none() -> Self {
        Self {
            allowed: Some(Vec::new()),
        }
    }

    /// Whether a request may pass, by its `Origin` field. One without comes from no web page, and
    /// may; so may one of the server's own pages, whatever the list says.
    pub fn allow(&self, request: &Request<'_>) -> bool {
        match (&self.allowed, request.origin) {
            (Some(allowed), Some(origin)) => {
                let mut candidates = allowed.iter();
                candidates.any(|candidate| candidate.eq_ignore_ascii_case(origin))
                    || is_of_host(origin, request.field("host"))
            }
            _ => true,
        }
    }

    /// What `Access-Control-Allow-Origin` says, if this request may pass.
    pub(super) fn header<'o>(&self, request: &Request<'o>) -> Option<&'o str> {
        match self.allowed {
            None => Some("*"),
            Some(_) => request.origin.filter(|_| self.allow(request)),
        }
    }
}

/// Whether the page is of the server that is asked. Of the scheme the server knows nothing: a
/// proxy may speak TLS for it.
fn is_of_host(origin: &str, host: Option<&str>) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    let Some((authority, host)) = authority.zip(host) else {
        return false;
    };
    authority.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(origin: Option<&str>) -> Request<'_> {
        let mut request = Request::default();
        request.origin = origin;
        request
    }

    #[test]
    fn a_list_lets_only_its_own_pass() {
        let origins = Origins::only(vec!["https://a.example".to_owned()]);
        let allow = |origin| origins.allow(&from(origin));
        assert!(allow(Some("https://A.example")));
        assert!(!allow(Some("https://b.example")));
        assert!(!allow(Some("null")));
        assert!(allow(None));
        let asked = Some("https://a.example");
        assert_eq!(origins.header(&from(asked)), asked);
        assert_eq!(origins.header(&from(Some("https://b.example"))), None);
        assert!(Origins::default().allow(&from(Some("null"))));
        assert_eq!(Origins::none().header(&from(Some("null"))), None);
        assert!(Origins::only(Vec::new()).allow(&from(Some("https://b.example"))));
    }

    #[test]
    fn the_servers_own_pages_pass() {
        assert!(is_of_host(
            "https://Ovation.example",
            Some("ovation.example")
        ));
        assert!(is_of_host("http://127.0.0.1:1999", Some("127.0.0.1:1999")));
        assert!(!is_of_host(
            "https://ovation.example:8443",
            Some("ovation.example")
        ));
        assert!(!is_of_host(
            "https://ovation.example.evil.example",
            Some("ovation.example")
        ));
        assert!(!is_of_host("null", Some("null")));
        assert!(!is_of_host("https://ovation.example", None));
    }
}
