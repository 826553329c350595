//! The history: three rings of points, for each second of 15 minutes, each 10 s of 6 hours, and
//! each minute of 7 days.
//!
//! A coarse point takes its gauges from the moment with the most connections, so that no spike is
//! lost and the rooms still add up, and averages the rates.
//!
//! A point takes under 320 bytes with the maximum number of rooms, so the 13,140 points of all
//! rings take at most 4.2 MB. Points share the names of rooms, which take at most 13 MB more if no
//! two points name the same room.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

/// Number of rooms that a point names.
pub(super) const TOP_ROOMS: usize = 8;
/// Maximum length of a room's name in a point, in bytes.
pub(super) const MAX_LABEL_BYTES: usize = 96;
/// Maximum number of points shown at once.
const MAX_SHOWN_POINTS: usize = 1200;

/// The series of values. A point has one value of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Series {
    /// Open connections.
    Connections,
    /// Open connections that are event streams.
    Streams,
    /// Rooms in memory.
    Rooms,
    /// Memory of the process, in bytes.
    Memory,
    /// Growth of the process's own memory per connection, in bytes.
    MemoryEach,
    /// Reactions counted per second.
    Reactions,
    /// Frames and events that fan-outs sent per second.
    Deliveries,
    /// Frames and events that full sockets missed per second.
    Conflated,
    /// Connections accepted per second.
    Opened,
    /// Mean load of the reactors, from 0 to 1.
    Load,
    /// Load of the busiest reactor, from 0 to 1.
    LoadPeak,
    /// Age of the oldest change that is not on the disk yet, in seconds.
    Unsynced,
}

/// How points merge a series.
enum Merge {
    /// The value at the moment with the most connections.
    AtPeak,
    Mean,
    Max,
}

impl Series {
    pub(super) const COUNT: usize = 12;
    const ALL: [(&'static str, Merge); Self::COUNT] = [
        ("connections", Merge::AtPeak),
        ("streams", Merge::AtPeak),
        ("rooms", Merge::AtPeak),
        ("memory", Merge::AtPeak),
        ("memoryEach", Merge::AtPeak),
        ("reactions", Merge::Mean),
        ("deliveries", Merge::Mean),
        ("conflated", Merge::Mean),
        ("opened", Merge::Mean),
        ("load", Merge::Mean),
        ("loadPeak", Merge::Max),
        ("unsynced", Merge::Max),
    ];
}

/// The values of one moment, or merged values of a step of time.
#[derive(Debug, Clone, Default)]
pub(super) struct Point {
    /// Seconds since 1970.
    pub(super) at: u64,
    pub(super) values: [f32; Series::COUNT],
    /// The rooms with the most members, and the number of their members.
    pub(super) top: Box<[(Arc<str>, u32)]>,
}

impl Point {
    pub(super) fn value(&self, series: Series) -> f32 {
        self.values[series as usize]
    }

    /// The values by name, for JSON.
    pub(super) fn named(&self) -> serde_json::Map<String, serde_json::Value> {
        let names = Series::ALL.iter().map(|(name, _)| (*name).to_owned());
        let values = self.values.iter().map(|value| rounded(*value).into());
        names.zip(values).collect()
    }
}

/// A value as it is sent: with three decimal places.
pub(super) fn rounded(value: impl Into<f64>) -> f64 {
    (value.into() * 1000.0).round() / 1000.0
}

/// Points that are being merged into one.
#[derive(Debug, Clone)]
struct MergedPoints {
    bucket: u64,
    /// The point with the most connections.
    peak: Point,
    sums: [f64; Series::COUNT],
    max: [f32; Series::COUNT],
    count: u32,
}

impl MergedPoints {
    fn new(bucket: u64, point: &Point) -> Self {
        Self {
            bucket,
            sums: point.values.map(f64::from),
            max: point.values,
            peak: point.clone(),
            count: 1,
        }
    }

