//! Turns the conductor's samples into the report of a run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::board::Figures;
use super::member::micros_histogram;
use super::plan::{Plan, Workload};
use super::report::{
    Exactness, KernelReport, LoadReport, OwnReport, Percentiles, RunReport, ServerLoadReport,
    ServerReport, SlowReport, WaveReport, growth_per, per,
};
use super::sample::{KernelSample, ProcessSample};
use super::worker::Tally;

/// All samples of one moment.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) figures: Figures,
    pub(super) server: Option<ProcessSample>,
    pub(super) own: Option<ProcessSample>,
    pub(super) kernel: Option<KernelSample>,
}

/// A wave of connections, as the conductor counted it.
#[derive(Debug)]
pub(super) struct WaveOutcome {
    pub(super) opened: u64,
    pub(super) failed: u64,
    pub(super) hung: u64,
    pub(super) seconds: f64,
}

/// The measured phase, as the conductor sampled it.
#[derive(Debug)]
pub(super) struct MeasuredLoad {
    pub(super) before: Moment,
    pub(super) after: Moment,
    /// The figures after the slow members had time to catch up.
    pub(super) end: Figures,
}

/// The samples of all phases of a mode.
pub(super) struct RunOutcome {
    /// Sampled before the first connection.
    pub(super) start: Moment,
    pub(super) connect: WaveOutcome,
    /// Sampled after the first wave of connections.
    pub(super) connected: Moment,
    pub(super) reconnect: Option<WaveOutcome>,
    pub(super) measured: Option<MeasuredLoad>,
    pub(super) end: Figures,
    /// The server's process.
    pub(super) pid: Option<u32>,
    /// Why the run ended early.
    pub(super) stopped_by: Option<String>,
}

/// The tallies of all workers, added up.
struct TallySums {
    /// Handshakes of the first wave and of the second wave.
    handshakes: [Histogram<u32>; 2],
    latency: Histogram<u32>,
    reasons: BTreeMap<String, u64>,
    longest_gap: Option<Duration>,
}

impl TallySums {
    fn new(tallies: Vec<Tally>) -> Self {
        let mut sums = Self {
            handshakes: [micros_histogram(), micros_histogram()],
            latency: micros_histogram(),
            reasons: BTreeMap::new(),
            longest_gap: None,
        };
        for tally in tallies {
            // All histograms have the same bounds, so adding them can't fail.
            for (sum, wave) in sums.handshakes.iter_mut().zip(&tally.handshakes) {
                let _ = sum.add(wave);
            }
            let _ = sums.latency.add(&tally.latency);
            for (reason, times) in tally.reasons {
                *sums.reasons.entry(reason).or_default() += times;
            }
            sums.longest_gap = sums.longest_gap.max(tally.longest_gap);
        }
        sums
    }
}

impl WaveOutcome {
    fn wave(&self, handshake: Percentiles) -> WaveReport {
        WaveReport {
            opened: self.opened,
            failed: self.failed,
            hung: self.hung,
            seconds: self.seconds,
            per_second: per(self.opened, self.seconds),
            handshake,
        }
    }

    fn is_whole(&self, members: u64) -> bool {
        self.opened == members
    }
}

impl RunOutcome {
    /// Builds the report of a run against `url` from this outcome and the tallies of all workers.
    pub(super) fn report(&self, plan: &Plan, url: &str, tallies: Vec<Tally>) -> RunReport {
        let sums = TallySums::new(tallies);
        let [first, second] = sums.handshakes.map(|wave| Percentiles::of(&wave));
        RunReport {
            mode: plan.workload.name().to_owned(),
            url: url.to_owned(),
            members: plan.members.into(),
            rooms: plan.rooms.into(),
            threads: plan.threads.into(),
            own_fd_tables: plan.has_own_tables,
            connect: self.connect.wave(first),
            reconnect: self.reconnect.as_ref().map(|wave| wave.wave(second)),
            load: self.load(sums.longest_gap),
            latency: (!sums.latency.is_empty()).then(|| Percentiles::of(&sums.latency)),
            server: self.server(),
            own: self.own(),
            kernel: self.kernel(),
            slow: self.slow(plan),
            exactness: self.exactness(plan),
            reasons: sums.reasons,
            stopped_by: self.stopped_by.clone(),
        }
    }

