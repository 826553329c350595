//! Ovation: a real-time reaction counter, tuned for connection density.

pub mod swarm;
