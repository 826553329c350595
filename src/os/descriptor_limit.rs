//! RLIMIT_NOFILE: the maximum number of file descriptors in a table.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Returns the soft limit; `u64::MAX` if there is none.
pub(crate) fn soft() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Raises the soft limit to the hard limit and returns it; `u64::MAX` if there is none.
///
/// # Errors
/// The error of setrlimit(2). The soft limit is then unchanged.
pub(crate) fn raise() -> io::Result<u64> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    Ok(maximum.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_makes_the_soft_limit_the_hard_limit() {
        let limit = raise().unwrap();
        assert_eq!(soft(), limit);
        assert_eq!(raise().unwrap(), limit);
    }
}
