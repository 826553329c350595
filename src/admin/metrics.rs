//! The metrics in the text format of Prometheus, read at each request from where they are counted.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, NoLabelSet,
    prometheus_text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::process::{self, Memory};
use super::sampler::{RoomsSample, Sampler};
use super::sources::Sources;
use crate::log;
use crate::reactor::{Gauge, ReactorMetrics, closed_by_label};
use crate::rooms::DISMISSALS;
use crate::store::Status;

/// The media type of the text.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One reading of everything, which is then written.
#[derive(Debug)]
struct Scrape {
    metrics: Vec<Arc<ReactorMetrics>>,
    cpu_times: Vec<Option<Duration>>,
    rooms: RoomsSample,
    store: Status,
    limited_rooms: u64,
    limited_requests: u64,
    sessions: u64,
    token_refusals: Vec<(&'static str, u64)>,
    own: OwnFigures,
    is_ready: bool,
    start_seconds: u64,
}

/// What the admin side counts of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnFigures {
    /// Open connections.
    pub(super) connections: u64,
    /// Connections that were turned away, or that gave way to others.
    pub(super) turned_away: u64,
    /// Requests with a wrong token.
    pub(super) denied: u64,
}

/// Writes all metrics.
pub(super) fn text(sources: &Sources, sampler: &Sampler, own: OwnFigures) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape {
        metrics: sources.metrics.clone(),
        cpu_times: sampler.threads().cpu_times().collect(),
        rooms: sampler.rooms().clone(),
        store: sources.store.status(),
        limited_rooms: sources.shared.creation.limited(),
        limited_requests: sources.admission.limited_requests(),
        sessions: sources.shared.sessions.len() as u64,
        token_refusals: sources.shared.permissions.refused().collect(),
        own,
        is_ready: sources.problems(Instant::now()).is_empty(),
        start_seconds: sampler.start_seconds(),
    }));
    let mut text = String::new();
    // Writing to memory can't fail.
    let _ = prometheus_text::encode(&mut text, &registry);
    text
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        self.connections(&mut writer)?;
        self.traffic(&mut writer)?;
        self.rooms(&mut writer)?;
        self.store(&mut writer)?;
        self.admin_side(&mut writer)?;
        self.process(&mut writer)
    }
}

impl Scrape {
    fn connections(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let each = |of: fn(&ReactorMetrics) -> &Gauge| self.each(of);
        writer.gauges(
            "ovation_connections",
            "Open connections",
            each(|it| &it.connections),
        )?;
        writer.gauges(
            "ovation_event_streams",
            "Open connections that are event streams",
            each(|it| &it.streams),
        )?;
        writer.counters(
            "ovation_accepted",
            "Connections accepted",
            each(|it| &it.accepted),
        )?;
        let closed = closed_by_label(&self.metrics, &DISMISSALS);
        let closed = closed.map(|(label, count)| ([("reason", label.to_owned())], count));
        writer.counters("ovation_closed", "Connections ended, by reason", closed)
    }

    fn traffic(&self, writer: &mut Writer<'_>) -> fmt::Result {
        for (name, help, of) in [
            (
                "ovation_requests",
                "HTTP requests answered",
                (|it| &it.requests) as fn(&ReactorMetrics) -> &Gauge,
            ),
            ("ovation_received_bytes", "Bytes received", |it| {
                &it.received_bytes
            }),
            ("ovation_reactions", "Reactions counted", |it| &it.messages),
            (
                "ovation_dropped_messages",
                "Reactions dropped because the room or the store is full, or the room is frozen or closed",
                |it| &it.dropped_messages,
            ),
            (
                "ovation_repeated_messages",
                "Numbered messages that were sent again, or too early",
                |it| &it.repeated_messages,
            ),
            (
                "ovation_limited_messages",
                "Messages over the rate limit of their connection",
                |it| &it.limited_messages,
            ),
            (
                "ovation_invalid_messages",
                "Messages that are not reactions",
                |it| &it.invalid_messages,
            ),
            (
                "ovation_frames_sent",
                "Frames and events handed to sockets by fan-outs",
                |it| &it.frames_sent,
            ),
            (
                "ovation_frames_conflated",
                "Frames and events skipped because a socket was full; a newer one follows",
                |it| &it.frames_conflated,
            ),
            ("ovation_reactor_turns", "Turns of the reactor loop", |it| {
                &it.turns
            }),
        ] {
            writer.counters(name, help, self.each(of))?;
        }
        let times = self.cpu_times.iter().enumerate();
        let times = times
            .filter_map(|(number, time)| Some((reactor(number), time.as_ref()?.as_secs_f64())));
        writer.counters(
            "ovation_reactor_cpu_seconds",
            "CPU time of the reactor thread",
            times,
        )
    }

    fn rooms(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.gauge("ovation_rooms", "Rooms in memory", self.rooms.count as u64)?;
        writer.gauge(
            "ovation_members",
            "Members in all rooms",
            self.rooms.members,
        )?;
        writer.counter(
            "ovation_limited_room_creations",
            "Reactions that would have created a room over the limit of their address",
            self.limited_rooms,
        )?;
        writer.counter(
            "ovation_limited_requests",
            "Requests over the limit of their address",
            self.limited_requests,
        )?;
        writer.gauge(
            "ovation_sessions",
            "Sessions that the server remembers",
            self.sessions,
        )?;
        let refusals = self.token_refusals.iter();
        let refusals = refusals.map(|(label, count)| ([("reason", (*label).to_owned())], *count));
        writer.counters(
            "ovation_token_refusals",
            "Requests refused for their access token, by reason",
            refusals,
        )
    }

