//! The index access methods `vdb_hnsw` and `vdb_ivf`: PostgreSQL's callbacks, thin.

mod attributes;
mod build;
mod calibrate;
mod cost;
#[cfg(feature = "pg18")]
mod explain;
mod gather;
mod handed;
mod handler;
mod insert;
mod opclass;
mod range;
mod scan;
#[cfg(any(test, feature = "pg_test"))]
mod sql_tests;
mod table;
mod unused;
mod vacuum;

pub use calibrate::calibrate;
pub use table::for_each_visible_row;

use crate::pg::error::Problem;
use crate::pg::relation::Relation;
use pgrx::PgSqlErrorCode;

/// Sets hooks into the planner, and into EXPLAIN where that has any; called once when the library is loaded.
pub fn register() {
    #[cfg(feature = "pg18")]
    explain::register();
    range::register();
    unused::register();
}

/// Whether the relation is an index of one of these access methods.
pub fn is_own(relation: Relation) -> bool {
    // SAFETY: the relation is open; an index has its access method's routine.
    let insert = unsafe { (*relation.raw()).rd_indam.as_ref() }.and_then(|routine| routine.aminsert);
    insert.is_some_and(|insert| insert as usize == insert::aminsert as *const () as usize)
}

/// Raises an error unless the relation is an index of one of these access methods.
pub fn require_own(relation: Relation) {
    if !is_own(relation) {
        Problem::new(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            format!("\"{}\" is not a vdb_hnsw or vdb_ivf index", relation.name()),
        )
        .raise();
    }
}
