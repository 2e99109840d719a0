use std::io::{Read, Write as _};
use std::net::TcpStream;

use smol::LocalExecutor;

use super::super::testing::block_on;
#[cfg(target_arch = "x86_64")]
use super::super::testing::{isolated, refuse_ipv6};
use super::*;

fn pair(reactor: &Rc<Reactor>, executor: &LocalExecutor<'_>, host: &str) -> (Connection, TcpStream) {
    let listener = Listener::open(reactor, &Host::named(host, 0).unwrap()).unwrap();
    let client = TcpStream::connect(listener.address()).unwrap();
    let (fd, peer) = block_on(reactor, executor, accept(&listener));
    assert_eq!(peer, client.local_addr().unwrap());
    (Connection::new(reactor, fd, None).unwrap(), client)
}

async fn accept(listener: &Listener) -> (OwnedFd, SocketAddr) {
    loop {
        match listener.accept().unwrap() {
            Some(accepted) => return accepted,
            None => listener.ready().await,
        }
    }
}

async fn receive(connection: &Connection, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        if let Some(count) = connection.receive(buffer)? {
            return Ok(count);
        }
        connection.source().readable().await;
    }
}

fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn the_wildcard_takes_both_families() {
    if !has_ipv6() {
        eprintln!("skipped: this kernel has no IPv6");
        return;
    }
    let reactor = Reactor::new().unwrap();
    let executor = LocalExecutor::new();
    let listener = Listener::open(&reactor, &Host::any(0)).unwrap();
    assert!(listener.address().is_ipv6());
    assert_eq!(sockopt::ipv6_v6only(&listener.source), Ok(false));
    assert_eq!(sockopt::socket_reuseaddr(&listener.source), Ok(true));
    let port = listener.address().port();
    for host in ["127.0.0.1", "::1"] {
        let client = TcpStream::connect((host, port)).unwrap();
        let (_, peer) = block_on(&reactor, &executor, accept(&listener));
        // IPv4 is not shown as a mapped address.
        assert_eq!(peer, client.local_addr().unwrap());
    }
}

