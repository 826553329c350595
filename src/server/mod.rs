//! The server: opens the store, binds, runs the threads, and stops them in order.
//!
//! Threads: one per reactor; one that flushes the store; one that waits for signals; one for the
//! admin side. The main
//! thread waits for any of these to have something to say. What survives what: SIGINT and SIGTERM
//! count what has been read, tell the clients (1001), sync the store and end with 0; a second one
//! ends at once, which the store survives like SIGKILL.

use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use thiserror::Error;

use crate::admin::{self, AdminError, Sources};
use crate::config::{FdTables, ServeArgs, advice, optional_ms};
use crate::doctor;
use crate::os::{descriptors, memory};
use crate::protocol::http::Origins;
use crate::reactor::{
    Admission, BindError, CloseReason, DEFAULT_MAX_CONNECTIONS, Limits, ListenAddress, Reactor,
    ReactorMetrics, Seed, SocketOptions, bind,
};
use crate::rooms::{Pressure, RoomLimits, RoomTable, Rooms, Router, Shared};
use crate::store::{CloseError, OpenError, OpenReport, Store, StoreLimits};
use crate::web::{PageSettings, Pages};

mod flusher;
mod grower;
mod problems;

/// Why the server can't run. Each kind has its own exit code.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The snapshot can't be opened.
    #[error("{}", advice::snapshot::open_error(.0))]
    Snapshot(#[from] OpenError),
    /// An address can't be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The snapshot can't be saved whole at the end.
    #[error(
        "snapshot {path}: can't save all of it: {}",
        advice::snapshot::close_error(source)
    )]
    Close {
        /// The file.
        path: PathBuf,
        /// What is in the way.
        source: CloseError,
    },
    /// The admin side can't be had.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The operating system refuses a thread, a poll or the like.
    #[error("can't {action}: {source}")]
    System {
        /// What was being done.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

impl ServeError {
    /// The exit code: 2 for usage, 3 for an address, 4 for the snapshot, 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::System { .. } => 1,
            Self::Admin(error) if !error.is_of_address() => 2,
            Self::Admin(_) | Self::Bind(_) => 3,
            Self::Snapshot(_) | Self::Close { .. } => 4,
        }
    }
}

/// What ends the main thread's wait.
enum Notice {
    Signal,
    ThreadEnded(io::Result<()>),
}

