//! The system's allocator with a reserve. If an allocation fails, the reserve is released for it,
//! so that work can end in an error.
//!
//! Rust aborts the process if an allocation fails whose caller cannot report that, and an allocator
//! must not unwind.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Bytes of the reserve. They are never touched, so they take addresses rather than memory.
pub const RESERVE: usize = 8 << 20;
/// Allocations up to this size use the reserve. Larger requests go through the functions of the
/// parent module.
const SMALL: usize = RESERVE / 4;

static HELD: AtomicPtr<u8> = AtomicPtr::new(null_mut());
static IS_EXHAUSTED: AtomicBool = AtomicBool::new(false);

#[global_allocator]
static ALLOCATOR: Reserved = Reserved;

struct Reserved;

/// Sets the reserve aside, for work that may take much memory; `false` if there is no room even for
/// it.
pub fn arm() -> bool {
    if !HELD.load(Ordering::Relaxed).is_null() {
        return true;
    }
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // Past the system's allocator, which would not give the memory back.
    // SAFETY: a new anonymous mapping at an address of the system's choice overlaps no other
    // memory.
    let reserve = unsafe { libc::mmap(null_mut(), RESERVE, access, kind, -1, 0) };
    if reserve == libc::MAP_FAILED {
        return false;
    }
    // An exhaustion that no check has seen must not end the next work.
    forget_exhaustion();
    let none = null_mut();
    if HELD.compare_exchange(none, reserve.cast(), Ordering::AcqRel, Ordering::Relaxed).is_err() {
        unmap(reserve.cast());
    }
    true
}

/// Returns to the system a reserve that is not in `HELD`.
fn unmap(reserve: *mut u8) {
    // SAFETY: `arm` mapped these bytes, and nothing else refers to them: the caller has taken the
    // pointer out of `HELD`, or never put it there. A failure can be ignored.
    unsafe { libc::munmap(reserve.cast(), RESERVE) };
}

/// Whether the reserve was released.
pub fn is_exhausted() -> bool {
    IS_EXHAUSTED.load(Ordering::Relaxed)
}

/// Forgets that the reserve was released; [`arm`] sets a new one aside.
pub fn forget_exhaustion() {
    IS_EXHAUSTED.store(false, Ordering::Relaxed);
}

/// Gives the reserve back to the system; `false` if there is none.
fn release() -> bool {
    let reserve = HELD.swap(null_mut(), Ordering::AcqRel);
    if reserve.is_null() {
        return false;
    }
    // Before the reserve is released: another thread that finds none then knows that memory is
    // coming.
    IS_EXHAUSTED.store(true, Ordering::Release);
    unmap(reserve);
    true
}

// SAFETY: every call goes to the system's allocator unchanged. It is repeated only after it has
// returned null, which leaves memory as it was.
unsafe impl GlobalAlloc for Reserved {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: `layout` has a size above zero, by the contract of `GlobalAlloc`, which is
        // System's, too.
        again(layout.size(), || unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: `layout` has a size above zero, by the contract of `GlobalAlloc`, which is
        // System's, too.
        again(layout.size(), || unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: `pointer` was allocated here, so by System, with `layout`, and `size` is valid
        // for it, by the contract of `GlobalAlloc`. A failed attempt leaves the block as it was.
        again(size, || unsafe { System.realloc(pointer, layout, size) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` was allocated here, so by System, with `layout`, by the contract of
        // `GlobalAlloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// An attempt, repeated without the reserve if it fails.
fn again(size: usize, attempt: impl Fn() -> *mut u8) -> *mut u8 {
    /// Another thread may be about to release the reserve.
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
