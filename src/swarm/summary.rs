//! What the conductor saw, turned into the report.

use super::board::Figures;
use super::client::micros_histogram;
use super::plan::{Activity, Plan};
use super::report::{
    Exactness, Kernel, Load, Own, Percentiles, Report, Server, ServerLoad, Slow, Wave, growth_per,
    per,
};
use super::sample::{KernelSample, ProcessSample};
use super::worker::Tally;
use std::time::{Duration, Instant};

/// Everything that is sampled, at one moment.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) figures: Figures,
    pub(super) server: Option<ProcessSample>,
    pub(super) own: Option<ProcessSample>,
    pub(super) kernel: Option<KernelSample>,
}

/// A wave of connections as the conductor saw it.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) opened: u64,
    pub(super) failed: u64,
    pub(super) hung: u64,
    pub(super) seconds: f64,
}

/// The measured phase as the conductor saw it.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) before: Moment,
    pub(super) after: Moment,
    /// After those who did not read had their time to catch up.
    pub(super) end: Figures,
}

/// What the phases of a mode brought.
pub(super) struct Outcome {
    pub(super) connect: Connected,
    pub(super) connected: Moment,
    pub(super) reconnect: Option<Connected>,
    pub(super) measured: Option<Measured>,
    pub(super) end: Figures,
    pub(super) pid: Option<u32>,
}

impl Connected {
    fn wave(&self, handshake: Percentiles) -> Wave {
        Wave {
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

impl Outcome {
    pub(super) fn report(
        &self,
        plan: &Plan,
        url: &str,
        start: &Moment,
        tallies: Vec<Tally>,
        stopped_by: Option<String>,
    ) -> Report {
        let mut waves = [micros_histogram(), micros_histogram()];
        let mut latency = micros_histogram();
        let mut reasons = std::collections::BTreeMap::new();
        let mut longest_gap = None;
        for tally in tallies {
            for (sum, wave) in waves.iter_mut().zip(&tally.handshakes) {
                let _ = sum.add(wave);
            }
            let _ = latency.add(&tally.latency);
            for (reason, times) in tally.reasons {
                *reasons.entry(reason).or_default() += times;
            }
            longest_gap = longest_gap.max(tally.longest_gap);
        }
        let [first, second] = waves.map(|wave| Percentiles::of(&wave));
        Report {
            mode: plan.activity.name().to_owned(),
            url: url.to_owned(),
            members: plan.members.into(),
            rooms: plan.rooms.into(),
            threads: plan.threads.into(),
            own_fd_tables: plan.own_tables,
            connect: self.connect.wave(first),
            reconnect: self.reconnect.as_ref().map(|wave| wave.wave(second)),
            load: self.load(longest_gap),
            latency: (!latency.is_empty()).then(|| Percentiles::of(&latency)),
            server: self.server(start),
            own: self.own(start),
            kernel: self.kernel(start),
            slow: self.slow(plan),
            exactness: self.exactness(plan, stopped_by.is_some()),
            reasons,
            stopped_by,
        }
    }

    fn load(&self, longest_gap: Option<Duration>) -> Option<Load> {
        let Measured { before, after, .. } = self.measured.as_ref()?;
        let seconds = (after.at - before.at).as_secs_f64();
        let frames = after.figures.frames - before.figures.frames;
        let bytes = after.figures.bytes - before.figures.bytes;
        Some(Load {
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

    fn server(&self, start: &Moment) -> Option<Server> {
        let (before, connected) = (start.server?, self.connected.server?);
        let load = self.measured.as_ref().and_then(|measured| {
            let (idle, loaded) = (measured.before.server?, measured.after.server?);
            let cpu_seconds = loaded.cpu_seconds - idle.cpu_seconds;
            let frames = measured.after.figures.frames - measured.before.figures.frames;
            Some(ServerLoad {
                cpu_seconds,
                rss_bytes: loaded.rss_bytes,
                done_per_cpu_second: per(measured.after.figures.done, cpu_seconds),
                frames_per_cpu_second: per(frames, cpu_seconds),
            })
        });
        Some(Server {
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

    fn own(&self, start: &Moment) -> Option<Own> {
        let (before, connected) = (start.own?, self.connected.own?);
        let load_cpu_seconds = self.measured.as_ref().and_then(|measured| {
            Some(measured.after.own?.cpu_seconds - measured.before.own?.cpu_seconds)
        });
        Some(Own {
            rss_bytes_per_connection: growth_per(
                before.rss_bytes,
                connected.rss_bytes,
                self.connect.opened,
            ),
            load_cpu_seconds,
        })
    }

    fn kernel(&self, start: &Moment) -> Option<Kernel> {
        let (before, connected) = (start.kernel?, self.connected.kernel?);
        let opened = self.connect.opened;
        Some(Kernel {
            slab_bytes_per_connection: growth_per(before.slab_bytes, connected.slab_bytes, opened),
            tcp_bytes_per_connection: growth_per(before.tcp_bytes, connected.tcp_bytes, opened),
        })
    }

    fn slow(&self, plan: &Plan) -> Option<Slow> {
        let Activity::Slow { .. } = plan.activity else {
            return None;
        };
        let Measured { before, after, end } = self.measured.as_ref()?;
        let members = end.slow_exact + end.slow_wrong;
        let (idle, loaded) = (before.kernel?, after.kernel?);
        Some(Slow {
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

    fn exactness(&self, plan: &Plan, stopped: bool) -> Exactness {
        let end = &self.end;
        let members = u64::from(plan.members);
        let connected = self.connect.is_whole(members)
            && self
                .reconnect
                .as_ref()
                .is_none_or(|wave| wave.is_whole(members));
        let judged = match plan.activity {
            Activity::Fanout(_) | Activity::Slow { .. } | Activity::Ingest { .. } => {
                end.exact + end.slow_exact == members
            }
            Activity::Churn(_) => end.started == end.opened,
            Activity::Idle { .. } | Activity::Storm => true,
        };
        Exactness {
            exact: end.exact + end.slow_exact,
            short: end.short + end.slow_wrong,
            over: end.over,
            decreased: end.decreased,
            lost: end.lost,
            passed: connected && judged && !stopped && end.decreased == 0 && end.lost == 0,
        }
    }
}
