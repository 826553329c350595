//! Which web pages may use this server (RFC 6454, and RFC 6455, section 10.2).

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

    /// Whether a request with this `Origin` field may pass. One without comes from no web page,
    /// and may.
    pub fn allow(&self, origin: Option<&str>) -> bool {
        match (&self.allowed, origin) {
            (Some(allowed), Some(origin)) => allowed
                .iter()
                .any(|candidate| candidate.eq_ignore_ascii_case(origin)),
            _ => true,
        }
    }

    /// What `Access-Control-Allow-Origin` says, if this origin is allowed.
    pub(super) fn header<'o>(&self, origin: Option<&'o str>) -> Option<&'o str> {
        match self.allowed {
            None => Some("*"),
            Some(_) => origin.filter(|_| self.allow(origin)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_lets_only_its_own_pass() {
        let origins = Origins::only(vec!["https://a.example".to_owned()]);
        assert!(origins.allow(Some("https://A.example")));
        assert!(!origins.allow(Some("https://b.example")));
        assert!(!origins.allow(Some("null")));
        assert!(origins.allow(None));
        let asked = Some("https://a.example");
        assert_eq!(origins.header(asked), asked);
        assert_eq!(origins.header(Some("https://b.example")), None);
        assert!(Origins::default().allow(Some("null")));
        assert_eq!(Origins::none().header(Some("null")), None);
        assert!(Origins::only(Vec::new()).allow(Some("https://b.example")));
    }
}
