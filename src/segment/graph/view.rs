//! What a search of a segment with a graph reads.

use crate::codec::encoder::CodedQuery;
use crate::distance::{PreparedQuery, Space};
use crate::filter::Bitset;
use crate::segment::graph::layout::NodeLayout;
use crate::segment::graph::node_codes::NodeQuery;
use crate::segment::request::HeapRows;
use crate::segment::rows::NodeRows;
use crate::segment::vectors;
use crate::storage::parts::GraphParts;
use crate::storage::sealed::SealedRef;

#[derive(Clone, Copy)]
pub struct GraphView<'a> {
    pub sealed: SealedRef<'a>,
    pub space: Space,
    pub layout: NodeLayout,
    pub parts: &'a GraphParts,
    pub query: &'a PreparedQuery,
    pub coded: Option<&'a CodedQuery>,
    /// The query as the codes of a compact graph's nodes see it.
    pub node_query: Option<&'a NodeQuery>,
    /// The matching rows; `None` for all.
    pub matching: Option<&'a Bitset>,
}

impl<'a> GraphView<'a> {
    pub fn matches(self, row: u32) -> bool {
        self.matching.is_none_or(|matching| matching.has(row as usize))
    }

    pub fn rows(self) -> NodeRows<'a> {
        NodeRows::new(self.sealed, self.parts)
    }

    /// Raises an error unless these are nodes.
    pub fn check(self, nodes: &[u32]) {
        if let Some(node) = nodes.iter().find(|&&node| node >= self.parts.nodes) {
            self.sealed.corrupt(format!("There is no node {node}."));
        }
    }

    /// Calls `visit` with rows and their exact scores; `rows` are pairs of a row and its node.
    /// Where the table has the vectors, only live rows that the scan's snapshot sees are visited.
    pub fn compare(self, heap: &mut HeapRows, rows: &[(u32, u32)], mut visit: impl FnMut(u32, f64)) {
        let Self { sealed, parts, query, .. } = self;
        if let Some((_, node)) = rows.iter().find(|&&(_, node)| node >= parts.nodes) {
            sealed.corrupt(format!("There is no node {node}."));
        }
        let place = self.layout.vectors(parts);
        vectors::compare(sealed, query, place, rows, heap, |position, score| visit(rows[position].0, score));
    }
}
