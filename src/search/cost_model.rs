//! What each way to search a segment costs.
//!
//! Figures are nanoseconds of one processor; only their ratios matter.

use crate::codec::rotation::rotated_dims;
use crate::distance::Space;
use crate::structure::{GraphLayout, GraphOptions, Quantizer, Rerank};

/// In which order rows within some distance are requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// All of them, in any order.
    All,
    /// The nearest first, of which the first few may be enough.
    InOrder,
}

/// What is known of a segment with a graph before it is searched.
#[derive(Clone, Copy, Debug)]
pub struct GraphFacts {
    pub space: Space,
    pub options: GraphOptions,
    pub codes: GraphCodes,
    pub rows: usize,
    /// Rows that match, if there are conditions.
    pub matches: Option<usize>,
    /// How rows within some distance are requested, if they are.
    pub range: Option<Range>,
}

/// What codes a graph has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphCodes {
    None,
    /// Each node has its neighbours' codes, and blocks hold the rows' own.
    Neighbours,
    /// Each node has its own.
    Own {
        rerank: Rerank,
    },
}

impl GraphFacts {
    pub(super) fn share(self) -> f64 {
        self.matches.map_or(1.0, |matches| matches as f64 / self.rows.max(1) as f64)
    }

    /// Dimensions of codes.
    fn dims(self) -> f64 {
        rotated_dims(self.space.dims as usize) as f64
    }

    /// Nanoseconds of visiting a node with codes.
    pub(super) fn coded_hop(self) -> f64 {
        CODED_HOP + CODED_HOP_DIM * self.dims()
    }

    /// Nanoseconds of an estimate by a node's own code.
    fn own_code(self) -> f64 {
        OWN_CODE + OWN_CODE_DIM * self.dims()
    }

    /// Nanoseconds of comparing a vector.
    pub(super) fn comparison(self) -> f64 {
        let bytes = self.space.row_bytes().unwrap_or(SPARSE_BYTES) as f64;
        match self.codes {
            GraphCodes::Own { rerank: Rerank::Heap } => FETCH + bytes * FETCH_BYTE,
            GraphCodes::None | GraphCodes::Neighbours | GraphCodes::Own { rerank: Rerank::Index } => {
                COMPARISON + bytes * COMPARISON_BYTE
            }
        }
    }

    /// Nanoseconds of a node on the way of a walk.
    pub(super) fn each(self) -> f64 {
        match self.codes {
            GraphCodes::None => self.comparison(),
            GraphCodes::Neighbours => self.coded_hop(),
            GraphCodes::Own { .. } => self.own_code(),
        }
    }

    /// Nanoseconds of a search without the graph.
    pub fn flat_cost(self) -> f64 {
        let matches = self.matches.unwrap_or(self.rows) as f64;
        if self.codes == GraphCodes::None {
            return matches * self.comparison();
        }
        let compared = (FLAT_LEAST_COMPARED + FLAT_COMPARED * matches.sqrt()).min(matches);
        if let GraphCodes::Own { .. } = self.codes {
            return matches * self.own_code() + compared * OWN_COMPARED * self.comparison();
        }
        let blocks = self.rows as f64 / BLOCK_ROWS;
        // The share of blocks that have a row that matches, if they are spread evenly.
        let touched = blocks * (1.0 - (1.0 - self.share()).powf(BLOCK_ROWS));
        touched * (BLOCK + BLOCK_DIM * self.dims()) + compared * self.comparison()
    }

    /// Nanoseconds of a search through the graph that looks for `ef` rows that match.
    pub fn graph_cost(self, ef: usize) -> f64 {
        let candidates = (ef as f64 / self.share().max(f64::MIN_POSITIVE)).min(self.rows as f64);
        let neighbours = 2.0 * f64::from(self.options.m) * FRESH_NEIGHBOURS;
        let compared = match self.codes {
            GraphCodes::None => 0.0,
            GraphCodes::Neighbours => return (CODED_HOPS * candidates + ENTRY_HOPS) * self.coded_hop(),
            GraphCodes::Own { .. } => OWN_COMPARED * FLAT_LEAST_COMPARED,
        };
        (candidates + ENTRY_HOPS) * neighbours * self.each() + compared * self.comparison()
    }
}

/// What a search takes, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Before the first row.
    pub begin: f64,
    /// Rows that it can return then, before it must go on.
    pub rows: f64,
    /// For each row after those.
    pub further: f64,
}

/// Which lists are probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probing {
    /// Lists probed before the first row is returned.
    pub probes: usize,
    /// Further lists are probed until this many matching rows were looked at.
    pub least: u64,
}

