//! The index access method `vdb_hnsw`: PostgreSQL's callbacks, thin.

mod build;
mod cost;
mod handler;
mod insert;
mod opclass;
pub mod options;
mod scan;
#[cfg(any(test, feature = "pg_test"))]
mod sql_tests;
mod vacuum;
