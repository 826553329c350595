//! The form of the files under `/proc` that have a name and a value on each line.

/// What stands behind `NAME:` on the first line that begins so.
pub(crate) fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

/// The value of a line `NAME:  123 kB`.
pub(crate) fn kib_of(text: &str, name: &str) -> Option<u64> {
    let value = value_of(text, name)?.strip_suffix("kB")?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_their_whole_name() {
        let text = "SwapCached: 9 kB\nSlab:   1234 kB\nSlabX: 1 kB\nCapEff:\t00ff\n";
        assert_eq!(kib_of(text, "Slab"), Some(1234));
        assert_eq!(kib_of(text, "Sla"), None);
        assert_eq!(kib_of(text, "CapEff"), None);
        assert_eq!(value_of(text, "CapEff"), Some("00ff"));
    }
}
