//! Who may use a session's files: this is the access control (ipc.md section A.3).

pub use crate::sys::local::Peer;

/// Owner and mode of a session's files and of the directory that holds them. The owner is always
/// root, other than in libqb: a client that owned the directory could swap what is in it.
///
/// | client uid | group    | files | directory |
/// |------------|----------|-------|-----------|
/// | 0          | its own  | 0600  | 0700      |
/// | any other  | haclient | 0660  | 0750      |
///
/// A client outside the group gets a successful answer, and EACCES when it opens the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The group of files and directory.
    pub group: u32,
    /// Mode of the files.
    pub files: u32,
    /// Mode of the directory.
    pub directory: u32,
}

impl Access {
    /// The files for a client; `haclient` is that group's number, if there is such a group.
    pub fn of(peer: Peer, haclient: Option<u32>) -> Self {
        match haclient {
            Some(group) if peer.uid != 0 => Self { group, files: 0o660, directory: 0o750 },
            _ => Self { group: peer.gid, files: 0o600, directory: 0o700 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_haclient_get_in() {
        let of = |uid, gid, haclient| Access::of(Peer { pid: 1, uid, gid }, haclient);
        assert_eq!(of(0, 7, Some(5)), Access { group: 7, files: 0o600, directory: 0o700 });
        assert_eq!(of(6, 7, Some(5)), Access { group: 5, files: 0o660, directory: 0o750 });
        assert_eq!(of(6, 7, None), Access { group: 7, files: 0o600, directory: 0o700 });
    }
}
