//! Segments with posting lists (IVF), as [`structure`] says: rows are assigned ([`assign`]) to the
//! [`codebook`] of their index, written in the order of their lists when a batch is sealed
//! ([`seal`]) or segments are merged ([`merge`]), and searched ([`search`]) list by list, the lists
//! nearest to the query first.

mod assign;
mod check;
mod codebook;
mod listing;
mod merge;
mod probe_order;
mod scan;
mod seal;
mod search;
mod stored;
mod streams;
mod structure;
mod train;
mod write;
