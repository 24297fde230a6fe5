//! Tells the code which PostgreSQL versions it is for at least.
//!
//! Keeps the section in which pgrx describes the extension's SQL entities in the linked library.
//!
//! cargo-pgrx would pass the same flag through RUSTFLAGS and so compile every dependency a second
//! time; the Makefile therefore switches that off (`CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND`).

fn main() {
    // `pg_ge_n` from PostgreSQL n on, so that code need not list the versions that it is for.
    let is_for = |major: &u32| std::env::var_os(format!("CARGO_FEATURE_PG{major}")).is_some();
    let Some(chosen) = (14..100).find(is_for) else { panic!("no PostgreSQL version is chosen") };
    for major in 15..=18 {
        println!("cargo::rustc-check-cfg=cfg(pg_ge_{major})");
        if chosen >= major {
            println!("cargo::rustc-cfg=pg_ge_{major}");
        }
    }
    println!("cargo::rustc-link-arg-cdylib=-Wl,--no-gc-sections");
    println!("cargo::rerun-if-changed=.cargo/build.rs");
}
