//! Segments with an HNSW graph: sealed by [`seal`], with codes as [`coded`] lays them out, searched through [`read`].

pub mod coded;
pub mod read;
pub mod seal;