    fn add(&mut self, point: &Point) {
        for (index, value) in point.values.iter().enumerate() {
            self.sums[index] += f64::from(*value);
            self.max[index] = self.max[index].max(*value);
        }
        if point.value(Series::Connections) >= self.peak.value(Series::Connections) {
            self.peak = point.clone();
        }
        self.count += 1;
    }

    fn point(&self, step: u64) -> Point {
        let mut point = self.peak.clone();
        point.at = self.bucket * step;
        for (index, (_, merge)) in Series::ALL.iter().enumerate() {
            match merge {
                Merge::AtPeak => {}
                Merge::Mean => {
                    point.values[index] = (self.sums[index] / f64::from(self.count)) as f32;
                }
                Merge::Max => point.values[index] = self.max[index],
            }
        }
        point
    }
}

/// Points at equal distances in time.
#[derive(Debug)]
struct Ring {
    step: u64,
    length: usize,
    points: VecDeque<Point>,
    merging: Option<MergedPoints>,
}

impl Ring {
    fn new(step: u64, length: usize) -> Self {
        Self {
            step,
            length,
            points: VecDeque::new(),
            merging: None,
        }
    }

    fn push(&mut self, point: &Point) {
        let bucket = point.at / self.step;
        match &mut self.merging {
            Some(merging) if merging.bucket == bucket => merging.add(point),
            merging => {
                let done = merging.replace(MergedPoints::new(bucket, point));
                if let Some(done) = done {
                    if self.points.len() == self.length {
                        self.points.pop_front();
                    }
                    self.points.push_back(done.point(self.step));
                }
            }
        }
    }

    /// All points, including the point of the present time.
    fn all(&self) -> impl Iterator<Item = Point> + '_ {
        let present = self.merging.as_ref().map(|it| it.point(self.step));
        self.points.iter().cloned().chain(present)
    }

    /// The points, merged to at most about [`MAX_SHOWN_POINTS`], and the step between them.
    fn shown(&self) -> (u64, Vec<Point>) {
        let merged = (self.points.len() + 1).div_ceil(MAX_SHOWN_POINTS) as u64;
        let step = self.step * merged;
        if merged == 1 {
            return (step, self.all().collect());
        }
        let mut coarse = Self::new(step, MAX_SHOWN_POINTS);
        self.all().for_each(|point| coarse.push(&point));
        (step, coarse.all().collect())
    }
}

/// How far the history goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeRange {
    Minutes15,
    Hours6,
    Days7,
}

impl TimeRange {
    /// The range that a query names.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "15m" => Some(Self::Minutes15),
            "6h" => Some(Self::Hours6),
            "7d" => Some(Self::Days7),
            _ => None,
        }
    }
}

/// The history.
#[derive(Debug)]
pub(super) struct History {
    /// The rings, by [`TimeRange`].
    rings: [Ring; 3],
}

impl Default for History {
    fn default() -> Self {
        Self {
            rings: [
                Ring::new(1, 15 * 60),
                Ring::new(10, 6 * 360),
                Ring::new(60, 7 * 1440),
            ],
        }
    }
}

/// A time range as it is sent: columns, since rows would repeat the names.
#[derive(Debug, Serialize)]
pub(super) struct Columns {
    step: u64,
    at: Vec<u64>,
    series: HashMap<&'static str, Vec<f64>>,
    rooms: Vec<RoomColumn>,
}

/// The number of a room's members in each point.
#[derive(Debug, Serialize)]
struct RoomColumn {
    name: Arc<str>,
    members: Vec<u32>,
}

impl History {
    /// Adds a point to every ring.
    pub(super) fn push(&mut self, point: &Point) {
        self.rings.iter_mut().for_each(|ring| ring.push(point));
    }

