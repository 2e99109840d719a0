//! TCP: the listener and cluster connections (remote-protocol.md section 4).
#![forbid(unsafe_code)]

use std::fmt::{self, Write};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, ipproto, sockopt,
};

use super::Errno;
use super::reactor::{Class, Interest, Reactor, Source};

/// How many connections the kernel holds for us; the cluster's nodes may all come at once.
const BACKLOG: i32 = 128;
/// After this much silence the kernel asks whether the other end is still there…
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// …and asks again this often…
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// …this many times. Together 90 seconds: a shorter cut would end connections that a cluster with default
/// monitors (every 60 seconds, 30 seconds to answer) has not given up.
const KEEPALIVE_COUNT: u32 = 6;
/// How long sent bytes may stay unacknowledged, in milliseconds: the same 90 seconds.
const USER_TIMEOUT_MILLIS: u32 = 90_000;
/// How many times a closing connection takes bytes that nobody wants any more: see [`Connection::close`].
const CLOSING_READS: usize = 16;

/// Where to listen.
#[derive(Clone, Debug)]
pub enum Host {
    /// On one of these.
    Addresses(Vec<SocketAddr>),
    /// On a link-local address, which has a meaning on this interface only. That may come and go.
    On(Ipv6Addr, String, u16),
}

impl Host {
    /// What a host name, a numeric address or one like `fe80::1%eth0` stands for. **This may wait for a
    /// name server**; only a host name makes it do so, and the daemon calls it before its loop runs.
    ///
    /// # Errors
    /// What the resolver says.
    pub fn named(host: &str, port: u16) -> io::Result<Self> {
        if let Some((address, interface)) = host.split_once('%')
            && let Ok(address) = address.parse()
        {
            return Ok(Self::On(address, interface.to_owned(), port));
        }
        Ok(Self::Addresses((host, port).to_socket_addrs()?.collect()))
    }

    /// All addresses: IPv6, which takes IPv4 as well, and IPv4 for kernels without IPv6.
    pub fn any(port: u16) -> Self {
        Self::Addresses(vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()])
    }
}

/// The one listening socket.
#[derive(Debug)]
pub struct Listener {
    source: Source,
    address: SocketAddr,
    is_absent: bool,
}

/// Why nothing could be listened on.
#[derive(Debug, Default)]
pub struct ListenFailure {
    /// What failed on each address, for people.
    pub reason: String,
    /// Somebody else has the port of one of them now (EADDRINUSE).
    pub taken: bool,
    /// The interface is not there now (ENODEV).
    pub missing: bool,
}

impl ListenFailure {
    fn add(&mut self, what: &dyn fmt::Display, step: &str, errno: Errno) {
        self.taken |= errno == Errno::ADDRINUSE;
        self.missing |= errno == Errno::NODEV;
        let separator = if self.reason.is_empty() { "" } else { "; " };
        let _ = write!(self.reason, "{separator}{what}: {step}: {}", io::Error::from(errno));
    }
}

impl Listener {
    /// Listens on the first address that can be had, all IPv6 ones before all IPv4 ones; if no interface has any
    /// of them, on the first that one may have later: at boot, addresses come when they come.
    ///
    /// # Errors
    /// What failed on each address.
    pub fn open(reactor: &Rc<Reactor>, host: &Host) -> Result<Self, ListenFailure> {
        let mut failure = ListenFailure::default();
        let scoped;
        let addresses = match host {
            Host::Addresses(addresses) => addresses.as_slice(),
            Host::On(address, interface, port) => match index(interface) {
                Ok(index) => {
                    scoped = [SocketAddrV6::new(*address, *port, 0, index).into()];
                    &scoped
                }
                Err(errno) => {
                    failure.add(&format_args!("[{address}%{interface}]:{port}"), "interface", errno);
                    return Err(failure);
                }
            },
        };
        let six = addresses.iter().filter(|address| address.is_ipv6());
        let order = six.chain(addresses.iter().filter(|address| address.is_ipv4()));
        let mut absent = Vec::new();
        for &address in order {
            match listen(reactor, address, false) {
                Ok(source) => return Ok(Self::new(source, address, false)),
                Err(("bind", Errno::ADDRNOTAVAIL)) => absent.push(address),
                Err((step, errno)) => failure.add(&address, step, errno),
            }
        }
        for address in absent {
            match listen(reactor, address, true) {
                Ok(source) => return Ok(Self::new(source, address, true)),
                Err((step, errno)) => failure.add(&address, step, errno),
            }
        }
        if failure.reason.is_empty() {
            failure.reason.push_str("the configured name has no address");
        }
        Err(failure)
    }

    fn new(source: Source, asked: SocketAddr, is_absent: bool) -> Self {
        Self { address: local_address(&source, asked), source, is_absent }
    }

    /// Whether no interface had the address when this was opened.
    pub fn is_absent(&self) -> bool {
        self.is_absent
    }

    /// Where it listens, with the real port if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until [`Listener::accept`] is worth a call.
    pub async fn ready(&self) {
        self.source.readable().await;
    }

    /// Lets everything more urgent go first.
    pub async fn pass_turn(&self) {
        self.source.pass_turn().await;
    }

