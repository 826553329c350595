//! The outcome of a run: one structure that is the JSON object, and its table for people.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

use crate::figures;

/// All figures of one run. What was not measured is absent from the JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) mode: String,
    pub(super) url: String,
    /// Connections that the run was to open.
    pub(super) members: u64,
    pub(super) rooms: u64,
    pub(super) threads: u64,
    pub(super) own_fd_tables: bool,
    pub(super) connect: Wave,
    /// The second wave of a storm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reconnect: Option<Wave>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) load: Option<Load>,
    /// From send to seen: for each message of counts, how long ago the oldest reaction in it was
    /// sent that this member had not seen yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency: Option<Percentiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<Server>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) own: Option<Own>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kernel: Option<Kernel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) slow: Option<Slow>,
    pub(super) exactness: Exactness,
    /// Why connections failed or were lost, and how many.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) reasons: BTreeMap<String, u64>,
    /// What cut the run short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stopped_by: Option<String>,
}

/// One wave of connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Wave {
    pub(super) opened: u64,
    pub(super) failed: u64,
    /// Still without an answer when the wave was given up.
    pub(super) hung: u64,
    pub(super) seconds: f64,
    pub(super) per_second: f64,
    /// From `connect` to the first counts.
    pub(super) handshake: Percentiles,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Percentiles {
    pub(super) samples: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p99_9_ms: f64,
    pub(super) max_ms: f64,
}

impl Percentiles {
    pub(super) fn of(micros: &Histogram<u32>) -> Self {
        let at = |quantile| micros.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            samples: micros.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            max_ms: micros.max() as f64 / 1e3,
        }
    }
}

/// The measured phase: from the first reaction until the last member has seen all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) seconds: f64,
    /// Reactions sent, or members replaced.
    pub(super) done: u64,
    pub(super) done_per_second: f64,
    /// Messages of counts received.
    pub(super) frames: u64,
    pub(super) frames_per_second: f64,
    pub(super) bytes: u64,
    pub(super) bytes_per_second: f64,
    /// Of the bystander of a flood: the longest time without a change of the counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) longest_gap_ms: Option<f64>,
}

/// The server's process, when its id is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Server {
    pub(super) pid: u32,
    pub(super) rss_before_bytes: u64,
    pub(super) rss_connected_bytes: u64,
    pub(super) rss_bytes_per_connection: f64,
    /// CPU time until all were connected.
    pub(super) connect_cpu_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) load: Option<ServerLoad>,
}

/// The server's process in the measured phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ServerLoad {
    pub(super) cpu_seconds: f64,
    pub(super) rss_bytes: u64,
    /// Reactions, or members replaced, per second of its CPU time.
    pub(super) done_per_cpu_second: f64,
    /// Messages of counts received per second of its CPU time.
    pub(super) frames_per_cpu_second: f64,
}

/// The load generator's own process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Own {
    pub(super) rss_bytes_per_connection: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) load_cpu_seconds: Option<f64>,
}

/// Growth of the kernel's memory while the members connected. With the server on the same machine
/// it is for both ends of each connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Kernel {
    pub(super) slab_bytes_per_connection: f64,
    pub(super) tcp_bytes_per_connection: f64,
}

/// Members that do not read while the load lasts. Growth is from before the load to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Slow {
    pub(super) members: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_rss_bytes_per_member: Option<f64>,
    pub(super) kernel_slab_bytes_per_member: f64,
    pub(super) kernel_tcp_bytes_per_member: f64,
    /// Messages that each had in store when it read again.
    pub(super) stored_frames_per_member: f64,
    /// Those that ended on exactly the count once they read again.
    pub(super) caught_up: u64,
}

/// Whether everyone saw exactly what was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exactness {
    pub(super) exact: u64,
    pub(super) short: u64,
    pub(super) over: u64,
    /// Messages whose count was lower than one before on that connection.
    pub(super) decreased: u64,
    /// Connections that were open and ended by themselves.
    pub(super) lost: u64,
    pub(super) passed: bool,
}

