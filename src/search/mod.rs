//! How a search goes about: which way it takes, in which order rows are compared, what recall an
//! effort reaches. Nothing here knows of PostgreSQL.

#![forbid(unsafe_code)]

pub mod cost_model;
pub mod recall_curve;
pub mod rerank;
pub mod strategy;
