//! Advice: what an operator can do about an error or a limit, in terms of flags. The lower layers
//! report facts; this is the only place that names a flag for one.

pub(crate) mod snapshot;
