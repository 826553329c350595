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

/// Bytes as gigabytes.
pub(crate) fn gb(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
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
}
