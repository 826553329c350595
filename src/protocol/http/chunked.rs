//! The chunked transfer coding (RFC 9112, section 7.1): a body in pieces, each with its size.
//!
//! A decoder takes what has arrived and keeps only its state, so a body costs the same work however
//! it is cut. It is strict, since a proxy in front must see the same end of the body: lines end in
//! CRLF, and sizes are digits only. Chunk extensions and trailer fields are checked, bounded and
//! dropped, as section 7.1 and RFC 9110, section 6.5.1, allow.

use thiserror::Error;

/// Maximum number of digits of a chunk's size, leading zeros included.
pub const MAX_SIZE_DIGITS: u8 = 8;
/// Maximum size of all chunk extensions of a body, in bytes.
pub const MAX_EXTENSION_BYTES: u16 = 1024;
/// Maximum size of the names and values of all trailer fields of a body, in bytes.
pub const MAX_TRAILER_BYTES: u16 = 4096;

/// Why a chunked body is refused. The server answers with the error's status and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChunkedError {
    /// The body breaks the grammar.
    #[error("malformed chunked body")]
    Malformed,
    /// The content is over the limit of the caller.
    #[error("The body is too large")]
    TooLarge,
    /// The chunk extensions are over [`MAX_EXTENSION_BYTES`].
    #[error("chunk extensions too large")]
    Extensions,
    /// The trailer fields are over [`MAX_TRAILER_BYTES`].
    #[error("trailer fields too large")]
    Trailers,
}

impl ChunkedError {
    /// The status code of the response.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::Extensions => 400,
            Self::TooLarge => 413,
            Self::Trailers => 431,
        }
    }
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A chunk's size, of which so many digits have come.
    Size(u8),
    /// The space after a size, which only an extension may follow.
    Space,
    /// Chunk extensions.
    Extension,
    /// The line feed after a size.
    SizeEnd,
    /// A chunk's content.
    Content,
    /// The CRLF after a chunk's content.
    ContentReturn,
    ContentEnd,
    /// The start of a trailer field, or the last CRLF.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    /// The last line feed.
    End,
    Done,
}

/// A decoder of one body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoder {
    state: State,
    /// Number of bytes of the current chunk that have not come.
    left: u32,
    extension_bytes: u16,
    trailer_bytes: u16,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            state: State::Size(0),
            left: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
        }
    }
}

impl Decoder {
    /// Whether the body has come to its end.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes the next bytes and appends their content to `body`, which may grow to
    /// `max_body_bytes`. Returns how many of `bytes` belong to the body: all of them, unless the
    /// body ends before.
    ///
    /// # Errors
    /// [`ChunkedError`], as soon as the error is certain. The decoder is then of no use.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        max_body_bytes: usize,
        body: &mut Vec<u8>,
    ) -> Result<usize, ChunkedError> {
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            if self.state == State::Content {
                let length = (bytes.len() - at).min(self.left as usize);
                body.extend_from_slice(&bytes[at..at + length]);
                at += length;
                self.left -= length as u32;
                if self.left == 0 {
                    self.state = State::ContentReturn;
                }
            } else {
                self.state = self.next(bytes[at])?;
                at += 1;
                if self.state == State::Content && body.len() + self.left as usize > max_body_bytes
                {
                    return Err(ChunkedError::TooLarge);
                }
            }
        }
        Ok(at)
    }

    /// The state after `byte`, which is not content.
    fn next(&mut self, byte: u8) -> Result<State, ChunkedError> {
        use State::*;
        Ok(match (self.state, byte) {
            (Size(digits), _) if byte.is_ascii_hexdigit() && digits < MAX_SIZE_DIGITS => {
                self.left = self.left << 4 | hex_value(byte);
                Size(digits + 1)
            }
            (Size(1..) | Extension, b'\r') => SizeEnd,
            (Size(1..) | Space, b';') => Extension,
            (Size(1..) | Space, b' ' | b'\t') => {
                self.count_extension()?;
                Space
            }
            (Extension, _) if is_text(byte) => {
                self.count_extension()?;
                Extension
            }
            (SizeEnd, b'\n') if self.left == 0 => Trailer,
            (SizeEnd, b'\n') => Content,
            (ContentReturn, b'\r') => ContentEnd,
            (ContentEnd, b'\n') => Size(0),
            (Trailer, b'\r') => End,
            (TrailerName, b':') => TrailerValue,
            (Trailer | TrailerName, _) if is_token(byte) => {
                self.count_trailer()?;
                TrailerName
            }
            (TrailerValue, b'\r') => TrailerEnd,
            (TrailerValue, _) if is_text(byte) => {
                self.count_trailer()?;
                TrailerValue
            }
            (TrailerEnd, b'\n') => Trailer,
            (End, b'\n') => Done,
            _ => return Err(ChunkedError::Malformed),
        })
    }

    fn count_extension(&mut self) -> Result<(), ChunkedError> {
        self.extension_bytes += 1;
        let is_over = self.extension_bytes > MAX_EXTENSION_BYTES;
        if is_over {
            Err(ChunkedError::Extensions)
        } else {
            Ok(())
        }
    }

    fn count_trailer(&mut self) -> Result<(), ChunkedError> {
        self.trailer_bytes += 1;
        let is_over = self.trailer_bytes > MAX_TRAILER_BYTES;
        if is_over {
            Err(ChunkedError::Trailers)
        } else {
            Ok(())
        }
    }
}

