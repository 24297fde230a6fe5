//! Segments with an HNSW graph (see [`structure`]). [`seal`] builds the graph, [`mod@write`] writes
//! it, and [`merge`] merges segments. [`wide`] and [`node_codes`] lay out nodes with codes.
//! [`streams`] search through [`read`], by a [`walk`], or row by row in [`flat`].

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