    /// A time range as it is sent, with the rooms that had the most members at any time in it.
    pub(super) fn columns(&self, range: TimeRange) -> Columns {
        let (step, points) = self.rings[range as usize].shown();
        let mut peaks: HashMap<&Arc<str>, u32> = HashMap::new();
        for (name, members) in points.iter().flat_map(|point| &*point.top) {
            let peak = peaks.entry(name).or_default();
            *peak = (*peak).max(*members);
        }
        let mut peaks: Vec<_> = peaks.into_iter().collect();
        peaks.sort_unstable_by(|(name, peak), (other, higher)| {
            higher.cmp(peak).then_with(|| name.cmp(other))
        });
        peaks.truncate(TOP_ROOMS);
        let members = |name: &Arc<str>| {
            let of_point = |point: &Point| {
                let mut top = point.top.iter();
                top.find_map(|(other, members)| (other == name).then_some(*members))
            };
            points.iter().map(|it| of_point(it).unwrap_or(0)).collect()
        };
        let column = |index: usize| points.iter().map(move |point| rounded(point.values[index]));
        Columns {
            step,
            at: points.iter().map(|point| point.at).collect(),
            series: (Series::ALL.iter().enumerate())
                .map(|(index, (name, _))| (*name, column(index).collect()))
                .collect(),
            rooms: (peaks.iter())
                .map(|(name, _)| RoomColumn {
                    name: Arc::clone(name),
                    members: members(name),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: u64, connections: f32, reactions: f32) -> Point {
        let mut point = Point {
            at,
            top: [(Arc::from("main/talk"), connections as u32)].into(),
            ..Point::default()
        };
        point.values[Series::Connections as usize] = connections;
        point.values[Series::Reactions as usize] = reactions;
        point.values[Series::Unsynced as usize] = reactions;
        point
    }

    fn column<'c>(columns: &'c Columns, name: &str) -> &'c [f64] {
        &columns.series[name]
    }

    #[test]
    fn a_coarse_point_keeps_the_spike_and_the_mean() {
        let mut history = History::default();
        for second in 0..20 {
            let connections = if second == 13 { 900.0 } else { 1.0 };
            history.push(&point(1_000_000 + second, connections, second as f32));
        }
        let fine = history.columns(TimeRange::Minutes15);
        assert_eq!((fine.step, fine.at.len()), (1, 20));
        let coarse = history.columns(TimeRange::Hours6);
        assert_eq!(coarse.at, [1_000_000, 1_000_010]);
        assert_eq!(column(&coarse, "connections"), [1.0, 900.0]);
        assert_eq!(column(&coarse, "reactions"), [4.5, 14.5]);
        assert_eq!(column(&coarse, "unsynced"), [9.0, 19.0]);
        assert_eq!(coarse.rooms[0].members, [1, 900]);
    }

    #[test]
    fn rings_are_bounded_and_long_rings_are_merged() {
        let mut history = History::default();
        for minute in 0..20_000 {
            history.push(&point(minute * 60, 1.0, 1.0));
        }
        let points = |range: TimeRange| history.rings[range as usize].points.len();
        let ranges = [TimeRange::Minutes15, TimeRange::Hours6, TimeRange::Days7];
        assert_eq!(ranges.map(points), [900, 2160, 10_080]);
        assert!(size_of::<Point>() + TOP_ROOMS * size_of::<(Arc<str>, u32)>() < 320);
        let week = history.columns(TimeRange::Days7);
        assert_eq!(week.step, 540);
        assert!(week.at.len() <= MAX_SHOWN_POINTS + 1);
        assert!(week.at.windows(2).all(|pair| pair[1] - pair[0] == 540));
    }

    #[test]
    fn the_rooms_with_the_highest_peaks_are_shown() {
        let mut history = History::default();
        for second in 0..10u32 {
            let name = format!("main/{second}");
            history.push(&Point {
                at: u64::from(second),
                top: [(Arc::from(name), second)].into(),
                ..Point::default()
            });
        }
        let columns = history.columns(TimeRange::Minutes15);
        let names: Vec<_> = columns.rooms.iter().map(|room| &*room.name).collect();
        assert_eq!(names.len(), TOP_ROOMS);
        assert_eq!(names[..2], ["main/9", "main/8"]);
        assert_eq!(columns.rooms[0].members, [0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    }
}
