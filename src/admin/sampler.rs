//! Samples the server once a second: reads the reactors' metrics, visits the rooms, and asks the
//! kernel. No reactor waits for it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::history::{MAX_LABEL_BYTES, Point, Series, TOP_ROOMS, rounded};
use super::process::{Memory, Threads};
use super::sources::Sources;
use crate::reactor::{Gauge, ReactorMetrics};
use crate::rooms::Room;

/// Interval between samples.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// Visiting all rooms may take one in so many seconds of the thread's time. The more rooms there
/// are, the less often they are visited.
const ROOMS_SHARE: u32 = 20;
/// Minimum number of connections for a meaningful memory per connection.
const MIN_CONNECTIONS: f32 = 1000.0;

/// The sampler, with what it keeps from one sample to the next.
#[derive(Debug)]
pub(super) struct Sampler {
    /// The process's own memory before the first connection, in bytes.
    base_bytes: u64,
    threads: Threads,
    start: Instant,
    start_seconds: u64,
    last: Instant,
    totals: Vec<Totals>,
    labels: HashSet<Arc<str>>,
    rooms_due: Instant,
    rooms_at: Instant,
    rooms: RoomsSample,
}

/// The metrics of one reactor that only grow.
#[derive(Debug, Default, Clone, Copy)]
struct Totals {
    messages: u64,
    sent: u64,
    conflated: u64,
    accepted: u64,
    turns: u64,
    cpu: Duration,
}

/// What the last visit of all rooms found.
#[derive(Debug, Default, Clone)]
pub(super) struct RoomsSample {
    pub(super) count: usize,
    pub(super) members: u64,
    top: Vec<(u32, Arc<str>)>,
}

/// A sample.
#[derive(Debug, Default)]
pub(super) struct Sample {
    pub(super) point: Point,
    reactors: Vec<ReactorSample>,
}

/// How busy a reactor is.
#[derive(Debug, Serialize)]
struct ReactorSample {
    connections: u64,
    load: f64,
    messages: f64,
    sent: f64,
    turns: f64,
}

impl Sampler {
    pub(super) fn new(sources: &Sources, now: Instant) -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            base_bytes: Memory::read().anonymous,
            threads: Threads::find(sources.metrics.len()),
            start: now,
            start_seconds: unix.map_or(0, |age| age.as_secs()),
            last: now,
            totals: vec![Totals::default(); sources.metrics.len()],
            labels: HashSet::new(),
            rooms_due: now,
            rooms_at: now,
            rooms: RoomsSample::default(),
        }
    }

    /// When the server started, in seconds since 1970.
    pub(super) fn start_seconds(&self) -> u64 {
        self.start_seconds
    }

    /// The CPU times of the reactors' threads.
    pub(super) fn threads(&self) -> &Threads {
        &self.threads
    }

    /// What the last visit of all rooms found.
    pub(super) fn rooms(&self) -> &RoomsSample {
        &self.rooms
    }

    /// Takes a sample. `unsynced` is the age of the oldest change that is not on the disk yet.
    pub(super) fn take(&mut self, sources: &Sources, unsynced: Duration, now: Instant) -> Sample {
        if now >= self.rooms_due {
            self.sample_rooms(sources, now);
        }
        let (reactors, rates) = self.sample_reactors(sources, now);
        let sum = |of: fn(&ReactorMetrics) -> &Gauge| {
            let values = sources.metrics.iter().map(|metrics| of(metrics).get());
            values.sum::<u64>() as f32
        };
        let connections = sum(|metrics| &metrics.connections);
        let memory = Memory::read();
        let growth = memory.anonymous.saturating_sub(self.base_bytes) as f32;
        let memory_each = if connections >= MIN_CONNECTIONS {
            growth / connections
        } else {
            0.0
        };
        let mean_load = rates.load / reactors.len().max(1) as f64;
        let mut point = Point {
            at: self.start_seconds + now.duration_since(self.start).as_secs(),
            top: self.rooms.top_by_name(),
            ..Point::default()
        };
        for (series, value) in [
            (Series::Connections, connections),
            (Series::Streams, sum(|metrics| &metrics.streams)),
            (Series::Rooms, self.rooms.count as f32),
            (Series::Memory, memory.resident as f32),
            (Series::MemoryEach, memory_each),
            (Series::Reactions, rates.messages as f32),
            (Series::Deliveries, rates.sent as f32),
            (Series::Conflated, rates.conflated as f32),
            (Series::Opened, rates.accepted as f32),
            (Series::Load, mean_load as f32),
            (Series::LoadPeak, rates.load_peak as f32),
            (Series::Unsynced, unsynced.as_secs_f32()),
        ] {
            point.values[series as usize] = value;
        }
        Sample { point, reactors }
    }

    /// Samples each reactor, and sums up their rates.
    fn sample_reactors(&mut self, sources: &Sources, now: Instant) -> (Vec<ReactorSample>, Rates) {
        let seconds = now.duration_since(self.last).as_secs_f64().max(0.001);
        self.last = now;
        let mut reactors = Vec::new();
        let mut sums = Rates::default();
        let times = self.threads.cpu_times();
        let each = sources.metrics.iter().zip(&mut self.totals).zip(times);
        for ((metrics, last), cpu) in each {
            let totals = Totals::read(metrics, cpu.unwrap_or_default());
            let rates = Rates::between(last, &totals, seconds);
            *last = totals;
            reactors.push(ReactorSample {
                connections: metrics.connections.get(),
                load: rounded(rates.load),
                messages: rounded(rates.messages),
                sent: rounded(rates.sent),
                turns: rounded(rates.turns),
            });
            sums.add(&rates);
        }
        (reactors, sums)
    }

    fn sample_rooms(&mut self, sources: &Sources, now: Instant) {
        let passed = now.duration_since(self.rooms_at);
        let mut rooms = RoomsSample::default();
        let labels = &mut self.labels;
        // Drop names that no point has any more.
        labels.retain(|label| Arc::strong_count(label) > 1);
        sources.shared.table.for_each(|room| {
            room.sample_activity(passed);
            rooms.add(room, labels);
        });
        self.rooms = rooms;
        self.rooms_at = now;
        self.rooms_due = now + Instant::now().duration_since(now) * ROOMS_SHARE;
    }
}

