//! Keeps the section in which pgrx describes the extension's SQL entities in the linked library.
//!
//! cargo-pgrx would pass the same flag through RUSTFLAGS and so compile every dependency a second time;
//! the Makefile therefore switches that off (`CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND`).

fn main() {
    println!("cargo::rustc-link-arg-cdylib=-Wl,--no-gc-sections");
    println!("cargo::rerun-if-changed=.cargo/build.rs");
}
