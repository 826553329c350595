//! The figures of a run as text for people: one line for each part of the report.

use std::fmt;

use super::report::{
    Exactness, KernelReport, LoadReport, Percentiles, RunReport, ServerLoadReport, ServerReport,
    SlowReport, WaveReport,
};
use crate::figures;

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.mode, self.url)?;
        for (label, text) in self.lines() {
            writeln!(f, "  {label:<12} {text}")?;
        }
        Ok(())
    }
}

/// A label and its text.
type Line = (&'static str, String);

impl RunReport {
    fn lines(&self) -> Vec<Line> {
        let mut lines = vec![
            ("swarm", self.swarm()),
            ("connect", self.connect.to_string()),
        ];
        lines.extend(
            self.reconnect
                .iter()
                .map(|it| ("reconnect", it.to_string())),
        );
        if let Some(load) = &self.load {
            lines.extend(self.load_lines(load));
        }
        lines.extend(
            self.latency
                .iter()
                .map(|it| ("send to seen", it.to_string())),
        );
        if let Some(server) = &self.server {
            lines.push(("server", server.to_string()));
            lines.extend(server.load.iter().map(|load| ("", self.server_load(load))));
        }
        if let Some(cpu) = self.own.as_ref().and_then(|own| own.load_cpu_seconds) {
            lines.push(("own CPU", format!("{cpu:.2} s under load")));
        }
        lines.extend(self.kernel.iter().map(|it| ("kernel", it.to_string())));
        lines.extend(self.slow.iter().map(|it| ("slow", it.to_string())));
        lines.push(("verdict", self.exactness.to_string()));
        for (reason, times) in &self.reasons {
            lines.push(("", format!("{times} x {reason}")));
        }
        lines.extend(self.stopped_by.clone().map(|reason| ("stopped", reason)));
        lines
    }

    fn swarm(&self) -> String {
        let tables = if self.own_fd_tables {
            ", own fd tables"
        } else {
            ""
        };
        let own = self.own.as_ref().map_or(String::new(), |own| {
            let rss = own.rss_bytes_per_connection;
            format!(", {rss:.0} B of RSS per connection")
        });
        format!(
            "{} members, {} rooms, {} threads{tables}{own}",
            figures::whole(self.members),
            self.rooms,
            self.threads
        )
    }

    fn load_lines(&self, load: &LoadReport) -> Vec<Line> {
        let mut lines = vec![
            (
                if self.replaces_members() {
                    "replaced"
                } else {
                    "reactions"
                },
                format!(
                    "{} in {:.2} s, {}/s",
                    figures::whole(load.done),
                    load.seconds,
                    whole(load.done_per_second)
                ),
            ),
            (
                "received",
                format!(
                    "{} frames, {}/s, {} B/s",
                    figures::whole(load.frames),
                    whole(load.frames_per_second),
                    whole(load.bytes_per_second)
                ),
            ),
        ];
        lines.extend(load.longest_gap_ms.map(|gap| {
            let text = format!("longest time without new counts {gap:.1} ms");
            ("bystander", text)
        }));
        lines
    }

    fn server_load(&self, load: &ServerLoadReport) -> String {
        let done = if self.replaces_members() {
            "replacements"
        } else {
            "reactions"
        };
        format!(
            "{:.2} CPU s under load: {} frames and {} {done} per CPU second, RSS {} B",
            load.cpu_seconds,
            whole(load.frames_per_cpu_second),
            whole(load.done_per_cpu_second),
            figures::whole(load.rss_bytes)
        )
    }

    fn replaces_members(&self) -> bool {
        self.mode == "churn"
    }
}

impl fmt::Display for ServerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pid {}, RSS {} -> {} B, {:.1} B per connection, {:.2} CPU s to connect",
            self.pid,
            figures::whole(self.rss_before_bytes),
            figures::whole(self.rss_connected_bytes),
            self.rss_bytes_per_connection,
            self.connect_cpu_seconds
        )
    }
}

impl fmt::Display for KernelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "per connection, both ends: slab {:.0} B, TCP buffers {:.0} B",
            self.slab_bytes_per_connection, self.tcp_bytes_per_connection
        )
    }
}

impl fmt::Display for SlowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} members, each: ", figures::whole(self.members))?;
        if let Some(rss) = self.server_rss_bytes_per_member {
            write!(f, "server RSS {rss:.0} B, ")?;
        }
        write!(
            f,
            "slab {:.0} B, TCP buffers {:.0} B, {:.1} unread frames; {} caught up",
            self.kernel_slab_bytes_per_member,
            self.kernel_tcp_bytes_per_member,
            self.stored_frames_per_member,
            figures::whole(self.caught_up)
        )
    }
}

impl fmt::Display for Exactness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} exact, {} short, {} over, {} decreases, {} lost",
            if self.passed { "exact" } else { "NOT EXACT" },
            figures::whole(self.exact),
            self.short,
            self.over,
            self.decreased,
            self.lost
        )
    }
}

impl fmt::Display for WaveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} open in {:.2} s, {}/s",
            figures::whole(self.opened),
            self.seconds,
            whole(self.per_second)
        )?;
        if self.failed + self.hung > 0 {
            write!(f, ", {} FAILED, {} HUNG", self.failed, self.hung)?;
        }
        write!(f, "; handshake {}", self.handshake)
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.2} ms, p99 {:.2}, p99.9 {:.2}, max {:.2}",
            self.p50_ms, self.p99_ms, self.p99_9_ms, self.max_ms
        )
    }
}

/// Rounds to a whole number and formats it with commas between its thousands.
pub(super) fn whole(value: f64) -> String {
    let sign = if value <= -0.5 { "-" } else { "" };
    format!("{sign}{}", figures::whole(value.abs().round() as u64))
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn the_table_names_failures() {
        let table = report().to_string();
        assert!(table.contains("NOT EXACT: 9,999 exact, 1 short"), "{table}");
        assert!(table.contains("1 x open: reset"), "{table}");
    }

    #[test]
    fn numbers_are_rounded_and_thousands_separated() {
        assert_eq!(whole(1_234_567.4), "1,234,567");
        assert_eq!(whole(999.0), "999");
        assert_eq!(whole(-1_000.0), "-1,000");
        assert_eq!(whole(-0.2), "0");
    }
}
