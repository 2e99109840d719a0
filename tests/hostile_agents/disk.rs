//! Small disks that stall or are full.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::mounts;

/// How large the disk that can stall is, in bytes.
const SIZE: u64 = 16 << 20;

/// A mount that is seen by this thread and by the processes it starts from now on; it goes with the value.
pub struct Disk {
    point: PathBuf,
    is_frozen: bool,
}

impl Disk {
    /// One that can stall: an ext4 file system in a file.
    pub fn in_file(place: &Path) -> Result<Self, String> {
        let image = place.join("image");
        File::create(&image).and_then(|file| file.set_len(SIZE)).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        Self::mount(place, Command::new("mount").args(["-o", "loop"]).arg(&image))
    }

    /// One that is full soon.
    pub fn of_64_kilobytes(place: &Path) -> Result<Self, String> {
        Self::mount(place, Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]))
    }

    fn mount(place: &Path, command: &mut Command) -> Result<Self, String> {
        mounts::own()?;
        let point = place.join("disk");
        fs::create_dir_all(&point).unwrap();
        run(command.arg(&point))?;
        Ok(Self { point, is_frozen: false })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    /// From now on who writes waits.
    pub fn freeze(&mut self) {
        run(Command::new("fsfreeze").arg("-f").arg(&self.point)).unwrap();
        self.is_frozen = true;
    }

    pub fn thaw(&mut self) {
        if std::mem::take(&mut self.is_frozen) {
            run(Command::new("fsfreeze").arg("-u").arg(&self.point)).unwrap();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A frozen disk would keep whoever waits for it until the machine is started anew.
        self.thaw();
        let _ = run(Command::new("umount").arg("-l").arg(&self.point));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
