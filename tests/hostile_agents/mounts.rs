//! A mount namespace of a test's own.
#![allow(unsafe_code)]

/// From now on what is mounted is seen by this thread and the processes it starts only.
pub fn own() -> Result<(), String> {
    let failed = |what: &str| format!("{what}: {}", std::io::Error::last_os_error());
    // SAFETY: takes a number.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(failed("cannot make a mount namespace"));
    }
    let (nothing, private) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
    // SAFETY: all pointers are valid strings, or null where that is allowed.
    if unsafe { libc::mount(c"none".as_ptr(), c"/".as_ptr(), nothing, private, std::ptr::null()) } != 0 {
        return Err(failed("cannot make the mount namespace private"));
    }
    Ok(())
}
