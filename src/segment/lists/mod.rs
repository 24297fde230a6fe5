//! Segments with posting lists (IVF): rows are assigned ([`assign`]) to the [`codebook`] of their
//! index, written in the order of their lists when a batch is sealed ([`seal`]) or segments are
//! merged ([`merge`]), and searched ([`search`]) list by list, the lists nearest to the query
//! first.

pub mod assign;
pub mod codebook;
pub mod listing;
pub mod merge;
pub mod probe_order;
pub mod scan;
pub mod seal;
pub mod search;
pub mod stored;
pub mod train;
pub mod write;

use crate::search::cost_model::ListFacts;
use crate::storage::snapshot::Snapshot;
use crate::structure::{Rerank, Structure};

/// What is known of the segments of an index, `matches` of whose rows match if there are
/// conditions.
pub fn facts(snapshot: &Snapshot, matches: Option<usize>) -> ListFacts {
    let (meta, manifest) = (&snapshot.meta, &snapshot.manifest);
    ListFacts {
        space: meta.space,
        codes: meta.quantizer,
        lists: manifest.codebook().map_or(1, |codebook| codebook.lists as usize),
        rows: manifest.sealed.iter().map(|segment| segment.rows as usize).sum(),
        matches,
        has_vectors: matches!(meta.structure, Structure::Lists(options) if options.rerank == Rerank::Index),
    }
}
