//! This process, and the time.

use pgrx::pg_sys;
use std::time::{SystemTime, UNIX_EPOCH};

/// Whether this is a process of a server: unit tests have none around them.
pub const IS_BACKEND: bool = !cfg!(test);

/// This backend's process id.
pub fn process_id() -> i32 {
    // SAFETY: a plain read of a variable that PostgreSQL sets when the process starts.
    unsafe { pg_sys::MyProcPid }
}

/// Microseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64)
}
