//! Opening any file as a snapshot: a refusal that leaves it as it was, or a store that works.
#![no_main]

use std::cell::RefCell;
use std::fs;

use libfuzzer_sys::fuzz_target;
use ovation::store::{MIN_FILE_BYTES, Store};
use tempfile::TempDir;

thread_local! {
    static DIRECTORY: RefCell<TempDir> = RefCell::new(tempfile::tempdir().unwrap());
}

fuzz_target!(|bytes: &[u8]| {
    DIRECTORY.with_borrow(|directory| {
        let path = directory.path().join("snapshot");
        fs::write(&path, bytes).unwrap();
        match Store::open(&path, &limits) {
            Err(error) => {
                assert!(error.to_string().contains("snapshot"));
                assert_eq!(fs::read(&path).unwrap(), bytes);
            }
            Ok((store, report)) => {
                assert!(report.rooms <= store.rooms());
                // A room that the file may or may not have takes counts, and they come back.
                if let Ok(room) = store.room("main", "talk")
                    && let Ok(counter) = store.counter_of(room, "love")
                {
                    let before = counter.get();
                    counter.add(3);
                    drop((counter, store));
                    let (store, _) = Store::open(&path, &limits).unwrap();
                    let room = store.find("main", "talk").unwrap();
                    let kinds = store.kinds(room);
                    let (_, counter) = kinds.iter().find(|(kind, _)| kind == "love").unwrap();
                    assert_eq!(counter.get(), before.saturating_add(3));
                }
            }
        }
    });
});
