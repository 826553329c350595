//! Rooms: counters, versions, the encoded counts, and the table of all rooms in memory.
//!
//! A [`Room`] is shared by all reactors that have members in it. Its counters are words of the
//! store; adding to one takes no lock. Its lock is taken to add a kind and to encode the counts,
//! which happens once per version, not once per reaction or member.
//!
//! Whoever has changed counts calls [`Room::publish`], which moves the version on and names the
//! reactors that must be told. The order makes nothing get lost: the counter is added to before
//! the version moves, and a reactor calls [`Room::attend`] before it reads the version.
//!
//! How many members a room has is told in the same way to the reactors whose members want to know,
//! and to no others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;

use super::activity::Activity;
use super::encoded::Encoded;
use super::table::{DEFAULT_GRACE, DEFAULT_MAX_RESTING_ROOMS};
use super::watchers::Watchers;
use crate::protocol::messages::{encode_counts, encode_here, encode_key};
use crate::store::{Counter, RoomId, Store, StoreError};

/// The default of the most kinds in a room.
pub const DEFAULT_MAX_KINDS: usize = 64;
/// The most that the limit on kinds can be set to.
pub const MAX_KINDS: usize = 256;

/// Why a reaction can't be counted.
#[derive(Debug, Error)]
pub enum RoomError {
    /// The room has as many kinds as it may.
    #[error("the room has its limit of {0} kinds")]
    TooManyKinds(usize),
    /// A kind that is not on the operator's list.
    #[error("the kind is not one of this server's")]
    KindNotAllowed,
    /// The store can't take the room or the kind.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a room may hold.
#[derive(Debug, Clone)]
pub struct RoomLimits {
    /// The most kinds in a room.
    pub max_kinds: usize,
    /// The kinds that may be used; any, if `None`.
    pub allowed_kinds: Option<Vec<String>>,
    /// How long a room that nobody is in stays in memory, if it has counts.
    pub grace: Duration,
    /// The most rooms that stay in memory so.
    pub max_resting_rooms: usize,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self {
            max_kinds: DEFAULT_MAX_KINDS,
            allowed_kinds: None,
            grace: DEFAULT_GRACE,
            max_resting_rooms: DEFAULT_MAX_RESTING_ROOMS,
        }
    }
}

/// The counts of a room at one version, as they are sent.
#[derive(Debug, Clone)]
pub struct Counts {
    /// The version: of two, the later has the higher counts.
    pub version: u64,
    /// The counts.
    pub message: Encoded,
}

/// One room in memory.
#[derive(Debug)]
pub struct Room {
    id: u64,
    party: String,
    name: String,
    store: Arc<Store>,
    limits: Arc<RoomLimits>,
    version: AtomicU64,
    members: AtomicU64,
    /// The reactors that have members here.
    pub(super) of_counts: Watchers,
    /// The reactors that have members here who want to know how many there are.
    of_members: Watchers,
    activity: Activity,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    record: Option<RoomId>,
    kinds: Vec<Kind>,
    encoded: Option<Counts>,
}

#[derive(Debug)]
struct Kind {
    name: String,
    key: Box<str>,
    counter: Counter,
    /// The highest count that was shown: a counter that moves into the file may be seen lower.
    shown: u64,
}

