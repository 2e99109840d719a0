//! Stream sockets that local tools connect to by an abstract name, or by a path (ipc.md section A), and those by which
//! the daemon connects to others.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
};

use super::Errno;
use super::reactor::{Class, Interest, Reactor, Source};
use crate::log::Escaped;

/// How many connections the kernel holds for us.
const BACKLOG: i32 = 128;
/// The bytes of a name: the whole address after the zero that makes it abstract.
const NAME_LEN: usize = 107;
/// The longest name; libqb cuts longer ones.
const NAME_LIMIT: usize = 106;

/// Everybody may connect; what protects a session is who may open its files.
const FOR_ALL: Mode = Mode::from_raw_mode(0o777);

/// `SO_PEERGROUPS`, on all CPUs that pacelet is built for: libc has no name for it.
const PEER_GROUPS: libc::c_int = 59;
/// How many groups are asked for at first; hardly anybody has more.
const GROUPS: usize = 32;
/// How many a process can have.
const GROUPS_LIMIT: usize = 65_536;

/// A listening socket. Dropping it removes its file, if it has one.
#[derive(Debug)]
pub struct Listener {
    source: Source,
    path: Option<CString>,
}

/// Why nobody can connect.
#[derive(Debug)]
pub struct ListenFailure {
    /// The step, the error, and who has the name, for people.
    pub reason: String,
    /// Somebody else has the name.
    pub taken: bool,
}

impl Listener {
    /// Listens on the abstract name `name`, or on a file of that name in `directory`. A file that a dead server left
    /// there is replaced.
    ///
    /// # Errors
    /// See [`ListenFailure`].
    pub fn open(reactor: &Rc<Reactor>, name: &str, directory: Option<&Path>) -> Result<Self, ListenFailure> {
        let path = directory.map(|directory| directory.join(name));
        let failure = |(step, errno): (&str, Errno), holder: Option<String>| {
            let place = match &path {
                Some(path) => format!("the socket {}", Escaped(path.as_os_str().as_bytes())),
                None => format!("the abstract socket {name}"),
            };
            let holder = holder.map(|holder| format!("; held by {holder}")).unwrap_or_default();
            let reason = format!("{place}: {step}: {}{holder}", io::Error::from(errno));
            ListenFailure { reason, taken: errno == Errno::ADDRINUSE }
        };
        let address = match &path {
            Some(path) => SocketAddrUnix::new(path),
            None => address(name),
        };
        let address = address.map_err(|errno| failure(("name", errno), None))?;
        let path = path.as_ref().and_then(|path| CString::new(path.as_os_str().as_bytes()).ok());
        match Self::listen(reactor, &address, path) {
            Ok(listener) => Ok(listener),
            Err(error @ (_, Errno::ADDRINUSE)) => Err(failure(error, holder(&address))),
            Err(error) => Err(failure(error, None)),
        }
    }

    fn listen(
        reactor: &Rc<Reactor>,
        address: &SocketAddrUnix,
        path: Option<CString>,
    ) -> Result<Self, (&'static str, Errno)> {
        let fd = socket().map_err(|errno| ("socket", errno))?;
        match (net::bind(&fd, address), &path) {
            (Err(Errno::ADDRINUSE), Some(path)) if is_abandoned(path, address) => {
                fs::unlink(path).map_err(|errno| ("unlink", errno))?;
                net::bind(&fd, address)
            }
            (bound, _) => bound,
        }
        .map_err(|errno| ("bind", errno))?;
        let source = Source::new(reactor, fd, Class::Patient, Interest::Read);
        // From here on the file goes with it.
        let listener = Self { source: source.map_err(|errno| ("epoll", errno))?, path };
        if let Some(path) = &listener.path {
            // In a directory that others may write to it is sticky: they cannot put another file there.
            fs::chmod(path, FOR_ALL).map_err(|errno| ("chmod", errno))?;
        }
        net::listen(&listener.source, BACKLOG).map_err(|errno| ("listen", errno))?;
        Ok(listener)
    }

