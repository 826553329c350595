//! The conductor: starts the workers, moves them through the phases of a mode, and samples.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::board::{Board, Figures, RunPhase};
use super::error::SwarmError;
use super::plan::{Plan, Workload};
use super::report::RunReport;
use super::sample::{KernelSample, ProcessSample};
use super::summary::{MeasuredLoad, Moment, RunOutcome, WaveOutcome};
use super::worker::{self, Tally};

/// Time between two checks of the workers' figures.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// Time between the last connection and the sample of memory.
const SETTLE: Duration = Duration::from_millis(300);
/// Time after all members have reached the count: a few ticks in which no member may exceed it.
const AFTERMATH: Duration = Duration::from_millis(200);
const STACK_BYTES: usize = 256 << 10;

struct Conductor {
    board: Arc<Board>,
    workers: Vec<JoinHandle<io::Result<Tally>>>,
    pid: Option<u32>,
    progress: ProgressBar,
    stopped_by: Option<String>,
}

/// Carries out a plan. `pid` is the server's process.
pub(super) fn conduct(plan: Plan, pid: Option<u32>, url: &str) -> Result<RunReport, SwarmError> {
    let mut conductor = Conductor {
        board: Arc::new(Board::new(plan)),
        workers: Vec::new(),
        pid,
        progress: progress_bar(),
        stopped_by: None,
    };
    let start = conductor.moment()?;
    conductor.start_workers()?;
    let outcome = conductor.perform(start);
    conductor.board.enter(RunPhase::Done);
    let tallies = conductor.join_workers()?;
    conductor.progress.finish_and_clear();
    outcome.map(|outcome| outcome.report(&conductor.board.plan, url, tallies))
}

impl Conductor {
    fn moment(&self) -> Result<Moment, SwarmError> {
        let server = self
            .pid
            .map(|pid| ProcessSample::of(pid).map_err(|error| SwarmError::Pid { pid, error }))
            .transpose()?;
        Ok(Moment {
            at: Instant::now(),
            figures: self.board.sum(),
            server,
            own: ProcessSample::of(std::process::id()).ok(),
            kernel: KernelSample::now().ok(),
        })
    }

    fn start_workers(&mut self) -> Result<(), SwarmError> {
        for number in 0..self.board.plan.threads {
            let board = Arc::clone(&self.board);
            let worker = thread::Builder::new()
                .name(format!("swarm-{number}"))
                .stack_size(STACK_BYTES)
                .spawn(move || worker::run(board, number));
            match worker {
                Ok(worker) => self.workers.push(worker),
                Err(error) => {
                    self.board.enter(RunPhase::Done);
                    return Err(SwarmError::Worker(error));
                }
            }
        }
        Ok(())
    }

