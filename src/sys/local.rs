//! Stream sockets that local tools connect to by an abstract name (ipc.md section A).
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
};

use super::Errno;
use super::reactor::{Class, Interest, Reactor, Source};

/// How many connections the kernel holds for us.
const BACKLOG: i32 = 128;
/// The bytes of a name: the whole address after the zero that makes it abstract.
const NAME_LEN: usize = 107;
/// The longest name; libqb cuts longer ones.
const NAME_LIMIT: usize = 106;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    source: Source,
}

impl Listener {
    /// Listens on the abstract name `name`.
    ///
    /// # Errors
    /// The step that failed, and why: EADDRINUSE when another daemon has the name, ENAMETOOLONG.
    pub fn open(reactor: &Rc<Reactor>, name: &str) -> Result<Self, (&'static str, Errno)> {
        let address = address(name).map_err(|errno| ("name", errno))?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|errno| ("socket", errno))?;
        net::bind(&fd, &address).map_err(|errno| ("bind", errno))?;
        net::listen(&fd, BACKLOG).map_err(|errno| ("listen", errno))?;
        let source = Source::new(reactor, fd, Class::Patient, Interest::Read);
        Ok(Self { source: source.map_err(|errno| ("epoll", errno))? })
    }

    /// Waits until [`Listener::accept`] is worth a call.
    pub async fn ready(&self) {
        self.source.readable().await;
    }

    /// Lets everything more urgent go first.
    pub async fn pass_turn(&self) {
        self.source.pass_turn().await;
    }

    /// The next connection; `None` when nobody waits.
    ///
    /// # Errors
    /// ENFILE, EMFILE, ENOBUFS, ENOMEM: there is no room now, and the connection stays in the backlog.
    pub fn accept(&self) -> Result<Option<OwnedFd>, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let mut accepted = None;
        self.source.attempt_read(1, |fd| {
            accepted = Some(net::accept_with(fd, flags)?);
            Ok(1)
        })?;
        Ok(accepted)
    }
}

/// The address that libqb uses for a name: filled up with zeros, which belong to the name.
fn address(name: &str) -> Result<SocketAddrUnix, Errno> {
    let mut padded = [0; NAME_LEN];
    match padded.get_mut(..name.len()) {
        Some(start) if name.len() <= NAME_LIMIT => start.copy_from_slice(name.as_bytes()),
        _ => return Err(Errno::NAMETOOLONG),
    }
    SocketAddrUnix::new_abstract_name(&padded)
}

/// Who is at the other end, as the kernel noted it when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process; 0 when it is not in this process's namespace.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// A tool's connection.
#[derive(Debug)]
pub struct Connection {
    source: Source,
    peer: Peer,
}

impl Connection {
    /// Takes an accepted socket over.
    ///
    /// # Errors
    /// The step that failed, and why.
    pub fn new(reactor: &Rc<Reactor>, fd: OwnedFd) -> Result<Self, (&'static str, Errno)> {
        let peer = peer(&fd).map_err(|errno| ("SO_PEERCRED", errno))?;
        let source = Source::new(reactor, fd, Class::Patient, Interest::ReadWrite);
        Ok(Self { source: source.map_err(|errno| ("epoll", errno))?, peer })
    }

    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The number of the descriptor: unlike any other connection's while this one lives.
    pub fn number(&self) -> i32 {
        use std::os::fd::AsFd;
        self.source.as_fd().as_raw_fd()
    }

    /// The watched socket, to wait for.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Takes what has come: the number of bytes, 0 at the end, `None` when nothing is there now.
    ///
    /// # Errors
    /// What ended the connection.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
        self.source.attempt_read(buffer.len(), |fd| {
            net::recv(fd, &mut *buffer, RecvFlags::DONTWAIT).map(|(count, _)| count)
        })
    }

    /// Gives the socket as much as it takes: `None` when that is nothing now.
    ///
    /// # Errors
    /// What ended the connection: EPIPE is ordinary with tools that live for a moment.
    pub fn send(&self, bytes: &[u8]) -> Result<Option<usize>, Errno> {
        self.source.attempt_write(|fd| net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A child that was forked a moment ago may hold the descriptor still; the tool is to see the end.
        let _ = net::shutdown(&self.source, Shutdown::Both);
    }
}

/// Asks the kernel who is at the other end. Not by `rustix`, whose type cannot hold a process 0.
fn peer(fd: &OwnedFd) -> Result<Peer, Errno> {
    let mut credentials = MaybeUninit::<libc::ucred>::zeroed();
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: place and length belong together, and the kernel writes no more than that.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            credentials.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if result != 0 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
    }
    // SAFETY: three integers, zero or what the kernel wrote: every value is valid.
    let libc::ucred { pid, uid, gid } = unsafe { credentials.assume_init() };
    Ok(Peer { pid, uid, gid })
}

#[cfg(test)]
mod tests {
    use std::process;

    use rustix::process::{getegid, geteuid};
    use smol::LocalExecutor;

    use super::super::testing::block_on;
    use super::*;

    fn connect(name: &str) -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::CLOEXEC;
        let client = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        net::connect(&client, &address(name)?)?;
        Ok(client)
    }

    #[test]
    fn who_connects_is_known() {
        let reactor = Reactor::new().unwrap();
        let name = format!("pacelet-local-{}", process::id());
        let listener = Listener::open(&reactor, &name).unwrap();
        assert!(matches!(listener.accept(), Ok(None)));
        let client = connect(&name).unwrap();
        let executor = LocalExecutor::new();
        block_on(&reactor, &executor, async {
            listener.ready().await;
            let fd = listener.accept().unwrap().unwrap();
            let connection = Connection::new(&reactor, fd).unwrap();
            let expected =
                Peer { pid: process::id() as i32, uid: geteuid().as_raw(), gid: getegid().as_raw() };
            assert_eq!(connection.peer(), expected);

            let mut buffer = [0; 8];
            net::send(&client, b"ask", SendFlags::empty()).unwrap();
            connection.source().readable().await;
            assert_eq!(connection.receive(&mut buffer), Ok(Some(3)));
            assert_eq!(connection.send(b"answer"), Ok(Some(6)));
            assert_eq!(net::recv(&client, &mut buffer, RecvFlags::empty()).unwrap().1, 6);
            drop(connection);
            assert_eq!(net::recv(&client, &mut buffer, RecvFlags::empty()).unwrap().1, 0);
        });
    }

    #[test]
    fn a_name_is_the_whole_address() {
        let reactor = Reactor::new().unwrap();
        let name = format!("pacelet-name-{}", process::id());
        let listener = Listener::open(&reactor, &name).unwrap();
        let error = Listener::open(&reactor, &name).unwrap_err();
        assert_eq!(error, ("bind", Errno::ADDRINUSE));
        // Without the zeros it is another name.
        let client =
            net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let short = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
        assert_eq!(net::connect(&client, &short), Err(Errno::CONNREFUSED));
        assert!(connect(&name).is_ok());
        drop(listener);
        assert!(connect(&name).is_err());
    }

    #[test]
    fn names_have_an_end() {
        let reactor = Reactor::new().unwrap();
        let longest = format!("{:x<1$}", process::id(), NAME_LIMIT);
        assert!(Listener::open(&reactor, &longest).is_ok());
        let error = Listener::open(&reactor, &format!("{longest}x")).unwrap_err();
        assert_eq!(error, ("name", Errno::NAMETOOLONG));
    }
}
