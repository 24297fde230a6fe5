//! Segments with posting lists, IVF (see [`structure`]). [`assign`] assigns rows to the lists of
//! their index's [`codebook`]. [`seal`] and [`merge`] write them in the order of their lists.
//! [`search`] searches list by list, the lists nearest to the query first.

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
