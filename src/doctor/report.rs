//! The assessment as text for people, and as one JSON object for programs.

use std::fmt;

use serde::Serialize;

use super::assessment::Assessment;
use super::cgroup::Quota;
use super::limits::MachineLimits;
use super::reading::{Reading, UNLIMITED};
use super::remedy::Remedy;
use crate::figures::{memory, whole};
use crate::os::descriptors::FdTables;

/// The file that keeps the settings of `sysctl`.
const SYSCTL_FILE: &str = "/etc/sysctl.d/60-ovation.conf";

/// The assessment and the readings that it rests on.
#[derive(Debug, Serialize)]
pub(super) struct DoctorReport<'a> {
    #[serde(flatten)]
    pub(super) assessment: &'a Assessment,
    pub(super) readings: &'a MachineLimits,
}

impl fmt::Display for DoctorReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.readings(f)?;
        self.bounds(f)?;
        self.notes(f)?;
        self.conclusion(f)
    }
}

impl DoctorReport<'_> {
    fn readings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "This machine")?;
        let rows = rows(self.readings);
        let width = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
        for (name, value) in rows {
            writeln!(f, "  {name:width$}  {value}")?;
        }
        Ok(())
    }

    fn bounds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setup = &self.assessment.setup;
        let reactors = match setup.reactors {
            1 => "1 reactor".to_owned(),
            reactors => format!("{reactors} reactors"),
        };
        let tables = match setup.fd_tables {
            FdTables::PerThread => "each with its own descriptor table",
            FdTables::Shared => "sharing one descriptor table",
        };
        let clients = if setup.both_ends {
            "on this machine too"
        } else {
            "elsewhere"
        };
        writeln!(
            f,
            "\nConnections that fit with {reactors}, {tables}, and the clients {clients}"
        )?;
        let bounds = &self.assessment.bounds;
        let names = bounds
            .iter()
            .map(|bound| bound.name.len())
            .max()
            .unwrap_or(0);
        let numbers: Vec<String> = bounds.iter().map(|it| whole(it.connections)).collect();
        let width = numbers.iter().map(String::len).max().unwrap_or(0);
        for (bound, number) in bounds.iter().zip(&numbers) {
            let (name, why) = (bound.name, &bound.why);
            writeln!(f, "  {name:names$}  {number:>width$}  {why}")?;
        }
        match &self.assessment.stops_first {
            Some(stop) => writeln!(
                f,
                "Stops first: {}, at {} connections",
                stop.name,
                whole(stop.connections)
            ),
            None => writeln!(f, "No limit on connections can be read here"),
        }
    }

    fn notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let notes = &self.assessment.notes;
        if notes.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nNotes")?;
        for note in notes {
            writeln!(f, "  {}: {}", note.about, note.text)?;
        }
        Ok(())
    }

    fn conclusion(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = self.assessment.setup.wanted;
        let low = self
            .assessment
            .too_low()
            .map(|bound| (bound.name, &bound.remedies));
        let notes = self.assessment.notes.iter();
        let noted = notes.map(|note| (note.about, &note.remedies));
        let changes: Vec<_> = low.chain(noted).filter(|it| !it.1.is_empty()).collect();
        writeln!(f)?;
        match (self.assessment.fits, wanted) {
            (Some(true), Some(wanted)) => return writeln!(f, "Fits: --connections {wanted}"),
            (Some(false), Some(wanted)) => {
                writeln!(f, "Doesn't fit: --connections {wanted}; it needs:")?;
            }
            _ if changes.is_empty() => return writeln!(f, "Nothing needs to change"),
            _ => writeln!(f, "To use all of the memory:")?,
        }
        for (name, remedies) in changes {
            writeln!(f, "  {name}")?;
            for (index, remedy) in remedies.iter().enumerate() {
                let or = if index == 0 { "" } else { "or " };
                write_remedy(f, or, remedy)?;
            }
        }
        Ok(())
    }
}

fn write_remedy(f: &mut fmt::Formatter<'_>, or: &str, remedy: &Remedy) -> fmt::Result {
    match remedy {
        Remedy::Sysctl { line, file_line } => {
            writeln!(f, "    {or}{line}")?;
            writeln!(f, "      to keep it, in {SYSCTL_FILE}: {file_line}")
        }
        Remedy::Unit { line } => writeln!(f, "    {or}{line}  ([Service] of the systemd unit)"),
        Remedy::Flag { line } => writeln!(f, "    {or}ovation serve {line}"),
        Remedy::Advice { line } => writeln!(f, "    {or}{line}"),
    }
}

