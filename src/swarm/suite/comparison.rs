//! Compares servers: medians over the rounds, ratios to the bare loop, and the table.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::args::SuiteArgs;
use super::super::report::RunReport;
use super::super::table::whole;
use super::server::YARDSTICK;

/// The reports of one server over all rounds.
#[derive(Debug, Default)]
pub(super) struct Trials {
    pub(super) idle: Vec<RunReport>,
    pub(super) fanout: Vec<RunReport>,
    pub(super) ingest: Vec<RunReport>,
}

/// Medians over the rounds of one server. A figure is absent if its trial never ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) server: String,
    rss_bytes_per_connection: Option<f64>,
    connections_per_second: Option<f64>,
    fanout_frames_per_cpu_second: Option<f64>,
    fanout_to_bare: Option<f64>,
    latency_p50_ms: Option<f64>,
    latency_p99_ms: Option<f64>,
    ingest_reactions_per_cpu_second: Option<f64>,
    ingest_reactions_per_second: Option<f64>,
    ingest_to_bare: Option<f64>,
    longest_gap_ms: Option<f64>,
    pub(super) exact: bool,
}

/// The table of a suite.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    pub(super) machine: String,
    pub(super) rounds: u16,
    pub(super) rows: Vec<Row>,
}

impl Trials {
    /// Returns the medians of the server with this name.
    pub(super) fn row(&self, name: &str) -> Row {
        let ran = [&self.idle, &self.fanout, &self.ingest];
        Row {
            server: name.to_owned(),
            rss_bytes_per_connection: median(&self.idle, |report| {
                Some(report.server.as_ref()?.rss_bytes_per_connection)
            }),
            connections_per_second: median(&self.idle, |report| Some(report.connect.per_second)),
            fanout_frames_per_cpu_second: median(&self.fanout, |report| {
                Some(report.server.as_ref()?.load.as_ref()?.frames_per_cpu_second)
            }),
            fanout_to_bare: None,
            latency_p50_ms: median(&self.fanout, |report| Some(report.latency?.p50_ms)),
            latency_p99_ms: median(&self.fanout, |report| Some(report.latency?.p99_ms)),
            ingest_reactions_per_cpu_second: median(&self.ingest, |report| {
                Some(report.server.as_ref()?.load.as_ref()?.done_per_cpu_second)
            }),
            ingest_reactions_per_second: median(&self.ingest, |report| {
                Some(report.load.as_ref()?.done_per_second)
            }),
            ingest_to_bare: None,
            longest_gap_ms: median(&self.ingest, |report| report.load.as_ref()?.longest_gap_ms),
            exact: ran.iter().all(|reports| {
                !reports.is_empty() && reports.iter().all(|report| report.exactness.passed)
            }),
        }
    }
}

/// Returns the median of a figure over the reports that have it.
fn median(reports: &[RunReport], figure: impl Fn(&RunReport) -> Option<f64>) -> Option<f64> {
    let mut values: Vec<f64> = reports.iter().filter_map(figure).collect();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    match values.len() % 2 {
        0 => values
            .get(values.len() / 2 - 1)
            .map(|lower| f64::midpoint(*lower, *upper)),
        _ => Some(*upper),
    }
}

/// Adds the ratios to the bare loop, if it was measured.
pub(super) fn with_ratios(mut rows: Vec<Row>) -> Vec<Row> {
    let Some(bare) = rows.iter().find(|row| row.server == YARDSTICK).cloned() else {
        return rows;
    };
    let ratio = |own: Option<f64>, bare: Option<f64>| Some(own? / bare.filter(|&bare| bare > 0.0)?);
    for row in &mut rows {
        row.fanout_to_bare = ratio(
            row.fanout_frames_per_cpu_second,
            bare.fanout_frames_per_cpu_second,
        );
        row.ingest_to_bare = ratio(
            row.ingest_reactions_per_cpu_second,
            bare.ingest_reactions_per_cpu_second,
        );
    }
    rows
}

impl Comparison {
    /// Formats the table in Markdown.
    pub(super) fn markdown(&self, args: &SuiteArgs) -> String {
        let mut text = format!(
            "{}. Median of {} rounds; the load generator runs on the same cores.\n\n\
             | server | RSS per connection, {} idle | connections/s \
             | fan-out frames per CPU second, {} members at {} reactions/s | to bare \
             | send to seen p50 | p99 \
             | ingest reactions per CPU second, {} senders | to bare | reactions/s \
             | longest time without new counts | exact |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
            self.machine,
            self.rounds,
            whole(args.idle_members.into()),
            whole(args.fanout_members.into()),
            whole(args.fanout_rate.into()),
            args.ingest_senders,
        );
        let number = |value: Option<f64>| value.map_or("-".to_owned(), whole);
        let ratio = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.2}"));
        let millis = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.0} ms"));
        for row in &self.rows {
            let cells = [
                row.server.clone(),
                number(row.rss_bytes_per_connection) + " B",
                number(row.connections_per_second),
                number(row.fanout_frames_per_cpu_second),
                ratio(row.fanout_to_bare),
                millis(row.latency_p50_ms),
                millis(row.latency_p99_ms),
                number(row.ingest_reactions_per_cpu_second),
                ratio(row.ingest_to_bare),
                number(row.ingest_reactions_per_second),
                millis(row.longest_gap_ms),
                if row.exact { "yes" } else { "NO" }.to_owned(),
            ];
            // Writing to a string can't fail.
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_the_bare_loop() {
        let row = |server: &str, frames: f64| Row {
            fanout_frames_per_cpu_second: Some(frames),
            ..Trials::default().row(server)
        };
        let rows = with_ratios(vec![row("a", 50.0), row(YARDSTICK, 100.0)]);
        assert_eq!(rows[0].fanout_to_bare, Some(0.5));
        assert_eq!(rows[1].fanout_to_bare, Some(1.0));
        assert_eq!(rows[0].ingest_to_bare, None);
        assert_eq!(with_ratios(vec![row("a", 1.0)])[0].fanout_to_bare, None);
    }

    #[test]
    fn a_server_that_never_ran_is_not_exact() {
        assert!(!Trials::default().row("x").exact);
    }
}
