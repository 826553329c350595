//! The sessions that have counted something, over all reactors.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Default maximum number of sessions that the server knows.
pub(crate) const DEFAULT_MAX_SESSIONS: usize = 1_000_000;
/// Default time for which the server remembers a session that has gone.
pub(crate) const DEFAULT_SESSION_MEMORY: Duration = Duration::from_secs(600);
/// Number of sessions that are looked at when one must go.
const MAX_STEPS: usize = 16;

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    /// The number up to which the messages are counted.
    counted: AtomicU64,
    /// When the session was used last, in seconds since the table was made.
    used_s: AtomicU32,
}

/// What becomes of a numbered message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The caller must count the message. Nobody else will.
    Granted,
    /// The message was counted before.
    Repeated,
    /// An earlier message is missing.
    Early,
}

impl Session {
    fn new(counted: u64) -> Self {
        Self {
            counted: AtomicU64::new(counted),
            used_s: AtomicU32::new(0),
        }
    }

    /// The number up to which the messages are counted.
    pub(crate) fn counted(&self) -> u64 {
        self.counted.load(Ordering::SeqCst)
    }

    /// Claims the message `number`, which is at least 1, for counting.
    pub(crate) fn claim(&self, number: u64) -> Claim {
        let order = Ordering::SeqCst;
        match self
            .counted
            .compare_exchange(number - 1, number, order, order)
        {
            Ok(_) => Claim::Granted,
            Err(counted) if counted >= number => Claim::Repeated,
            Err(_) => Claim::Early,
        }
    }

    /// Takes back a claim for a message that could not be counted, so that it can be sent again.
    pub(crate) fn release(&self, number: u64) {
        let order = Ordering::SeqCst;
        // If a later message has been claimed since, the client has given this one up.
        let _ = self
            .counted
            .compare_exchange(number, number - 1, order, order);
    }
}

/// The sessions that have counted something, by name. A session in use, and one that was used a
/// short time ago, stays; so the table is bounded by its limit and by the number of connections.
#[derive(Debug)]
pub(crate) struct SessionTable {
    /// Which server this is, for clients: their numbers hold only here.
    server: u32,
    max_sessions: usize,
    memory: Duration,
    start: Instant,
    state: Mutex<TableState>,
}

#[derive(Debug, Default)]
struct TableState {
    sessions: HashMap<u128, Arc<Session>>,
    /// Each session once, in the order in which the table looks whether it can go.
    queue: VecDeque<u128>,
}

impl SessionTable {
    /// Creates a table of the server with the number `server`, with sessions of an earlier run.
    pub(crate) fn new(
        server: u32,
        max_sessions: usize,
        memory: Duration,
        earlier: impl IntoIterator<Item = (u128, u64)>,
    ) -> Self {
        let mut state = TableState::default();
        for (id, counted) in earlier.into_iter().take(max_sessions) {
            if state
                .sessions
                .insert(id, Arc::new(Session::new(counted)))
                .is_none()
            {
                state.queue.push_back(id);
            }
        }
        Self {
            server,
            max_sessions,
            memory,
            start: Instant::now(),
            state: Mutex::new(state),
        }
    }

    /// Which server this is.
    pub(crate) fn server(&self) -> u32 {
        self.server
    }

    /// Time for which the server remembers a session that has gone.
    pub(crate) fn memory(&self) -> Duration {
        self.memory
    }

    /// The session with this name, if it has counted something.
    pub(crate) fn find(&self, id: u128) -> Option<Arc<Session>> {
        let session = self.state().sessions.get(&id).cloned();
        session.inspect(|session| self.touch(session))
    }

    /// The session with this name, which begins if it is new.
    pub(crate) fn find_or_begin(&self, id: u128) -> Arc<Session> {
        let mut state = self.state();
        if let Some(session) = state.sessions.get(&id) {
            self.touch(session);
            return Arc::clone(session);
        }
        let session = Arc::new(Session::new(0));
        self.touch(&session);
        self.forget_some(&mut state);
        // A full table of sessions in use takes no more: this one lasts as long as its connection.
        if state.sessions.len() < self.max_sessions {
            state.sessions.insert(id, Arc::clone(&session));
            state.queue.push_back(id);
        }
        session
    }

    /// Notes that a session was in use until now.
    pub(crate) fn touch(&self, session: &Session) {
        session.used_s.store(self.now_s(), Ordering::Relaxed);
    }

