//! A cgroup in which forks fail.

use std::fs;
use std::path::{Path, PathBuf};

/// A cgroup of the pids controller; it goes with the value, once it is empty.
pub struct Group(PathBuf);

impl Group {
    /// A new group with one process in it.
    pub fn new(process: u32) -> Result<Self, String> {
        let parents = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let mut why = "no cgroup with a pids controller".to_owned();
        for parent in parents.map(Path::new).into_iter().filter(|parent| parent.exists()) {
            let path = parent.join(format!("pacelet-hostile-{}", std::process::id()));
            if let Err(error) = fs::create_dir(&path) {
                why = format!("cannot make {}: {error}", path.display());
                continue;
            }
            let group = Self(path);
            if !group.0.join("pids.max").exists() {
                continue;
            }
            match fs::write(group.0.join("cgroup.procs"), process.to_string()) {
                Ok(()) => return Ok(group),
                Err(error) => why = format!("cannot put a process into {}: {error}", group.0.display()),
            }
        }
        Err(why)
    }

    /// How many processes may be in it: a number or "max".
    pub fn limit(&self, processes: &str) {
        fs::write(self.0.join("pids.max"), processes).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes go back to where ours are.
        let up = self.0.parent().map(|parent| parent.join("cgroup.procs"));
        let procs = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for process in procs.lines() {
            let _ = up.as_ref().map(|up| fs::write(up, process));
        }
        let _ = fs::remove_dir(&self.0);
    }
}
