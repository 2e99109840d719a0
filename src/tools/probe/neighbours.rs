//! Whether somebody else is connected to the daemon: the kernel tells, if the daemon is on this machine.

use std::fs;
use std::net::TcpStream;

/// Where the kernel lists the TCP sockets of this network namespace, IPv4 and IPv6.
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// States of a socket in these tables.
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// Who else is connected to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbours {
    /// Nobody.
    None,
    /// Somebody.
    Some,
    /// That cannot be seen from here.
    Unknown,
}

impl Neighbours {
    /// Those of a connection.
    pub(super) fn of(stream: &TcpStream) -> Self {
        let (Ok(own), Ok(daemon)) = (stream.local_addr(), stream.peer_addr()) else { return Self::Unknown };
        // From this machine to itself both ends have the same address.
        if own.ip() != daemon.ip() {
            return Self::Unknown;
        }
        let tables = TABLES.map(|path| fs::read_to_string(path).unwrap_or_default());
        Self::in_tables(tables.iter().flat_map(|table| table.lines()), daemon.port(), own.port())
    }

    /// Those in the kernel's tables: sockets at the daemon's port whose other end is not ours. Addresses are
    /// not looked at: an IPv4 connection may be in the table for IPv6. So somebody is seen where nobody is
    /// if two daemons have one port at different addresses, and never the other way round.
    fn in_tables<'a>(lines: impl Iterator<Item = &'a str>, daemon: u16, own: u16) -> Self {
        let mut seen = Self::Unknown;
        for line in lines {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (Some(local), Some(remote), Some(state)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if port(local) != Some(daemon) {
                continue;
            }
            match state {
                ESTABLISHED if port(remote) != Some(own) => return Self::Some,
                // Whoever listens is the daemon, and not a machine behind address translation.
                LISTEN => seen = Self::None,
                _ => {}
            }
        }
        seen
    }

    /// Why registering would be wrong.
    pub(super) fn obstacle(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Some => Some(
                "somebody is connected; a cluster node would take this for a take-over and drop its connection \
                 (--register does it anyway)",
            ),
            Self::Unknown => Some(
                "cannot see from here whether a cluster node is connected, which would take this for a take-over \
                 and drop its connection (--register does it anyway)",
            ),
        }
    }
}

/// The port of an address as in these tables: hexadecimal digits after a colon.
fn port(address: &str) -> Option<u16> {
    u16::from_str_radix(address.split_once(':')?.1, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid";
    const LISTENS: &str =
        "   0: 00000000000000000000000000000000:0C31 00000000000000000000000000000000:0000 0A 0:0";
    const OURS: &str = "   1: 0100007F:0C31 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0";
    const OUR_END: &str = "   2: 0100007F:C350 0100007F:0C31 01 00000000:00000000 00:00000000 00000000     0";
    const CLUSTER: &str =
        "   3: 0000000000000000FFFF00000200000A:0C31 0000000000000000FFFF00000100000A:B000 01 0:0";
    const GONE: &str = "   4: 0100007F:0C31 0100007F:C351 06 00000000:00000000 03:00000000 00000000     0";
    const OTHER_PORT: &str =
        "   5: 0100007F:0016 0100007F:C352 01 00000000:00000000 00:00000000 00000000     0";

    #[test]
    fn who_is_connected() {
        let of = |lines: &[&'static str]| Neighbours::in_tables(lines.iter().copied(), 3121, 50000);
        assert_eq!(of(&[]), Neighbours::Unknown);
        assert_eq!(of(&[HEAD, OURS, OUR_END]), Neighbours::Unknown);
        assert_eq!(of(&[HEAD, LISTENS, OURS, OUR_END, GONE, OTHER_PORT]), Neighbours::None);
        assert_eq!(of(&[HEAD, LISTENS, OURS, OUR_END, CLUSTER]), Neighbours::Some);
        assert_eq!(of(&[HEAD, CLUSTER, LISTENS]), Neighbours::Some);
    }
}
