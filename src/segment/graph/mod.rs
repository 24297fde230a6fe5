//! Segments with an HNSW graph: sealed by [`seal`], written by [`mod@write`] with codes as [`wide`]
//! or [`compact`] lays them out, searched through [`read`] or by a [`walk`], or past the graph
//! ([`flat`]), merged by [`merge`].

mod candidates;
pub mod compact;
pub mod flat;
pub mod layout;
mod links;
mod list_ranking;
pub mod listing;
pub mod merge;
pub mod read;
mod rotated;
pub mod seal;
pub mod source;
pub mod stored;
pub mod walk;
mod wide;
mod write;