/// What is known of all segments with lists before they are searched.
#[derive(Clone, Copy, Debug)]
pub struct ListFacts {
    pub space: Space,
    /// The codes that rows are looked at by: bits, bytes, or none.
    pub codes: Quantizer,
    pub lists: usize,
    pub rows: usize,
    /// Rows that match, if there are conditions.
    pub matches: Option<usize>,
    /// Whether rows' vectors are in the index, not only in the table.
    pub has_vectors: bool,
}

impl ListFacts {
    /// Nanoseconds of comparing every row that matches, in the order in which they lie.
    pub(super) fn flat_cost(self) -> f64 {
        let bytes = self.space.row_bytes().unwrap_or(SPARSE_BYTES) as f64;
        let each =
            if self.has_vectors { MATCH + bytes * COMPARISON_BYTE } else { FETCH + bytes * FETCH_BYTE };
        self.matches.unwrap_or(self.rows) as f64 * each
    }

    /// Lists that a row is in.
    pub(super) fn copies(self) -> usize {
        if self.codes.has_spill() && self.lists > 1 { 2 } else { 1 }
    }

    /// The part of the rows that `probes` lists should have; a row in two lists counts twice.
    pub(super) fn within(self, Probing { probes, .. }: Probing) -> GraphFacts {
        let copies = self.copies();
        let share = |rows: usize| (copies * rows * probes).div_ceil(self.lists.max(1)).min(copies * rows);
        GraphFacts {
            space: self.space,
            options: GraphOptions {
                m: 0,
                ef_construction: 0,
                layout: GraphLayout::Wide,
                rerank: Rerank::Index,
            },
            // Codes of single rows are read as vectors are.
            codes: if self.codes.has_spill() { GraphCodes::Neighbours } else { GraphCodes::None },
            rows: share(self.rows),
            matches: self.matches.map(share),
            range: None,
        }
    }

    /// Nanoseconds of ranking lists and of scanning those that are probed first.
    pub(super) fn probing_cost(self, probing: Probing) -> f64 {
        let lists = self.lists as f64 * RANKED_LIST + probing.probes as f64 * PROBED_LIST;
        lists + self.within(probing).flat_cost()
    }
}

/// Nanoseconds of looking through `rows` rows of growing segments.
pub fn growing_cost(rows: f64, has_codes: bool) -> f64 {
    rows * if has_codes { GROWING_CODE } else { GROWING_VECTOR }
}

/// A row of a growing segment, with its code and without.
const GROWING_CODE: f64 = 15.0;
const GROWING_VECTOR: f64 = 150.0;
/// Rows that a flat search has at hand, and the cost of each after those.
pub(super) const FLAT_ROWS: f64 = 64.0;
pub(super) const FURTHER_ROW: f64 = 400.0;
/// A row of a filter column; a list that is ranked; one that is probed.
pub(super) const COLUMN_ROW: f64 = 0.4;
const RANKED_LIST: f64 = 60.0;
const PROBED_LIST: f64 = 300.0;
/// A comparison, and each byte of it.
const COMPARISON: f64 = 150.0;
const COMPARISON_BYTE: f64 = 0.1;
/// A matching row whose vector is compared, without the vector's bytes; the same if it is fetched
/// from the table, and each byte of it.
const MATCH: f64 = 200.0;
const FETCH: f64 = 700.0;
const FETCH_BYTE: f64 = 0.2;
/// A block of codes, and each of its dimensions.
const BLOCK: f64 = 95.0;
const BLOCK_DIM: f64 = 0.36;
const BLOCK_ROWS: f64 = 32.0;
/// Rows compared at least, and the factor of the square root of the matching rows.
const FLAT_LEAST_COMPARED: f64 = 20.0;
const FLAT_COMPARED: f64 = 0.6;
/// Nodes visited for each candidate where estimates lead the way, which are optimistic.
const CODED_HOPS: f64 = 3.5;
const CODED_HOP: f64 = 900.0;
const CODED_HOP_DIM: f64 = 0.4;
const ENTRY_HOPS: f64 = 4.0;
/// A node's own code, and each of its dimensions. A search by such codes compares this share of the
/// rows that one by single bits compares.
const OWN_CODE: f64 = 60.0;
const OWN_CODE_DIM: f64 = 0.06;
const OWN_COMPARED: f64 = 0.5;
/// Share of a node's neighbours that were not compared before.
const FRESH_NEIGHBOURS: f64 = 0.55;
const SPARSE_BYTES: usize = 512;
