//! Words that carry their own checksum: CRC-32C (Castagnoli, RFC 3720 appendix B.4).

/// The checksum of a word does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChecksumMismatch;

/// A checked word: `value`, and a checksum over `meaning`, the value and `owner`, the word that
/// tells what the value belongs to.
pub(super) fn checked(value: u32, meaning: u64, owner: u64) -> u64 {
    with_checksum(value, checksum([meaning, u64::from(value), owner]))
}

/// Reads the value of a checked word; `None` if the word was never written.
pub(super) fn read_checked(
    word: u64,
    meaning: u64,
    owner: u64,
) -> Result<Option<u32>, ChecksumMismatch> {
    let (value, _) = halves(word);
    match word {
        0 => Ok(None),
        _ if word == checked(value, meaning, owner) => Ok(Some(value)),
        _ => Err(ChecksumMismatch),
    }
}

/// The checksum of the bytes of `words`.
pub(super) fn checksum(words: impl IntoIterator<Item = u64>) -> u32 {
    extend_checksum(0, words)
}

/// The checksum of what `sum` covers, followed by the bytes of `words`.
pub(super) fn extend_checksum(sum: u32, words: impl IntoIterator<Item = u64>) -> u32 {
    words.into_iter().fold(sum, |sum, word| {
        crc32c::crc32c_append(sum, &word.to_le_bytes())
    })
}

/// The word with these halves.
pub(super) fn with_checksum(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// The low and the high half of a word, in the order in which the file has them.
pub(super) fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}
