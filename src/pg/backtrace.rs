//! Backtraces of Rust code, which clients must not get.

use std::backtrace::Backtrace;

/// Keeps backtraces out of errors' DETAIL, whatever the server's environment says; called once when
/// the library is loaded.
///
/// Errors that pass through our functions travel as panics. pgrx captures a backtrace of each if
/// RUST_BACKTRACE asks for one. The standard library evaluates that once per process and library,
/// at the first capture.
pub fn switch_off() {
    const NAME: &str = "RUST_LIB_BACKTRACE";
    let before = std::env::var_os(NAME);
    // SAFETY: PostgreSQL loads libraries on its only thread, and this library has started none yet.
    // So no other thread reads the environment meanwhile.
    unsafe { std::env::set_var(NAME, "0") };
    drop(Backtrace::capture());
    // SAFETY: still while the library is loaded, as above.
    unsafe {
        match before {
            Some(before) => std::env::set_var(NAME, before),
            None => std::env::remove_var(NAME),
        }
    }
}