#[test]
fn accepted_sockets_have_their_options() {
    let reactor = Reactor::new().unwrap();
    let executor = LocalExecutor::new();
    let listener = Listener::open(&reactor, &Host::named("127.0.0.1", 0).unwrap()).unwrap();
    let _client = TcpStream::connect(listener.address()).unwrap();
    let (fd, _) = block_on(&reactor, &executor, accept(&listener));
    let connection = Connection::new(&reactor, fd, Some(2500)).unwrap();
    let socket = &connection.source;
    assert_eq!(sockopt::tcp_nodelay(socket), Ok(true));
    assert_eq!(sockopt::socket_keepalive(socket), Ok(true));
    assert_eq!(sockopt::tcp_keepidle(socket), Ok(KEEPALIVE_IDLE));
    assert_eq!(sockopt::tcp_keepintvl(socket), Ok(KEEPALIVE_INTERVAL));
    assert_eq!(sockopt::tcp_keepcnt(socket), Ok(KEEPALIVE_COUNT));
    assert_eq!(sockopt::tcp_user_timeout(socket), Ok(2500));
    let flags = rustix::fs::fcntl_getfl(socket).unwrap();
    assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
    assert_eq!(rustix::io::fcntl_getfd(socket), Ok(rustix::io::FdFlags::CLOEXEC));
    assert_eq!(rustix::io::fcntl_getfd(&listener.source), Ok(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn acknowledgements_are_quick_where_nothing_is_sent() {
    let reactor = Reactor::new().unwrap();
    let executor = LocalExecutor::new();
    let (connection, mut client) = pair(&reactor, &executor, "127.0.0.1");
    let mut buffer = [0; 64];
    for _ in 0..20 {
        // What the kernel does by itself in the middle of a conversation.
        sockopt::set_tcp_quickack(&connection.source, false).unwrap();
        client.write_all(b"ping").unwrap();
        assert_eq!(block_on(&reactor, &executor, receive(&connection, &mut buffer)), Ok(4));
        connection.acknowledge();
        assert_eq!(sockopt::tcp_quickack(&connection.source), Ok(true));
        connection.send(b"pong").unwrap();
    }
}

#[test]
fn a_connection_carries_bytes_and_its_end() {
    let reactor = Reactor::new().unwrap();
    let executor = LocalExecutor::new();
    let (connection, mut client) = pair(&reactor, &executor, "127.0.0.1");
    let mut buffer = [0; 64];
    client.write_all(b"hello").unwrap();
    assert_eq!(block_on(&reactor, &executor, receive(&connection, &mut buffer)), Ok(5));
    assert_eq!(connection.send(b"back"), Ok(Some(4)));
    let mut back = [0; 4];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"back");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(block_on(&reactor, &executor, receive(&connection, &mut buffer)), Ok(0));
}

#[test]
fn a_peer_that_does_not_read_stops_only_its_own_connection() {
    let reactor = Reactor::new().unwrap();
    let executor = LocalExecutor::new();
    let (connection, client) = pair(&reactor, &executor, "127.0.0.1");
    let chunk = vec![0; 1 << 20];
    let mut sent = 0;
    while let Some(count) = connection.send(&chunk).unwrap() {
        sent += count;
        assert!(sent < 256 << 20, "a socket buffer has an end");
    }
    drop(client);
    // The unread bytes make the peer's end a reset.
    let end = block_on(&reactor, &executor, receive(&connection, &mut [0; 64]));
    assert!(matches!(end, Err(Errno::CONNRESET | Errno::PIPE)), "{end:?}");
    // And writing to it does not raise SIGPIPE.
    assert!(connection.send(&chunk).is_err());
}

#[test]
fn last_bytes_survive_a_close_in_the_middle_of_the_peers() {
    let reactor = Reactor::new().unwrap();
    let executor = LocalExecutor::new();
    let (connection, mut client) = pair(&reactor, &executor, "127.0.0.1");
    client.write_all(&[1; 100_000]).unwrap();
    block_on(&reactor, &executor, connection.source().readable());
    connection.send(b"alert").unwrap();
    let connection = connection.close(&mut [0; 65536]).expect("the other end is open");
    // And so do they when more comes before they are read.
    client.write_all(&[1; 100_000]).unwrap();
    block_on(&reactor, &executor, connection.source().readable());
    while connection.receive(&mut [0; 65536]).unwrap().is_some() {}
    drop(connection);
    let mut last = Vec::new();
    client.read_to_end(&mut last).unwrap();
    assert_eq!(last, b"alert");
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let reactor = Reactor::new().unwrap();
    let taken = Listener::open(&reactor, &Host::named("127.0.0.1", 0).unwrap()).unwrap();
    let host = Host::Addresses(vec![taken.address()]);
    let failure = Listener::open(&reactor, &host).unwrap_err();
    assert!(failure.taken && !failure.missing);
    assert!(failure.reason.starts_with(&format!("{}: bind: Address", taken.address())), "{failure:?}");
    assert!(Listener::open(&reactor, &Host::Addresses(Vec::new())).is_err());
}

#[test]
fn an_interface_that_is_not_there_is_told_apart() {
    let reactor = Reactor::new().unwrap();
    let host = Host::named("fe80::1%no-such-one", 3121).unwrap();
    assert!(matches!(&host, Host::On(_, interface, 3121) if interface == "no-such-one"));
    let failure = Listener::open(&reactor, &host).unwrap_err();
    if has_ipv6() {
        assert!(failure.missing && !failure.taken, "{failure:?}");
    }
    assert!(failure.reason.starts_with("[fe80::1%no-such-one]:3121: interface: "), "{failure:?}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn without_ipv6_everything_is_ipv4() {
    isolated(|| {
        refuse_ipv6();
        let reactor = Reactor::new().unwrap();
        let listener = Listener::open(&reactor, &Host::any(0)).unwrap();
        assert!(listener.address().is_ipv4() && !listener.is_absent());
        TcpStream::connect((Ipv4Addr::LOCALHOST, listener.address().port())).unwrap();
        let failure = Listener::open(&reactor, &Host::named("::1", 0).unwrap()).unwrap_err();
        assert!(failure.reason.contains("[::1]:0: socket: Address family not supported"), "{failure:?}");
    });
}

#[test]
fn ipv6_is_tried_first_and_ipv4_is_good_enough() {
    let reactor = Reactor::new().unwrap();
    // TEST-NET and documentation addresses belong to no machine.
    let addresses = ["192.0.2.1:0", "[2001:db8::1]:0", "127.0.0.1:0"].map(|text| text.parse().unwrap());
    let listener = Listener::open(&reactor, &Host::Addresses(addresses.to_vec())).unwrap();
    assert!(listener.address().is_ipv4() && !listener.is_absent());
    // None of them now, but perhaps later.
    let listener = Listener::open(&reactor, &Host::Addresses(addresses[..2].to_vec())).unwrap();
    assert!(listener.is_absent());
    let expected = if has_ipv6() { addresses[1] } else { addresses[0] };
    assert_eq!(listener.address().ip(), expected.ip());
}
