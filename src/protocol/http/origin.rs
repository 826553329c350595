//! Which web pages may use this server (RFC 6454; RFC 6455, section 10.2).

use super::request::Request;

/// The allowed origins: any origin, or those on a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    allowed: Option<Vec<String>>,
}

impl Origins {
    /// Allows these origins, such as `https://talks.example`. An empty list, or a list with `*`,
    /// allows any origin.
    pub fn only(origins: Vec<String>) -> Self {
        let is_any = origins.is_empty() || origins.iter().any(|origin| origin == "*");
        Self {
            allowed: (!is_any).then_some(origins),
        }
    }

    /// Allows no origin but the server's own.
    pub fn none() -> Self {
        Self {
            allowed: Some(Vec::new()),
        }
    }

    /// Whether the origin of a request is allowed, by its `Origin` field. A request without the
    /// field comes from no web page and is allowed. So is a page of the server itself, whatever the
    /// list says.
    pub fn allow(&self, request: &Request<'_>) -> bool {
        match (&self.allowed, request.origin) {
            (Some(allowed), Some(origin)) => {
                let mut candidates = allowed.iter();
                candidates.any(|candidate| candidate.eq_ignore_ascii_case(origin))
                    || !is_cross_origin(request)
            }
            _ => true,
        }
    }

    /// Whether the request comes from a page of the server itself, or from an origin that the list
    /// names: not because any origin may use the server.
    pub(crate) fn trust(&self, request: &Request<'_>) -> bool {
        match &self.allowed {
            Some(_) => self.allow(request),
            None => !is_cross_origin(request),
        }
    }

    /// The value of `Access-Control-Allow-Origin` in the response, if the origin is allowed.
    pub(super) fn header<'o>(&self, request: &Request<'o>) -> Option<&'o str> {
        match self.allowed {
            None => Some("*"),
            Some(_) => request.origin.filter(|_| self.allow(request)),
        }
    }
}

/// Whether the request comes from a web page of another server than the one it is sent to.
pub(crate) fn is_cross_origin(request: &Request<'_>) -> bool {
    let host = request.field("host");
    request
        .origin
        .is_some_and(|origin| !is_of_host(origin, host))
}

/// Whether `origin` names the server at `host`. The schemes may differ: a proxy may speak TLS for
/// the server.
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
    fn a_list_allows_its_origins_only() {
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
        assert!(!Origins::default().trust(&from(asked)) && origins.trust(&from(asked)));
        assert_eq!(Origins::none().header(&from(Some("null"))), None);
        let any = Origins::only(vec!["https://a.example".to_owned(), "*".to_owned()]);
        assert!(any.allow(&from(Some("https://b.example"))));
        assert!(Origins::only(Vec::new()).allow(&from(Some("https://b.example"))));
    }

    #[test]
    fn pages_of_the_server_itself_are_allowed() {
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
