//! The longest time without news under a flood.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::super::plan::Plan;

/// The longest time in which the bystander saw no change of the count.
#[derive(Debug)]
pub(super) struct BystanderGap {
    pub(super) member: usize,
    pub(super) since: Option<Instant>,
    pub(super) longest: Duration,
}

impl BystanderGap {
    /// Returns `None` if the bystander isn't in this worker's share of the members.
    pub(super) fn new(plan: &Plan, share: &Range<u32>) -> Option<Self> {
        let bystander = plan.bystander().filter(|member| share.contains(member))?;
        Some(Self {
            member: (bystander - share.start) as usize,
            since: None,
            longest: Duration::ZERO,
        })
    }

    /// Records a change of the count.
    pub(super) fn end_gap(&mut self) {
        if let Some(since) = self.since {
            let now = Instant::now();
            self.longest = self.longest.max(now - since);
            self.since = Some(now);
        }
    }
}
