//! Backtraces of Rust code, which no client is to get.

use std::backtrace::Backtrace;

/// Keeps backtraces out of errors' DETAIL, whatever the server's environment says; called once when
/// the library is loaded.
///
/// Errors that pass through our functions are panics on their way, of which pgrx captures a
/// backtrace if RUST_BACKTRACE asks for one. Whether it does is looked up at the first capture,
/// once for a process and a library.
pub fn switch_off() {
    const NAME: &str = "RUST_LIB_BACKTRACE";
    let before = std::env::var_os(NAME);
    // SAFETY: the library is being loaded: the process has no threads yet that would read its
    // environment.
    unsafe { std::env::set_var(NAME, "0") };
    drop(Backtrace::capture());
    // SAFETY: as above.
    unsafe {
        match before {
            Some(before) => std::env::set_var(NAME, before),
            None => std::env::remove_var(NAME),
        }
    }
}
