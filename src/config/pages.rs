//! Which web pages the server serves, and which web pages may use the server.

use std::path::Path;

use clap::Args;
use clap::builder::BoolishValueParser;

use crate::web::{Brand, BrandName, Color, Logo, Theme};

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Web pages")]
pub(crate) struct PageArgs {
    /// Origin whose pages may use this server, such as `https://talks.example`, or '*' for any; may
    /// be given several times [default: any, on a server that only this machine can reach]
    #[arg(
        long = "allow-origin",
        value_name = "ORIGIN",
        env = "OVATION_ALLOW_ORIGIN",
        value_delimiter = ','
    )]
    pub(crate) allow_origins: Vec<String>,

    /// Serve no pages: neither / and /r/ROOM nor /ovation.js
    #[arg(long, env = "OVATION_NO_PAGES", value_parser = BoolishValueParser::new())]
    pub(crate) no_pages: bool,

    /// Name of the site, which the pages show instead of Ovation, with up to 60 characters
    #[arg(long, value_name = "NAME", env = "OVATION_BRAND_NAME")]
    brand_name: Option<BrandName>,

    /// Colour of the site, such as #0a7cff. Text stays readable with any colour
    #[arg(long, value_name = "COLOR", env = "OVATION_BRAND_COLOR")]
    brand_color: Option<Color>,

    /// Logo of the site: an SVG, PNG, JPEG or WebP file of at most 128 KiB, which is read once
    #[arg(long, value_name = "FILE", env = "OVATION_BRAND_LOGO", value_parser = logo)]
    brand_logo: Option<Logo>,

    /// Whether the pages are light or dark; auto follows the visitor's device
    #[arg(
        long,
        value_enum,
        value_name = "THEME",
        env = "OVATION_THEME",
        default_value = "auto"
    )]
    theme: Theme,
}

impl PageArgs {
    /// The look of the pages.
    pub(crate) fn brand(&self) -> Brand {
        Brand {
            name: self.brand_name.clone(),
            color: self.brand_color,
            logo: self.brand_logo.clone(),
            theme: self.theme,
        }
    }
}

fn logo(path: &str) -> Result<Logo, String> {
    Logo::read(Path::new(path))
}
