//! Lines that raise a limit.

use serde::Serialize;

/// A change that raises a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Remedy {
    /// A setting of the kernel.
    Sysctl {
        /// The command that sets it until the machine restarts.
        line: String,
        /// The line that keeps it, for a file under `/etc/sysctl.d`.
        file_line: String,
    },
    /// A line of the `[Service]` section of a systemd unit.
    Unit { line: String },
    /// Flags of `ovation serve`.
    Flag { line: String },
    /// A change that no setting makes.
    Advice { line: String },
}

impl Remedy {
    pub(super) fn sysctl(key: &str, value: impl std::fmt::Display) -> Self {
        Self::Sysctl {
            line: format!("sysctl -w {key}={value}"),
            file_line: format!("{key} = {value}"),
        }
    }

    pub(super) fn unit(key: &str, value: u64) -> Self {
        let line = format!("{key}={value}");
        Self::Unit { line }
    }

    pub(super) fn flag(line: String) -> Self {
        Self::Flag { line }
    }

    pub(super) fn advice(line: String) -> Self {
        Self::Advice { line }
    }

    /// Returns the line itself.
    pub(super) fn line(&self) -> &str {
        match self {
            Self::Sysctl { line, .. }
            | Self::Unit { line }
            | Self::Flag { line }
            | Self::Advice { line } => line,
        }
    }
}

/// Rounds up to a number whose digits after the second are all zero.
pub(super) fn rounded(number: u64) -> u64 {
    let digits = number.checked_ilog10().unwrap_or(0) + 1;
    let step = 10_u64.pow(digits.saturating_sub(2));
    number.div_ceil(step).saturating_mul(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_up() {
        assert_eq!(rounded(0), 0);
        assert_eq!(rounded(7), 7);
        assert_eq!(rounded(101), 110);
        assert_eq!(rounded(4_001_024), 4_100_000);
        assert_eq!(rounded(4_000_000), 4_000_000);
    }
}
