//! The front-end: the pages, scripts and styles that are in the binary, and how they are answered.
//!
//! - `asset`: a file in the forms in which it is sent.
//! - `pages`: the room page, the stage and the element, from `room/`.
//! - `dashboard`: the operator's dashboard, from `dashboard/`.

mod asset;
mod dashboard;
mod pages;

pub use dashboard::Dashboard;
pub use pages::{PageSettings, Pages};