    /// Number of sessions in the table.
    pub(crate) fn len(&self) -> usize {
        self.state().sessions.len()
    }

    /// All sessions, with the number up to which each has counted.
    pub(crate) fn all(&self) -> Vec<(u128, u64)> {
        let state = self.state();
        let sessions = state.sessions.iter();
        sessions
            .map(|(id, session)| (*id, session.counted()))
            .collect()
    }

    /// Forgets sessions that went long ago, and one more if the table is full.
    fn forget_some(&self, state: &mut TableState) {
        let memory_s = self.memory.as_secs() as u32;
        for _ in 0..MAX_STEPS {
            let Some(id) = state.queue.front().copied() else {
                return;
            };
            let is_full = state.sessions.len() >= self.max_sessions;
            let Some(session) = state.sessions.get(&id) else {
                state.queue.pop_front();
                continue;
            };
            let is_in_use = Arc::strong_count(session) > 1;
            let used_s = session.used_s.load(Ordering::Relaxed);
            let is_old = self.now_s().saturating_sub(used_s) >= memory_s;
            if !is_in_use && (is_old || is_full) {
                state.queue.pop_front();
                state.sessions.remove(&id);
            } else if is_in_use || is_full {
                state.queue.rotate_left(1);
            } else {
                // The sessions behind it were looked at later, or are newer.
                return;
            }
        }
    }

    fn now_s(&self) -> u32 {
        self.start.elapsed().as_secs() as u32
    }

    fn state(&self) -> MutexGuard<'_, TableState> {
        // No change of the table can panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn table(max_sessions: usize, memory: Duration) -> SessionTable {
        SessionTable::new(7, max_sessions, memory, [])
    }

    #[test]
    fn a_number_is_granted_once_and_in_order() {
        let session = table(9, DEFAULT_SESSION_MEMORY).find_or_begin(1);
        assert_eq!(session.claim(2), Claim::Early);
        assert_eq!(session.claim(1), Claim::Granted);
        assert_eq!(session.claim(1), Claim::Repeated);
        assert_eq!(session.claim(2), Claim::Granted);
        assert_eq!(session.claim(u64::MAX), Claim::Early);
        assert_eq!(session.counted(), 2);
    }

    #[test]
    fn two_connections_never_both_get_a_number() {
        let table = table(9, DEFAULT_SESSION_MEMORY);
        let session = table.find_or_begin(1);
        let granted: usize = thread::scope(|scope| {
            let claim_all = || {
                let claims = (1..=10_000).map(|number| {
                    std::iter::repeat_with(|| session.claim(number))
                        .find(|claim| *claim != Claim::Early)
                });
                claims
                    .filter(|claim| *claim == Some(Claim::Granted))
                    .count()
            };
            let threads = [scope.spawn(claim_all), scope.spawn(claim_all)];
            threads.map(|it| it.join().unwrap()).into_iter().sum()
        });
        assert_eq!((granted, session.counted()), (10_000, 10_000));
    }

    #[test]
    fn sessions_in_use_stay_and_others_go_when_the_table_is_full() {
        let table = table(3, DEFAULT_SESSION_MEMORY);
        let used = table.find_or_begin(1);
        assert_eq!(used.claim(1), Claim::Granted);
        for id in 2..10 {
            table.find_or_begin(id);
            assert!(table.len() <= 3);
        }
        assert_eq!(table.find(1).unwrap().counted(), 1);
        assert!(table.find(9).is_some() && table.find(2).is_none());
        let all_used: Vec<_> = [1, 20, 21, 22].map(|id| table.find_or_begin(id)).into();
        assert_eq!(table.len(), 3);
        assert_eq!(all_used[3].claim(1), Claim::Granted);
    }

    #[test]
    fn sessions_that_went_long_ago_are_forgotten() {
        let table = table(1000, Duration::ZERO);
        for id in 1..100 {
            table.find_or_begin(id);
        }
        assert!(table.len() <= 2, "{}", table.len());
    }

    #[test]
    fn sessions_of_an_earlier_run_are_known() {
        let table = SessionTable::new(7, 2, DEFAULT_SESSION_MEMORY, [(1, 5), (2, 6), (3, 7)]);
        assert_eq!(table.find(2).unwrap().counted(), 6);
        let mut all = table.all();
        all.sort_unstable();
        assert_eq!(all, [(1, 5), (2, 6)]);
    }
}
