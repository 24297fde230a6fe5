//! The index access methods `vdb_hnsw` and `vdb_ivf`: PostgreSQL's callbacks, thin.

mod access_methods;
mod attributes;
mod build;
mod calibrate;
mod cost;
mod effort;
mod explain;
mod handler;
mod insert;
mod opclass;
mod parallel_scan;
mod planner;
mod scan;
#[cfg(any(test, feature = "pg_test"))]
mod sql_tests;
mod table;
mod vacuum;
mod validate;

pub use calibrate::calibrate;
pub use table::for_each_visible_row;

use crate::pg::method;

/// Sets hooks into the planner, and into EXPLAIN where it has one; called once when the library is
/// loaded.
pub fn register() {
    access_methods::register();
    method::register(Some(insert::aminsert));
    explain::register();
    planner::register();
}
