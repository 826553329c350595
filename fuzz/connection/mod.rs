//! The parts of the fuzz target `connection`.
//!
//! - [`script`]: what the client does. [`world`]: the server, the client and a bystander.
//! - [`output`]: what a client may receive. [`model`]: what the server must count of what the client
//!   has sent. [`frames`]: a reader of frames, for both.
//! - [`bystander`]: a member of the room. [`heap`]: how much memory the server uses.

pub mod bystander;
pub mod frames;
pub mod heap;
pub mod model;
pub mod output;
pub mod script;
pub mod world;
