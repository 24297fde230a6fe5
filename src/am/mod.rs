//! The index access methods `vdb_hnsw` and `vdb_ivf`: PostgreSQL's callbacks, thin.

mod build;
mod cost;
mod handler;
mod insert;
mod opclass;
mod options;
mod scan;
mod settings;
#[cfg(any(test, feature = "pg_test"))]
mod sql_tests;
mod vacuum;

/// Declares settings and options; called once when the library is loaded.
pub fn register() {
    settings::register();
    options::register();
}
