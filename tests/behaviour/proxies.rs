//! Real proxies in front of the server, as `docs/operations.md` sets them up. Each address of this
//! machine, such as 127.0.0.7, is a client of its own to the proxy.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use socket2::{Domain, Socket, Type};

use crate::support::{Client, Http, PATIENCE, Server, directory, eventually, reaction, skip};

/// A proxy that ends with the test.
struct Proxy {
    child: Child,
    address: SocketAddr,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    /// Starts a proxy that listens on `address`. Returns `None` and skips the test if it isn't
    /// installed.
    fn start(program: &str, arguments: &[&str], address: SocketAddr) -> Option<Self> {
        let started = Command::new(format!("/usr/sbin/{program}"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = started else {
            skip(&format!("{program} is missing"));
            return None;
        };
        let proxy = Self { child, address };
        eventually("the proxy listens", || TcpStream::connect(address).is_ok());
        Some(proxy)
    }

    /// Connects from one of this machine's addresses.
    fn connect(&self, client: &str) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let source: SocketAddr = format!("{client}:0").parse().unwrap();
        socket.bind(&source.into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.into()
    }
}

/// An address that nobody listens on.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn nginx(home: &Path, server: &Server) -> Option<Proxy> {
    let address = free_address();
    let (path, upstream) = (home.display(), server.address());
    let configuration = format!(
        r#"daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;
        events {{ worker_connections 256; }}
        http {{
            access_log off;
            client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
            fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi;
            scgi_temp_path {path}/scgi;
            map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
            server {{
                listen {address};
                location / {{
                    proxy_pass http://{upstream};
                    proxy_http_version 1.1;
                    proxy_set_header Host $http_host;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection $connection_upgrade;
                    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                    proxy_set_header Forwarded "";
                }}
            }}
        }}"#
    );
    let file = home.join("nginx.conf");
    fs::write(&file, configuration).unwrap();
    let file = file.to_str().unwrap();
    let (prefix, log) = (home.to_str().unwrap(), home.join("error.log"));
    let arguments = ["-p", prefix, "-c", file, "-e", log.to_str().unwrap()];
    Proxy::start("nginx", &arguments, address)
}

/// Starts HAProxy with these lines for its back end.
fn haproxy(home: &Path, server: &Server, lines: &str, options: &str) -> Option<Proxy> {
    let address = free_address();
    let upstream = server.address();
    let configuration = format!(
        "global\n maxconn 500\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n \
         timeout tunnel 1h\n\
         frontend front\n bind {address}\n default_backend rooms\n\
         backend rooms\n{lines} server one {upstream} {options}\n"
    );
    let file = home.join("haproxy.cfg");
    fs::write(&file, configuration).unwrap();
    let arguments = ["-db", "-f", file.to_str().unwrap()];
    Proxy::start("haproxy", &arguments, address)
}

fn start(naming: &[&'static str]) -> Server {
    let limits = [
        "--trusted-proxy",
        "127.0.0.1",
        "--max-connections-per-ip",
        "2",
        "--room-create-rate",
        "1",
        "--reactors",
        "2",
    ];
    Server::start(&[&limits[..], naming].concat())
}

/// Asserts that limits hold for each client of the proxy, whatever the client itself claims.
fn assert_limits_hold_for_each_client(proxy: &Proxy) {
    let join = |client: &str| {
        let mut member = Client::over(proxy.connect(client), "/party/talk");
        member.next_text();
        member
    };
    let mut held = [join("127.0.0.7"), join("127.0.0.7")];
    let claims = [
        "",
        "X-Forwarded-For: 192.0.2.1\r\n",
        "X-Forwarded-For: 127.0.0.1\r\n",
        "X-Forwarded-For: junk\r\nForwarded: for=192.0.2.1\r\n",
    ];
    for claim in claims {
        let mut third = Http::over(proxy.connect("127.0.0.7"));
        let refusal = third.request("GET", "/party/talk", claim);
        assert_eq!(refusal.status, 503, "{claim}");
    }
    let mut other = join("127.0.0.8");
    held[0].react("love");
    let counted = other.wait_for(|counts| counts.of("love") == 1);
    assert_eq!(counted.total(), 1);

    // 127.0.0.7 has created its room of this minute.
    drop(held);
    let post = |client: &str, room: &str| {
        let mut http = Http::over(proxy.connect(client));
        http.post(room, &reaction("love")).status
    };
    eventually("the connections have closed", || {
        post("127.0.0.7", "/party/another") == 429
    });
    assert_eq!(post("127.0.0.9", "/party/another"), 200);
}

#[test]
fn limits_hold_for_each_client_behind_nginx() {
    let (home, server) = (directory(), start(&[]));
    if let Some(proxy) = nginx(home.path(), &server) {
        assert_limits_hold_for_each_client(&proxy);
    }
}

#[test]
fn limits_hold_behind_haproxy_with_forwarded_fields() {
    let (home, server) = (directory(), start(&[]));
    let lines = " option forwardfor\n http-request del-header Forwarded\n";
    if let Some(proxy) = haproxy(home.path(), &server, lines, "check") {
        assert_limits_hold_for_each_client(&proxy);
    }
}

#[test]
fn limits_hold_behind_haproxy_with_proxy_headers() {
    for version in ["send-proxy", "send-proxy-v2"] {
        let (home, server) = (directory(), start(&["--proxy-protocol"]));
        let options = format!("{version} check check-send-proxy");
        if let Some(proxy) = haproxy(home.path(), &server, "", &options) {
            assert_limits_hold_for_each_client(&proxy);
        }
    }
}
