//! Segments with an HNSW graph ([`structure`]): sealed by [`seal`], written by [`mod@write`] with
//! codes as [`wide`] or [`node_codes`] lays them out, searched by [`streams`] through [`read`], by a
//! [`walk`], or past the graph ([`flat`]), merged by [`merge`].

mod candidates;
mod check;
mod flat;
mod layout;
mod links;
mod list_ranking;
mod listing;
mod merge;
mod node_codes;
mod read;
mod rotated;
mod seal;
mod stored;
mod streams;
mod structure;
mod view;
mod walk;
mod wide;
mod write;