/// Serves until a signal comes; `ready` is called with the addresses, and those of the admin side,
/// once all listen.
///
/// # Errors
/// [`ServeError`], before anything was served or when a reactor failed.
pub fn serve(
    args: &ServeArgs,
    ready: impl FnOnce(&[ListenAddress], &[ListenAddress]),
) -> Result<(), ServeError> {
    let system = |action| move |source| ServeError::System { action, source };
    let (sender, notices) = channel();
    // Before anything else, so that a signal at any time ends in order.
    spawn_signals(sender.clone()).map_err(system("watch signals"))?;
    raise_descriptor_limit();
    memory::keep_little_free_memory();
    warn_of_bounds(args);

    let store = Arc::new(open_store(args)?);
    let options = SocketOptions {
        send_buffer_bytes: (args.send_buffer_bytes > 0).then_some(args.send_buffer_bytes),
        user_timeout: optional_ms(args.tcp_user_timeout_ms),
        backlog: args.backlog,
    };
    let close = || {
        // Nothing was counted; if it can't be closed, it is as after a crash.
        let _ = store.close();
    };
    let (listeners, addresses) =
        bind(&args.listen, args.reactor_count(), &options).inspect_err(|_| close())?;
    let admin = match args.admin_settings() {
        Some(settings) => admin::listen(&settings).inspect_err(|_| close())?,
        None => None,
    };
    let admin_addresses = admin.as_ref().map_or(&[][..], |it| &it.addresses).to_vec();
    let admin_descriptors = admin.as_ref().map_or(Vec::new(), |it| it.descriptors());
    let seeds: Vec<Seed> = listeners
        .into_iter()
        .map(Seed::new)
        .collect::<io::Result<_>>()
        .map_err(system("make a poll"))?;
    let bells: Vec<_> = seeds.iter().map(|seed| Arc::clone(&seed.bell)).collect();
    let metrics: Vec<_> = seeds.iter().map(|seed| Arc::clone(&seed.metrics)).collect();
    let shared = Arc::new(shared(args, &store, bells.clone()));
    let limits = limits(args);
    let admission = Arc::new(Admission::new(
        args.max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS),
        args.max_connections_per_ip,
        args.min_free_memory_percent,
    ));

    let ended = |why| Ended(sender.clone(), Err(io::Error::other(why)));
    let flusher = flusher::spawn(
        &store,
        &shared.table,
        flusher_settings(args),
        ended("the flusher panicked"),
    )
    .map_err(system("start the flusher"))?;
    let grower =
        grower::spawn(&store, ended("the grower panicked")).map_err(system("start the grower"))?;
    let moved: Vec<Vec<RawFd>> = seeds.iter().map(Seed::descriptors).collect();
    let (left, leavers) = channel();
    let mut starts = Vec::new();
    let reactors: Vec<JoinHandle<()>> = seeds
        .into_iter()
        .enumerate()
        .map(|(number, seed)| {
            let others = moved
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != number);
            let (begin, begins) = channel();
            starts.push(begin);
            let start = Start {
                number,
                seed,
                shared: Arc::clone(&shared),
                limits: limits.clone(),
                admission: Arc::clone(&admission),
                notices: sender.clone(),
                leave: (args.fd_tables == FdTables::PerReactor)
                    .then(|| others.flat_map(|(_, theirs)| theirs))
                    .map(|others| others.chain(&admin_descriptors).copied().collect()),
                left: left.clone(),
                begins,
            };
            start.spawn()
        })
        .collect::<io::Result<_>>()
        .map_err(system("start a reactor"))?;
    drop(left);
    // Ends when every reactor has said whether it has a table of its own.
    let leavers: Vec<usize> = leavers
        .iter()
        .filter_map(|(number, has_left)| has_left.then_some(number))
        .collect();
    for number in leavers {
        descriptors::close_copies(&moved[number]);
    }
    // No table is copied any more: now they may open descriptors of their own.
    drop(starts);

    let admin = admin
        .map(|listening| {
            listening.spawn(Sources {
                shared: Arc::clone(&shared),
                metrics: metrics.clone(),
                admission: Arc::clone(&admission),
                store: Arc::clone(&store),
                describe_problem: advice::snapshot::problem,
            })
        })
        .transpose()
        .map_err(system("start the admin side"))?;
    ready(&addresses, &admin_addresses);
    // The channel can't close: this thread holds a sender itself.
    let result = match notices.recv() {
        Ok(Notice::ThreadEnded(Err(source))) => Err(system("go on")(source)),
        Ok(Notice::ThreadEnded(Ok(())) | Notice::Signal) | Err(_) => Ok(()),
    };
    for bell in &bells {
        bell.stop();
    }
    for reactor in reactors {
        // A reactor that panicked has said so itself; the others still stop in order.
        let _ = reactor.join();
    }
    if let Some(admin) = admin {
        admin.stop();
    }
    store.stop_waiting();
    let closed = match (flusher.join(), grower.join()) {
        (Ok(()), Ok(())) => store.close(),
        _ => Err(io::Error::other("the flusher or the grower panicked").into()),
    };
    report(&metrics);
    remove_sockets(&addresses);
    remove_sockets(&admin_addresses);
    result.and(closed.map_err(|source| ServeError::Close {
        path: args.snapshot.clone(),
        source,
    }))
}

fn open_store(args: &ServeArgs) -> Result<Store, OpenError> {
    let limits = StoreLimits {
        max_file_bytes: args.snapshot_max_bytes,
        max_rooms: args.max_rooms,
        max_overflow_bytes: args.max_spare_bytes,
    };
    let Some(path) = args.snapshot_path() else {
        return Store::anonymous(&limits);
    };
    let (store, report) = if args.salvage {
        Store::open_or_salvage(path, &limits)?
    } else {
        Store::open(path, &limits)?
    };
    log_opened(path, &report);
    // For the first crowd. If it can't be, the flusher tries again, and says so.
    let _ = store.grow_ahead();
    Ok(store)
}

fn log_opened(path: &Path, report: &OpenReport) {
    let snapshot = path.display();
    if let Some(salvaged) = &report.salvaged {
        tracing::warn!(
            %snapshot,
            damage = %salvaged.damage,
            lost_counts = salvaged.lost_counts,
            original = %salvaged.original.display(),
            "snapshot salvaged"
        );
    }
    tracing::info!(
        %snapshot,
        rooms = report.rooms,
        counters = report.counters,
        was_closed = report.was_closed,
        restored_counts = report.restored_counts,
        finished_resets = report.finished_resets,
        leftovers = report.leftovers,
        "snapshot opened"
    );
}

fn flusher_settings(args: &ServeArgs) -> flusher::Settings {
    flusher::Settings {
        flush_interval: Duration::from_millis(args.flush_interval_ms),
        room_ttl: args.room_ttl,
    }
}

