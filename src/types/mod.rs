//! The SQL types `vector`, `halfvec` and `sparsevec`, and functions on PostgreSQL's `bit`.
//!
//! Names, semantics, text and binary forms and the layout on disk are pgvector's, so that a column
//! can be taken over as it is.

mod aggregate;
mod array;
mod bit;
mod check;
mod convert;
mod dense;
mod dense_io;
mod operator_class;
mod sparse;
mod sparse_io;
#[cfg(any(test, feature = "pg_test"))]
mod sql_tests;
mod text;
mod varlena;
mod wire;

pub use bit::Bits;
pub use dense::{HalfVec, Vector};
pub use operator_class::Sphere;
pub use sparse::{MAX_NON_ZEROS, SparseVec};
pub use varlena::{VARLENA_HEADER, Varlena};
