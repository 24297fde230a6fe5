//! The parts of a sealed segment that depend on its structure.

#![forbid(unsafe_code)]

use super::part::Part;
use crate::structure::PageKind;
use serde::{Deserialize, Serialize};

/// The parts that depend on a segment's structure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parts {
    Graph(GraphParts),
    Lists(ListParts),
}

impl Parts {
    /// Every part with the kind of its pages.
    pub fn list(&self) -> Vec<(PageKind, &Part)> {
        match self {
            Parts::Graph(parts) => parts.list(),
            Parts::Lists(parts) => parts.list(),
        }
    }

    /// The codebook whose lists the rows are in, 0 for one list around the origin; `None` for a
    /// graph.
    pub fn codebook(&self) -> Option<u32> {
        match self {
            Parts::Graph(_) => None,
            Parts::Lists(parts) => Some(parts.codebook),
        }
    }
}

/// A graph: its nodes are the first rows; the rest are duplicates of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphParts {
    pub nodes: u32,
    /// Nodes of layer 1, 2, …: nodes are ordered by descending level, so each layer is a prefix of
    /// the ordinals.
    pub layers: Vec<u32>,
    /// The exact vectors of the nodes, as [`crate::distance::Space`] lays them out; empty if they
    /// are in wide slots or in the table.
    pub vectors: Part,
    /// Where each node's vector begins and ends in the tape, for rows of varying length.
    pub offsets: Option<Part>,
    /// Neighbours on the base layer.
    pub base: Part,
    /// Neighbours on the upper layers, layer after layer.
    pub upper: Part,
    /// For each row that is no node, its node, ascending.
    pub duplicates: Part,
    /// A block of codes against the origin for every 32 rows, if the layout is wide.
    pub row_codes: Option<Part>,
    /// A code against the origin for every node, if the layout is compact.
    pub node_codes: Option<Part>,
}

/// Posting lists: rows are ordered by list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListParts {
    /// Id of the codebook whose lists these are; 0 for one list around the origin.
    pub codebook: u32,
    /// Four bytes a list: its first row; then the number of rows.
    pub starts: Part,
    /// Codes, if the index has any: a block for every 32 rows, or a code of a byte a dimension for
    /// each.
    pub codes: Option<Part>,
    /// A code of several bits a dimension for every row, if the index has them.
    pub fine: Option<Part>,
    /// The exact vectors of the rows, unless the heap's are used.
    pub vectors: Option<Part>,
    /// The rows once more, in their second lists, if they are in two.
    pub spill: Option<Spill>,
}

/// Entries of rows in their second lists, ordered by list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spill {
    /// Four bytes a list: its first entry; then the number of entries.
    pub starts: Part,
    /// A block for every 32 entries: codes, and the rows' ordinals.
    pub codes: Part,
}

/// A part that a segment may lack.
fn optional(kind: PageKind, part: &Option<Part>) -> impl Iterator<Item = (PageKind, &Part)> {
    part.iter().map(move |part| (kind, part))
}

impl GraphParts {
    fn list(&self) -> Vec<(PageKind, &Part)> {
        let mut parts = vec![(PageKind::Vectors, &self.vectors)];
        parts.extend(optional(PageKind::Offsets, &self.offsets));
        parts.extend([(PageKind::GraphBase, &self.base), (PageKind::GraphUpper, &self.upper)]);
        parts.push((PageKind::Duplicates, &self.duplicates));
        parts.extend(optional(PageKind::RowCodes, &self.row_codes));
        parts.extend(optional(PageKind::NodeCodes, &self.node_codes));
        parts
    }
}

impl ListParts {
    fn list(&self) -> Vec<(PageKind, &Part)> {
        let mut parts = vec![(PageKind::ListStarts, &self.starts)];
        parts.extend(optional(PageKind::ListCodes, &self.codes));
        parts.extend(optional(PageKind::FineCodes, &self.fine));
        parts.extend(optional(PageKind::Vectors, &self.vectors));
        if let Some(Spill { starts, codes }) = &self.spill {
            parts.extend([(PageKind::SpillStarts, starts), (PageKind::SpillCodes, codes)]);
        }
        parts
    }
}
