//! SQL functions about indexes.
mod check;
mod control;
mod search;
mod stats;
