//! What tools connect to, and who they are.

/// What a tool can connect to (ipc.md section C.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The executor's own requests.
    Lrmd,
    /// The CIB.
    CibRo,
    /// The CIB.
    CibRw,
    /// The CIB; the cluster is told `cib_rw`.
    CibShm,
    /// Node attributes.
    Attrd,
    /// The fencer.
    StonithNg,
    /// The controller.
    Crmd,
    /// Refuses everybody.
    Pacemakerd,
}

impl Name {
    /// All, in the order in which they are opened.
    pub const ALL: [Self; 8] = [
        Self::Lrmd,
        Self::CibRo,
        Self::CibRw,
        Self::CibShm,
        Self::Attrd,
        Self::StonithNg,
        Self::Pacemakerd,
        Self::Crmd,
    ];

    /// As libqb has it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Lrmd => "lrmd",
            Self::CibRo => "cib_ro",
            Self::CibRw => "cib_rw",
            Self::CibShm => "cib_shm",
            Self::Attrd => "attrd",
            Self::StonithNg => "stonith-ng",
            Self::Crmd => "crmd",
            Self::Pacemakerd => "pacemakerd",
        }
    }

    /// What the cluster calls it, if it is served by the cluster.
    pub const fn channel(self) -> Option<&'static str> {
        match self {
            Self::Lrmd | Self::Pacemakerd => None,
            Self::CibShm => Some("cib_rw"),
            Self::CibRo | Self::CibRw | Self::Attrd | Self::StonithNg | Self::Crmd => Some(self.text()),
        }
    }
}

/// Who connects, as the kernel and /etc/passwd say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its process; 0 when it is not in this process's namespace.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// The user's name, if it has one (ipc.md section C.7).
    pub user: Option<String>,
    /// Whether the files of a session could be opened by it (ipc.md section A.3). Whoever cannot is told so, and nobody
    /// else hears of it: else any user could make the daemon and the cluster work.
    pub may_open: bool,
}

impl Client {
    /// Whether it may ask the executor to change something (ipc.md section C.6).
    pub fn is_privileged(&self) -> bool {
        self.uid == 0 || self.user.as_deref() == Some("hacluster")
    }

    /// The user's name as the cluster is told it.
    pub fn user_text(&self) -> &str {
        self.user.as_deref().unwrap_or("#unprivileged")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_knows_one_writable_cib() {
        assert_eq!(Name::CibShm.channel(), Some("cib_rw"));
        assert_eq!((Name::Lrmd.channel(), Name::Pacemakerd.channel()), (None, None));
        for name in [Name::CibRo, Name::CibRw, Name::Attrd, Name::StonithNg, Name::Crmd] {
            assert_eq!(name.channel(), Some(name.text()));
        }
        assert_eq!(Name::ALL.map(Name::text).iter().collect::<std::collections::BTreeSet<_>>().len(), 8);
    }

    #[test]
    fn root_and_hacluster_are_privileged() {
        let client =
            |uid, user: Option<&str>| Client { pid: 1, uid, user: user.map(str::to_owned), may_open: true };
        assert!(client(0, None).is_privileged() && client(190, Some("hacluster")).is_privileged());
        assert!(!client(1000, Some("root")).is_privileged() && !client(1000, None).is_privileged());
        assert_eq!(client(1000, None).user_text(), "#unprivileged");
    }
}
