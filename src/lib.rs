//! `vdb`: the compute layer of a vector database inside PostgreSQL.

mod admin;
mod am;
mod cluster;
mod codec;
mod config;
mod distance;
mod filter;
mod graph;
mod maintenance;
mod memory;
mod pg;
mod search;
mod segment;
mod storage;
mod structure;
mod types;
mod util;

use pgrx::extension_sql_file;

/// The version of the package. It is passed by value, because pgrx's own `version` sets the name
/// instead.
const VERSION: &std::ffi::CStr =
    match std::ffi::CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version has no null character"),
    };

pgrx::pg_module_magic!(name, version = VERSION);

extension_sql_file!("../sql/types.sql", name = "types");
extension_sql_file!("../sql/operators.sql", name = "operators", requires = ["types"]);
extension_sql_file!("../sql/index.sql", name = "index", requires = ["operators"]);
extension_sql_file!("../sql/distances.sql", name = "distances", requires = ["index"]);
extension_sql_file!("../sql/filters.sql", name = "filters", requires = ["distances"]);
extension_sql_file!("../sql/admin.sql", name = "admin", requires = ["filters"]);

#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::backtrace::switch_off();
    pg::memory::register();
    config::settings::register();
    am::register();
    maintenance::register();
}

#[cfg(test)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec![]
    }
}
