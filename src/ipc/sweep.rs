//! What servers of these names left in shared memory when they were killed.

use std::ffi::CStr;

use super::files::RINGS;
use crate::sys::Errno;
use crate::sys::shm;

/// A walk over the place where sessions have their files, in steps: it removes what dead servers left.
#[derive(Debug)]
pub struct Sweep {
    walk: shm::Sweep,
    servers: Vec<&'static str>,
}

impl Sweep {
    /// For the files of servers of these names; `parent` as in [`Place`](super::Place).
    ///
    /// # Errors
    /// What opening the directory says.
    pub fn open(parent: &CStr, servers: Vec<&'static str>) -> Result<Self, Errno> {
        Ok(Self { walk: shm::Sweep::open(parent)?, servers })
    }

    /// Looks at some more directories; `false` at the end.
    pub fn step(&mut self) -> bool {
        let servers = &self.servers;
        self.walk.step(&|name| is_of(name, servers))
    }

    /// How many directories it has removed.
    pub fn removed(&self) -> usize {
        self.walk.removed()
    }
}

/// Whether a file is called like one of those that [`create`](super::create) makes.
fn is_of(name: &[u8], servers: &[&str]) -> bool {
    let server = (|| {
        let rest = name.strip_prefix(b"qb-")?;
        let rest = RINGS.iter().find_map(|ring| rest.strip_prefix(ring.as_bytes()))?.strip_prefix(b"-")?;
        rest.strip_suffix(b"-header").or_else(|| rest.strip_suffix(b"-data"))
    })();
    server.is_some_and(|server| servers.iter().any(|name| name.as_bytes() == server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_files_are_known_by_their_names() {
        let servers = ["cib_rw", "stonith-ng"];
        for name in ["qb-request-cib_rw-header", "qb-response-stonith-ng-data", "qb-event-cib_rw-data"] {
            assert!(is_of(name.as_bytes(), &servers), "{name}");
        }
        for name in [
            "qb-request-cmap-header",
            "qb-request-cib_rw",
            "request-cib_rw-data",
            "qb-event--data",
            "qb-data",
        ] {
            assert!(!is_of(name.as_bytes(), &servers), "{name}");
        }
    }
}
