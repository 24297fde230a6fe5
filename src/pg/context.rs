//! A memory context for the length of some work.

use pgrx::pg_sys;
use std::ffi::CStr;

/// A child of the context that is current when it is made. What is allocated in it is freed with
/// the value, which must not outlive the parent.
pub struct Context(pg_sys::MemoryContext);

impl Context {
    /// The name shows in `pg_backend_memory_contexts`. PostgreSQL keeps the pointer, so nothing is
    /// allocated for it.
    pub fn new(name: &'static CStr) -> Self {
        // SAFETY: the current context is valid, and the name lives forever.
        Self(unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                name.as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        })
    }

    /// Makes this the current context while `work` runs.
    pub fn switch_to<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let _previous = Previous(self.enter());
        work()
    }

    fn enter(&self) -> pg_sys::MemoryContext {
        // SAFETY: this value's context is valid until it is dropped.
        unsafe {
            let previous = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = self.0;
            previous
        }
    }

    /// Frees what was allocated in it.
    pub fn reset(&mut self) {
        // SAFETY: the context is valid, and no one holds a reference to what is in it: `switch_to`
        // has returned.
        unsafe { pg_sys::MemoryContextReset(self.0) };
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is valid, as its parent is, and is not current: `switch_to` has
        // returned or was unwound.
        unsafe { pg_sys::MemoryContextDelete(self.0) };
    }
}

/// Makes a context current again, also when an error unwinds the stack.
struct Previous(pg_sys::MemoryContext);

impl Drop for Previous {
    fn drop(&mut self) {
        // SAFETY: the context was current when `switch_to` was called, and that call has not ended.
        unsafe { pg_sys::CurrentMemoryContext = self.0 };
    }
}
