//! The parts of a request target (RFC 9112, section 3.2).

/// The path of an origin-form or absolute-form target (RFC 9112, section 3.2).
pub(crate) fn path_of(target: &str) -> &str {
    let path = match after_scheme(target) {
        Some(rest) => rest.find('/').map_or("/", |start| &rest[start..]),
        None => target,
    };
    path.split(['?', '#']).next().unwrap_or(path)
}

/// The host and port of an absolute-form target.
pub(super) fn authority_of(target: &str) -> Option<&str> {
    after_scheme(target)?.split(['/', '?', '#']).next()
}

/// What follows the scheme of an absolute-form target.
fn after_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    (!scheme.contains('/')).then_some(rest)
}

/// Whether the query of `target` contains exactly `name=value`, without decoding escapes.
pub(crate) fn query_has(target: &str, (name, value): (&str, &str)) -> bool {
    pairs(target).any(|pair| pair == (name, value))
}

/// The first value of the parameter `name` in the query of `target`, without decoding escapes.
pub(crate) fn query_value<'t>(target: &'t str, name: &str) -> Option<&'t str> {
    pairs(target).find_map(|(known, value)| (known == name).then_some(value))
}

fn pairs(target: &str) -> impl Iterator<Item = (&str, &str)> {
    let target = target.split('#').next().unwrap_or(target);
    let query = target.split_once('?').map_or("", |(_, query)| query);
    query.split('&').filter_map(|pair| pair.split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_in_absolute_form_have_an_authority() {
        for (target, path, authority) in [
            ("/a?b://c", "/a", None),
            ("http://a:1/b?c", "/b", Some("a:1")),
            ("http://a?b", "/", Some("a")),
            ("*", "*", None),
        ] {
            assert_eq!((path_of(target), authority_of(target)), (path, authority));
        }
    }

    #[test]
    fn parameters_are_found_in_the_query_only() {
        for (target, expected) in [
            ("/party/talk?presence=1", true),
            ("/party/talk?_pk=0&presence=1&x", true),
            ("/party/talk?presence=1#x", true),
            ("/party/talk?presence=0", false),
            ("/party/talk?presence", false),
            ("/party/talk?xpresence=1", false),
            ("/party/presence=1", false),
            ("/party/talk#?presence=1", false),
            ("", false),
        ] {
            assert_eq!(query_has(target, ("presence", "1")), expected, "{target}");
        }
    }

    #[test]
    fn the_first_of_equal_parameters_counts() {
        for (target, expected) in [
            ("/party/talk?token=a&token=b", Some("a")),
            ("/party/talk?xtoken=a&token=b=c", Some("b=c")),
            ("/party/talk?token=%61", Some("%61")),
            ("/party/talk?token=", Some("")),
            ("/party/talk?token", None),
            ("/party/token=a", None),
        ] {
            assert_eq!(query_value(target, "token"), expected, "{target}");
        }
    }
}
