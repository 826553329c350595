//! One thread of the swarm: an event loop over its share of the members.
//!
//! - `event_loop`: the worker, from phase to phase. `load`: what it sends under load.
//! - `bystander`: the longest time without news under a flood.

mod bystander;
mod event_loop;
mod load;

pub(super) use event_loop::{Tally, run};