    /// The next connection and its other end; `None` when nobody waits.
    ///
    /// # Errors
    /// ENFILE, EMFILE, ENOBUFS, ENOMEM: there is no room now, and the connection stays in the
    /// backlog. A connection that died there is no error.
    pub fn accept(&self) -> Result<Option<(OwnedFd, SocketAddr)>, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let mut accepted = None;
        loop {
            let result = self.source.attempt_read(1, |fd| {
                accepted = Some(net::acceptfrom_with(fd, flags)?);
                Ok(1)
            });
            match result {
                Ok(_) => break,
                Err(error) if is_about_the_peer(error) => {}
                Err(error) => return Err(error),
            }
        }
        let Some((fd, peer)) = accepted else { return Ok(None) };
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).unwrap_or(self.address);
        // IPv4 comes mapped into IPv6; people know it by its own notation.
        Ok(Some((fd, SocketAddr::new(peer.ip().to_canonical(), peer.port()))))
    }
}

/// The number of an interface: it may be called by that, too.
fn index(interface: &str) -> Result<u32, Errno> {
    if let Ok(index) = interface.parse() {
        return Ok(index);
    }
    let flags = SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::INET6, SocketType::DGRAM, flags, None)?;
    net::netdevice::name_to_index(&socket, interface)
}

/// With `early`, on an address that no interface has yet.
fn listen(reactor: &Rc<Reactor>, address: SocketAddr, early: bool) -> Result<Source, (&'static str, Errno)> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))
        .map_err(|errno| ("socket", errno))?;
    sockopt::set_socket_reuseaddr(&fd, true).map_err(|errno| ("SO_REUSEADDR", errno))?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, false).map_err(|errno| ("IPV6_V6ONLY", errno))?;
    }
    if early {
        // The socket's, whatever its family.
        sockopt::set_ip_freebind(&fd, true).map_err(|errno| ("IP_FREEBIND", errno))?;
    }
    net::bind(&fd, &address).map_err(|errno| ("bind", errno))?;
    net::listen(&fd, BACKLOG).map_err(|errno| ("listen", errno))?;
    Source::new(reactor, fd, Class::Patient, Interest::Read).map_err(|errno| ("epoll", errno))
}

fn local_address(source: &Source, asked: SocketAddr) -> SocketAddr {
    net::getsockname(source).ok().and_then(|address| address.try_into().ok()).unwrap_or(asked)
}

/// accept(2) hands on what the network said about the connection that it would have returned.
fn is_about_the_peer(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::PROTO
            | Errno::PERM
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
    )
}

/// A cluster connection's socket.
#[derive(Debug)]
pub struct Connection {
    source: Source,
}

impl Connection {
    /// Sets up an accepted socket. `user_timeout_millis` is how long sent bytes may stay unacknowledged if the
    /// configuration says so.
    ///
    /// # Errors
    /// The option that could not be set, and why. Options that only make things faster are not worth an error.
    pub fn new(
        reactor: &Rc<Reactor>,
        fd: OwnedFd,
        user_timeout_millis: Option<u32>,
    ) -> Result<Self, (&'static str, Errno)> {
        let _ = sockopt::set_tcp_nodelay(&fd, true);
        let _ = sockopt::set_tcp_quickack(&fd, true);
        let user_timeout = user_timeout_millis.unwrap_or(USER_TIMEOUT_MILLIS);
        sockopt::set_tcp_user_timeout(&fd, user_timeout).map_err(|errno| ("TCP_USER_TIMEOUT", errno))?;
        sockopt::set_socket_keepalive(&fd, true).map_err(|errno| ("SO_KEEPALIVE", errno))?;
        sockopt::set_tcp_keepidle(&fd, KEEPALIVE_IDLE).map_err(|errno| ("TCP_KEEPIDLE", errno))?;
        sockopt::set_tcp_keepintvl(&fd, KEEPALIVE_INTERVAL).map_err(|errno| ("TCP_KEEPINTVL", errno))?;
        sockopt::set_tcp_keepcnt(&fd, KEEPALIVE_COUNT).map_err(|errno| ("TCP_KEEPCNT", errno))?;
        let source = Source::new(reactor, fd, Class::Urgent, Interest::ReadWrite);
        Ok(Self { source: source.map_err(|errno| ("epoll", errno))? })
    }

    /// The watched socket, to wait for.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Takes what has come: the number of bytes, 0 at the orderly end of the stream, `None` when
    /// nothing is there now.
    ///
    /// # Errors
    /// What ended the connection.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
        self.source.attempt_read(buffer.len(), |fd| {
            net::recv(fd, &mut *buffer, RecvFlags::DONTWAIT).map(|(count, _)| count)
        })
    }

    /// Acknowledges what was received, now. To be called when there is nothing to send that would do so: the peer
    /// writes header and payload apart, and lets Nagle hold the second back until the first is acknowledged, for
    /// which the kernel takes up to 40 ms of its own accord.
    pub fn acknowledge(&self) {
        // The kernel forgets this option by itself.
        let _ = sockopt::set_tcp_quickack(&self.source, true);
    }

    /// Gives the socket as much as it takes: `None` when that is nothing now.
    ///
    /// # Errors
    /// What ended the connection.
    pub fn send(&self, bytes: &[u8]) -> Result<Option<usize>, Errno> {
        self.source.attempt_write(|fd| net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
    }

    /// Ends our direction, so that the other end can read what was sent before: bytes of its own
    /// that were never taken would turn the end into a reset, which overtakes them. Those that are there are
    /// taken. Gives the socket back if more may come.
    pub fn close(self, buffer: &mut [u8]) -> Option<Self> {
        net::shutdown(&self.source, Shutdown::Write).ok()?;
        for _ in 0..CLOSING_READS {
            match self.receive(buffer) {
                Ok(Some(count)) if count > 0 => {}
                Ok(None) => return Some(self),
                Ok(Some(_)) | Err(_) => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
