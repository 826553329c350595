//! The conductor: starts the workers, leads them through the phases of a mode, and sums up.

use super::SwarmError;
use super::board::{Board, Figures, Phase};
use super::plan::{Activity, Plan};
use super::report::Report;
use super::sample::{KernelSample, ProcessSample};
use super::summary::{Connected, Measured, Moment, Outcome};
use super::worker::{self, Tally};
use indicatif::{ProgressBar, ProgressStyle};
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often the conductor looks at the workers' figures.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// From the last connection until memory is sampled.
const SETTLE: Duration = Duration::from_millis(300);
/// After everyone is on the count: a few ticks in which nobody may get beyond it.
const AFTERMATH: Duration = Duration::from_millis(200);
const STACK_BYTES: usize = 256 << 10;

struct Conductor {
    board: Arc<Board>,
    workers: Vec<JoinHandle<io::Result<Tally>>>,
    pid: Option<u32>,
    progress: ProgressBar,
    stopped_by: Option<String>,
}

/// Carries a plan out; `pid` is the server's process.
pub(super) fn conduct(plan: Plan, pid: Option<u32>, url: &str) -> Result<Report, SwarmError> {
    let mut conductor = Conductor {
        board: Arc::new(Board::new(plan)),
        workers: Vec::new(),
        pid,
        progress: progress_bar(),
        stopped_by: None,
    };
    let start = conductor.moment()?;
    conductor.start_workers()?;
    let outcome = conductor.perform(start.at);
    conductor.board.enter(Phase::Done);
    let tallies = conductor.join_workers()?;
    let stopped_by = conductor.stopped_by.take();
    conductor.progress.finish_and_clear();
    outcome.map(|outcome| outcome.report(&conductor.board.plan, url, &start, tallies, stopped_by))
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
                    self.board.enter(Phase::Done);
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

    fn perform(&mut self, start: Instant) -> Result<Outcome, SwarmError> {
        // The workers began to connect by themselves as soon as they were started.
        let connect = self.connect(Phase::Connect, &Figures::default(), start);
        self.board.enter(Phase::Hold);
        self.pause(SETTLE);
        let connected = self.moment()?;
        let mut reconnect = None;
        let mut measured = None;
        match self.board.plan.activity {
            _ if self.stopped_by.is_some() || connected.figures.opened == 0 => {}
            Activity::Idle { hold } => self.hold(hold),
            Activity::Fanout(_) | Activity::Slow { .. } | Activity::Ingest { .. } => {
                measured = Some(self.load(connected.clone())?);
            }
            Activity::Churn(_) => measured = Some(self.churn(connected.clone())?),
            Activity::Storm => {
                self.board.enter(Phase::Drop);
                self.wait(
                    "dropping",
                    0,
                    |_| 0,
                    |board| board.all_finished(Phase::Drop),
                );
                let (before, began) = (self.board.sum(), Instant::now());
                self.board.enter(Phase::Reconnect);
                reconnect = Some(self.connect(Phase::Reconnect, &before, began));
            }
        }
        Ok(Outcome {
            connect,
            connected,
            reconnect,
            end: measured
                .as_ref()
                .map_or_else(|| self.board.sum(), |measured| measured.end),
            measured,
            pid: self.pid,
        })
    }

    /// Connects everyone, until nothing moves any more. `before` is from before the wave began.
    fn connect(&mut self, phase: Phase, before: &Figures, began: Instant) -> Connected {
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
        Connected {
            opened,
            failed,
            hung: (after.started - before.started).saturating_sub(opened + failed),
            seconds,
        }
    }

    fn hold(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.is_out_of_time() {
            self.show("holding", 0, self.board.sum().opened);
            self.pause(LOOK_EVERY);
        }
    }

    /// Lets the workers send, and waits until everyone has seen everything.
    fn load(&mut self, before: Moment) -> Result<Measured, SwarmError> {
        let before = Moment {
            at: Instant::now(),
            ..before
        };
        let slow_members = (0..self.board.plan.members)
            .filter(|&member| self.board.plan.is_slow(member))
            .count() as u64;
        self.board.enter(Phase::Load);
        let owed = match self.board.plan.activity {
            Activity::Fanout(pace) | Activity::Slow { pace, .. } => pace.total,
            _ => 0,
        };
        let load_over = |board: &Board| board.all_finished(Phase::Load);
        self.wait("reacting", owed, |figures| figures.done, load_over);
        self.board.enter(Phase::Quiesce);
        let quiet = |board: &Board| board.all_finished(Phase::Quiesce);
        self.wait("finishing", 0, |_| 0, quiet);
        self.board.enter(Phase::Judge);
        let members = before.figures.opened;
        self.wait(
            "converging",
            members.saturating_sub(slow_members),
            |figures| figures.exact,
            |board| board.all_finished(Phase::Judge) && board.sum().short == 0,
        );
        let after = self.moment()?;
        self.pause(AFTERMATH);
        if slow_members > 0 {
            self.board.enter(Phase::Resume);
            self.wait(
                "catching up",
                slow_members,
                |figures| figures.slow_exact,
                |board| board.all_finished(Phase::Resume) && board.sum().slow_wrong == 0,
            );
            self.pause(AFTERMATH);
        }
        Ok(Measured {
            before,
            after,
            end: self.board.sum(),
        })
    }

    /// Lets members leave and join, and waits until the last have joined.
    fn churn(&mut self, before: Moment) -> Result<Measured, SwarmError> {
        let Activity::Churn(pace) = self.board.plan.activity else {
            unreachable!("only called to churn")
        };
        self.board.enter(Phase::Load);
        let load_over = |board: &Board| board.all_finished(Phase::Load);
        self.wait("replacing", pace.total, |figures| figures.done, load_over);
        self.board.enter(Phase::Quiesce);
        self.wait(
            "finishing",
            0,
            |_| 0,
            |board| {
                let figures = board.sum();
                board.all_finished(Phase::Quiesce)
                    && figures.started == figures.opened + figures.failed
            },
        );
        let after = self.moment()?;
        Ok(Measured {
            before,
            end: after.figures,
            after,
        })
    }

    /// Waits until `over`, showing `done` of `total`; gives up at the run's bound, or when nothing
    /// has moved for a while.
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
        let mut moved = Instant::now();
        while !over(&self.board) {
            let figures = self.board.sum();
            if figures != last {
                last = figures;
                moved = Instant::now();
            }
            self.show(label, total, done(&figures));
            if moved.elapsed() > self.board.plan.stall {
                let stall = self.board.plan.stall.as_secs();
                self.stopped_by = Some(format!("nothing moved for {stall} s while {label}"));
                return;
            }
            if self.is_out_of_time() {
                let timeout = self.board.plan.timeout.as_secs();
                self.stopped_by = Some(format!("the bound of {timeout} s, while {label}"));
                return;
            }
            if self.workers.iter().any(JoinHandle::is_finished) {
                self.stopped_by = Some(format!("a worker ended while {label}"));
                return;
            }
            self.pause(LOOK_EVERY);
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

/// Drawn on stderr if that is a terminal.
fn progress_bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg:>12} {wide_bar} {human_pos}/{human_len} {elapsed}");
    let bar = ProgressBar::new(0);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
