//! Characters that the names of rooms and kinds must not contain.

/// Whether `text` contains characters that show nothing and change how other text shows:
/// bidirectional controls (UAX #9), zero-width spaces, joins of words, fillers and soft hyphens.
/// Zero-width joiners, variation selectors and tags are allowed, because emoji and some scripts are
/// written with them.
pub(super) fn has_invisible(text: &str) -> bool {
    text.chars().any(|character| {
        matches!(
            character,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{3164}'
                | '\u{feff}' | '\u{ffa0}'
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emoji_are_visible_and_controls_are_not() {
        for visible in ["❤️", "👩‍💻", "❤️‍🔥", "love", "שלום"] {
            assert!(!has_invisible(visible), "{visible:?}");
        }
        for invisible in [
            "lo\u{200b}ve",
            "\u{202e}evol",
            "love\u{feff}",
            "\u{2067}a\u{2069}",
        ] {
            assert!(has_invisible(invisible), "{invisible:?}");
        }
    }
}
