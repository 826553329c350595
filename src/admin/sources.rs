//! What the admin side reads.

use std::sync::Arc;

use crate::reactor::{Admission, ReactorMetrics};
use crate::rooms::Shared;
use crate::store::{Problem, Store};

/// What the admin side reads.
#[derive(Debug)]
pub(crate) struct Sources {
    /// What the reactors share: the rooms and the mailboxes.
    pub(crate) shared: Arc<Shared>,
    /// The reactors' metrics, by the number of the reactor.
    pub(crate) metrics: Vec<Arc<ReactorMetrics>>,
    /// Admission to the rooms.
    pub(crate) admission: Arc<Admission>,
    /// The store.
    pub(crate) store: Arc<Store>,
    /// Words for a problem of the store, with advice for the operator.
    pub(crate) explain: fn(&Problem) -> String,
}

impl Sources {
    /// Why this server should get no traffic now: an empty list if it is ready.
    pub(super) fn problems(&self, now: std::time::Instant) -> Vec<String> {
        let problems = self.store.status().problems;
        let mut problems: Vec<String> = problems.iter().map(self.explain).collect();
        problems.extend(self.admission.problem(now));
        problems
    }
}
