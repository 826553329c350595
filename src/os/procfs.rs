//! Formats of files under `/proc`: lines of a name and a value, and plain numbers.

/// Returns the value of the first line `NAME: value`.
pub(crate) fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

/// Returns the value of a line `NAME:  123 kB`.
pub(crate) fn kib_of(text: &str, name: &str) -> Option<u64> {
    let value = value_of(text, name)?.strip_suffix("kB")?;
    value.trim().parse().ok()
}

/// Parses exactly `N` numbers with white space between them.
pub(crate) fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let words: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
    words.ok()?.try_into().ok()
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

    #[test]
    fn only_the_expected_count_of_numbers_is_parsed() {
        assert_eq!(numbers("1\t2\n"), Some([1, 2]));
        assert_eq!(numbers::<3>("1 2\n"), None);
        assert_eq!(numbers::<1>("1 2\n"), None);
        assert_eq!(numbers::<1>("-1"), None);
    }
}
