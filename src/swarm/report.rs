//! The figures of a run: one structure, which is also the JSON object.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// All figures of one run. The JSON has only the figures that were measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RunReport {
    pub(super) mode: String,
    pub(super) url: String,
    /// Number of connections that the run had to open.
    pub(super) members: u64,
    pub(super) rooms: u64,
    pub(super) threads: u64,
    pub(super) own_fd_tables: bool,
    pub(super) connect: WaveReport,
    /// The second wave of a storm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reconnect: Option<WaveReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) load: Option<LoadReport>,
    /// Time from send to seen: for each message of counts, the time since the oldest reaction in it
    /// was sent that its member had not seen yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency: Option<Percentiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<ServerReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) own: Option<OwnReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kernel: Option<KernelReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) slow: Option<SlowReport>,
    pub(super) exactness: Exactness,
    /// Why connections failed or were lost, and how many did for each reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) reasons: BTreeMap<String, u64>,
    /// Why the run ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stopped_by: Option<String>,
}

/// One wave of connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct WaveReport {
    pub(super) opened: u64,
    pub(super) failed: u64,
    /// Connections still without an answer when the wave was given up.
    pub(super) hung: u64,
    pub(super) seconds: f64,
    pub(super) per_second: f64,
    /// Time from `connect` to the first counts.
    pub(super) handshake: Percentiles,
}

/// Percentiles of a time, in milliseconds.
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

/// The measured phase, from the first reaction until the last member has seen all reactions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LoadReport {
    pub(super) seconds: f64,
    /// Reactions sent, or members replaced.
    pub(super) done: u64,
    pub(super) done_per_second: f64,
    /// Messages of counts received.
    pub(super) frames: u64,
    pub(super) frames_per_second: f64,
    pub(super) bytes: u64,
    pub(super) bytes_per_second: f64,
    /// The longest time in which the bystander of a flood saw no change of the counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) longest_gap_ms: Option<f64>,
}

/// The server's process, if its id is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ServerReport {
    pub(super) pid: u32,
    pub(super) rss_before_bytes: u64,
    pub(super) rss_connected_bytes: u64,
    pub(super) rss_bytes_per_connection: f64,
    /// CPU time until all members were connected.
    pub(super) connect_cpu_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) load: Option<ServerLoadReport>,
}

/// The server's process in the measured phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ServerLoadReport {
    pub(super) cpu_seconds: f64,
    pub(super) rss_bytes: u64,
    /// Reactions, or members replaced, per second of the server's CPU time.
    pub(super) done_per_cpu_second: f64,
    /// Messages of counts received per second of the server's CPU time.
    pub(super) frames_per_cpu_second: f64,
}

/// The load generator's own process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OwnReport {
    pub(super) rss_bytes_per_connection: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) load_cpu_seconds: Option<f64>,
}

/// Growth of the kernel's memory while the members connected. It covers both ends of each
/// connection if the server is on the same machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct KernelReport {
    pub(super) slab_bytes_per_connection: f64,
    pub(super) tcp_bytes_per_connection: f64,
}

/// Members that do not read during the load. Growth is from before the load to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SlowReport {
    pub(super) members: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_rss_bytes_per_member: Option<f64>,
    pub(super) kernel_slab_bytes_per_member: f64,
    pub(super) kernel_tcp_bytes_per_member: f64,
    /// Unread messages of each member when it started to read again.
    pub(super) stored_frames_per_member: f64,
    /// Members that ended on exactly the count after they started to read again.
    pub(super) caught_up: u64,
}

/// Whether all members saw exactly the reactions that were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exactness {
    pub(super) exact: u64,
    pub(super) short: u64,
    pub(super) over: u64,
    /// Messages whose count was lower than an earlier count on that connection.
    pub(super) decreased: u64,
    /// Open connections that the load generator didn't end.
    pub(super) lost: u64,
    pub(super) passed: bool,
}

/// Returns the growth from `before` to `after`, divided by `count`; 0 if `count` is 0.
pub(super) fn growth_per(before: u64, after: u64, count: u64) -> f64 {
    if count == 0 {
        return 0.0;
    }
    (after as f64 - before as f64) / count as f64
}

/// Returns `amount` per `unit`; 0 if the unit was too small to measure.
pub(super) fn per(amount: u64, unit: f64) -> f64 {
    if unit > 0.0 {
        amount as f64 / unit
    } else {
        0.0
    }
}

impl RunReport {
    /// Returns one line that says why the run was not exact.
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn percentiles() -> Percentiles {
        let mut histogram = super::super::member::micros_histogram();
        (1..=1_000).for_each(|value| histogram.saturating_record(value * 1_000));
        Percentiles::of(&histogram)
    }

    pub(in super::super) fn report() -> RunReport {
        RunReport {
            mode: "fanout".into(),
            url: "ws://127.0.0.1:1/x".into(),
            members: 10_000,
            rooms: 1,
            threads: 2,
            own_fd_tables: false,
            connect: WaveReport {
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
            own: Some(OwnReport {
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
    fn json_has_only_measured_figures() {
        let report = report();
        let json = serde_json::to_string(&report).unwrap();
        assert!(!json.contains("null"), "{json}");
        assert!(!json.contains("\"server\""), "{json}");
        assert_eq!(serde_json::from_str::<RunReport>(&json).unwrap(), report);
    }

    #[test]
    fn growth_can_be_negative_and_of_no_member() {
        assert_eq!(growth_per(100, 50, 10), -5.0);
        assert_eq!(growth_per(1, 2, 0), 0.0);
        assert_eq!(per(5, 0.0), 0.0);
    }
}
