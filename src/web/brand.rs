//! How a site makes the pages its own: its name, colour, logo and theme.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// Maximum length of the site's name, in characters.
const MAX_NAME_CHARS: usize = 60;
/// Maximum size of the logo, in bytes. Every visitor loads it.
const MAX_LOGO_BYTES: u64 = 128 * 1024;

/// The site's own look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Brand {
    pub(crate) name: Option<BrandName>,
    pub(crate) color: Option<Color>,
    pub(crate) logo: Option<Logo>,
    pub(crate) theme: Theme,
}

/// Whether the pages are light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Theme {
    /// As the visitor's device is set.
    #[default]
    Auto,
    Light,
    Dark,
}

impl Theme {
    /// The value of the attribute `data-theme`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// The name of the site.
#[derive(Debug, Clone)]
pub(crate) struct BrandName(pub(super) String);

impl FromStr for BrandName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.trim();
        if name.is_empty() {
            return Err("the name is empty".to_owned());
        }
        if name.chars().count() > MAX_NAME_CHARS {
            return Err(format!(
                "the name is longer than {MAX_NAME_CHARS} characters"
            ));
        }
        if name.chars().any(char::is_control) {
            return Err("the name has a control character".to_owned());
        }
        Ok(Self(name.to_owned()))
    }
}

/// A colour in sRGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Color([u8; 3]);

impl FromStr for Color {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits: Option<Vec<u8>> = text.strip_prefix('#').and_then(|digits| {
            let values = digits.chars().map(|digit| digit.to_digit(16));
            values
                .map(|value| value.and_then(|it| u8::try_from(it).ok()))
                .collect()
        });
        match digits.as_deref() {
            Some([r, g, b]) => Ok(Self([r, g, b].map(|digit| digit * 17))),
            Some([r, red, g, green, b, blue]) => {
                Ok(Self([r * 16 + red, g * 16 + green, b * 16 + blue]))
            }
            _ => Err("write a colour as #rrggbb or #rgb".to_owned()),
        }
    }
}

impl Color {
    const WHITE: Self = Self([255; 3]);
    const BLACK: Self = Self([0; 3]);

    fn css(self) -> String {
        let [r, g, b] = self.0;
        format!("#{r:02x}{g:02x}{b:02x}")
    }

    /// Relative luminance (WCAG 2.2), from 0 to 1.
    fn luminance(self) -> f64 {
        let [r, g, b] = self.0.map(|value| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    /// Contrast ratio (WCAG 2.2), from 1 to 21.
    fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance(), other.luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    /// Black or white, whichever is easier to read on this colour: always at least 4.5 to 1.
    fn ink(self) -> Self {
        if self.contrast(Self::WHITE) >= self.contrast(Self::BLACK) {
            Self::WHITE
        } else {
            Self::BLACK
        }
    }

    fn mix(self, other: Self, percent: u16) -> Self {
        let mut mixed = [0; 3];
        for (to, (from, other)) in mixed.iter_mut().zip(self.0.iter().zip(other.0)) {
            let sum = u16::from(*from) * (100 - percent) + u16::from(other) * percent;
            *to = u8::try_from(sum / 100).unwrap_or(u8::MAX);
        }
        Self(mixed)
    }

    /// The nearest mixture with `other` that satisfies `is_good`.
    fn toward(self, other: Self, is_good: impl Fn(Self) -> bool) -> Self {
        let mut mixtures = (0..=100).step_by(4).map(|percent| self.mix(other, percent));
        mixtures.find(|mixture| is_good(*mixture)).unwrap_or(other)
    }
}

/// A background of the pages, as in `page.css`.
struct Scheme {
    background: Color,
    /// The end of the scale that is far from the background.
    far: Color,
    /// Luminances that leave the text over a glow readable.
    glow: std::ops::RangeInclusive<f64>,
}

const DARK: Scheme = Scheme {
    background: Color([0x0e, 0x0b, 0x14]),
    far: Color::WHITE,
    glow: 0.0..=0.3,
};
const LIGHT: Scheme = Scheme {
    background: Color([0xfb, 0xf7, 0xf2]),
    far: Color::BLACK,
    glow: 0.42..=1.0,
};
/// Minimum contrast of rings and lines in the site's colour (WCAG 2.2, 1.4.11, with a margin).
const MIN_CONTRAST: f64 = 3.5;

/// Style rules that follow those of `page.css`. Text on the colour is black or white. Lines in the
/// colour are made lighter or darker until they stand out, and the glow until text over it does.
pub(super) fn style(color: Color) -> String {
    let rules = |Scheme {
                     background,
                     far,
                     glow,
                 }: Scheme| {
        let accent = color.toward(far, |it| it.contrast(background) >= MIN_CONTRAST);
        let glow = color.toward(background, |it| glow.contains(&it.luminance()));
        let (accent, glow) = (accent.css(), glow.css());
        format!("--accent:{accent};--glow:{glow};--glow-far:{glow}")
    };
    let (brand, ink) = (color.css(), color.ink().css());
    let (dark, light) = (rules(DARK), rules(LIGHT));
    format!(
        ":root{{--brand:{brand};--on-brand:{ink};{dark}}}\n\
         @media (prefers-color-scheme:light){{:root:not([data-theme=\"dark\"]){{{light}}}}}\n\
         :root[data-theme=\"light\"]{{{light}}}\n"
    )
}

/// The logo of the site.
#[derive(Debug, Clone)]
pub(crate) struct Logo {
    pub(super) content_type: &'static str,
    pub(super) content: Arc<[u8]>,
}

impl Logo {
    /// Reads the logo from a file.
    ///
    /// # Errors
    /// Why the file can't be read or isn't a picture that browsers show, as a sentence.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let content = read(path).map_err(|error| format!("can't read the file: {error}"))?;
        if content.len() as u64 > MAX_LOGO_BYTES {
            let kib = MAX_LOGO_BYTES / 1024;
            return Err(format!("the file is larger than {kib} KiB"));
        }
        let content_type = type_of(&content).ok_or("the file is not SVG, PNG, JPEG or WebP")?;
        Ok(Self {
            content_type,
            content: content.into(),
        })
    }
}

/// Reads at most one byte more than a logo may have. Opening a FIFO would hang.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut content = Vec::new();
    File::open(path)?
        .take(MAX_LOGO_BYTES + 1)
        .read_to_end(&mut content)?;
    Ok(content)
}

