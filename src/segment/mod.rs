//! Segments: sets of rows that grow until they are sealed with a structure to search them by.
//!
//! [`growing`] takes inserts; [`flush`] freezes it and has its rows sealed with a [`graph`] or in
//! [`lists`]. [`search`] merges the answers of all segments; [`vacuum`] marks dead rows in any of
//! them.

#![forbid(unsafe_code)]

pub mod check;
pub mod columns;
pub mod compaction;
pub mod empty;
pub mod estimates;
pub mod findings;
pub mod flush;
pub mod graph;
pub mod growing;
#[cfg(test)]
mod in_memory;
pub mod listing;
pub mod lists;
pub mod matching;
pub mod pages;
pub mod passes;
pub mod report;
pub mod request;
pub mod rows;
pub mod search;
pub mod stream;
pub mod structures;
#[cfg(test)]
mod tests;
pub mod threshold;
pub mod vacuum;
pub mod vectors;

use crate::codec::encoder::CodedQuery;
use crate::distance::{PreparedQuery, Space};
use crate::pg::relation::Relation;
use crate::storage::meta::Meta;
use crate::storage::part::Layout;
use crate::storage::snapshot::Snapshot;
use crate::structure::{Quantizer, Structure};
use structures::SealedStructure;

/// A heap tuple's address as PostgreSQL stores it.
pub type Tid = [u8; 6];

/// Bytes of a [`Tid`].
pub const TID_BYTES: u32 = 6;

/// A row on its way into an index.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub tid: Tid,
    /// The vector's bytes, as [`crate::distance::Space`] lays them out.
    pub row: &'a [u8],
    /// See [`crate::filter`].
    pub attributes: &'a [u64],
}

/// How segments of an index are sealed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub structure: Structure,
    pub quantizer: Quantizer,
    /// Filter columns.
    pub columns: usize,
    pub seed: u64,
    pub threads: usize,
    /// Bytes that sealing a segment may use, its rows included, if that makes it faster.
    pub memory: usize,
    /// Whether a CREATE INDEX is under way, whose progress is shown.
    pub show_progress: bool,
}

/// How rows of a space lie on pages.
pub fn row_layout(space: Space) -> Layout {
    Layout::for_rows(space.row_bytes())
}

/// The implementation of an index's structure.
pub fn structure_of(structure: &Structure) -> &dyn SealedStructure {
    match structure {
        Structure::Graph(options) => options,
        Structure::Lists(options) => options,
    }
}

/// The query for an index's codes; `None` if the index has none.
pub fn coded_query(meta: &Meta, query: &PreparedQuery) -> Option<CodedQuery> {
    let is_encoded = structure_of(&meta.structure).encodes_queries(meta.quantizer);
    is_encoded.then(|| CodedQuery::new(meta.space, meta.seed, query.row()))
}

/// Rows of an index, less the sealed rows that a vacuum has marked; dead growing rows count.
pub fn rows(relation: Relation) -> u64 {
    let Snapshot { meta, manifest } = Snapshot::read(relation);
    let sealed = manifest.sealed.iter().map(|segment| u64::from(segment.live()));
    let growing = manifest.unsealed(&meta);
    sealed.chain(growing.map(|segment| growing::rows(relation, segment))).sum()
}