fn hex_value(digit: u8) -> u32 {
    (digit as char).to_digit(16).unwrap_or(0)
}

/// Whether the byte may stand in a field's value or a chunk extension (RFC 9110, section 5.5).
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Whether the byte may stand in a field's name (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX_BODY_BYTES: usize = 100;

    /// Decodes a body that arrives as a whole; returns its content and its length.
    fn decode(bytes: &[u8]) -> Result<(Vec<u8>, usize), Option<ChunkedError>> {
        let (mut decoder, mut body) = (Decoder::default(), Vec::new());
        let taken = decoder.feed(bytes, MAX_BODY_BYTES, &mut body)?;
        if decoder.is_done() {
            Ok((body, taken))
        } else {
            Err(None)
        }
    }

    fn content(text: &str) -> Result<String, Option<ChunkedError>> {
        decode(text.as_bytes()).map(|(body, _)| String::from_utf8(body).unwrap())
    }

    #[test]
    fn chunks_are_joined() {
        for (text, expected) in [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("5\r\nhello\r\n00001\r\n!\r\n000\r\n\r\n", "hello!"),
            (
                "A\r\n0123456789\r\na\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n",
                "0123456789\r\n\r\n\r\n\r\n\r\n",
            ),
            ("5;a\r\nhello\r\n0;b=\"c;é\"\r\n\r\n", "hello"),
            ("5 \t; a = b ;c\r\nhello\r\n0\r\n\r\n", "hello"),
            ("5\r\nhello\r\n0\r\nExpires: never\r\nX:\r\n\r\n", "hello"),
        ] {
            assert_eq!(content(text).as_deref(), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_follows_the_body_is_left() {
        let text = b"3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n";
        assert_eq!(decode(text), Ok((b"abc".to_vec(), 13)));
    }

    #[test]
    fn bodies_that_another_reader_could_end_elsewhere_are_refused() {
        for text in [
            "\r\n\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1 \r\n",
            "1 2\r\n",
            "1\n",
            "1\r\r\n",
            "1;a\n",
            "1;a\rb\r\n",
            "1;\0\r\n",
            "1\r\nab",
            "1\r\na\n0",
            "1\r\na0\r\n",
            "000000001\r\n",
            "0\r\n X: folded\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\n: y\r\n\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\nX: \0\r\n\r\n",
            "0\r\n\n",
        ] {
            assert_eq!(
                content(text),
                Err(Some(ChunkedError::Malformed)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn content_extensions_and_trailers_are_bounded() {
        let limit = |text: &str| content(text).unwrap_err().unwrap();
        assert_eq!(
            content(&format!("64\r\n{}\r\n0\r\n\r\n", "a".repeat(100))).map(|it| it.len()),
            Ok(100)
        );
        assert_eq!(limit("65\r\n"), ChunkedError::TooLarge);
        assert_eq!(limit("ffffffff\r\n"), ChunkedError::TooLarge);
        assert_eq!(
            limit(&format!("63\r\n{}\r\n2\r\n", "a".repeat(99))),
            ChunkedError::TooLarge
        );
        assert_eq!(
            limit(&format!("1;{}", "a".repeat(1025))),
            ChunkedError::Extensions
        );
        assert_eq!(
            limit(&"1;aaaaaaaaaaaa\r\na\r\n".repeat(90)),
            ChunkedError::Extensions
        );
        assert_eq!(
            limit(&format!("1 {}", " ".repeat(1025))),
            ChunkedError::Extensions
        );
        assert_eq!(
            limit(&format!("0\r\nX:{}", "a".repeat(4097))),
            ChunkedError::Trailers
        );
        assert_eq!(
            limit(&format!("0\r\n{}", "X:a\r\n".repeat(3000))),
            ChunkedError::Trailers
        );
    }

    proptest! {
        #[test]
        fn the_cuts_do_not_matter(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..6),
            noise in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:x};a\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\nX: y\r\n\r\nrest");
            if let Some((index, byte)) = &noise {
                let index = index.index(text.len());
                text[index] = *byte;
            }
            let whole = decode(&text);
            if noise.is_none() {
                prop_assert_eq!(&whole, &Ok((chunks.concat(), text.len() - 4)));
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut decoder, mut body, mut taken) = (Decoder::default(), Vec::new(), 0);
            let mut error = None;
            for piece in cuts.windows(2) {
                match decoder.feed(&text[piece[0]..piece[1]], MAX_BODY_BYTES, &mut body) {
                    Ok(length) => taken += length,
                    Err(refusal) => { error = Some(refusal); break }
                }
            }
            let pieces = if decoder.is_done() { Ok((body, taken)) } else { Err(error) };
            prop_assert_eq!(pieces, whole);
        }
    }
}
