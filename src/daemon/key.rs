//! The key file as time goes by: read when it is there, read again when it was changed.

use std::ffi::CString;

use zeroize::Zeroizing;

use crate::line;
use crate::log::{Escaped, Line};
use crate::sys::key_file::{self, Key, Refusal, Stamp};

/// The key file, and what was found in its place last.
#[derive(Debug)]
pub struct KeyFile {
    path: CString,
    seen: Option<Result<Stamp, Refusal>>,
}

/// A key, or why there is none, for people.
pub type Change = Result<Zeroizing<Vec<u8>>, String>;

impl KeyFile {
    /// A file that was not looked at yet.
    pub fn new(path: CString) -> Self {
        Self { path, seen: None }
    }

    /// Looks at the file: what has changed since the last look, if anything, and what people are
    /// to know about that.
    pub fn check(&mut self) -> (Option<Change>, Vec<Line>) {
        let stamp = Stamp::of(&self.path).ok();
        if let (Some(stamp), Some(Ok(seen))) = (stamp, self.seen)
            && stamp == seen
        {
            return (None, Vec::new());
        }
        let path = Escaped(self.path.as_bytes());
        match key_file::read(&self.path) {
            Ok(key) => {
                let lines = warnings(&path, &key);
                self.seen = Some(Ok(key.stamp));
                (Some(Ok(key.bytes)), lines)
            }
            Err(refusal) if self.seen == Some(Err(refusal)) => (None, Vec::new()),
            Err(refusal) => {
                let hint = "put the key of the cluster there, the same on all nodes";
                let reason = format!("the key file {path} is of no use: {refusal}; {hint}");
                self.seen = Some(Err(refusal));
                (Some(Err(reason)), Vec::new())
            }
        }
    }
}

fn warnings(path: &Escaped<'_>, key: &Key) -> Vec<Line> {
    let mut lines = Vec::new();
    if key.open_to_all {
        let hint = "chmod o= it, and make a new key if others may have seen this one";
        lines.push(line!(Warning, "The key file {path} is open to every user of this machine: {hint}"));
    }
    // A key made of random bytes ends with a newline now and then; a text that an editor saved, always.
    if let Some((b'\n', text)) = key.bytes.split_last()
        && text.iter().all(|byte| matches!(byte, b' '..=b'~'))
    {
        let hint = "it is part of the key, so the other nodes' files must end with it, too";
        lines.push(line!(Warning, "The key file {path} ends with a newline: {hint}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_change_is_told_once() {
        let path = std::env::temp_dir().join(format!("pacelet-key-changes-{}", std::process::id()));
        let mut file = KeyFile::new(CString::new(path.to_str().unwrap()).unwrap());
        let quiet = (None, Vec::new());

        let why = |(change, lines): (Option<Change>, Vec<Line>)| {
            assert_eq!(lines, []);
            change.and_then(Result::err).expect("a reason")
        };
        let reason = why(file.check());
        assert!(reason.contains("cannot open it: No such file"), "{reason}");
        assert_eq!(file.check(), quiet);

        fs::write(&path, b"").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert!(why(file.check()).contains("it is empty"));
        assert_eq!(file.check(), quiet);

        fs::write(&path, b"a secret").unwrap();
        assert_eq!(file.check(), (Some(Ok(Zeroizing::new(b"a secret".to_vec()))), Vec::new()));
        assert_eq!(file.check(), quiet);

        fs::remove_file(&path).unwrap();
        assert!(why(file.check()).contains("No such file"));
        assert_eq!(file.check(), quiet);

        fs::write(&path, b"a secret\n").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let (change, lines) = file.check();
        assert_eq!(change, Some(Ok(Zeroizing::new(b"a secret\n".to_vec()))));
        assert!(
            lines[0].text.contains("open to every user") && lines[1].text.contains("ends with a newline")
        );
        assert!(lines.iter().all(|line| !line.text.contains("secret")));
        fs::remove_file(&path).unwrap();
    }
}
