//! The system's allocator with a reserve: an allocation that fails takes the reserve's place, so
//! that work can end in an error.
//!
//! Rust aborts the process where an allocation fails that cannot tell so, and an allocator must not
//! unwind.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Bytes of the reserve. Nobody touches them: they are addresses rather than memory.
pub const RESERVE: usize = 8 << 20;
/// Allocations that the reserve is for. Others ask by the functions beside this module.
const SMALL: usize = RESERVE / 4;

static HELD: AtomicPtr<u8> = AtomicPtr::new(null_mut());
static IS_EXHAUSTED: AtomicBool = AtomicBool::new(false);

#[global_allocator]
static ALLOCATOR: Reserved = Reserved;

struct Reserved;

/// Sets the reserve aside, for work that may take much memory; `false` if not even that can be had.
pub fn arm() -> bool {
    if !HELD.load(Ordering::Relaxed).is_null() {
        return true;
    }
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // Past the system's allocator, which would not give it back.
    // SAFETY: a new mapping, wherever there is room.
    let reserve = unsafe { libc::mmap(null_mut(), RESERVE, access, kind, -1, 0) };
    if reserve == libc::MAP_FAILED {
        return false;
    }
    // Work that ended before anybody looked does not end what comes next.
    forget_exhaustion();
    let none = null_mut();
    if HELD.compare_exchange(none, reserve.cast(), Ordering::AcqRel, Ordering::Relaxed).is_err() {
        unmap(reserve.cast());
    }
    true
}

/// Gives a reserve that nobody holds any more back to the system.
fn unmap(reserve: *mut u8) {
    // SAFETY: mapped by `arm`, and nobody knows of it any more. Nothing can be done about a
    // failure.
    unsafe { libc::munmap(reserve.cast(), RESERVE) };
}

/// Whether the reserve had to step in.
pub fn is_exhausted() -> bool {
    IS_EXHAUSTED.load(Ordering::Relaxed)
}

/// The reserve has stepped in, and that was seen; [`arm`] sets a new one aside.
pub fn forget_exhaustion() {
    IS_EXHAUSTED.store(false, Ordering::Relaxed);
}

/// Gives the reserve back to the system; `false` if there is none.
fn release() -> bool {
    let reserve = HELD.swap(null_mut(), Ordering::AcqRel);
    if reserve.is_null() {
        return false;
    }
    // Before the reserve is gone: whoever finds none knows that it is on its way.
    IS_EXHAUSTED.store(true, Ordering::Release);
    unmap(reserve);
    true
}

// SAFETY: every call goes to the system's allocator as it is, at most twice.
unsafe impl GlobalAlloc for Reserved {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        again(layout.size(), || unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        again(layout.size(), || unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise; an attempt that failed has left the memory as it was.
        again(size, || unsafe { System.realloc(pointer, layout, size) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// An attempt, and another without the reserve if the first has failed.
fn again(size: usize, attempt: impl Fn() -> *mut u8) -> *mut u8 {
    /// Another thread may be about to give the reserve back.
    const ATTEMPTS: usize = 100;
    let mut pointer = attempt();
    if !pointer.is_null() || size > SMALL {
        return pointer;
    }
    for _ in 0..ATTEMPTS {
        if release() || is_exhausted() {
            pointer = attempt();
        }
        if !pointer.is_null() || !is_exhausted() {
            break;
        }
        std::thread::yield_now();
    }
    pointer
}
