//! SQL functions about indexes.
mod check;
mod control;
mod explain;
mod stats;