/// Growth from `before` to `after`, by `count`.
pub(super) fn growth_per(before: u64, after: u64, count: u64) -> f64 {
    if count == 0 {
        return 0.0;
    }
    (after as f64 - before as f64) / count as f64
}

/// `amount` per `unit`, zero where there was too little of it to measure.
pub(super) fn per(amount: u64, unit: f64) -> f64 {
    if unit > 0.0 {
        amount as f64 / unit
    } else {
        0.0
    }
}

impl Report {
    /// In one line, what kept the run from being exact.
    pub(super) fn shortcomings(&self) -> String {
        let waves = || {
            [Some(&self.connect), self.reconnect.as_ref()]
                .into_iter()
                .flatten()
        };
        let counts = &self.exactness;
        let mut parts: Vec<String> = [
            (waves().map(|wave| wave.failed).sum(), "failed to connect"),
            (waves().map(|wave| wave.hung).sum(), "got no answer"),
            (counts.short, "short of the count"),
            (counts.over, "over the count"),
            (counts.decreased, "counts went down"),
            (counts.lost, "lost their connection"),
        ]
        .into_iter()
        .filter(|&(times, _): &(u64, _)| times > 0)
        .map(|(times, what)| format!("{times} {what}"))
        .collect();
        parts.extend(self.stopped_by.clone());
        if parts.is_empty() {
            parts.push("connections failed while members were replaced".to_owned());
        }
        parts.join(", ")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.mode, self.url)?;
        let mut line = |label: &str, text: String| writeln!(f, "  {label:<12} {text}");
        let tables = if self.own_fd_tables {
            ", own fd tables"
        } else {
            ""
        };
        let own = self.own.as_ref().map_or(String::new(), |own| {
            format!(
                ", {:.0} B of RSS per connection",
                own.rss_bytes_per_connection
            )
        });
        line(
            "swarm",
            format!(
                "{} members, {} rooms, {} threads{tables}{own}",
                whole(self.members as f64),
                self.rooms,
                self.threads,
            ),
        )?;
        line("connect", self.connect.to_string())?;
        if let Some(wave) = &self.reconnect {
            line("reconnect", wave.to_string())?;
        }
        if let Some(load) = &self.load {
            let done = if self.mode == "churn" {
                "replaced"
            } else {
                "reactions"
            };
            line(
                done,
                format!(
                    "{} in {:.2} s, {}/s",
                    whole(load.done as f64),
                    load.seconds,
                    whole(load.done_per_second)
                ),
            )?;
            line(
                "received",
                format!(
                    "{} frames, {}/s, {} B/s",
                    whole(load.frames as f64),
                    whole(load.frames_per_second),
                    whole(load.bytes_per_second)
                ),
            )?;
            if let Some(gap) = load.longest_gap_ms {
                line(
                    "bystander",
                    format!("longest time without news {gap:.1} ms"),
                )?;
            }
        }
        if let Some(latency) = &self.latency {
            line("send to seen", latency.to_string())?;
        }
        if let Some(server) = &self.server {
            line(
                "server",
                format!(
                    "pid {}, RSS {} -> {} B, {:.1} B per connection, {:.2} CPU s to connect",
                    server.pid,
                    whole(server.rss_before_bytes as f64),
                    whole(server.rss_connected_bytes as f64),
                    server.rss_bytes_per_connection,
                    server.connect_cpu_seconds
                ),
            )?;
            if let Some(load) = &server.load {
                line(
                    "",
                    format!(
                        "{:.2} CPU s under load: {} frames and {} {} per CPU second, RSS {} B",
                        load.cpu_seconds,
                        whole(load.frames_per_cpu_second),
                        whole(load.done_per_cpu_second),
                        if self.mode == "churn" {
                            "replacements"
                        } else {
                            "reactions"
                        },
                        whole(load.rss_bytes as f64)
                    ),
                )?;
            }
        }
        if let Some(cpu) = self.own.as_ref().and_then(|own| own.load_cpu_seconds) {
            line("own CPU", format!("{cpu:.2} s under load"))?;
        }
        if let Some(kernel) = &self.kernel {
            line(
                "kernel",
                format!(
                    "per connection, both ends: slab {:.0} B, TCP buffers {:.0} B",
                    kernel.slab_bytes_per_connection, kernel.tcp_bytes_per_connection
                ),
            )?;
        }
        if let Some(slow) = &self.slow {
            let rss = slow
                .server_rss_bytes_per_member
                .map_or(String::new(), |rss| format!("server RSS {rss:.0} B, "));
            line(
                "slow",
                format!(
                    "{} members, each: {rss}slab {:.0} B, TCP buffers {:.0} B, \
                     {:.1} frames in store; {} caught up",
                    whole(slow.members as f64),
                    slow.kernel_slab_bytes_per_member,
                    slow.kernel_tcp_bytes_per_member,
                    slow.stored_frames_per_member,
                    whole(slow.caught_up as f64)
                ),
            )?;
        }
        let counts = &self.exactness;
        line(
            "verdict",
            format!(
                "{}: {} exact, {} short, {} over, {} decreases, {} lost",
                if counts.passed { "exact" } else { "NOT EXACT" },
                whole(counts.exact as f64),
                counts.short,
                counts.over,
                counts.decreased,
                counts.lost
            ),
        )?;
        for (reason, times) in &self.reasons {
            line("", format!("{times} x {reason}"))?;
        }
        if let Some(reason) = &self.stopped_by {
            line("stopped", reason.clone())?;
        }
        Ok(())
    }
}

