//! The parts of a request target (RFC 9112, section 3.2).

/// The path of an origin-form or absolute-form target (RFC 9112, section 3.2).
pub(crate) fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').map_or("/", |start| &rest[start..])
        }
        _ => target,
    };
    path.split(['?', '#']).next().unwrap_or(path)
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
