//! Every step of a reaction's way, one by one, and what happens per connection and per tick.
//!
//! - `frame`: decoding a full read buffer of masked reactions, in frames and bytes per second.
//! - `reaction`: the JSON of one message: as clients send it, and with an escape (the full parser).
//! - `handshake`: head, checks, accept key and answer of one upgrade.
//! - `room`: entering and leaving a room in the shared table; adding a delta and publishing it;
//!   encoding the counts after a change, as each tick does once per room.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ovation::protocol::http::{request, upgrade};
use ovation::protocol::messages::parse_reaction;
use ovation::protocol::websocket::frame::{self, Decoder};
use ovation::rooms::{RoomLimits, RoomTable};
use ovation::store::{Store, StoreLimits};

const READ_BUFFER_BYTES: usize = 64 * 1024;
const MAX_BYTES: usize = 4096;

/// As many masked frames with `text` as a read buffer takes.
fn masked_frames(text: &[u8]) -> (Vec<u8>, u64) {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![0x81, 0x80 | text.len() as u8];
    frame.extend(mask);
    frame.extend(
        text.iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    let count = READ_BUFFER_BYTES / frame.len();
    (frame.repeat(count), count as u64)
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for (name, text) in [
        ("ascii", r#"{"kind":"love"}"#),
        ("emoji", r#"{"kind":"❤"}"#),
    ] {
        let (bytes, count) = masked_frames(text.as_bytes());
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("decode_batch/{name}"), |bencher| {
            bencher.iter_batched_ref(
                || bytes.clone(),
                |bytes| {
                    let mut events = 0;
                    let fed = Decoder::default().feed(bytes, MAX_BYTES, |event| {
                        black_box(&event);
                        events += 1;
                        ControlFlow::Continue(())
                    });
                    assert!(fed.is_ok() && events == count);
                },
                BatchSize::LargeInput,
            );
        });
    }
    let (bytes, _) = masked_frames(&[b'x'; 60]);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("decode_batch/bytes", |bencher| {
        bencher.iter_batched_ref(
            || bytes.clone(),
            |bytes| {
                Decoder::default().feed(bytes, MAX_BYTES, |event| {
                    black_box(&event);
                    ControlFlow::Continue(())
                })
            },
            BatchSize::LargeInput,
        );
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode_counts_frame", |bencher| {
        let mut output = Vec::with_capacity(64);
        bencher.iter(|| {
            output.clear();
            frame::encode(
                frame::TEXT,
                black_box(br#"{"love":3,"clap":1}"#),
                &mut output,
            );
        });
    });
    group.finish();
}

fn reactions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reaction");
    group.throughput(Throughput::Elements(1));
    for (name, text) in [
        ("plain", r#"{"kind":"love"}"#),
        ("emoji", r#"{"kind":"❤"}"#),
        ("full_parser", r#"{ "id": 7, "kind": "\u2764" }"#),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| parse_reaction(black_box(text), 32).is_ok());
        });
    }
    group.finish();
}

fn handshake(criterion: &mut Criterion) {
    let request = b"GET /parties/main/talk?_pk=0e9f7ad2 HTTP/1.1\r\nHost: localhost:1999\r\n\
        Connection: Upgrade\r\nUpgrade: websocket\r\nOrigin: https://talks.example\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    let mut group = criterion.benchmark_group("handshake");
    group.throughput(Throughput::Elements(1));
    group.bench_function("upgrade", |bencher| {
        let mut output = Vec::with_capacity(256);
        bencher.iter(|| {
            output.clear();
            let Ok(Some((request, _))) = request::parse(black_box(request), 8192) else {
                return;
            };
            if let Ok(accept) = upgrade::accept_key(&request) {
                upgrade::encode_switching_protocols(&request, &accept, &mut output);
            }
        });
        assert!(!output.is_empty());
    });
    group.finish();
}

fn rooms(criterion: &mut Criterion) {
    let store = Store::anonymous(&StoreLimits::default()).unwrap_or_else(|error| panic!("{error}"));
    let table = RoomTable::new(Arc::new(store), RoomLimits::default());
    let room = table.enter("main", "talk", Some(0));
    let counters: Vec<_> = ["love", "clap", "🎉", "😂", "🔥"]
        .map(|kind| room.counter(kind).unwrap_or_else(|error| panic!("{error}")))
        .into();
    let mut group = criterion.benchmark_group("room");
    group.throughput(Throughput::Elements(1));
    group.bench_function("join_leave", |bencher| {
        bencher.iter(|| table.enter("main", black_box("other"), Some(1)));
    });
    group.bench_function("add_and_publish", |bencher| {
        bencher.iter(|| {
            counters[0].add(black_box(3));
            room.publish(Some(0)).count()
        });
    });
    group.bench_function("tick", |bencher| {
        bencher.iter(|| {
            counters[0].add(black_box(3));
            room.publish(Some(0)).for_each(drop);
            room.acknowledge_counts(0);
            room.counts()
        });
    });
    group.finish();
}

criterion_group!(hot_path, frames, reactions, handshake, rooms);
criterion_main!(hot_path);