    fn join_workers(&mut self) -> Result<Vec<Tally>, SwarmError> {
        self.workers
            .drain(..)
            .map(|worker| match worker.join() {
                Ok(tally) => tally.map_err(SwarmError::Worker),
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    }

    fn perform(&mut self, start: Moment) -> Result<RunOutcome, SwarmError> {
        // The workers begin to connect as soon as they are started.
        let connect = self.connect(RunPhase::Connect, &Figures::default(), start.at);
        self.board.enter(RunPhase::Hold);
        self.pause(SETTLE);
        let connected = self.moment()?;
        let mut reconnect = None;
        let mut measured = None;
        match self.board.plan.workload {
            _ if self.stopped_by.is_some() || connected.figures.opened == 0 => {}
            Workload::Idle { hold } => self.hold(hold),
            Workload::Fanout(_) | Workload::Slow { .. } | Workload::Ingest { .. } => {
                measured = Some(self.load(connected.clone())?);
            }
            Workload::Churn(_) => measured = Some(self.churn(connected.clone())?),
            Workload::Storm => reconnect = Some(self.reconnect()),
        }
        Ok(RunOutcome {
            start,
            connect,
            connected,
            reconnect,
            end: measured
                .as_ref()
                .map_or_else(|| self.board.sum(), |measured| measured.end),
            measured,
            pid: self.pid,
            stopped_by: self.stopped_by.take(),
        })
    }

    /// Waits until all members are connected. `before` has the figures from before the wave began.
    fn connect(&mut self, phase: RunPhase, before: &Figures, began: Instant) -> WaveOutcome {
        let members = u64::from(self.board.plan.members);
        self.wait(
            "connecting",
            members,
            |figures| figures.opened - before.opened,
            |board| board.all_finished(phase),
        );
        let seconds = began.elapsed().as_secs_f64();
        let after = self.board.sum();
        let opened = after.opened - before.opened;
        let failed = after.failed - before.failed;
        WaveOutcome {
            opened,
            failed,
            hung: (after.started - before.started).saturating_sub(opened + failed),
            seconds,
        }
    }

    /// Drops all connections and connects all members once more.
    fn reconnect(&mut self) -> WaveOutcome {
        self.board.enter(RunPhase::Drop);
        self.wait(
            "dropping",
            0,
            |_| 0,
            |board| board.all_finished(RunPhase::Drop),
        );
        let (before, began) = (self.board.sum(), Instant::now());
        self.board.enter(RunPhase::Reconnect);
        self.connect(RunPhase::Reconnect, &before, began)
    }

    fn hold(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.is_out_of_time() {
            self.show("holding", 0, self.board.sum().opened);
            self.pause(CHECK_INTERVAL);
        }
    }

    /// Lets the workers send, and waits until all members have seen all reactions.
    fn load(&mut self, before: Moment) -> Result<MeasuredLoad, SwarmError> {
        let before = Moment {
            at: Instant::now(),
            ..before
        };
        let slow_members = (0..self.board.plan.members)
            .filter(|&member| self.board.plan.is_slow(member))
            .count() as u64;
        self.board.enter(RunPhase::Load);
        let owed = match self.board.plan.workload {
            Workload::Fanout(pace) | Workload::Slow { pace, .. } => pace.total,
            _ => 0,
        };
        let load_over = |board: &Board| board.all_finished(RunPhase::Load);
        self.wait("reacting", owed, |figures| figures.done, load_over);
        self.board.enter(RunPhase::Quiesce);
        let quiet = |board: &Board| board.all_finished(RunPhase::Quiesce);
        self.wait("finishing", 0, |_| 0, quiet);
        self.board.enter(RunPhase::Judge);
        let members = before.figures.opened;
        self.wait(
            "converging",
            members.saturating_sub(slow_members),
            |figures| figures.exact,
            |board| board.all_finished(RunPhase::Judge) && board.sum().short == 0,
        );
        let after = self.moment()?;
        self.pause(AFTERMATH);
        if slow_members > 0 {
            self.board.enter(RunPhase::Resume);
            self.wait(
                "catching up",
                slow_members,
                |figures| figures.slow_exact,
                |board| board.all_finished(RunPhase::Resume) && board.sum().slow_wrong == 0,
            );
            self.pause(AFTERMATH);
        }
        Ok(MeasuredLoad {
            before,
            after,
            end: self.board.sum(),
        })
    }

    /// Lets members leave and join, and waits until the last members have joined.
    fn churn(&mut self, before: Moment) -> Result<MeasuredLoad, SwarmError> {
        let Workload::Churn(pace) = self.board.plan.workload else {
            unreachable!("called only for a churn")
        };
        self.board.enter(RunPhase::Load);
        let load_over = |board: &Board| board.all_finished(RunPhase::Load);
        self.wait("replacing", pace.total, |figures| figures.done, load_over);
        self.board.enter(RunPhase::Quiesce);
        self.wait(
            "finishing",
            0,
            |_| 0,
            |board| {
                let figures = board.sum();
                board.all_finished(RunPhase::Quiesce)
                    && figures.started == figures.opened + figures.failed
            },
        );
        let after = self.moment()?;
        Ok(MeasuredLoad {
            before,
            end: after.figures,
            after,
        })
    }

    /// Waits until `over` is true, and shows `done` of `total`. Gives up at the run's time limit,
    /// or after a while without progress.
    fn wait(
        &mut self,
        label: &'static str,
        total: u64,
        done: impl Fn(&Figures) -> u64,
        over: impl Fn(&Board) -> bool,
    ) {
        if self.stopped_by.is_some() {
            return;
        }
        let mut last = Figures::default();
        let mut progressed = Instant::now();
        while !over(&self.board) {
            let figures = self.board.sum();
            if figures != last {
                last = figures;
                progressed = Instant::now();
            }
            self.show(label, total, done(&figures));
            if progressed.elapsed() > self.board.plan.stall {
                let stall = self.board.plan.stall.as_secs();
                self.stopped_by = Some(format!("no progress for {stall} s while {label}"));
                return;
            }
            if self.is_out_of_time() {
                let timeout = self.board.plan.timeout.as_secs();
                self.stopped_by = Some(format!("time limit of {timeout} s reached while {label}"));
                return;
            }
            if self.workers.iter().any(JoinHandle::is_finished) {
                self.stopped_by = Some(format!("a worker ended while {label}"));
                return;
            }
            self.pause(CHECK_INTERVAL);
        }
    }

    fn is_out_of_time(&self) -> bool {
        self.board.elapsed() > self.board.plan.timeout
    }

    fn pause(&self, time: Duration) {
        thread::sleep(time);
    }

    fn show(&self, label: &'static str, total: u64, done: u64) {
        if !self.progress.is_hidden() {
            self.progress.set_message(label);
            self.progress.set_length(total);
            self.progress.set_position(done);
        }
    }
}

/// Returns a progress bar, which is drawn on stderr if that is a terminal.
fn progress_bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg:>12} {wide_bar} {human_pos}/{human_len} {elapsed}");
    let bar = ProgressBar::new(0);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
