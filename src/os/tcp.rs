//! TCP on this machine: the kernel's memory for it, and a socket option that socket2 lacks.
//! Contains `unsafe` code.
#![allow(unsafe_code)]

use std::io;

use socket2::Socket;

use super::procfs::{numbers, value_of};

/// The file that [`memory_pages`] parses.
pub(crate) const SOCKSTAT_PATH: &str = "/proc/net/sockstat";
/// The file that [`pressure_mark`] parses.
pub(crate) const TCP_MEM_PATH: &str = "/proc/sys/net/ipv4/tcp_mem";

/// Returns the memory that TCP uses for data in flight and unread data, in pages, from the text of
/// `/proc/net/sockstat`.
pub(crate) fn memory_pages(sockstat: &str) -> Option<u64> {
    let mut words = value_of(sockstat, "TCP")?.split_ascii_whitespace();
    words.find(|&word| word == "mem")?;
    words.next()?.parse().ok()
}

/// Returns the use of memory at which the kernel starts to moderate it, in pages, from the value of
/// the sysctl `tcp_mem` (tcp(7)).
pub(crate) fn pressure_mark(tcp_mem: &str) -> Option<u64> {
    let [_, pressure, _] = numbers(tcp_mem)?;
    Some(pressure)
}

/// Leaves the choice of the local port to `connect` instead of `bind` (IP_BIND_ADDRESS_NO_PORT).
/// `connect` can use a port again for another destination or source address.
///
/// # Errors
/// The error of setsockopt(2).
#[cfg(target_os = "linux")]
pub(crate) fn choose_port_at_connect(socket: &Socket) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, since `socket` is borrowed for the whole call. The option's
    // value is a live `c_int` whose size is the length passed, and the kernel only reads it.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Does nothing: outside Linux `bind` chooses the port, which only costs speed.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub(crate) fn choose_port_at_connect(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_line_of_tcp() {
        let sockstat =
            "sockets: used 215\nTCP: inuse 4 orphan 0 tw 9 alloc 8 mem 17\nUDP: inuse 1 mem 0\n";
        assert_eq!(memory_pages(sockstat), Some(17));
        assert_eq!(memory_pages("UDP: inuse 1 mem 3\n"), None);
    }

    #[test]
    fn the_pressure_mark_is_the_second_of_three_numbers() {
        assert_eq!(pressure_mark("287901\t383869\t575802\n"), Some(383_869));
        assert_eq!(pressure_mark(""), None);
    }
}
