//! A file system whose server takes every request and answers none but the first, without which there is no
//! file system: whoever looks a name up in it waits in the kernel, and SIGKILL does not end that.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::JoinHandle;

use super::mounts;

/// The request that begins everything (linux/fuse.h).
const INIT: u32 = 26;
/// Requests are read into no less.
const REQUEST: usize = 128 * 1024;

/// A mount that is seen by this thread and by the processes it starts from now on. Dropping it ends the file
/// system, and all waiting.
pub struct Hung {
    point: CString,
    server: Option<JoinHandle<()>>,
}

impl Hung {
    /// Mounts it on a directory, which is made.
    pub fn mount(directory: &Path) -> Result<Self, String> {
        let mut device = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .map_err(|error| format!("cannot open /dev/fuse: {error}"))?;
        fs::create_dir_all(directory).unwrap();
        let point = CString::new(directory.as_os_str().as_bytes()).unwrap();
        let failed = |what: &str| format!("{what}: {}", std::io::Error::last_os_error());
        mounts::own()?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = CString::new(options).unwrap();
        let (source, kind) = (c"hung".as_ptr(), c"fuse".as_ptr());
        // SAFETY: all pointers are valid strings.
        if unsafe { libc::mount(source, point.as_ptr(), kind, 0, options.as_ptr().cast()) } != 0 {
            return Err(failed("cannot mount a FUSE file system"));
        }
        let server = std::thread::spawn(move || {
            let mut request = vec![0; REQUEST];
            // Ends with an error when the file system is gone.
            while let Ok(length) = device.read(&mut request) {
                let field = |at: usize| request[at..at + 4].try_into().map(u32::from_ne_bytes).unwrap();
                if length >= 40 && field(4) == INIT {
                    let mut answer = [0; 80];
                    answer[0..4].copy_from_slice(&80u32.to_ne_bytes());
                    // The request's own number.
                    answer[8..16].copy_from_slice(&request[8..16]);
                    // Version 7.31, and the shortest writes.
                    answer[16..20].copy_from_slice(&7u32.to_ne_bytes());
                    answer[20..24].copy_from_slice(&31u32.to_ne_bytes());
                    answer[36..40].copy_from_slice(&4096u32.to_ne_bytes());
                    device.write_all(&answer).unwrap();
                }
            }
        });
        Ok(Self { point, server: Some(server) })
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // SAFETY: the pointer is a valid string.
        unsafe { libc::umount2(self.point.as_ptr(), libc::MNT_FORCE) };
        // SAFETY: as above. The first call ended the requests, and may have found the mount busy with them.
        unsafe { libc::umount2(self.point.as_ptr(), libc::MNT_DETACH) };
        let _ = self.server.take().map(JoinHandle::join);
    }
}

/// Whether this kernel tells where a process waits.
pub fn kernel_tells_places() -> bool {
    fs::read_to_string("/proc/thread-self/wchan").is_ok()
        && fs::read_to_string("/proc/kallsyms").is_ok_and(|symbols| !symbols.is_empty())
}
