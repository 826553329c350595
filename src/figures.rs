//! Numbers formatted for people.

/// Formats a whole number with commas between its thousands.
pub(crate) fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a number of bytes in GB, or in MB if it is less than 1 GB.
pub(crate) fn memory(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{} MB", bytes.div_ceil(1_000_000)),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated_by_commas() {
        assert_eq!(whole(1_234_567), "1,234,567");
        assert_eq!(whole(1_000), "1,000");
        assert_eq!(whole(999), "999");
        assert_eq!(whole(0), "0");
    }

    #[test]
    fn memory_below_1_gb_is_shown_in_mb() {
        assert_eq!(memory(0), "0 MB");
        assert_eq!(memory(63_100_000), "64 MB");
        assert_eq!(memory(23_676_872 * 1024), "24.2 GB");
    }
}