fn shared(args: &ServeArgs, store: &Arc<Store>, bells: Vec<Arc<crate::reactor::Bell>>) -> Shared {
    let limits = RoomLimits {
        max_kinds: args.max_kinds,
        allowed_kinds: args.kinds.clone(),
        grace: Duration::from_millis(args.room_grace_ms),
        max_resting_rooms: args.max_resting_rooms,
    };
    Shared {
        table: RoomTable::new(Arc::clone(store), limits),
        bells,
        router: Router {
            parties: args.parties.clone(),
            max_room_name_bytes: args.max_room_name_bytes,
        },
        origins: Origins::only(args.allow_origins.clone()),
        pages: (!args.no_pages).then(|| {
            Pages::new(&PageSettings {
                kinds: args.kinds.as_deref(),
                party: args.parties.first().map_or("main", String::as_str),
                max_kind_bytes: args.max_kind_bytes,
            })
        }),
        max_kind_bytes: args.max_kind_bytes,
        tick: Duration::from_millis(args.tick_ms),
        presence_interval: optional_ms(args.presence_interval_ms),
        pressure: Pressure::new(args.in_flight_percent),
    }
}

fn limits(args: &ServeArgs) -> Limits {
    Limits {
        max_message_bytes: args.max_message_bytes,
        max_head_bytes: args.max_head_bytes,
        max_invalid_messages: args.max_invalid_messages,
        head_timeout: Duration::from_millis(args.head_timeout_ms),
        close_timeout: Duration::from_millis(args.close_timeout_ms),
        ping_interval: optional_ms(args.ping_interval_ms),
    }
}

/// What a reactor's thread is started with.
struct Start {
    number: usize,
    seed: Seed,
    shared: Arc<Shared>,
    limits: Limits,
    admission: Arc<Admission>,
    notices: Sender<Notice>,
    /// The others' descriptors, if the thread is to have a table of its own.
    leave: Option<Vec<RawFd>>,
    /// Where it says whether it has.
    left: Sender<(usize, bool)>,
    /// Closes when all have said so: a socket that one accepts before would be copied into the
    /// table of another, and stay open there.
    begins: Receiver<()>,
}

impl Start {
    fn spawn(self) -> io::Result<JoinHandle<()>> {
        thread::Builder::new()
            .name(format!("reactor-{}", self.number))
            .spawn(move || self.run())
    }

    fn run(self) {
        let mut ended = Ended(self.notices, Err(io::Error::other("it panicked")));
        let has_left = match self.leave.map(|foreign| descriptors::leave(&foreign)) {
            None => false,
            Some(Ok(())) => true,
            Some(Err(error)) => {
                tracing::warn!(%error, reactor = self.number, "no table of descriptors of its own");
                false
            }
        };
        // The main thread waits for this; it can't have gone.
        let _ = self.left.send((self.number, has_left));
        drop(self.left);
        let _ = self.begins.recv();
        let app = Rooms::new(self.number, self.shared);
        ended.1 = Reactor::new(self.seed, app, self.limits, self.admission).and_then(Reactor::run);
    }
}

/// Tells the main thread however the thread ends, a panic included.
struct Ended(Sender<Notice>, io::Result<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.1, Ok(()));
        // The main thread may have stopped listening: then it knows already.
        let _ = self.0.send(Notice::ThreadEnded(result));
    }
}

fn spawn_signals(sender: Sender<Notice>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for (count, signal) in signals.forever().enumerate() {
                if count > 0 || sender.send(Notice::Signal).is_err() {
                    std::process::exit(128 + signal);
                }
            }
        })?;
    Ok(())
}

/// Every connection is a descriptor: takes as many as the hard limit allows.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "can't raise the limit on open files");
    }
}

/// Says at once what would stop the server short of what it was asked for.
fn warn_of_bounds(args: &ServeArgs) {
    let Some(wanted) = args.max_connections else {
        return;
    };
    for warning in doctor::check(wanted, args.reactor_count(), args.fd_tables) {
        tracing::warn!("--max-connections {wanted} can't be reached: {warning}");
    }
}

/// Removes the files of the Unix sockets.
fn remove_sockets(addresses: &[ListenAddress]) {
    for address in addresses {
        if let ListenAddress::Unix(path) = address {
            // Somebody may have removed it already.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Says what the server has done, once it has stopped.
fn report(metrics: &[Arc<ReactorMetrics>]) {
    let sum = |read: fn(&ReactorMetrics) -> u64| metrics.iter().map(|it| read(it)).sum::<u64>();
    let closed: Vec<String> = CloseReason::ALL
        .into_iter()
        .map(|reason| {
            (
                reason,
                metrics
                    .iter()
                    .map(|it| it.closed(reason).get())
                    .sum::<u64>(),
            )
        })
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| format!("{}={count}", reason.label()))
        .collect();
    tracing::info!(
        accepted = sum(|it| it.accepted.get()),
        requests = sum(|it| it.requests.get()),
        messages = sum(|it| it.messages.get()),
        dropped_messages = sum(|it| it.dropped_messages.get()),
        invalid_messages = sum(|it| it.invalid_messages.get()),
        frames_sent = sum(|it| it.frames_sent.get()),
        frames_conflated = sum(|it| it.frames_conflated.get()),
        received_bytes = sum(|it| it.received_bytes.get()),
        turns = sum(|it| it.turns.get()),
        closed = closed.join(" "),
        "stopped"
    );
}
