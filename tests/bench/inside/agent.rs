//! A small static agent, and the loop that says how fast this machine can start it.
//!
//! As an agent: `agent ACTION` succeeds. If there is a directory /run/bench, it first appends a line with the
//! resource's name and the time to the file `starts` in it.
//!
//! As the loop: `agent loop COUNT WIDTH PROGRAM` starts the program COUNT times, WIDTH at once, with nothing but
//! fork, setpriority, execve and waitpid, and prints the median of the seconds each took, and the seconds of all.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

unsafe extern "C" {
    fn fork() -> i32;
    fn execve(path: *const i8, argv: *const *const i8, envp: *const *const i8) -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn setpriority(which: i32, who: u32, priority: i32) -> i32;
    fn _exit(status: i32) -> !;
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "loop", count, width, program] => run(count.parse().unwrap(), width.parse().unwrap(), program),
        _ => record(),
    }
}

fn record() {
    if let Ok(mut file) = OpenOptions::new().append(true).create(true).open("/run/bench/starts") {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let name = std::env::var("OCF_RESOURCE_INSTANCE").unwrap_or_default();
        file.write_all(format!("{name} {:.6}\n", now.as_secs_f64()).as_bytes()).unwrap();
    }
}

fn run(count: usize, width: usize, program: &str) {
    let path = CString::new(program).unwrap();
    let action = CString::new("monitor").unwrap();
    let variable = CString::new("PATH=/usr/sbin:/usr/bin:/sbin:/bin").unwrap();
    let argv = [path.as_ptr(), action.as_ptr(), std::ptr::null()];
    let envp = [variable.as_ptr(), std::ptr::null()];
    let (mut running, mut took) = (BTreeMap::new(), Vec::new());
    let begin = Instant::now();
    let mut started = 0;
    while took.len() < count {
        while started < count && running.len() < width {
            let start = Instant::now();
            // SAFETY: the child makes only system calls, with what was made before; there are no threads.
            let pid = unsafe { fork() };
            if pid == 0 {
                unsafe {
                    // As a daemon does.
                    setpriority(0, 0, 0);
                    execve(path.as_ptr().cast(), argv.as_ptr().cast(), envp.as_ptr().cast());
                    _exit(127)
                }
            }
            assert!(pid > 0, "fork");
            running.insert(pid, start);
            started += 1;
        }
        let mut status = 0;
        // SAFETY: the status is a valid place for it.
        let pid = unsafe { waitpid(-1, &mut status, 0) };
        assert!(status == 0, "{program} ended with {status:#x}");
        took.push(running.remove(&pid).unwrap().elapsed());
    }
    let all = begin.elapsed();
    took.sort();
    println!("[{}, {}]", took[took.len() / 2].as_secs_f64(), all.as_secs_f64());
}