    /// The store's metrics.
    fn store(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let store = &self.store;
        for (name, help, value) in [
            (
                "ovation_stored_rooms",
                "Rooms with counts in the store",
                store.rooms as u64,
            ),
            (
                "ovation_snapshot_file_bytes",
                "Size of the snapshot file",
                store.file_bytes,
            ),
            (
                "ovation_snapshot_used_bytes",
                "Size of the snapshot file up to its last record",
                store.used_bytes,
            ),
            (
                "ovation_snapshot_freed_bytes",
                "Size of the free space between records",
                store.freed_bytes,
            ),
            (
                "ovation_unsaved_records",
                "Rooms and kinds kept in memory only because the file can't grow",
                store.unsaved_records as u64,
            ),
        ] {
            writer.gauge(name, help, value)?;
        }
        self.flushes(writer)
    }

    /// The metrics of the store's flushes.
    fn flushes(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let store = &self.store;
        for (name, help, value) in [
            (
                "ovation_flushes",
                "Flushes of changes to the disk",
                store.flushes,
            ),
            (
                "ovation_failed_flushes",
                "Flushes that failed",
                store.failed_flushes,
            ),
            (
                "ovation_flushed_pages",
                "Pages flushed",
                store.flushed_pages,
            ),
        ] {
            writer.counter(name, help, value)?;
        }
        writer.counter(
            "ovation_flush_seconds",
            "Total duration of all flushes",
            store.total_flush.as_secs_f64(),
        )?;
        for (name, help, value) in [
            (
                "ovation_last_flush_seconds",
                "Duration of the last flush",
                store.last_flush,
            ),
            (
                "ovation_longest_flush_seconds",
                "Duration of the longest flush",
                store.longest_flush,
            ),
            (
                "ovation_unsynced_seconds",
                "Age of the oldest change that is not on the disk yet",
                store.unsynced,
            ),
        ] {
            writer.gauge(name, help, value.as_secs_f64())?;
        }
        Ok(())
    }

    /// The metrics of the admin side itself.
    fn admin_side(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.gauge(
            "ovation_admin_connections",
            "Open connections to the admin side",
            self.own.connections,
        )?;
        for (name, help, value) in [
            (
                "ovation_admin_turned_away",
                "Connections to the admin side that were turned away or gave way to others",
                self.own.turned_away,
            ),
            (
                "ovation_admin_denied",
                "Requests to the admin side with a wrong token",
                self.own.denied,
            ),
        ] {
            writer.counter(name, help, value)?;
        }
        Ok(())
    }

    fn process(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.gauge(
            "ovation_ready",
            "1 if the server takes connections and keeps counts, else 0",
            u64::from(self.is_ready),
        )?;
        let version = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        writer.gauges(
            "ovation_build_info",
            "Version of the server, as a label",
            [(version, 1u64)],
        )?;
        writer.counter(
            "ovation_log_lines_dropped",
            "Log lines that standard error did not take",
            log::dropped_lines(),
        )?;
        if let Some(time) = process::cpu_time() {
            writer.counter(
                "process_cpu_seconds",
                "CPU time of the process",
                time.as_secs_f64(),
            )?;
        }
        writer.gauge(
            "process_resident_memory_bytes",
            "Resident memory of the process",
            Memory::read().resident,
        )?;
        writer.gauge(
            "process_start_time_seconds",
            "Start time of the process since 1970",
            self.start_seconds,
        )
    }

    /// A metric of each reactor, with its label.
    fn each(
        &self,
        of: fn(&ReactorMetrics) -> &Gauge,
    ) -> impl Iterator<Item = (Labels, u64)> + use<'_> {
        let numbered = self.metrics.iter().enumerate();
        numbered.map(move |(number, metrics)| (reactor(number), of(metrics).get()))
    }
}

type Labels = [(&'static str, String); 1];

fn reactor(number: usize) -> Labels {
    [("reactor", number.to_string())]
}

/// Writes families of metrics.
struct Writer<'e>(DescriptorEncoder<'e>);

impl Writer<'_> {
    fn gauges<N: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, N)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Gauge)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counters<N: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, N)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Counter)?;
        for (labels, value) in values {
            let mut metric = family.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn gauge<N: EncodeGaugeValue>(&mut self, name: &str, help: &str, value: N) -> fmt::Result {
        let family = self.family(name, help, MetricType::Gauge)?;
        ConstGauge::new(value).encode(family)
    }

    fn counter<N: EncodeCounterValue>(&mut self, name: &str, help: &str, value: N) -> fmt::Result {
        let family = self.family(name, help, MetricType::Counter)?;
        ConstCounter::new(value).encode(family)
    }

    fn family<'w>(
        &'w mut self,
        name: &'w str,
        help: &str,
        metric_type: MetricType,
    ) -> Result<prometheus_client::encoding::MetricEncoder<'w>, fmt::Error> {
        self.0
            .encode_descriptor(name, help, None::<&Unit>, metric_type)
    }
}
