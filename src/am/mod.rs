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

use crate::pg::error::Problem;
use crate::pg::relation::Relation;
use pgrx::PgSqlErrorCode;

/// Declares settings and options; called once when the library is loaded.
pub fn register() {
    settings::register();
    options::register();
}

/// Raises an error unless the relation is an index of one of these access methods.
pub fn require_own(relation: Relation) {
    // SAFETY: the relation is open; an index has its access method's routine.
    let insert = unsafe { (*relation.raw()).rd_indam.as_ref() }.and_then(|routine| routine.aminsert);
    if insert.is_none_or(|insert| insert as usize != insert::aminsert as *const () as usize) {
        Problem::new(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            format!("\"{}\" is not a vdb_hnsw or vdb_ivf index", relation.name()),
        )
        .raise();
    }
}
