//! Segments with an HNSW graph: sealed by [`seal`], with codes as [`coded`] lays them out, searched through [`read`],
//! merged by [`merge`].

pub mod coded;
pub mod flat;
pub mod merge;
mod near;
mod ranking;
pub mod read;
mod rotated;
pub mod seal;
pub mod stored;
