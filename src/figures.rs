//! Figures as people read them.

/// A whole number with its thousands apart.
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

/// Bytes as gigabytes, or as megabytes if they are few.
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
    fn thousands_are_apart() {
        assert_eq!(whole(1_234_567), "1,234,567");
        assert_eq!(whole(1_000), "1,000");
        assert_eq!(whole(999), "999");
        assert_eq!(whole(0), "0");
    }

    #[test]
    fn memory_has_the_unit_that_fits() {
        assert_eq!(memory(0), "0 MB");
        assert_eq!(memory(63_100_000), "64 MB");
        assert_eq!(memory(23_676_872 * 1024), "24.2 GB");
    }
}
