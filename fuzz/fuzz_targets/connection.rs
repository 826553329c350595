//! A whole connection, from its first byte to its end, through the real event loop and the rooms.
//! The client sends arbitrary bytes in arbitrary pieces, reads or doesn't, and lets time pass.
//!
//! - The server sends only whole responses, then only whole frames or events.
//! - The server counts exactly the valid reactions, as far as a simple model can tell, and its
//!   metric agrees with its rooms.
//! - The heap for the connection has a bound, at every moment and once it has ended.
//! - A bystander in the same room stays connected and sees every count.
//! - The server comes to rest.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../connection/mod.rs"]
mod connection;

use connection::{model, output, script, world};

fuzz_target!(|bytes: &[u8]| {
    let Some((settings, script)) = bytes.split_first() else {
        return;
    };
    let settings = world::Settings(*settings);
    let mut world = world::start(settings);
    for step in script::steps(script) {
        world.take(step);
    }
    world.come_to_rest();
    let counted = world.counted();
    let received = output::check(&world.received, &world.sent);
    if world.was_in_time() {
        assert!(!received.is_cut, "the server didn't finish what it sent");
        let is_open = received.is_open && !world.has_ended;
        if let Some(counts) = received.last_counts.filter(|_| is_open) {
            assert_eq!(counts, world.bystander.seen);
        }
    }
    let requests = match settings.wants_header() {
        false => Some(&world.sent[..]),
        true => world.sent.strip_prefix(world::HEADER),
    };
    if let Some(expected) = requests.and_then(|it| model::reactions(it, settings.limits())) {
        assert!(counted <= expected, "{counted} of {expected} were counted");
        let is_exact = world.was_in_time() && (!settings.limits_rate() || settings.is_dry_run());
        assert!(!is_exact || counted == expected, "{counted} of {expected}");
    }
    world.end();
});