impl RoomsSample {
    fn add(&mut self, room: &Room, labels: &mut HashSet<Arc<str>>) {
        let members = room.members();
        self.count += 1;
        self.members += members;
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        let least = self.top.last().filter(|_| self.top.len() == TOP_ROOMS);
        if members == 0 || least.is_some_and(|(least, _)| *least >= members) {
            return;
        }
        self.top.truncate(TOP_ROOMS - 1);
        let place = self.top.partition_point(|(other, _)| *other >= members);
        self.top.insert(place, (members, label(room, labels)));
    }

    fn top_by_name(&self) -> Box<[(Arc<str>, u32)]> {
        let top = self.top.iter();
        top.map(|(members, name)| (Arc::clone(name), *members))
            .collect()
    }
}

/// The name of a room in points, which points share.
fn label(room: &Room, labels: &mut HashSet<Arc<str>>) -> Arc<str> {
    let mut name = format!("{}/{}", room.party(), room.name());
    if name.len() > MAX_LABEL_BYTES {
        const ELLIPSIS: char = '…';
        name.truncate(name.floor_char_boundary(MAX_LABEL_BYTES - ELLIPSIS.len_utf8()));
        name.push(ELLIPSIS);
    }
    if let Some(known) = labels.get(&*name) {
        return Arc::clone(known);
    }
    let name = Arc::<str>::from(name);
    labels.insert(Arc::clone(&name));
    name
}

impl Totals {
    fn read(metrics: &ReactorMetrics, cpu: Duration) -> Self {
        Self {
            messages: metrics.messages.get(),
            sent: metrics.frames_sent.get(),
            conflated: metrics.frames_conflated.get(),
            accepted: metrics.accepted.get(),
            turns: metrics.turns.get(),
            cpu,
        }
    }
}

/// Rates per second.
#[derive(Debug, Default)]
struct Rates {
    messages: f64,
    sent: f64,
    conflated: f64,
    accepted: f64,
    turns: f64,
    load: f64,
    load_peak: f64,
}

impl Rates {
    fn between(last: &Totals, now: &Totals, seconds: f64) -> Self {
        let rate = |last: u64, now: u64| now.saturating_sub(last) as f64 / seconds;
        let load = now.cpu.saturating_sub(last.cpu).as_secs_f64() / seconds;
        Self {
            messages: rate(last.messages, now.messages),
            sent: rate(last.sent, now.sent),
            conflated: rate(last.conflated, now.conflated),
            accepted: rate(last.accepted, now.accepted),
            turns: rate(last.turns, now.turns),
            load: load.min(1.0),
            load_peak: load.min(1.0),
        }
    }

    fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.sent += other.sent;
        self.conflated += other.conflated;
        self.accepted += other.accepted;
        self.turns += other.turns;
        self.load += other.load;
        self.load_peak = self.load_peak.max(other.load_peak);
    }
}

impl Sample {
    /// The sample as JSON for the dashboard.
    pub(super) fn json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Shown<'s> {
            at: u64,
            series: serde_json::Map<String, serde_json::Value>,
            rooms: &'s [(Arc<str>, u32)],
            reactors: &'s [ReactorSample],
        }
        let shown = Shown {
            at: self.point.at,
            series: self.point.named(),
            rooms: &self.point.top,
            reactors: &self.reactors,
        };
        // Strings and numbers always serialize.
        serde_json::to_vec(&shown).unwrap_or_default()
    }
}
