//! The front-end: pages, scripts and styles, which are part of the binary.
//!
//! - `asset`: a file, plain and compressed, with its responses.
//! - `brand`: the site's own name, colour, logo and theme.
//! - `script`: makes the scripts that are served from their sources.
//! - `pages`: the room page, the stage and the element, from the files in `room/`.
//! - `dashboard`: the operator's dashboard, from the files in `dashboard/`.

mod asset;
mod brand;
mod dashboard;
mod pages;
mod script;

pub(crate) use brand::{Brand, BrandName, Color, Logo, Theme};
pub(crate) use dashboard::Dashboard;
pub(crate) use pages::{PageSettings, Pages};
