//! The addresses that the server listens on.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::support::{Client, PATIENCE, Server, directory, refused, skip};

fn join_by_unix(path: &std::path::Path, room: &str) -> Client<UnixStream> {
    let stream = UnixStream::connect(path).expect("the server listens there");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client::over(stream, &format!("/party/{room}"));
    client.next_text();
    client
}

#[test]
fn a_room_is_shared_by_all_addresses() {
    let home = directory();
    let path = home.path().join("socket");
    let unix = format!("unix:{}", path.display());
    let server = Server::start_in(
        home.path(),
        &[
            "--listen",
            "127.0.0.1:0",
            "--listen",
            &unix,
            "--listen",
            "127.0.0.1:0",
        ],
    );
    let [first, second, third] = server.addresses() else {
        panic!("expected three addresses: {:?}", server.addresses());
    };
    assert_eq!(second, &unix);
    let mut one = Client::enter_at(first, "talk");
    let mut two = join_by_unix(&path, "talk");
    let mut three = Client::enter_at(third, "talk");
    one.react("love");
    two.react("love");
    three.react("love");
    one.wait_for(|counts| counts.of("love") == 3);
    two.wait_for(|counts| counts.of("love") == 3);
    three.wait_for(|counts| counts.of("love") == 3);
}

#[test]
fn a_unix_socket_is_removed_when_the_server_stops() {
    let home = directory();
    let path = home.path().join("socket");
    let unix = format!("unix:{}", path.display());
    let server = Server::start_in(home.path(), &["--listen", &unix]);
    let mut client = join_by_unix(&path, "talk");
    client.react("love");
    client.wait_for(|counts| counts.of("love") == 1);
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(client.close_code(), Some(1001));
    assert!(!path.exists(), "the socket is still there");
}

#[test]
fn a_dead_servers_socket_is_taken_over() {
    let home = directory();
    let path = home.path().join("socket");
    let unix = format!("unix:{}", path.display());
    let mut dead = Server::start_in(home.path(), &["--listen", &unix]);
    dead.kill();
    assert!(path.exists(), "SIGKILL leaves the socket");
    let _server = Server::start_in(home.path(), &["--listen", &unix]);
    join_by_unix(&path, "talk");
}

#[test]
fn a_live_socket_or_foreign_file_is_not_taken_over() {
    let home = directory();
    let path = home.path().join("socket");
    let unix = format!("unix:{}", path.display());
    let listener = UnixListener::bind(&path).unwrap();
    let failed = refused(home.path(), &["--listen", &unix]);
    assert_eq!(failed.code, Some(3), "{}", failed.message);
    assert!(
        failed.message.contains("address in use"),
        "{}",
        failed.message
    );
    drop(listener);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "a foreign file").unwrap();
    let failed = refused(home.path(), &["--listen", &unix]);
    assert_eq!(failed.code, Some(3), "{}", failed.message);
    assert_eq!(fs::read_to_string(&path).unwrap(), "a foreign file");
}

#[test]
fn an_address_in_use_exits_with_3() {
    let home = directory();
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = foreign.local_addr().unwrap().to_string();
    let failed = refused(home.path(), &["--listen", &taken]);
    assert_eq!(failed.code, Some(3), "{}", failed.message);
    for part in [taken.as_str(), "address in use", "--listen"] {
        assert!(
            failed.message.contains(part),
            "no {part} in {}",
            failed.message
        );
    }
    // Another Ovation shares its port among its own reactors, but with no other process.
    let server = Server::start(&["--reactors", "2"]);
    let failed = refused(home.path(), &["--listen", server.address()]);
    assert_eq!(failed.code, Some(3), "{}", failed.message);
}

#[test]
fn wrong_usage_exits_with_2() {
    let home = directory();
    for arguments in [
        &["--no-such-flag"][..],
        &["--listen", "nowhere"],
        &["--listen", "unix:"],
        &["--reactors", "0"],
        &["--tick-ms", "0"],
        &["--max-message-bytes", "1"],
    ] {
        let failed = refused(home.path(), arguments);
        assert_eq!(failed.code, Some(2), "{arguments:?}: {}", failed.message);
    }
    assert_eq!(
        fs::read_dir(home.path()).unwrap().count(),
        0,
        "a file was created"
    );
}

#[test]
fn ipv6_is_served() {
    if TcpListener::bind("[::1]:0").is_err() {
        skip("there is no IPv6 loopback");
        return;
    }
    let server = Server::start(&["--listen", "[::1]:0", "--listen", "127.0.0.1:0"]);
    let [six, four] = server.addresses() else {
        panic!("expected two addresses: {:?}", server.addresses());
    };
    assert!(six.starts_with("[::1]:"), "{six}");
    let mut alice = Client::enter_at(six, "talk");
    let mut bob = Client::enter_at(four, "talk");
    alice.react("love");
    bob.wait_for(|counts| counts.of("love") == 1);
    alice.wait_for(|counts| counts.of("love") == 1);
}
