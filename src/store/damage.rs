//! What is damaged in a file, and where.

use std::fmt;

use super::format::{CellId, Damage};

/// Number of damaged places that a report names.
const MAX_NAMED: usize = 8;

/// What is not as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DamageReport {
    total: usize,
    named: Vec<(u64, Damage)>,
}

impl DamageReport {
    /// Whether nothing is damaged.
    pub(crate) fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Number of damaged places.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// The first damaged places: offset in the file in bytes, and what is damaged there.
    pub(crate) fn named(&self) -> &[(u64, Damage)] {
        &self.named
    }

    pub(super) fn add(&mut self, cell: CellId, damage: Damage) {
        self.total += 1;
        if self.named.len() < MAX_NAMED {
            let offset = cell.byte_offset() + damage.offset_in_cell();
            self.named.push((offset, damage));
        }
    }
}

impl fmt::Display for DamageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (offset, damage)) in self.named.iter().enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{damage} at offset {offset}")?;
        }
        match self.total - self.named.len() {
            0 => Ok(()),
            more => write!(f, ", and in {more} more places"),
        }
    }
}
