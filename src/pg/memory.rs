//! Turns a failed allocation into PostgreSQL's error.

use super::error::Problem;
use crate::memory::{self, OutOfMemory};
use pgrx::PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY;
use std::any::Any;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::thread::{self, ThreadId};

/// The thread that PostgreSQL runs on.
static MAIN: OnceLock<ThreadId> = OnceLock::new();

/// Called once when the library is loaded.
pub fn register() {
    let _ = MAIN.set(thread::current().id());
    memory::register(raise);
}

/// Raises an error on the main thread. On another thread it panics, and the panic comes to the main
/// thread (see [`raise_panic`]).
fn raise(error: OutOfMemory) -> ! {
    if MAIN.get() != Some(&thread::current().id()) {
        resume_unwind(Box::new(error));
    }
    Problem::new(ERRCODE_OUT_OF_MEMORY, "out of memory")
        .detail(format!("{} kB for {} could not be allocated.", error.bytes.div_ceil(1024), error.what))
        .hint("Lower maintenance_work_mem, vdb.compact_mem or vdb.scan_mem, or give the server more memory.")
        .raise()
}

/// Continues another thread's panic on the main thread; a failed allocation becomes an error.
pub fn raise_panic(payload: Box<dyn Any + Send>) -> ! {
    match payload.downcast::<OutOfMemory>() {
        Ok(error) => raise(*error),
        Err(payload) => resume_unwind(payload),
    }
}
