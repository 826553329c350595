//! A room in memory: its counters, its version, and the encoded counts.
//!
//! All reactors with members in a room share one [`Room`]. Its counters are words of the store, and
//! adding to one takes no lock. The room's lock is taken to add a kind and to encode the counts,
//! which happens once per version, not once per reaction or member.
//!
//! A thread that has changed counts calls [`Room::publish`], which moves the version on and returns
//! the reactors to notify. The order loses nothing: the counter is added to before the version
//! moves, and a reactor acknowledges before it reads the version.
//!
//! The number of members goes the same way to the reactors that have presence subscribers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::activity::Activity;
use super::encoded::Encoded;
use super::error::RoomError;
use super::key::RoomKey;
use super::limits::RoomLimits;
use super::names::has_invisible;
use super::watchers::{ReactorSet, Watchers};
use crate::protocol::messages::{encode_counts, encode_here, encode_key};
use crate::store::{Counter, Retired, RoomId, RoomMode, Store, StoreError};

/// The counts of a room at one version, encoded.
#[derive(Debug, Clone)]
pub struct Counts {
    /// The version. A later version has the newer counts.
    pub version: u64,
    /// The encoded counts.
    pub message: Encoded,
}

/// A room in memory.
#[derive(Debug)]
pub struct Room {
    id: u64,
    key: RoomKey,
    pub(super) store: Arc<Store>,
    pub(super) limits: Arc<RoomLimits>,
    version: AtomicU64,
    /// Number of changes so far after which what reactors keep of the room's kinds is stale.
    epoch: AtomicU32,
    /// The version of the first counts after the last reset or removal of a kind.
    reset_version: AtomicU64,
    members: AtomicU64,
    /// The reactors with members in the room.
    pub(super) count_watchers: Watchers,
    /// The reactors with presence subscribers in the room.
    presence_watchers: Watchers,
    activity: Activity,
    state: Mutex<RoomState>,
}

#[derive(Debug)]
pub(super) struct RoomState {
    pub(super) record: Option<RoomId>,
    pub(super) standing: Standing,
    pub(super) kinds: Vec<RoomKind>,
    /// Counters that were removed. The reactors in `stale` may still have handles of them.
    pub(super) retired: Vec<Retired>,
    pub(super) stale: ReactorSet,
    encoded: Option<Counts>,
}

/// Whether a room takes reactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The room is in this mode.
    In(RoomMode),
    /// The room was removed. Its members must leave it.
    Removed,
}

#[derive(Debug)]
pub(super) struct RoomKind {
    pub(super) name: String,
    key: Box<str>,
    pub(super) counter: Counter,
    /// The highest count shown so far. A counter that is moving into the file may read lower.
    shown: u64,
}