/// Returns every reading under the name that the system gives it.
fn rows(limits: &MachineLimits) -> Vec<(&'static str, String)> {
    let ports = |&[first, last]: &[u64; 2]| format!("{first} to {last}");
    let pages = |[low, pressure, high]: &[u64; 3]| {
        let numbers = [low, pressure, high].map(|it| whole(*it));
        format!("{} pages", numbers.join(" "))
    };
    let least = |[least, _, _]: &[u64; 3]| format!("{} B minimum", whole(*least));
    let admin = |&is: &bool| if is { "yes" } else { "no" }.to_owned();
    vec![
        ("cores", limits.cores.to_string()),
        ("MemTotal", show(&limits.mem_total_bytes, bytes)),
        ("MemAvailable", show(&limits.mem_available_bytes, bytes)),
        ("cgroup memory", show(&limits.cgroup_memory, memory_quota)),
        ("cgroup pids", show(&limits.cgroup_pids, pids_quota)),
        ("RLIMIT_NOFILE, soft", show(&limits.nofile_soft, number)),
        ("RLIMIT_NOFILE, hard", show(&limits.nofile_hard, number)),
        ("CAP_SYS_ADMIN", show(&limits.admin, admin)),
        ("fs.nr_open", show(&limits.nr_open, number)),
        ("fs.file-max", show(&limits.file_max, number)),
        ("open files", show(&limits.files_open, number)),
        (
            "fs.epoll.max_user_watches",
            show(&limits.max_user_watches, number),
        ),
        ("net.core.somaxconn", show(&limits.somaxconn, number)),
        (
            "net.ipv4.tcp_max_syn_backlog",
            show(&limits.max_syn_backlog, number),
        ),
        ("net.ipv4.tcp_syncookies", show(&limits.syncookies, number)),
        (
            "net.ipv4.ip_local_port_range",
            show(&limits.local_ports, ports),
        ),
        ("net.ipv4.tcp_mem", show(&limits.tcp_mem, pages)),
        ("net.ipv4.tcp_rmem", show(&limits.tcp_rmem, least)),
        ("net.ipv4.tcp_wmem", show(&limits.tcp_wmem, least)),
        (
            "net.netfilter.nf_conntrack_max",
            show(&limits.conntrack_max, number),
        ),
        ("tracked connections", show(&limits.conntrack_count, number)),
        ("vm.max_map_count", show(&limits.max_map_count, number)),
        (
            "vm.overcommit_memory",
            show(&limits.overcommit_memory, number),
        ),
        ("CommitLimit", show(&limits.commit_limit_bytes, bytes)),
        ("Committed_AS", show(&limits.committed_bytes, bytes)),
    ]
}

fn show<T>(reading: &Reading<T>, value: impl FnOnce(&T) -> String) -> String {
    match reading {
        Reading::Known(known) => value(known),
        Reading::Unreadable { unreadable } => format!("unreadable: {unreadable}"),
        Reading::Absent => "not on this machine".to_owned(),
    }
}

fn number(value: &u64) -> String {
    match *value {
        UNLIMITED => "unlimited".to_owned(),
        value => whole(value),
    }
}

fn bytes(value: &u64) -> String {
    memory(*value)
}

fn memory_quota(quota: &Quota) -> String {
    let (max, free, file) = (memory(quota.max), memory(quota.free), quota.file.display());
    format!("{max}, {free} free ({file})")
}

fn pids_quota(quota: &Quota) -> String {
    let (max, free, file) = (whole(quota.max), whole(quota.free), quota.file.display());
    format!("{max}, {free} free ({file})")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, setup};
    use super::*;

    fn report(machine: &Machine, wanted: Option<u64>) -> (String, serde_json::Value) {
        let limits = machine.limits();
        let setup = super::super::setup::Setup { wanted, ..setup(2) };
        let report = DoctorReport {
            assessment: &Assessment::new(&limits, setup),
            readings: &limits,
        };
        (report.to_string(), serde_json::to_value(&report).unwrap())
    }

    #[test]
    fn text_and_json_contain_the_same_facts() {
        let (text, json) = report(&Machine::ordinary(), Some(2_000_000));
        assert!(
            text.contains("Stops first: RLIMIT_NOFILE, at 38,554"),
            "{text}"
        );
        assert_eq!(json["stops_first"]["connections"], 38_554);
        assert!(
            text.contains("Doesn't fit: --connections 2000000"),
            "{text}"
        );
        assert_eq!(json["fits"], false);
        assert_eq!(json["fd_tables"], "per-reactor");
        assert_eq!(json["readings"]["nofile_hard"], 20_000);
        assert!(json["readings"]["conntrack_max"].is_null());
        for bound in json["bounds"].as_array().unwrap() {
            assert!(text.contains(bound["name"].as_str().unwrap()));
            for remedy in bound["remedies"].as_array().into_iter().flatten() {
                assert!(text.contains(remedy["line"].as_str().unwrap()), "{text}");
            }
        }
    }

    #[test]
    fn a_kernel_setting_is_shown_with_its_file() {
        let machine = Machine::ordinary();
        machine.write("proc/sys/fs/epoll/max_user_watches", "1000\n");
        let (text, _) = report(&machine, Some(2_000));
        assert!(
            text.contains("    sysctl -w fs.epoll.max_user_watches=3100\n"),
            "{text}"
        );
        let kept = "in /etc/sysctl.d/60-ovation.conf: fs.epoll.max_user_watches = 3100\n";
        assert!(text.contains(kept), "{text}");
    }

    #[test]
    fn missing_and_unreadable_values_are_told_apart() {
        let machine = Machine::ordinary();
        machine.write("proc/sys/fs/nr_open", "x\n");
        let (text, json) = report(&machine, None);
        let line = |name: &str| {
            let mut lines = text.lines().map(str::trim);
            lines
                .find(|line| line.starts_with(name))
                .unwrap()
                .to_owned()
        };
        let expected = "unreadable: /proc/sys/fs/nr_open: has an unexpected format";
        assert!(line("fs.nr_open").ends_with(expected), "{text}");
        assert!(line("net.netfilter.nf_conntrack_max").ends_with("not on this machine"));
        assert!(json["readings"]["nr_open"]["unreadable"].is_string());
    }

    #[test]
    fn a_machine_without_readings_gets_a_report() {
        let (text, _) = report(&Machine::empty(), None);
        assert!(text.contains("Stops first: --max-connections"), "{text}");
        assert!(text.ends_with("Nothing needs to change\n"), "{text}");
    }
}
