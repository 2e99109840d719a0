//! The rings of one session as files in `/dev/shm`.

use std::ffi::{CStr, CString};

use rand_core::CryptoRngCore;

use super::access::{Access, Peer};
use super::memory::{Fault, Memory};
use super::session::Session;
use crate::sys::Errno;
pub use crate::sys::shm::Failure;
use crate::sys::shm::{Directory, File, Mapping, Share};
use crate::wire::qb::{Machine, PATH_LIMIT, RingHeader};
use crate::wire::ring::Geometry;

/// The rings in the order in which a connection response names them.
pub(super) const RINGS: [&str; 3] = ["request", "response", "event"];
/// How many random characters end a directory's name.
const SUFFIX: usize = 6;
/// How many names are tried. Others may make directories in `/dev/shm`, too, but cannot guess.
const ATTEMPTS: usize = 16;

/// What a session's files are named after, as libqb does it: the name tells an administrator whose
/// they are, and a sweep whether their server still lives.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// An absolute directory on a memory file system, sticky: `/dev/shm`.
    pub parent: &'a CStr,
    /// The server's name, such as `cib_rw`.
    pub server: &'a str,
    /// This process.
    pub pid: u32,
    /// The client.
    pub peer: Peer,
    /// The number of its connection's descriptor.
    pub number: i32,
}

/// A session's files. Dropping this removes them; whoever has them open keeps them.
#[derive(Debug)]
pub struct Rings {
    /// What is to be told to the client: the paths of the request, response and event ring.
    pub paths: [Vec<u8>; 3],
    _directory: Directory,
}

/// Makes the three rings of a session: all that is left to do then is to tell the client.
///
/// # Errors
/// What failed; ENOSPC and ENOMEM when there is no memory, ENAMETOOLONG when the place has too long
/// a name. Nothing stays behind.
pub fn create(
    place: Place<'_>,
    access: Access,
    geometry: Geometry,
    entropy: &mut dyn CryptoRngCore,
) -> Result<(Session<Shared>, Rings), Failure> {
    let (mut directory, path) = directory(place, access, entropy)?;
    let paths = RINGS.map(|ring| format!("{path}/qb-{ring}-{}", place.server).into_bytes());
    let mut ring = |index: usize| -> Result<Shared, Failure> {
        let path = paths.get(index).map(Vec::as_slice).unwrap_or_default();
        Shared::create(&mut directory, path, geometry, Share { group: access.group, mode: access.files })
    };
    let rings = [ring(0)?, ring(1)?, ring(2)?];
    Ok((Session::new(rings, geometry, Machine::NATIVE), Rings { paths, _directory: directory }))
}

fn directory(
    place: Place<'_>,
    access: Access,
    entropy: &mut dyn CryptoRngCore,
) -> Result<(Directory, String), Failure> {
    let share = Share { group: access.group, mode: access.directory };
    let mut attempt = 0;
    loop {
        let Place { pid, peer, number, .. } = place;
        let name = format!("qb-{pid}-{}-{number}-{}", peer.pid, suffix(entropy));
        let path = format!("{}/{name}", place.parent.to_string_lossy());
        let name = text(name.as_bytes())?;
        match Directory::create(place.parent, &name, share) {
            Ok(directory) => return Ok((directory, path)),
            Err(failure) if failure.errno == Errno::EXIST && attempt < ATTEMPTS => attempt += 1,
            Err(failure) => return Err(failure),
        }
    }
}

/// Characters that are fine in a file's name; a slight bias does no harm to what only has to be rare.
fn suffix(entropy: &mut dyn CryptoRngCore) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; SUFFIX];
    entropy.fill_bytes(&mut bytes);
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}

fn text(bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|_| Failure { step: "name", path: CString::default(), errno: Errno::INVAL })
}

/// A ring in shared memory.
#[derive(Debug)]
pub struct Shared {
    header: Mapping,
    data: File,
}

impl Shared {
    fn create(
        directory: &mut Directory,
        path: &[u8],
        geometry: Geometry,
        share: Share,
    ) -> Result<Self, Failure> {
        let header_path = [path, b"-header"].concat();
        let data_path = [path, b"-data"].concat();
        if header_path.len() > PATH_LIMIT {
            return Err(Failure { step: "name", path: text(path)?, errno: Errno::NAMETOOLONG });
        }
        let layout = RingHeader::of(Machine::NATIVE);
        let content = layout.encode(geometry.words(), &header_path, &data_path);
        let header = directory.file(&base(&header_path)?, &content, content.len(), share)?;
        let data = directory.file(&base(&data_path)?, &[], geometry.len(), share)?;
        let mapped = Mapping::new(&header, layout.len());
        let header = match mapped {
            Ok(header) => header,
            Err(errno) => return Err(Failure { step: "map", path: text(&header_path)?, errno }),
        };
        Ok(Self { header, data })
    }
}

/// The last part of a path.
fn base(path: &[u8]) -> Result<CString, Failure> {
    text(path.rsplit(|&byte| byte == b'/').next().unwrap_or_default())
}

