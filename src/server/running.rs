//! The third stage: the threads run. Stopping them in order is the last.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::bound::Bound;
use super::error::ServeError;
use super::flusher::{self, FlusherSettings};
use super::grower;
use super::handover::Handover;
use super::reactors::{ReactorSettings, Reactors};
use super::report;
use super::sessions::Sessions;
use super::supervisor::Supervisor;
use crate::access::Access;
use crate::admin::{AdminThread, Sources};
use crate::config::{ServeArgs, advice};
use crate::protocol::http::{Hosts, Origins};
use crate::reactor::{ListenAddress, LogThrottle, Mailbox, ReactorParts};
use crate::rooms::{Permissions, RoomLimits, RoomNotice, RoomTable, Router, Shared, TcpMemory};
use crate::store::{CloseError, Store};
use crate::web::{PageSettings, Pages};

/// A server whose threads run.
pub(super) struct Running {
    supervisor: Supervisor,
    store: Arc<Store>,
    reactors: Reactors,
    sessions: Sessions,
    /// Held so that only this thread drops the descriptors in it, after the reactors have ended: the
    /// reactors' tables have copies of them.
    _settings: Arc<ReactorSettings>,
    flusher: JoinHandle<()>,
    grower: JoinHandle<()>,
    admin: Option<AdminThread>,
    /// The addresses of the rooms.
    pub(super) addresses: Vec<ListenAddress>,
    /// The addresses of the admin side.
    pub(super) admin_addresses: Vec<ListenAddress>,
}

impl Running {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`ServeError`] if the operating system refuses one.
    pub(super) fn start(
        bound: Bound,
        args: &ServeArgs,
        access: Option<Access>,
        supervisor: Supervisor,
    ) -> Result<Self, ServeError> {
        let store = bound.opened.store;
        let mailboxes = bound.parts.iter().map(|it| Arc::clone(&it.mailbox));
        let sessions = Sessions::open(args);
        let shared = Arc::new(shared(args, access, &store, &sessions, mailboxes.collect()));
        let settings = Arc::new(ReactorSettings {
            shared: Arc::clone(&shared),
            limits: args
                .limits
                .connection_limits(Hosts::only(args.listen.hosts.clone())),
            admission: Arc::new(args.limits.admission(args.listen.trusted_proxies())),
        });
        let flusher = flusher::spawn(
            &store,
            &shared.table,
            FlusherSettings {
                flush_interval: args.snapshot.flush_interval(),
                room_ttl: args.snapshot.room_ttl,
            },
            supervisor.guard("the flusher panicked"),
        )
        .map_err(ServeError::system("start the flusher"))?;
        let grower = grower::spawn(&store, supervisor.guard("the grower panicked"))
            .map_err(ServeError::system("start the grower"))?;
        let descriptors = bound.parts.iter().map(ReactorParts::descriptors).collect();
        let admin_descriptors = bound.admin.as_ref().map(|it| it.descriptors());
        let handover = Handover::new(
            args.listen.fd_tables,
            descriptors,
            admin_descriptors.unwrap_or_default(),
        );
        let reactors = Reactors::spawn(bound.parts, &settings, handover, &supervisor)?;
        let admin_addresses = bound.admin.as_ref().map(|it| it.addresses.clone());
        let sources = Sources {
            shared,
            metrics: reactors.metrics.clone(),
            admission: Arc::clone(&settings.admission),
            store: Arc::clone(&store),
            explain: advice::snapshot::problem,
        };
        let admin = bound.admin.map(|admin| admin.spawn(sources)).transpose();
        Ok(Self {
            supervisor,
            store,
            reactors,
            sessions,
            _settings: settings,
            flusher,
            grower,
            admin: admin.map_err(ServeError::system("start the admin side"))?,
            addresses: bound.addresses,
            admin_addresses: admin_addresses.unwrap_or_default(),
        })
    }

    /// Waits for a signal, or for the end of a thread that the server can't do without.
    ///
    /// # Errors
    /// [`ServeError::Thread`] if a thread has failed.
    pub(super) fn wait(&self) -> Result<(), ServeError> {
        self.supervisor.wait().map_err(ServeError::Thread)
    }

    /// Stops the threads in order and closes the store.
    ///
    /// # Errors
    /// What kept the store from saving everything.
    pub(super) fn stop(self) -> Result<(), CloseError> {
        let metrics = self.reactors.stop();
        if let Some(admin) = self.admin {
            admin.stop();
        }
        self.store.stop_waiting();
        let closed = match (self.flusher.join(), self.grower.join()) {
            (Ok(()), Ok(())) => self.store.close(),
            _ => Err(io::Error::other("the flusher or the grower panicked").into()),
        };
        // Only now is everything that the sessions have counted saved too.
        if closed.is_ok() {
            self.sessions.save();
        }
        report::log(&metrics);
        remove_sockets(&self.addresses);
        remove_sockets(&self.admin_addresses);
        closed
    }
}

/// What the rooms of all reactors share.
fn shared(
    args: &ServeArgs,
    access: Option<Access>,
    store: &Arc<Store>,
    sessions: &Sessions,
    mailboxes: Vec<Arc<Mailbox<RoomNotice>>>,
) -> Shared {
    let (rooms, limits) = (&args.rooms, &args.limits);
    let room_limits = RoomLimits {
        max_kinds: limits.max_kinds,
        allowed_kinds: rooms.kinds.clone(),
        grace: args.tuning.room_grace(),
        max_idle_rooms: args.tuning.max_idle_rooms,
    };
    let page_settings = PageSettings {
        kinds: rooms.kinds.as_deref(),
        party: rooms.parties.first().map_or("main", String::as_str),
        max_kind_bytes: limits.max_kind_bytes,
        brand: args.pages.brand(),
    };
    Shared {
        table: RoomTable::new(Arc::clone(store), room_limits),
        mailboxes,
        router: Router {
            parties: rooms.parties.clone(),
            max_room_name_bytes: limits.max_room_name_bytes,
        },
        permissions: Permissions::new(access),
        origins: Origins::only(args.pages.allow_origins.clone()),
        pages: (!args.pages.no_pages).then(|| Pages::new(&page_settings)),
        max_kind_bytes: limits.max_kind_bytes,
        tick: rooms.tick(),
        presence_interval: rooms.presence_interval(),
        sessions: Arc::clone(&sessions.table),
        heartbeat_interval: args.sessions.heartbeat_interval(),
        creation: limits.room_creation(),
        drop_log: LogThrottle::default(),
        tcp_memory: TcpMemory::new(args.tuning.in_flight_percent),
        explain: advice::snapshot::store_error,
    }
}

/// Removes the files of the Unix sockets.
fn remove_sockets(addresses: &[ListenAddress]) {
    for address in addresses {
        if let ListenAddress::Unix(path) = address {
            // Another process may have removed it already.
            let _ = std::fs::remove_file(path);
        }
    }
}
