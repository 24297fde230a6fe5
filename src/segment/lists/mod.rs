//! Segments with posting lists (IVF): rows are assigned ([`assign`]) to the [`centroids`] of their index, written in the
//! order of their lists when a batch is sealed ([`seal`]) or segments are merged ([`merge`]), and searched ([`search`])
//! list by list, the lists nearest to the query first.

pub mod assign;
pub mod bytes;
pub mod centroids;
pub mod fine;
pub mod listing;
pub mod merge;
pub mod ranked;
pub mod scan;
pub mod seal;
pub mod search;
pub mod spill;
pub mod stored;
pub mod train;
pub mod write;
