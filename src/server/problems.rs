//! The problems of the store in the log: each is logged when it begins and when it ends.

use crate::config::advice;
use crate::store::{Problem, ProblemKind, Store};

/// The problems that have been logged, and have not ended.
#[derive(Debug, Default)]
pub(super) struct ProblemLog(Vec<Problem>);

impl ProblemLog {
    /// Whether there is no problem.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Logs the problems that have begun or ended since the last call, of those that
    /// `is_reported` selects.
    pub(super) fn update(&mut self, store: &Store, is_reported: impl Fn(&Problem) -> bool) {
        let mut problems = store.status().problems;
        problems.retain(is_reported);
        for problem in &problems {
            if !contains(&self.0, problem) {
                log_begin(problem);
            }
        }
        for problem in &self.0 {
            if !contains(&problems, problem) {
                tracing::info!(problem = problem.kind.label(), "snapshot recovered");
            }
        }
        self.0 = problems;
    }
}

fn log_begin(problem: &Problem) {
    let (label, detail) = (problem.kind.label(), advice::snapshot::problem(problem));
    if matches!(
        problem.kind,
        ProblemKind::TooManyRooms(_) | ProblemKind::Full
    ) {
        tracing::error!(problem = label, detail, "store limit reached");
    } else {
        tracing::error!(problem = label, detail, "snapshot failing; trying again");
    }
}

/// Whether a problem of the same kind is in the list.
fn contains(problems: &[Problem], problem: &Problem) -> bool {
    problems.iter().any(|it| it.kind.is_same_as(&problem.kind))
}