impl Room {
    /// Loads the room from the store. A room that the store doesn't have is empty, without a
    /// record.
    pub(super) fn load(key: RoomKey, store: &Arc<Store>, limits: &Arc<RoomLimits>) -> Self {
        let record = store.find(key.party(), key.room());
        let kinds = record.map(|id| store.kinds(id)).unwrap_or_default();
        let mode = record.map_or(RoomMode::Open, |id| store.mode_of(id));
        let state = RoomState {
            record,
            standing: Standing::In(mode),
            kinds: kinds.into_iter().map(RoomKind::from).collect(),
            retired: Vec::new(),
            stale: ReactorSet::default(),
            encoded: None,
        };
        const FIRST_VERSION: u64 = 1;
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            key,
            store: Arc::clone(store),
            limits: Arc::clone(limits),
            version: AtomicU64::new(FIRST_VERSION),
            epoch: AtomicU32::new(0),
            reset_version: AtomicU64::new(0),
            members: AtomicU64::new(0),
            count_watchers: Watchers::default(),
            presence_watchers: Watchers::default(),
            activity: Activity::new(FIRST_VERSION, state.total()),
            state: Mutex::new(state),
        }
    }

    /// The room's id, which no other room of this process ever has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The room's party.
    pub fn party(&self) -> &str {
        self.key.party()
    }

    /// The room's name.
    pub fn name(&self) -> &str {
        self.key.room()
    }

    /// The room's party and name.
    pub(super) fn key(&self) -> &RoomKey {
        &self.key
    }

    /// The counter of a kind. Adds a kind that the room doesn't have yet, at zero.
    ///
    /// # Errors
    /// [`RoomError`] if the room can't have the kind.
    pub fn counter(&self, kind: &str) -> Result<Counter, RoomError> {
        self.counter_if(kind, || true)
    }

    /// The counter of a kind, like [`Room::counter`]. A room that the store doesn't have is created
    /// only if `may_create` says so.
    ///
    /// # Errors
    /// [`RoomError`] if the room can't have the kind, or may not be created.
    pub(super) fn counter_if(
        &self,
        kind: &str,
        may_create: impl FnOnce() -> bool,
    ) -> Result<Counter, RoomError> {
        let mut state = self.state();
        state.standing.check()?;
        self.counter_in(&mut state, kind, may_create)
    }

    /// Counts reactions that were accepted before the room was frozen or closed.
    ///
    /// # Errors
    /// [`RoomError`] if the room can't have the kind, or was removed.
    pub(super) fn add_pending(&self, kind: &str, reactions: u64) -> Result<(), RoomError> {
        let mut state = self.state();
        if state.standing == Standing::Removed {
            return Err(RoomError::Removed);
        }
        self.counter_in(&mut state, kind, || true)?.add(reactions);
        Ok(())
    }

    /// Counts reactions at once, under the room's lock: no handle of the counter outlives the call,
    /// so that the kind can be removed.
    ///
    /// # Errors
    /// [`RoomError`] if the room can't have the kind, or may not be created.
    pub(super) fn add(
        &self,
        kind: &str,
        reactions: u16,
        may_create: impl FnOnce() -> bool,
    ) -> Result<(), RoomError> {
        let mut state = self.state();
        state.standing.check()?;
        self.counter_in(&mut state, kind, may_create)?
            .add(reactions.into());
        Ok(())
    }

    /// Whether a reaction of this kind would be counted, as far as that is known without the store.
    ///
    /// # Errors
    /// [`RoomError`] says why it would not.
    pub(super) fn check(&self, kind: &str) -> Result<(), RoomError> {
        self.standing().check()?;
        if self.allows(kind) {
            Ok(())
        } else {
            Err(RoomError::KindNotAllowed)
        }
    }

    fn allows(&self, kind: &str) -> bool {
        let allowed = self.limits.allowed_kinds.as_ref();
        allowed.is_none_or(|kinds| kinds.iter().any(|allowed| allowed == kind))
    }

    /// Whether the room takes reactions.
    pub(super) fn standing(&self) -> Standing {
        self.state().standing
    }

    fn counter_in(
        &self,
        state: &mut RoomState,
        kind: &str,
        may_create: impl FnOnce() -> bool,
    ) -> Result<Counter, RoomError> {
        if !self.allows(kind) {
            return Err(RoomError::KindNotAllowed);
        }
        if let Some(known) = state.kinds.iter().find(|known| known.name == kind) {
            return Ok(known.counter.clone());
        }
        if has_invisible(kind) {
            return Err(RoomError::KindNotAllowed);
        }
        // Kinds that clients invented before the operator chose must not keep the chosen ones out.
        if self.limits.allowed_kinds.is_none() && state.kinds.len() >= self.limits.max_kinds {
            return Err(RoomError::TooManyKinds(self.limits.max_kinds));
        }
        let record = match state.record {
            Some(record) => record,
            None if !may_create() => return Err(RoomError::TooManyCreated),
            None => self.store.room_or_create(self.party(), self.name())?,
        };
        state.record = Some(record);
        let counter = self.store.counter_of(record, kind)?;
        state
            .kinds
            .push(RoomKind::from((kind.to_owned(), counter.clone())));
        Ok(counter)
    }

    /// Moves the version on after a change of the counters, and returns the reactors to notify:
    /// those with members, other than `by`, that have acknowledged the last notice.
    pub fn publish(&self, by: Option<usize>) -> impl Iterator<Item = usize> + use<> {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.count_watchers.notify(by)
    }

    /// Lets `reactor` be notified of the next change of the counts. What the reactor reads after
    /// this call covers every change before it.
    pub fn acknowledge_counts(&self, reactor: usize) {
        self.count_watchers.acknowledge(reactor);
    }

    /// Counts a member that joined, and returns the reactors to notify.
    pub(super) fn member_joined(&self) -> impl Iterator<Item = usize> + use<> {
        self.members.fetch_add(1, Ordering::SeqCst);
        self.presence_watchers.notify(None)
    }

    /// Counts a member that left, and returns the reactors to notify.
    pub(super) fn member_left(&self) -> impl Iterator<Item = usize> + use<> {
        self.members.fetch_sub(1, Ordering::SeqCst);
        self.presence_watchers.notify(None)
    }

    /// The number of members, over all reactors.
    pub(crate) fn members(&self) -> u64 {
        self.members.load(Ordering::SeqCst)
    }

    /// The number of members, and that number encoded for presence subscribers.
    pub(super) fn presence(&self) -> (u64, Encoded) {
        let members = self.members();
        const SIZE_HINT: usize = 80;
        let message = Encoded::new(SIZE_HINT, |json| encode_here(members, json));
        (members, message)
    }

    /// Notifies `reactor` from now on when members join and leave.
    pub(super) fn watch_presence(&self, reactor: usize) {
        self.presence_watchers.watch(reactor);
    }

    /// Stops notifying `reactor` when members join and leave.
    pub(super) fn unwatch_presence(&self, reactor: usize) {
        self.presence_watchers.unwatch(reactor);
    }

    /// Lets `reactor` be notified when the next member joins or leaves.
    pub(super) fn acknowledge_presence(&self, reactor: usize) {
        self.presence_watchers.acknowledge(reactor);
    }

    /// Sets the counts to zero, durably, and removes the kinds that are not on the operator's list.
    /// Waits for the disk, without holding up reactors. The caller must then publish the change.
    ///
    /// # Errors
    /// [`StoreError`] if the disk fails. The counts are then either unchanged or zero.
    pub(crate) fn reset(&self) -> Result<(), StoreError> {
        let Some(record) = self.state().record else {
            return Ok(());
        };
        let reset = self.store.begin_reset(record)?;
        {
            // Under the lock, no thread can encode half of the reset.
            let mut state = self.state();
            reset.zero();
            state.kinds.iter_mut().for_each(|kind| kind.shown = 0);
            state.encoded = None;
            self.activity.reset();
            self.remove_unlisted_kinds(&mut state);
        }
        reset.finish()
    }

    /// The reactors with members in the room.
    pub(super) fn reactors(&self) -> impl Iterator<Item = usize> + use<> {
        self.count_watchers.all()
    }

    /// Samples how busy the room is, `passed` after the last sample. Only one thread may call this.
    pub(crate) fn sample_activity(&self, passed: Duration) {
        let total = || self.state().total();
        self.activity.sample(self.version(), passed, total);
    }

    /// Number of reactions at the last sample.
    pub(crate) fn total(&self) -> u64 {
        self.activity.total()
    }

    /// Reactions per second between the last two samples.
    pub(crate) fn per_second(&self) -> f64 {
        self.activity.per_second()
    }

    /// Number of changes so far after which what reactors keep of the room's kinds is stale.
    #[inline]
    pub(super) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Lets reactors know that what they keep of the room's kinds is stale.
    pub(super) fn begin_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes that the counts of this version are the first after a reset.
    pub(super) fn note_reset(&self) {
        self.reset_version
            .fetch_max(self.version(), Ordering::SeqCst);
    }

    /// Whether a member that was sent the counts of the version `sent` has missed a reset. Versions
    /// wrap there.
    pub(super) fn was_reset_since(&self, sent: u32) -> bool {
        let reset = self.reset_version.load(Ordering::SeqCst);
        reset > 0 && (reset as u32).wrapping_sub(sent) as i32 > 0
    }

    /// The version now.
    #[inline]
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// The counts now, encoded once per version.
    pub fn counts(&self) -> Counts {
        let mut state = self.state();
        // The version is read first, so that the counts are at least as new.
        let version = self.version();
        if let Some(encoded) = state.encoded.as_ref().filter(|it| it.version == version) {
            return encoded.clone();
        }
        /// Room for more digits.
        const MORE_BYTES: usize = 16;
        let last_size = state.encoded.as_ref().map_or(64, |it| it.message.len());
        let counts = state.kinds.iter_mut().map(|kind| {
            kind.shown = kind.shown.max(kind.counter.get());
            (&*kind.key, kind.shown)
        });
        // A kind without reactions is not shown.
        let counts = counts.filter(|(_, count)| *count > 0);
        let message = Encoded::new(last_size + MORE_BYTES, |json| encode_counts(counts, json));
        let counts = Counts { version, message };
        state.encoded = Some(counts.clone());
        counts
    }

    /// Whether the store has the room.
    pub(crate) fn has_record(&self) -> bool {
        self.state().record.is_some()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, RoomState> {
        // No change of the state can panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Whoever had handles of the counters had the room too.
        self.release_retired(&mut self.state());
    }
}

impl Standing {
    /// Whether the room takes reactions.
    ///
    /// # Errors
    /// [`RoomError`] says why it does not.
    pub(super) fn check(self) -> Result<(), RoomError> {
        match self {
            Self::In(RoomMode::Open) => Ok(()),
            Self::In(RoomMode::Frozen) => Err(RoomError::Frozen),
            Self::In(RoomMode::Closed) => Err(RoomError::Closed),
            Self::Removed => Err(RoomError::Removed),
        }
    }
}

impl RoomState {
    pub(super) fn forget_encoded(&mut self) {
        self.encoded = None;
    }

    fn total(&self) -> u64 {
        let counts = self.kinds.iter().map(|kind| kind.counter.get());
        counts.fold(0, u64::saturating_add)
    }
}

impl From<(String, Counter)> for RoomKind {
    fn from((name, counter): (String, Counter)) -> Self {
        Self {
            key: encode_key(&name),
            name,
            counter,
            shown: 0,
        }
    }
}
