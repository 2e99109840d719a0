//! What is said about the sessions of local tools.

use std::path::PathBuf;

use super::{Machine, Reader};
use crate::ipc::{MESSAGE_LIMIT, granule};
use crate::line;
use crate::proxy::Limits;
use crate::wire::qb::RESPONSE_LEN;

/// The most shared memory that sessions get if nothing else is said, in bytes…
const MEMORY: u64 = 128 << 20;
/// …and the least: enough for a few.
const LEAST_MEMORY: u64 = 4 << 20;
/// More than any machine has.
const MOST_MEMORY: u64 = 1 << 40;

impl Reader {
    /// What sessions may take; `None` if there are to be none.
    pub(super) fn tools(&mut self, machine: &Machine) -> Option<Limits> {
        // Looked at even if they have no effect, so that mistakes are named.
        let longest = self.longest();
        let memory = self.memory(machine);
        self.check_transport();
        let limits = Limits { memory, longest, granule: granule(machine.page_size) };
        let value = self.own("tools").unwrap_or_default();
        match value.to_ascii_lowercase().as_slice() {
            b"no" | b"false" | b"off" | b"n" | b"0" => return None,
            b"" | b"yes" | b"true" | b"on" | b"y" | b"1" => {}
            _ => self.warn("PACELET_tools", &value, "yes or no", "serving tools"),
        }
        Some(limits)
    }

    /// Where the sockets of tools are files, if they are (ipc.md section A.1).
    pub(super) fn socket_directory(&mut self, machine: &Machine) -> Option<PathBuf> {
        let value = self.own("socket_dir");
        // It is an option of how libqb was built.
        let usual = if is_debian(&machine.os_release) { "/tmp" } else { "/var/run" };
        let directory = match value {
            Some(value) if value.starts_with(b"/") => {
                String::from_utf8(value).map_or(usual.into(), PathBuf::from)
            }
            Some(value) if !value.is_empty() => {
                self.warn("PACELET_socket_dir", &value, "an absolute path", &format!("using {usual}"));
                usual.into()
            }
            _ => usual.into(),
        };
        machine.has_file_sockets.then_some(directory)
    }

    /// The longest message for tools that ask for less.
    fn longest(&mut self) -> Option<u32> {
        let value = self.option("ipc_buffer")?.to_vec();
        let asked = number(&value);
        let (least, most) = (RESPONSE_LEN as u64, u64::from(MESSAGE_LIMIT));
        let taken = asked.map(|asked| asked.clamp(least, most));
        if taken != asked || asked.is_none() {
            let wanted = format!("a number of bytes from {least} to {most}");
            let instead = taken.map_or_else(|| "ignoring it".to_owned(), |taken| format!("taking {taken}"));
            self.warn("PCMK_ipc_buffer", &value, &wanted, &instead);
        }
        taken.and_then(|taken| u32::try_from(taken).ok())
    }

    /// Only one transport works with all tools (ipc.md section 0).
    fn check_transport(&mut self) {
        let Some(value) = self.option("ipc_type").map(<[u8]>::to_vec) else { return };
        if !["shared-mem", "shm"].iter().any(|known| value.eq_ignore_ascii_case(known.as_bytes())) {
            self.warn("PCMK_ipc_type", &value, "shared-mem, which all tools take", "using shared memory");
        }
    }

    /// Bytes of shared memory for all sessions.
    fn memory(&mut self, machine: &Machine) -> u64 {
        let limits = [
            (machine.shared_memory.map(|free| free / 2), "half of what is free in /dev/shm"),
            (machine.memory_limit.map(|limit| limit / 4), "a quarter of the control group's memory limit"),
        ];
        let (mut usual, mut why) = (MEMORY, "");
        for (bytes, reason) in limits {
            if let Some(bytes) = bytes.filter(|&bytes| bytes < usual) {
                (usual, why) = (bytes.max(LEAST_MEMORY), reason);
            }
        }
        if let Some(value) = self.own("tools_memory").filter(|value| !value.is_empty()) {
            match number(&value).filter(|bytes| (LEAST_MEMORY..=MOST_MEMORY).contains(bytes)) {
                Some(bytes) => return bytes,
                None => {
                    let wanted = format!("a number of bytes from {LEAST_MEMORY} to {MOST_MEMORY}");
                    self.warn("PACELET_tools_memory", &value, &wanted, &format!("taking {usual}"));
                }
            }
        }
        if usual < MEMORY {
            self.warnings.push(line!(
                Info,
                "Sessions of tools get {usual} bytes of shared memory, for {why}: PACELET_tools_memory says otherwise"
            ));
        }
        usual
    }
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// Whether a system is Debian or made from it, by what `/etc/os-release` says (os-release(5)).
fn is_debian(os_release: &[u8]) -> bool {
    os_release.split(|&byte| byte == b'\n').any(|line| {
        let value = line.strip_prefix(b"ID=").or_else(|| line.strip_prefix(b"ID_LIKE="));
        let mut words = value.unwrap_or_default().split(|byte| b" \"'\r".contains(byte));
        words.any(|word| word == b"debian")
    })
}
