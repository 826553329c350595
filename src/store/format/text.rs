//! Names as words, padded with zeros.

/// Writes `bytes` to the beginning of `words`.
pub(super) fn put_bytes(bytes: &[u8], words: &mut [u64]) {
    for (word, piece) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut padded = [0; 8];
        padded[..piece.len()].copy_from_slice(piece);
        *word = u64::from_le_bytes(padded);
    }
}

/// The bytes of `words`, with the padding.
pub(super) fn bytes_of(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