    /// Removes the socket's file, if it is one: nobody can connect any more.
    pub fn remove_file(&self) {
        if let Some(path) = &self.path {
            let _ = fs::unlink(path);
        }
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

impl Drop for Listener {
    fn drop(&mut self) {
        self.remove_file();
    }
}

fn socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Whether a file is a socket that nobody listens on.
fn is_abandoned(path: &CString, address: &SocketAddrUnix) -> bool {
    let is_socket =
        fs::lstat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket);
    is_socket && socket().is_ok_and(|fd| net::connect(&fd, address) == Err(Errno::CONNREFUSED))
}

/// Who listens there, as the kernel noted it: its number and what it calls itself.
fn holder(address: &SocketAddrUnix) -> Option<String> {
    let fd = socket().ok()?;
    net::connect(&fd, address).ok()?;
    let pid = peer(&fd).ok()?.pid;
    if pid <= 0 {
        return Some("a process of another namespace".to_owned());
    }
    let mut name = [0; 32];
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let count = fs::open(format!("/proc/{pid}/comm"), flags, Mode::empty())
        .and_then(|file| rustix::io::read(file, &mut name))
        .unwrap_or(0);
    let name = Escaped(name.get(..count).unwrap_or_default().trim_ascii());
    Some(format!("process {pid} ({name})"))
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

/// A tool's connection, or the daemon's own to another server.
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

    /// Connects to a server that listens on the file `path`; it never waits.
    ///
    /// # Errors
    /// The step that failed, and why: EAGAIN if too many wait there already.
    pub fn open(reactor: &Rc<Reactor>, path: &Path) -> Result<Self, (&'static str, Errno)> {
        let address = SocketAddrUnix::new(path).map_err(|errno| ("name", errno))?;
        let fd = socket().map_err(|errno| ("socket", errno))?;
        net::connect(&fd, &address).map_err(|errno| ("connect", errno))?;
        Self::new(reactor, fd)
    }

    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The number of the descriptor: unlike any other connection's while this one lives.
    pub fn number(&self) -> i32 {
        self.source.as_fd().as_raw_fd()
    }

    /// The watched socket, to wait for.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Lets the tool see the end, and the task that waits for [`Connection::source`], too.
    pub fn hang_up(&self) {
        let _ = net::shutdown(&self.source, Shutdown::Both);
    }

    /// Whether the other end had a group beside its effective one when it connected; `None` if the kernel, one before
    /// 4.13, does not tell.
    pub fn has_group(&self, group: u32) -> Option<bool> {
        groups(self.source.as_fd()).ok().map(|groups| groups.contains(&group))
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
        self.hang_up();
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

/// The groups of who is at the other end, beside its effective one.
fn groups(fd: BorrowedFd<'_>) -> Result<Vec<u32>, Errno> {
    let mut groups = vec![0_u32; GROUPS];
    loop {
        let mut len = (groups.len() * size_of::<u32>()) as libc::socklen_t;
        let (fd, place) = (fd.as_raw_fd(), groups.as_mut_ptr().cast());
        // SAFETY: place and length belong together, and the kernel writes no more than that.
        let result = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, PEER_GROUPS, place, &mut len) };
        let told = len as usize / size_of::<u32>();
        if result == 0 {
            groups.truncate(told);
            return Ok(groups);
        }
        let error = std::io::Error::last_os_error();
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::INVAL);
        // Of more groups it says how many there are.
        if errno != Errno::RANGE || !(groups.len() + 1..=GROUPS_LIMIT).contains(&told) {
            return Err(errno);
        }
        groups.resize(told, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::process;

    use rustix::process::{getegid, geteuid, getgroups};
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
        let listener = Listener::open(&reactor, &name, None).unwrap();
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
            let own: Vec<_> = getgroups().unwrap().into_iter().map(|group| group.as_raw()).collect();
            assert!(own.iter().all(|&group| connection.has_group(group) == Some(true)));
            let other = (1..).find(|group| !own.contains(group)).unwrap();
            assert_eq!(connection.has_group(other), Some(false));

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
        let listener = Listener::open(&reactor, &name, None).unwrap();
        let error = Listener::open(&reactor, &name, None).unwrap_err();
        assert!(error.taken);
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        let holder = format!("held by process {} ({})", process::id(), comm.trim_end());
        let start = format!("the abstract socket {name}: bind: ");
        assert!(error.reason.starts_with(&start) && error.reason.ends_with(&holder), "{}", error.reason);
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
        assert!(Listener::open(&reactor, &longest, None).is_ok());
        let error = Listener::open(&reactor, &format!("{longest}x"), None).unwrap_err();
        assert!(!error.taken && error.reason.contains(": name: "), "{}", error.reason);
    }

    fn connect_to(path: &Path) -> Result<OwnedFd, Errno> {
        let client = socket()?;
        net::connect(&client, &SocketAddrUnix::new(path)?)?;
        Ok(client)
    }

    #[test]
    fn a_socket_may_be_a_file() {
        use std::os::unix::fs::PermissionsExt;
        let reactor = Reactor::new().unwrap();
        let directory = std::env::temp_dir().join(format!("pacelet-sockets-{}", process::id()));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("crmd");
        let open = || Listener::open(&reactor, "crmd", Some(&directory));

        let listener = open().unwrap();
        assert!(connect_to(&path).is_ok());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o777);
        let error = open().unwrap_err();
        let holder = format!("held by process {} (", process::id());
        assert!(error.taken && error.reason.contains(&holder), "{}", error.reason);
        assert!(error.reason.starts_with(&format!("the socket {}: bind: ", path.display())));
        drop(listener);
        assert!(!path.exists());

        // What a dead server left is replaced; anything else is not.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert_eq!(connect_to(&path).map(drop), Err(Errno::CONNREFUSED));
        drop(open().unwrap());
        std::fs::write(&path, "precious").unwrap();
        assert!(open().unwrap_err().taken);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(!open().unwrap_err().taken);
    }
}
