//! Remarks on readings that matter but don't limit the number of connections.

use serde::Serialize;

use super::limits::MachineLimits;
use super::reading::Reading;
use super::remedy::Remedy;
use super::resource::{COMMIT, FILES, TRACKED};
use super::setup::{Setup, UNREAD_FRAME_BYTES};
use crate::figures::{memory, whole};
use crate::os::descriptors::FdTables;
use crate::reactor::DEFAULT_BACKLOG;
use crate::rooms::DEFAULT_IN_FLIGHT_PERCENT;
use crate::store::DEFAULT_MAX_FILE_BYTES;

/// A remark on a reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Note {
    pub(super) about: &'static str,
    pub(super) text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) remedies: Vec<Remedy>,
}

impl Note {
    fn new(about: &'static str, text: String) -> Self {
        let remedies = Vec::new();
        Self {
            about,
            text,
            remedies,
        }
    }

    fn with(self, remedy: Option<Remedy>) -> Self {
        let remedies = remedy.into_iter().collect();
        Self { remedies, ..self }
    }
}

/// Returns all notes on a server with `setup` on this machine.
pub(super) fn notes(limits: &MachineLimits, setup: &Setup) -> Vec<Note> {
    [
        exempt_files(limits),
        idle_conntrack(limits),
        reserved_memory(limits),
        data_in_flight(limits),
        accept_queue(limits, setup),
        handshakes(limits, setup),
        ports(limits),
        shared_table(setup),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn exempt_files(limits: &MachineLimits) -> Option<Note> {
    let most = limits.file_max.number()?;
    let text = format!(
        "{} files, not enforced for this process, which has CAP_SYS_ADMIN; enforced for a server \
         without it",
        whole(most)
    );
    (limits.admin == Reading::Known(true)).then(|| Note::new(FILES.name, text))
}

fn idle_conntrack(limits: &MachineLimits) -> Option<Note> {
    let most = limits.conntrack_max.number()?;
    let text = format!(
        "{} entries, but the firewall tracks no connection now; it limits connections once a rule \
         of the firewall tracks them",
        whole(most)
    );
    (limits.conntrack_count == Reading::Known(0)).then(|| Note::new(TRACKED.name, text))
}

fn reserved_memory(limits: &MachineLimits) -> Option<Note> {
    let text = format!(
        "2: address space counts as memory, including the {} that --no-snapshot reserves; lower \
         --snapshot-max-bytes to reserve less",
        memory(DEFAULT_MAX_FILE_BYTES)
    );
    limits
        .forbids_overcommit()
        .then(|| Note::new(COMMIT.name, text))
}

/// An unread frame takes a page of this account, however short the frame is.
fn data_in_flight(limits: &MachineLimits) -> Option<Note> {
    let [_, pressure, most] = *limits.tcp_mem.known()?;
    let pause = pressure.saturating_mul(DEFAULT_IN_FLIGHT_PERCENT.into()) / 100;
    let text = format!(
        "limits data in flight, not idle connections: a short unread frame counts as a page and \
         takes {} B; fan-outs pause at {} pages, the kernel drops data at {} pages",
        whole(UNREAD_FRAME_BYTES),
        whole(pause),
        whole(most)
    );
    Some(Note::new("net.ipv4.tcp_mem", text))
}

/// The queue for `accept`, which a storm of reconnects fills.
fn accept_queue(limits: &MachineLimits, setup: &Setup) -> Option<Note> {
    let most = limits.somaxconn.number()?;
    let wanted = DEFAULT_BACKLOG.unsigned_abs().into();
    let text = format!(
        "up to {} connections wait for each reactor to accept them; connections beyond that wait for TCP to retry",
        whole(most.min(wanted))
    );
    let remedy = || Remedy::sysctl("net.core.somaxconn", wanted);
    let raises = most < wanted && setup.wanted.is_none();
    Some(Note::new("net.core.somaxconn", text).with(raises.then(remedy)))
}

/// Half-open connections. With SYN cookies their number doesn't matter.
fn handshakes(limits: &MachineLimits, setup: &Setup) -> Option<Note> {
    let most = limits.max_syn_backlog.number()?;
    if limits.syncookies != Reading::Known(0) {
        return None;
    }
    let wanted = DEFAULT_BACKLOG.unsigned_abs().into();
    let text = format!(
        "{} handshakes at a time, since net.ipv4.tcp_syncookies is off",
        whole(most)
    );
    let remedy = || Remedy::sysctl("net.ipv4.tcp_max_syn_backlog", wanted);
    let raises = most < wanted && setup.wanted.is_none();
    Some(Note::new("net.ipv4.tcp_max_syn_backlog", text).with(raises.then(remedy)))
}

/// Ports limit the clients' machines: a proxy in front of the server, or a load generator.
fn ports(limits: &MachineLimits) -> Option<Note> {
    let [first, last] = *limits.local_ports.known()?;
    let ports = last.saturating_sub(first).saturating_add(1);
    let text = format!(
        "a proxy or load generator can open {} connections from each of its addresses to each of \
         the server's",
        whole(ports)
    );
    Some(Note::new("net.ipv4.ip_local_port_range", text))
}

fn shared_table(setup: &Setup) -> Option<Note> {
    let text = "all reactors share one table; with --fd-tables per-reactor each has its own";
    (setup.fd_tables == FdTables::Shared).then(|| Note::new("--fd-tables", text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, setup};
    use super::*;

    #[test]
    fn a_short_queue_is_lengthened() {
        let machine = Machine::ordinary();
        machine.write("proc/sys/net/core/somaxconn", "128\n");
        machine.write("proc/sys/net/ipv4/tcp_syncookies", "0\n");
        let remedies = |setup| {
            let notes = notes(&machine.limits(), &setup).into_iter();
            notes.flat_map(|note| note.remedies).collect::<Vec<_>>()
        };
        assert_eq!(
            remedies(setup(1)),
            [
                Remedy::sysctl("net.core.somaxconn", 4_096),
                Remedy::sysctl("net.ipv4.tcp_max_syn_backlog", 4_096)
            ]
        );
        let wanting_one = Setup {
            wanted: Some(1),
            both_ends: true,
            ..setup(2)
        };
        assert_eq!(remedies(wanting_one), []);
    }
}
