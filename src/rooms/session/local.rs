//! The members of one reactor that have a session, by the keys of their connections. A member that
//! has counted nothing costs 16 bytes.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::table::{Session, SessionTable};
use crate::protocol::taps::Hello;
use crate::reactor::Sweep;

/// The sessions of one reactor's members.
#[derive(Debug)]
pub(crate) struct LocalSessions {
    table: Arc<SessionTable>,
    /// The session of each connection, by key; 0 for none.
    ids: Vec<u128>,
    /// The sessions that have counted something, by key.
    counting: HashMap<u32, Arc<Session>>,
    /// Keys of members that are owed an acknowledgement at the end of the turn.
    owed: Vec<u32>,
    heartbeat: Option<Sweep>,
}

impl LocalSessions {
    /// Creates the sessions of a reactor. `heartbeat_interval` is the interval at which each member
    /// with a session hears from the server at least.
    pub(crate) fn new(table: Arc<SessionTable>, heartbeat_interval: Option<Duration>) -> Self {
        Self {
            table,
            ids: Vec::new(),
            counting: HashMap::new(),
            owed: Vec::new(),
            heartbeat: heartbeat_interval.map(Sweep::new),
        }
    }

    /// Adds the member at `key`. Returns what it must be told first.
    pub(crate) fn join(&mut self, key: u32, id: u128) -> Hello {
        let index = key as usize;
        if self.ids.len() <= index {
            self.ids.resize(index + 1, 0);
        }
        self.ids[index] = id;
        let session = self.table.find(id);
        let counted = session.as_ref().map_or(0, |session| session.counted());
        if let Some(session) = session {
            self.counting.insert(key, session);
        }
        let heartbeat = self.heartbeat.as_ref().map(Sweep::interval);
        Hello {
            counted,
            server: self.table.server(),
            heartbeat_ms: heartbeat.unwrap_or_default().as_millis() as u64,
            memory_ms: self.table.memory().as_millis() as u64,
        }
    }

    /// Removes the member at `key`, if it has a session.
    pub(crate) fn leave(&mut self, key: u32) {
        if let Some(id) = self.ids.get_mut(key as usize) {
            *id = 0;
        }
        if let Some(session) = self.counting.remove(&key) {
            self.table.touch(&session);
        }
        while self.ids.last() == Some(&0) {
            self.ids.pop();
        }
        if self.ids.len() < self.ids.capacity() / 4 {
            self.ids.shrink_to(self.ids.len() * 2);
        }
    }

    /// The session of the member at `key`, if it has one. The session begins if it is new.
    pub(crate) fn session(&mut self, key: u32) -> Option<&Session> {
        let id = self.id(key)?;
        let begin = || self.table.find_or_begin(id);
        Some(self.counting.entry(key).or_insert_with(begin))
    }

    /// The number up to which the messages of the member at `key` are counted, if it has a session.
    /// The session may have begun elsewhere: with another connection, or a POST.
    pub(crate) fn counted(&mut self, key: u32) -> Option<u64> {
        let id = self.id(key)?;
        if !self.counting.contains_key(&key) {
            let Some(session) = self.table.find(id) else {
                return Some(0);
            };
            self.counting.insert(key, session);
        }
        self.counting.get(&key).map(|session| session.counted())
    }

    /// Notes that the member at `key` is owed an acknowledgement at the end of the turn.
    pub(crate) fn owe(&mut self, key: u32) {
        if self.owed.last() != Some(&key) {
            self.owed.push(key);
        }
    }

    /// Takes the keys of the members that are owed an acknowledgement.
    pub(crate) fn take_owed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.owed)
    }

    /// The keys of connections that are due a heartbeat. Those without a session are among them.
    pub(crate) fn due(&mut self, now: Instant) -> Range<u32> {
        let end = self.ids.len() as u32;
        let heartbeat = self.heartbeat.as_mut();
        heartbeat.map_or(0..0, |sweep| sweep.step(now, end))
    }

    /// When the next heartbeats are due.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        self.heartbeat.as_ref()?.next(now)
    }

    fn id(&self, key: u32) -> Option<u128> {
        self.ids.get(key as usize).copied().filter(|id| *id != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{Claim, DEFAULT_SESSION_MEMORY};
    use super::*;

    fn sessions() -> LocalSessions {
        let table = SessionTable::new(7, 99, DEFAULT_SESSION_MEMORY, []);
        LocalSessions::new(Arc::new(table), Some(Duration::from_secs(20)))
    }

    #[test]
    fn a_member_that_comes_back_is_told_what_is_counted() {
        let mut sessions = sessions();
        assert_eq!(sessions.join(5, 1).counted, 0);
        assert!(sessions.session(4).is_none());
        let claimed = sessions.session(5).map(|session| session.claim(1));
        assert_eq!(claimed, Some(Claim::Granted));
        sessions.leave(5);
        assert_eq!(sessions.counted(5), None);
        let hello = sessions.join(9, 1);
        assert_eq!(
            (hello.counted, hello.server, hello.heartbeat_ms),
            (1, 7, 20_000)
        );
        assert_eq!(sessions.counted(9), Some(1));
    }

    #[test]
    fn a_member_that_counts_nothing_leaves_nothing() {
        let mut sessions = sessions();
        for key in 0..100 {
            sessions.join(key, u128::from(key) + 1);
        }
        assert_eq!(sessions.table.len(), 0);
        (0..100).for_each(|key| sessions.leave(key));
        assert_eq!(sessions.ids.len(), 0);
    }

    #[test]
    fn each_member_is_due_once_per_interval() {
        let mut sessions = sessions();
        let start = Instant::now();
        assert!(sessions.due(start).is_empty() && sessions.next(start).is_none());
        sessions.join(3, 1);
        assert!(sessions.due(start).is_empty());
        let due = sessions.next(start).unwrap();
        assert!(due <= start + Duration::from_secs(20));
        assert!(sessions.due(due).contains(&3));
    }
}
