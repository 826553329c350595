//! Masking (RFC 6455, section 5.3), in place and a word at a time.

/// XORs `payload` with the masking `key`. The first byte of the key applies to the first byte of
/// `payload`.
#[inline]
pub(super) fn unmask(payload: &mut [u8], key: [u8; 4]) {
    let half = u32::from_ne_bytes(key);
    let word = u64::from(half) | u64::from(half) << 32;
    let (words, rest) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    let (halves, rest) = rest.as_chunks_mut::<4>();
    for bytes in halves {
        *bytes = (u32::from_ne_bytes(*bytes) ^ half).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// The key, rotated to continue after `length` bytes.
#[inline]
pub(super) fn advance(mut key: [u8; 4], length: usize) -> [u8; 4] {
    key.rotate_left(length % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_the_formula_of_the_rfc(
            payload in proptest::collection::vec(any::<u8>(), 0..100),
            key in any::<[u8; 4]>(),
            split in 0usize..100,
        ) {
            let expected: Vec<u8> =
                payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            let mut actual = payload.clone();
            let split = split.min(actual.len());
            let (first, second) = actual.split_at_mut(split);
            unmask(first, key);
            unmask(second, advance(key, split));
            prop_assert_eq!(actual, expected);
        }
    }
}