    fn load(&self, longest_gap: Option<Duration>) -> Option<LoadReport> {
        let MeasuredLoad { before, after, .. } = self.measured.as_ref()?;
        let seconds = (after.at - before.at).as_secs_f64();
        let frames = after.figures.frames - before.figures.frames;
        let bytes = after.figures.bytes - before.figures.bytes;
        Some(LoadReport {
            seconds,
            done: after.figures.done,
            done_per_second: per(after.figures.done, seconds),
            frames,
            frames_per_second: per(frames, seconds),
            bytes,
            bytes_per_second: per(bytes, seconds),
            longest_gap_ms: longest_gap.map(|gap| gap.as_secs_f64() * 1e3),
        })
    }

    fn server(&self) -> Option<ServerReport> {
        let (before, connected) = (self.start.server?, self.connected.server?);
        let load = self.measured.as_ref().and_then(|measured| {
            let (idle, loaded) = (measured.before.server?, measured.after.server?);
            let cpu_seconds = loaded.cpu_seconds - idle.cpu_seconds;
            let frames = measured.after.figures.frames - measured.before.figures.frames;
            Some(ServerLoadReport {
                cpu_seconds,
                rss_bytes: loaded.rss_bytes,
                done_per_cpu_second: per(measured.after.figures.done, cpu_seconds),
                frames_per_cpu_second: per(frames, cpu_seconds),
            })
        });
        Some(ServerReport {
            pid: self.pid?,
            rss_before_bytes: before.rss_bytes,
            rss_connected_bytes: connected.rss_bytes,
            rss_bytes_per_connection: growth_per(
                before.rss_bytes,
                connected.rss_bytes,
                self.connect.opened,
            ),
            connect_cpu_seconds: connected.cpu_seconds - before.cpu_seconds,
            load,
        })
    }

    fn own(&self) -> Option<OwnReport> {
        let (before, connected) = (self.start.own?, self.connected.own?);
        let load_cpu_seconds = self.measured.as_ref().and_then(|measured| {
            Some(measured.after.own?.cpu_seconds - measured.before.own?.cpu_seconds)
        });
        Some(OwnReport {
            rss_bytes_per_connection: growth_per(
                before.rss_bytes,
                connected.rss_bytes,
                self.connect.opened,
            ),
            load_cpu_seconds,
        })
    }

    fn kernel(&self) -> Option<KernelReport> {
        let (before, connected) = (self.start.kernel?, self.connected.kernel?);
        let opened = self.connect.opened;
        Some(KernelReport {
            slab_bytes_per_connection: growth_per(before.slab_bytes, connected.slab_bytes, opened),
            tcp_bytes_per_connection: growth_per(before.tcp_bytes, connected.tcp_bytes, opened),
        })
    }

    fn slow(&self, plan: &Plan) -> Option<SlowReport> {
        let Workload::Slow { .. } = plan.workload else {
            return None;
        };
        let MeasuredLoad { before, after, end } = self.measured.as_ref()?;
        let members = end.slow_exact + end.slow_wrong;
        let (idle, loaded) = (before.kernel?, after.kernel?);
        Some(SlowReport {
            members,
            server_rss_bytes_per_member: match (before.server, after.server) {
                (Some(idle), Some(loaded)) => {
                    Some(growth_per(idle.rss_bytes, loaded.rss_bytes, members))
                }
                _ => None,
            },
            kernel_slab_bytes_per_member: growth_per(idle.slab_bytes, loaded.slab_bytes, members),
            kernel_tcp_bytes_per_member: growth_per(idle.tcp_bytes, loaded.tcp_bytes, members),
            stored_frames_per_member: per(end.slow_frames, members as f64),
            caught_up: end.slow_exact,
        })
    }

    fn exactness(&self, plan: &Plan) -> Exactness {
        let end = &self.end;
        let members = u64::from(plan.members);
        let connected = self.connect.is_whole(members)
            && self
                .reconnect
                .as_ref()
                .is_none_or(|wave| wave.is_whole(members));
        let judged = match plan.workload {
            Workload::Fanout(_) | Workload::Slow { .. } | Workload::Ingest { .. } => {
                end.exact + end.slow_exact == members
            }
            Workload::Churn(_) => end.started == end.opened,
            Workload::Idle { .. } | Workload::Storm => true,
        };
        Exactness {
            exact: end.exact + end.slow_exact,
            short: end.short + end.slow_wrong,
            over: end.over,
            decreased: end.decreased,
            lost: end.lost,
            passed: connected
                && judged
                && self.stopped_by.is_none()
                && end.decreased == 0
                && end.lost == 0,
        }
    }
}