impl Memory for Shared {
    fn load(&self, offset: usize) -> u32 {
        self.header.load(offset)
    }

    fn store(&self, offset: usize, value: u32) {
        self.header.store(offset, value);
    }

    fn add(&self, offset: usize, value: u32) {
        self.header.add(offset, value);
    }

    fn wake(&self, offset: usize) {
        // Whoever is not woken looks again after a second or two.
        self.header.wake(offset);
    }

    fn is_cut(&self) -> bool {
        self.header.is_lost()
    }

    fn read(&self, at: usize, into: &mut [u8]) -> Result<(), Fault> {
        match self.data.read(at, into) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fault::Cut),
            Err(errno) => Err(Fault::Sys(errno)),
        }
    }

    fn write(&self, at: usize, bytes: &[u8]) -> Result<(), Fault> {
        self.data.write(at, bytes).map_err(Fault::Sys)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::PathBuf;

    use super::super::ring::{Breach, Trouble, Written};
    use super::*;
    use crate::sys::entropy::Entropy;

    const PEER: Peer = Peer { pid: 77, uid: 1, gid: 1 };

    struct Parent(PathBuf);

    impl Parent {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pacelet-rings-{test}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn create(&self, server: &str) -> Result<(Session<Shared>, Rings), Failure> {
            let parent = CString::new(self.0.to_str().unwrap()).unwrap();
            let group = std::fs::metadata(&self.0).unwrap().gid();
            let access = Access { group, files: 0o660, directory: 0o750 };
            let place = Place { parent: &parent, server, pid: 5, peer: PEER, number: 9 };
            create(place, access, Geometry::new(131_072, 4096), &mut Entropy::new())
        }
    }

    impl Drop for Parent {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn text(bytes: &[u8], at: usize) -> &str {
        let bytes = &bytes[at..];
        std::str::from_utf8(&bytes[..bytes.iter().position(|&byte| byte == 0).unwrap()]).unwrap()
    }

    #[test]
    fn a_client_finds_all_by_the_paths() {
        let parent = Parent::new("paths");
        let (mut session, rings) = parent.create("cib_rw").unwrap();
        assert_eq!(session.respond(&[b"head", b"body"]), Ok(Written::Done));
        let data = std::fs::read(format!("{}-data", std::str::from_utf8(&rings.paths[1]).unwrap())).unwrap();
        assert_eq!(&data[8..16], b"headbody");
        for (path, name) in rings.paths.iter().zip(RINGS) {
            let path = std::str::from_utf8(path).unwrap();
            let (directory, file) = path.rsplit_once('/').unwrap();
            assert_eq!(file, format!("qb-{name}-cib_rw"));
            let (start, suffix) = directory.rsplit_once('-').unwrap();
            assert_eq!(start, format!("{}/qb-5-77-9", parent.0.display()));
            assert_eq!(suffix.len(), SUFFIX);

            let header = std::fs::read(format!("{path}-header")).unwrap();
            assert_eq!(header.len(), if size_of::<usize>() == 8 { 8252 } else { 8236 });
            assert_eq!(header[8..12], (135_168_u32 / 4).to_ne_bytes());
            assert_eq!(text(&header, 12), format!("{path}-header"));
            let data = text(&header, 4108);
            assert_eq!(data, format!("{path}-data"));
            let metadata = std::fs::metadata(data).unwrap();
            assert_eq!((metadata.len(), metadata.permissions().mode() & 0o7777), (135_168, 0o660));
            assert!(metadata.blocks() * 512 >= 135_168);
        }
    }

    #[test]
    fn a_header_cut_short_ends_the_session_and_not_the_process() {
        let parent = Parent::new("bus");
        for ring in 0..3 {
            let (mut session, rings) = parent.create("crmd").unwrap();
            let path = format!("{}-header", std::str::from_utf8(&rings.paths[ring]).unwrap());
            std::fs::File::create(path).unwrap();
            let results = [
                session.next_request(&mut Vec::new()).map(drop),
                session.respond(&[b""]).map(drop),
                session.notify(&[b""]).map(drop),
            ];
            for (index, result) in results.into_iter().enumerate() {
                let expected = if index == ring { Err(Trouble::Peer(Breach::Cut)) } else { Ok(()) };
                assert_eq!(result, expected, "ring {ring}, call {index}");
            }
        }
    }

    #[test]
    fn nothing_is_left_of_a_session() {
        let parent = Parent::new("left");
        let (one, two) = (parent.create("attrd").unwrap(), parent.create("attrd").unwrap());
        assert_ne!(one.1.paths, two.1.paths);
        drop((one, two));
        assert_eq!(std::fs::read_dir(&parent.0).unwrap().count(), 0);
    }

    #[test]
    fn a_place_with_too_long_a_name_is_refused_and_nothing_is_left() {
        let parent = Parent::new("long");
        let failure = parent.create(&"x".repeat(PATH_LIMIT)).map(drop).unwrap_err();
        assert_eq!(failure.errno, Errno::NAMETOOLONG);
        assert_eq!(std::fs::read_dir(&parent.0).unwrap().count(), 0);
    }
}