/// The type of a picture by its first bytes. Its name may be wrong.
fn type_of(content: &[u8]) -> Option<&'static str> {
    match content {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("image/webp"),
        _ => {
            let text = std::str::from_utf8(content).ok()?;
            let text = text.trim_start_matches('\u{feff}').trim_start();
            let is_svg = text.starts_with('<') && text.contains("<svg");
            is_svg.then_some("image/svg+xml")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn color(text: &str) -> Color {
        text.parse().unwrap()
    }

    #[test]
    fn colors_are_parsed() {
        assert_eq!(color("#ff8000"), Color([255, 128, 0]));
        assert_eq!(color("#F80"), Color([255, 136, 0]));
        for bad in ["", "ff8000", "#ff80", "#ff80000", "#gg0000", "red", "#ｆ80"] {
            assert!(bad.parse::<Color>().is_err(), "{bad}");
        }
    }

    #[test]
    fn contrast_is_that_of_wcag() {
        assert!((Color::WHITE.contrast(Color::BLACK) - 21.0).abs() < 0.01);
        assert!((color("#777").contrast(Color::WHITE) - 4.48).abs() < 0.01);
    }

    #[test]
    fn any_color_stays_readable() {
        for value in 0..=0xfff_u32 {
            let color = color(&format!("#{value:03x}"));
            assert!(color.contrast(color.ink()) >= 4.5, "{}", color.css());
            for Scheme {
                background,
                far,
                glow,
            } in [DARK, LIGHT]
            {
                let accent = color.toward(far, |it| it.contrast(background) >= MIN_CONTRAST);
                assert!(accent.contrast(background) >= MIN_CONTRAST);
                let haze = color.toward(background, |it| glow.contains(&it.luminance()));
                assert!(glow.contains(&haze.luminance()), "{}", color.css());
            }
        }
    }

    #[test]
    fn the_backgrounds_are_those_of_the_page() {
        let css = include_str!("room/page.css");
        for Scheme { background, .. } in [DARK, LIGHT] {
            let rule = format!("--bg: {};", background.css());
            assert!(css.contains(&rule), "{rule}");
        }
    }

    #[test]
    fn names_are_short_text() {
        assert!(" Talks of 2026 ".parse::<BrandName>().is_ok());
        for bad in ["", "  ", "a\nb", &"x".repeat(61)] {
            assert!(bad.parse::<BrandName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn pictures_are_known_by_their_content() {
        for (content, expected) in [
            (&b"\x89PNG\r\n\x1a\n\0"[..], Some("image/png")),
            (b"\xff\xd8\xff\xe0", Some("image/jpeg")),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"<?xml version=\"1.0\"?>\n<svg/>", Some("image/svg+xml")),
            (b"<html><body>", None),
            (b"GIF89a", None),
            (b"", None),
        ] {
            assert_eq!(type_of(content), expected, "{content:?}");
        }
    }
}
