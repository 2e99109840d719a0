//! An allocator that knows what belongs to the daemon: what was allocated while [`inside`] ran, however
//! long it lives and wherever it is freed.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

/// Runs a part of the daemon: its allocations count.
pub fn inside<T>(part: impl FnOnce() -> T) -> T {
    /// Also when the part panics.
    struct Outside;
    impl Drop for Outside {
        fn drop(&mut self) {
            INSIDE.set(false);
        }
    }
    INSIDE.set(true);
    let _outside = Outside;
    part()
}

/// The daemon's bytes in this thread that have not been freed.
pub fn live() -> isize {
    LIVE.get()
}

struct Counting;

impl Counting {
    /// Room before each block for its mark, which is the byte right before it.
    fn room(layout: Layout) -> usize {
        layout.align().max(16)
    }

    fn outer(layout: Layout) -> Option<Layout> {
        let room = Self::room(layout);
        Layout::from_size_align(layout.size().checked_add(room)?, room).ok()
    }

    fn count(bytes: isize) {
        // Neither cell has a destructor, so they can be reached as long as the thread runs.
        let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
    }
}

// SAFETY: every block is one of System's, longer by `room` and aligned at least as strictly; the pointer
// handed out is `room` further, which keeps its alignment because `room` is a multiple of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(outer) = Self::outer(layout) else { return std::ptr::null_mut() };
        // SAFETY: `outer` is not empty: it has room for the mark.
        let start = unsafe { System.alloc(outer) };
        if start.is_null() {
            return start;
        }
        let counts = INSIDE.try_with(Cell::get).unwrap_or(false);
        if counts {
            Self::count(layout.size() as isize);
        }
        // SAFETY: both are within the block.
        unsafe {
            let block = start.add(Self::room(layout));
            block.sub(1).write(u8::from(counts));
            block
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(outer) = Self::outer(layout) else { return };
        // SAFETY: the block came from `alloc` with this layout.
        unsafe {
            if block.sub(1).read() == 1 {
                Self::count(-(layout.size() as isize));
            }
            System.dealloc(block.sub(Self::room(layout)), outer);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let room = Self::room(layout);
        let (Some(outer), Some(longer)) = (Self::outer(layout), size.checked_add(room)) else {
            return std::ptr::null_mut();
        };
        // SAFETY: the block came from `alloc` with this layout; the mark moves along with it.
        unsafe {
            let start = System.realloc(block.sub(room), outer, longer);
            if start.is_null() {
                return start;
            }
            let block = start.add(room);
            if block.sub(1).read() == 1 {
                Self::count(size as isize - layout.size() as isize);
            }
            block
        }
    }
}

#[test]
fn only_what_is_allocated_inside_counts_and_wherever_it_is_freed() {
    let before = live();
    let outside = vec![0_u8; 1000];
    assert_eq!(live(), before);
    let mut kept = inside(|| vec![0_u8; 100]);
    assert_eq!(live(), before + 100);
    kept.reserve_exact(400);
    assert_eq!(live(), before + 500);
    drop(outside);
    drop(kept);
    assert_eq!(live(), before);
}
