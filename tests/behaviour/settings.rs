//! Settings from the environment.

use crate::support::{AdminSide, Http, Server, clean_command, directory, reaction};

#[test]
fn a_flag_can_come_from_the_environment() {
    let server = Server::start_with(
        &[("OVATION_MAX_KINDS", "1"), ("OVATION_NO_PAGES", "yes")],
        &[],
    );
    let mut http = Http::connect(&server);
    assert_eq!(http.post("/party/talk", &reaction("love")).status, 200);
    assert_eq!(http.post("/party/talk", &reaction("clap")).status, 422);
    assert_eq!(http.get("/").status, 404);
}

#[test]
fn a_false_variable_turns_nothing_off() {
    let server = Server::start_with(
        &[("OVATION_NO_PAGES", "false"), ("OVATION_NO_ADMIN", "0")],
        &["--admin", "127.0.0.1:0"],
    );
    assert_eq!(Http::connect(&server).get("/").status, 200);
    assert_eq!(AdminSide::of(&server).get("/readyz").status, 200);
}

#[test]
fn a_flag_wins_over_the_environment() {
    let own = directory();
    let output = clean_command(own.path())
        .args(["serve", "--max-kinds", "0"])
        .env("OVATION_MAX_KINDS", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("--max-kinds"), "{message}");
}

#[test]
fn a_bad_variable_is_refused_by_its_flag() {
    let own = directory();
    for (name, value, flag) in [
        ("OVATION_TICK_MS", "0", "--tick-ms"),
        ("OVATION_REACTORS", "many", "--reactors"),
        ("OVATION_SALVAGE", "perhaps", "--salvage"),
    ] {
        let output = clean_command(own.path()).env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}={value}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(flag), "{name}={value}: {message}");
    }
}

#[test]
fn the_admin_side_cannot_be_on_and_off() {
    let own = directory();
    let output = clean_command(own.path())
        .args(["--admin", "127.0.0.1:0", "--no-admin"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
