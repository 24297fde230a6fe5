//! What unit tests have in place of a server: the symbols of PostgreSQL that their program must
//! find to be linked.

use std::cell::UnsafeCell;

/// Room for a variable of any type, all zero.
#[repr(C, align(16))]
struct Blank(UnsafeCell<[u8; 256]>);

// SAFETY: no test reads or writes a variable through this type.
unsafe impl Sync for Blank {}

macro_rules! variables {
    ($($name:ident),*) => {$(
        // SAFETY: the test program has no other symbol of this name, as no server is linked to it.
        #[unsafe(no_mangle)]
        #[allow(non_upper_case_globals)]
        static $name: Blank = Blank(UnsafeCell::new([0; 256]));
    )*};
}

macro_rules! functions {
    ($($name:ident),*) => {$(
        // SAFETY: as above. A test that calls the function ends, so that its type does not matter.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case)]
        extern "C" fn $name() {
            eprintln!("a unit test has called PostgreSQL's {}", stringify!($name));
            std::process::abort();
        }
    )*};
}

variables! {
    BufferBlocks, BufferDescriptors, CurrentMemoryContext, ErrorContext, InterruptPending,
    LocalBufferBlockPointers, PG_exception_stack, error_context_stack,
    max_parallel_workers_per_gather, pgBufferUsage
}

functions! {
    CopyErrorData, FlushErrorState, FreeErrorData, PrefetchBuffer, ProcessInterrupts,
    ReleaseBuffer, errcode, errcontext_msg, errdetail, errfinish, errhint, errmsg, errstart,
    palloc0, pfree, pgstat_progress_update_param
}
