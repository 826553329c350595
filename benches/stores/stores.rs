//! Compares four stores: counting a reaction, flushing 10,000 changed rooms, and opening a file of
//! a million rooms. Run `cargo bench --manifest-path benches/stores/Cargo.toml`.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use stores::{Counts, Failure, Log, Ovation, Redb, Sqlite};

const ROOMS: u32 = 1_000_000;
const DIRTY_ROOMS: u32 = 10_000;

/// Makes a file of a million rooms with one count each.
fn fill<S: Counts>(path: &Path) -> Result<(), Failure> {
    let mut store = S::open(path)?;
    for room in 0..ROOMS {
        store.react(room);
        if room % 100_000 == 99_999 {
            store.flush()?;
        }
    }
    store.close()
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    kilobytes.and_then(|it| it.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn bench<S: Counts>(criterion: &mut Criterion) -> Result<(), Failure> {
    let directory = tempfile::tempdir_in(".")?;
    let path = directory.path().join("counts");
    fill::<S>(&path)?;

    let before = resident_bytes();
    let start = Instant::now();
    let mut store = S::open(&path)?;
    let took = start.elapsed();
    let memory = resident_bytes().saturating_sub(before);
    assert_eq!(store.get(123_456)?, 1);
    println!(
        "{}: {ROOMS} rooms: opened in {took:.2?}, {:.1} B of file and {:.1} B of memory per room",
        S::NAME,
        S::file_bytes(&path)? as f64 / f64::from(ROOMS),
        memory as f64 / f64::from(ROOMS),
    );

    let mut group = criterion.benchmark_group("reaction");
    group.bench_function(S::NAME, |bencher| {
        let mut room = 0;
        bencher.iter(|| {
            room = (room + 7919) % 1000;
            store.react(black_box(room));
        });
    });
    group.finish();
    store.flush()?;

    let mut group = criterion.benchmark_group("flush_10000_dirty_rooms");
    group.sample_size(20);
    group.bench_function(S::NAME, |bencher| {
        bencher.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                for room in 0..DIRTY_ROOMS {
                    store.react(room * 97 % ROOMS);
                }
                let start = Instant::now();
                store.flush().expect("the file can be written");
                took += start.elapsed();
            }
            took
        });
    });
    group.finish();
    Ok(())
}

fn all(criterion: &mut Criterion) {
    bench::<Ovation>(criterion)
        .and_then(|()| bench::<Log>(criterion))
        .and_then(|()| bench::<Redb>(criterion))
        .and_then(|()| bench::<Sqlite>(criterion))
        .expect("every store works");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4));
    targets = all
}
criterion_main!(benches);
