//! The kernel runs out of a resource, as strace's fault injection makes it claim: the server turns
//! new connections away, logs it once, and keeps the connections that it has.

use std::io::Write;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Http, Server, cpu_time_during, directory, eventually};

/// Longest wait for the first response. A client that can't even be refused waits in vain.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// Longest wait once a client has been turned away.
const LATER_WAIT: Duration = Duration::from_millis(50);

/// Calls that succeed before the fault starts. The server's own setup needs a handful.
const CALLS_THAT_SUCCEED: usize = 30;
const CLIENTS: usize = 60;

/// Starts a server with one reactor in which every `step`th call of `call` fails with `error`
/// after the first few. The directory must outlive the server. Skips the test without strace.
fn start(call: &str, error: &str, step: usize) -> Option<(Server, TempDir)> {
    let home = directory();
    let fault = format!("{call}:error={error}:when={CALLS_THAT_SUCCEED}+{step}");
    let arguments = ["--reactors", "1", "--no-snapshot"];
    let server = Server::start_injected(home.path(), &fault, &arguments)?;
    Some((server, home))
}

fn warnings(server: &Server) -> usize {
    server.log().matches("turning new connections away").count()
}

/// Requests the counts and returns the status, or `None` if no response comes in time.
fn status_of(http: &mut Http) -> Option<u16> {
    let mut stream = http.stream();
    let request = b"GET /party/talk HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(request).ok()?;
    // Fails if neither a response nor the end of the connection comes in time.
    stream.peek(&mut [0]).ok()?;
    http.try_response("GET").map(|response| response.status)
}

/// Connects clients until the fault starts, and more after it.
fn old_clients_stay(call: &str, error: &str) {
    let Some((server, _home)) = start(call, error, 1) else {
        return;
    };
    let mut inside = Vec::new();
    let mut outside = Vec::new();
    for _ in 0..CLIENTS {
        let mut http = Http::connect(&server);
        let wait = if outside.is_empty() {
            FIRST_WAIT
        } else {
            LATER_WAIT
        };
        http.stream().set_read_timeout(Some(wait)).unwrap();
        match status_of(&mut http) {
            Some(200) => inside.push(http),
            Some(503) | None => outside.push(http),
            other => panic!("{error}: {other:?}"),
        }
    }
    assert!(
        inside.len() >= 10 && outside.len() >= 10,
        "{error}: {} clients got in",
        inside.len()
    );
    for http in &mut inside {
        http.stream().set_read_timeout(Some(FIRST_WAIT)).unwrap();
        assert_eq!(status_of(http), Some(200), "{error}");
    }
    let used = cpu_time_during(&server, Duration::from_secs(1));
    assert!(
        used < Duration::from_millis(300),
        "{error}: {used:?} of CPU time in a second"
    );
    eventually("the log says it", || warnings(&server) > 0);
    assert_eq!(warnings(&server), 1, "{error}");
}

#[test]
fn old_clients_survive_a_lack_of_epoll_watches() {
    old_clients_stay("epoll_ctl", "ENOSPC");
}

#[test]
fn old_clients_survive_a_lack_of_memory_for_a_watch() {
    old_clients_stay("epoll_ctl", "ENOMEM");
}

#[test]
fn old_clients_survive_a_lack_of_process_descriptors() {
    old_clients_stay("accept4", "EMFILE");
}

#[test]
fn old_clients_survive_a_lack_of_system_descriptors() {
    old_clients_stay("accept4", "ENFILE");
}

#[test]
fn old_clients_survive_a_lack_of_socket_buffers() {
    old_clients_stay("accept4", "ENOBUFS");
}

#[test]
fn old_clients_survive_a_lack_of_kernel_memory() {
    old_clients_stay("accept4", "ENOMEM");
}

#[test]
fn aborted_connections_do_not_stop_accepting() {
    let Some((server, _home)) = start("accept4", "ECONNABORTED", 2) else {
        return;
    };
    let mut clients: Vec<Http> = (0..CLIENTS).map(|_| Http::connect(&server)).collect();
    for http in &mut clients {
        assert_eq!(status_of(http), Some(200));
    }
    assert_eq!(warnings(&server), 0);
}