impl Room {
    /// The room as the store has it; empty, and without a record, if it has none.
    pub(super) fn load(
        party: &str,
        name: &str,
        store: &Arc<Store>,
        limits: &Arc<RoomLimits>,
    ) -> Self {
        let record = store.find(party, name);
        let kinds = record.map(|id| store.kinds(id)).unwrap_or_default();
        let state = State {
            record,
            kinds: kinds.into_iter().map(Kind::from).collect(),
            encoded: None,
        };
        const FIRST_VERSION: u64 = 1;
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            party: party.to_owned(),
            name: name.to_owned(),
            store: Arc::clone(store),
            limits: Arc::clone(limits),
            version: AtomicU64::new(FIRST_VERSION),
            members: AtomicU64::new(0),
            of_counts: Watchers::default(),
            of_members: Watchers::default(),
            activity: Activity::new(FIRST_VERSION, state.total()),
            state: Mutex::new(state),
        }
    }

    /// A number that no other room in this process has or will have.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The party that it is a room of.
    pub fn party(&self) -> &str {
        &self.party
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The counter of a kind. A kind that the room doesn't have yet is added, at zero.
    ///
    /// # Errors
    /// [`RoomError`] if it can't be.
    pub fn counter(&self, kind: &str) -> Result<Counter, RoomError> {
        let mut state = self.state();
        if let Some(known) = state.kinds.iter().find(|known| known.name == kind) {
            return Ok(known.counter.clone());
        }
        let allowed = self.limits.allowed_kinds.as_ref();
        if allowed.is_some_and(|kinds| !kinds.iter().any(|allowed| allowed == kind)) {
            return Err(RoomError::KindNotAllowed);
        }
        if state.kinds.len() >= self.limits.max_kinds {
            return Err(RoomError::TooManyKinds(self.limits.max_kinds));
        }
        let record = match state.record {
            Some(record) => record,
            None => self.store.room_or_create(&self.party, &self.name)?,
        };
        state.record = Some(record);
        let counter = self.store.counter_of(record, kind)?;
        state
            .kinds
            .push(Kind::from((kind.to_owned(), counter.clone())));
        Ok(counter)
    }

    /// Moves the version on after counters were added to, and gives the reactors that must be
    /// told: those with members, other than `by`, that haven't been told since they last
    /// attended.
    pub fn publish(&self, by: Option<usize>) -> impl Iterator<Item = usize> + use<> {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.of_counts.tell(by)
    }

    /// Lets `reactor` be told of the next change. What it reads afterwards covers all before.
    pub fn attend(&self, reactor: usize) {
        self.of_counts.attend(reactor);
    }

    /// Counts a member who came, and gives the reactors that must be told.
    pub fn member_came(&self) -> impl Iterator<Item = usize> + use<> {
        self.members.fetch_add(1, Ordering::SeqCst);
        self.of_members.tell(None)
    }

    /// The same of a member who left.
    pub fn member_left(&self) -> impl Iterator<Item = usize> + use<> {
        self.members.fetch_sub(1, Ordering::SeqCst);
        self.of_members.tell(None)
    }

    /// How many members there are, those of all reactors together.
    pub fn members(&self) -> u64 {
        self.members.load(Ordering::SeqCst)
    }

    /// How many members there are, as those get it who want to know.
    pub fn here(&self) -> (u64, Encoded) {
        let members = self.members();
        const SIZE_HINT: usize = 80;
        let message = Encoded::new(SIZE_HINT, |json| encode_here(members, json));
        (members, message)
    }

    /// From now on `reactor` is told when members come and leave.
    pub fn watch_members(&self, reactor: usize) {
        self.of_members.watch(reactor);
    }

    /// From now on it is not.
    pub fn unwatch_members(&self, reactor: usize) {
        self.of_members.unwatch(reactor);
    }

    /// Lets `reactor` be told when the next member comes or leaves.
    pub fn attend_members(&self, reactor: usize) {
        self.of_members.attend(reactor);
    }

    /// Sets the counts to zero, so that it survives a crash. Waits for the disk, and nobody waits
    /// for it meanwhile. Whoever calls publishes then.
    ///
    /// # Errors
    /// [`StoreError`] if the disk fails. The counts are as they were then, or zero.
    pub fn reset(&self) -> Result<(), StoreError> {
        let Some(record) = self.state().record else {
            return Ok(());
        };
        let reset = self.store.begin_reset(record)?;
        {
            // Nobody encodes a part of it.
            let mut state = self.state();
            reset.zero();
            state.kinds.iter_mut().for_each(|kind| kind.shown = 0);
            state.encoded = None;
            self.activity.reset();
        }
        reset.finish()
    }

    /// The reactors that have members here.
    pub fn reactors(&self) -> impl Iterator<Item = usize> + use<> {
        self.of_counts.all()
    }

    /// Takes note of how busy the room was in the time that `passed` since the last look. One
    /// thread may look.
    pub fn look(&self, passed: Duration) {
        let total = || self.state().total();
        self.activity.look(self.version(), passed, total);
    }

    /// Reactions that had been counted at the last look.
    pub fn total(&self) -> u64 {
        self.activity.total()
    }

    /// Reactions per second before the last look.
    pub fn per_second(&self) -> f64 {
        self.activity.per_second()
    }

    /// The version now.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// The counts now, encoded once for each version.
    pub fn counts(&self) -> Counts {
        let mut state = self.state();
        // The version first: the counts then are at least as new.
        let version = self.version();
        if let Some(encoded) = state.encoded.as_ref().filter(|it| it.version == version) {
            return encoded.clone();
        }
        /// What more digits may need.
        const MORE_BYTES: usize = 16;
        let last_size = state.encoded.as_ref().map_or(64, |it| it.message.len());
        let counts = state.kinds.iter_mut().map(|kind| {
            kind.shown = kind.shown.max(kind.counter.get());
            (&*kind.key, kind.shown)
        });
        // A kind that was added and not yet counted is not shown.
        let counts = counts.filter(|(_, count)| *count > 0);
        let message = Encoded::new(last_size + MORE_BYTES, |json| encode_counts(counts, json));
        let counts = Counts { version, message };
        state.encoded = Some(counts.clone());
        counts
    }

    pub(super) fn has_record(&self) -> bool {
        self.state().record.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change to the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn total(&self) -> u64 {
        let counts = self.kinds.iter().map(|kind| kind.counter.get());
        counts.fold(0, u64::saturating_add)
    }
}

impl From<(String, Counter)> for Kind {
    fn from((name, counter): (String, Counter)) -> Self {
        Self {
            key: encode_key(&name),
            name,
            counter,
            shown: 0,
        }
    }
}
