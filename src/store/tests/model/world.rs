//! The modelled disk, and what may be found on it after a power loss.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use fastrand::Rng;

use super::super::*;

const SECTOR_BYTES: usize = 512;
/// Size of the part of the file that is modelled. All records fit into it.
pub(super) const BYTES: usize = 256 << 10;

/// A room and a kind.
pub(super) type Key = (String, String);
pub(super) type Counts = HashMap<Key, u64>;
/// The modes of rooms; a room that is missing is open.
pub(super) type Modes = HashMap<String, RoomMode>;

/// What may be found after a crash.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds {
    /// Minimum and maximum of each count.
    pub(super) counts: HashMap<Key, (u64, u64)>,
    /// The modes that each room may have.
    pub(super) modes: HashMap<String, Vec<RoomMode>>,
}

/// Which sectors a sync writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sectors {
    /// Those whose content has changed.
    Changed,
    /// All, because the store has made their pages dirty.
    All,
}

/// The disk, and what may be found on it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) path: PathBuf,
    rng: Rng,
    /// What is on the disk.
    durable: Vec<u8>,
    /// What the kernel believes to be on the disk.
    clean: Vec<u8>,
    /// Number of syncs that succeed before one fails; `None` if none fails.
    pub(super) fails_after: Option<u32>,
    pub(super) bounds: Bounds,
    /// What would be left if power had failed, and at which moment.
    pub(super) crashes: Vec<(Vec<u8>, Bounds, &'static str)>,
    pub(super) moment: &'static str,
}

impl World {
    pub(super) fn new(path: PathBuf, seed: u64) -> Self {
        Self {
            path,
            rng: Rng::with_seed(seed),
            durable: Vec::new(),
            clean: Vec::new(),
            fails_after: None,
            bounds: Bounds::default(),
            crashes: Vec::new(),
            moment: "it is made",
        }
    }

    /// The page cache.
    fn cache(&mut self) -> Vec<u8> {
        let mut cache = fs::read(&self.path).unwrap();
        cache.truncate(BYTES);
        self.durable.resize(cache.len(), 0);
        self.clean.resize(cache.len(), 0);
        cache
    }

    /// Writes some sectors, as the kernel does at any time.
    pub(super) fn write_back(&mut self, one_in: u32) {
        let cache = self.cache();
        for start in (0..cache.len()).step_by(SECTOR_BYTES) {
            let sector = start..start + SECTOR_BYTES;
            let is_dirty = self.clean[sector.clone()] != cache[sector.clone()];
            if is_dirty && self.rng.u32(..one_in) == 0 {
                self.durable[sector.clone()].copy_from_slice(&cache[sector]);
            }
        }
    }

    /// Syncs some bytes. Like Linux, takes sectors for clean even if the sync fails.
    fn sync(&mut self, bytes: Range<usize>, which: Sectors) -> io::Result<()> {
        let cache = self.cache();
        let fails = self.fails_after == Some(0);
        self.fails_after = match self.fails_after {
            Some(0) | None => None,
            Some(left) => Some(left - 1),
        };
        for start in bytes
            .step_by(SECTOR_BYTES)
            .take_while(|it| *it < cache.len())
        {
            let sector = start..start + SECTOR_BYTES;
            let is_dirty =
                which == Sectors::All || self.clean[sector.clone()] != cache[sector.clone()];
            if is_dirty && !(fails && self.rng.bool()) {
                self.durable[sector.clone()].copy_from_slice(&cache[sector.clone()]);
            }
            self.clean[sector.clone()].copy_from_slice(&cache[sector]);
        }
        if fails {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    /// What is on the disk, with the length of the file.
    pub(super) fn image(&self) -> Vec<u8> {
        let mut image = self.durable.clone();
        image.resize(fs::metadata(&self.path).unwrap().len() as usize, 0);
        image
    }

    pub(super) fn power_may_fail(&mut self) {
        let image = self.image();
        self.crashes.push((image, self.bounds.clone(), self.moment));
    }

    /// Notes that all of this, and nothing else, is on the disk.
    pub(super) fn settle(&mut self, counts: &Counts, modes: &Modes) {
        let counts = counts.iter();
        let modes = modes.iter();
        self.bounds = Bounds {
            counts: counts
                .map(|(key, count)| (key.clone(), (*count, *count)))
                .collect(),
            modes: modes
                .map(|(room, mode)| (room.clone(), vec![*mode]))
                .collect(),
        };
    }

    /// Notes that the counts of these keys may be lower than they were.
    pub(super) fn may_go(&mut self, is_meant: impl Fn(&Key) -> bool) {
        let bounds = self
            .bounds
            .counts
            .iter_mut()
            .filter(|(key, _)| is_meant(key));
        bounds.for_each(|(_, bound)| bound.0 = 0);
    }

    /// Notes that a room with the mode `old` gets another.
    pub(super) fn may_become(&mut self, room: &str, old: RoomMode, new: RoomMode) {
        let modes = self.bounds.modes.entry(room.to_owned());
        modes.or_insert_with(|| vec![old]).push(new);
    }
}

#[derive(Debug)]
pub(super) struct ModelDisk(pub(super) Arc<Mutex<World>>);

impl Disk for ModelDisk {
    fn allocate(&self, file: &File, cells: Range<CellId>) -> io::Result<()> {
        FileSystem.allocate(file, cells)
    }

    fn sync_cells(&self, mapping: &Mapping, cells: Range<CellId>) -> io::Result<()> {
        let mut world = self.0.lock().unwrap();
        // Some syncs find nearly everything that is dirty, some find most of it written.
        let pace = if world.rng.bool() { [6, 2, 2] } else { [40; 3] };
        for one_in in pace {
            world.write_back(one_in);
            world.power_may_fail();
        }
        let byte = |cell: CellId| cell.byte_offset() as usize;
        let which = if cells == (CellId::HEADER..mapping.end()) {
            Sectors::All
        } else {
            Sectors::Changed
        };
        let start = byte(cells.start) / SECTOR_BYTES * SECTOR_BYTES;
        let synced = world.sync(start..byte(cells.end), which);
        world.power_may_fail();
        synced
    }

    fn sync_file(&self, _: &File) -> io::Result<()> {
        self.0.lock().unwrap().sync(0..BYTES, Sectors::Changed)
    }
}