impl fmt::Display for Wave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} open in {:.2} s, {}/s",
            whole(self.opened as f64),
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

/// A whole number with its thousands apart.
pub(super) fn whole(value: f64) -> String {
    let sign = if value <= -0.5 { "-" } else { "" };
    format!("{sign}{}", figures::whole(value.abs().round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percentiles() -> Percentiles {
        let mut histogram = super::super::client::micros_histogram();
        (1..=1_000).for_each(|value| histogram.saturating_record(value * 1_000));
        Percentiles::of(&histogram)
    }

    fn report() -> Report {
        Report {
            mode: "fanout".into(),
            url: "ws://127.0.0.1:1/x".into(),
            members: 10_000,
            rooms: 1,
            threads: 2,
            own_fd_tables: false,
            connect: Wave {
                opened: 10_000,
                failed: 0,
                hung: 0,
                seconds: 0.5,
                per_second: 20_000.0,
                handshake: percentiles(),
            },
            reconnect: None,
            load: None,
            latency: Some(percentiles()),
            server: None,
            own: Some(Own {
                rss_bytes_per_connection: 24.0,
                load_cpu_seconds: None,
            }),
            kernel: None,
            slow: None,
            exactness: Exactness {
                exact: 9_999,
                short: 1,
                ..Exactness::default()
            },
            reasons: BTreeMap::from([("open: reset".into(), 1)]),
            stopped_by: None,
        }
    }

    #[test]
    fn percentiles_are_milliseconds() {
        let percentiles = percentiles();
        assert_eq!(percentiles.samples, 1_000);
        assert!((percentiles.p50_ms - 500.0).abs() < 1.0, "{percentiles:?}");
        assert!((percentiles.p99_ms - 990.0).abs() < 1.0, "{percentiles:?}");
    }

    #[test]
    fn json_says_what_was_measured_and_nothing_else() {
        let report = report();
        let json = serde_json::to_string(&report).unwrap();
        assert!(!json.contains("null"), "{json}");
        assert!(!json.contains("\"server\""), "{json}");
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }

    #[test]
    fn the_table_names_failures() {
        let table = report().to_string();
        assert!(table.contains("NOT EXACT: 9,999 exact, 1 short"), "{table}");
        assert!(table.contains("1 x open: reset"), "{table}");
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!(whole(1_234_567.4), "1,234,567");
        assert_eq!(whole(999.0), "999");
        assert_eq!(whole(-1_000.0), "-1,000");
        assert_eq!(whole(-0.2), "0");
    }

    #[test]
    fn growth_can_be_negative_and_of_nobody() {
        assert_eq!(growth_per(100, 50, 10), -5.0);
        assert_eq!(growth_per(1, 2, 0), 0.0);
        assert_eq!(per(5, 0.0), 0.0);
    }
}
