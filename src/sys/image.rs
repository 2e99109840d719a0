//! The program's own file in memory.
#![allow(unsafe_code)]

/// Unmaps the program's own code and constants; what is used again is mapped again from the page
/// cache, at the first touch. The kernel maps 64 KiB around each touch, so that soon nearly the whole
/// file would count as resident, most of it for code that seldom runs. It costs some microseconds.
pub fn forget_code() {
    // SAFETY: the callback has the right type and uses only what it is given.
    unsafe { libc::dl_iterate_phdr(Some(unmap_code), std::ptr::null_mut()) };
}

/// Called for the program itself first, and that is enough.
// SAFETY: to be called by `dl_iterate_phdr` only, with a description of a loaded object.
unsafe extern "C" fn unmap_code(
    info: *mut libc::dl_phdr_info,
    _: libc::size_t,
    _: *mut libc::c_void,
) -> libc::c_int {
    let page = rustix::param::page_size();
    // SAFETY: libc hands over a valid description of a loaded object, and its program headers stay mapped.
    let (base, headers) = unsafe {
        let info = &*info;
        (info.dlpi_addr as usize, std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()))
    };
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let start = base.wrapping_add(header.p_vaddr as usize);
        let end = start.wrapping_add(header.p_memsz as usize);
        let aligned = start - start % page;
        // SAFETY: these pages are a private mapping of the program's file that nothing can have written to, so
        // they come back with the same content. The last page may be shared with no other mapping.
        unsafe { libc::madvise(aligned as *mut libc::c_void, end - aligned, libc::MADV_DONTNEED) };
    }
    1
}
