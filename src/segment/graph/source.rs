//! What a search of a segment with a graph reads.

use super::compact::NodeQuery;
use crate::codec::encoder::CodedQuery;
use crate::distance::PreparedQuery;
use crate::filter::Bitset;
use crate::segment::graph::layout::NodeLayout;
use crate::segment::request::HeapRows;
use crate::segment::rows::NodeRows;
use crate::segment::vectors::Vectors;
use crate::storage::manifest::GraphParts;
use crate::storage::meta::Meta;
use crate::storage::sealed::SealedRef;

#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub sealed: SealedRef<'a>,
    pub meta: &'a Meta,
    pub parts: &'a GraphParts,
    pub query: &'a PreparedQuery,
    pub coded: Option<&'a CodedQuery>,
    /// The query as the codes of a compact graph's nodes see it.
    pub node_query: Option<&'a NodeQuery>,
    /// The rows that are wanted, if not all are.
    pub wanted: Option<&'a Bitset>,
}

impl<'a> Source<'a> {
    pub fn is_wanted(self, row: u32) -> bool {
        self.wanted.is_none_or(|wanted| wanted.has(row as usize))
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

    /// Calls `visit` with rows and their exact scores: of those, given with their nodes, that are
    /// alive and that the scan's snapshot sees, if that is looked at.
    pub fn compare(self, heap: &mut HeapRows, rows: &[(u32, u32)], mut visit: impl FnMut(u32, f64)) {
        let Self { sealed, parts, query, .. } = self;
        let score = |row: u32, bytes: &[u8]| {
            query
                .score(bytes)
                .unwrap_or_else(|| sealed.corrupt(format!("The vector of row {row} is invalid.")))
        };
        let nodes: Vec<u32> = rows.iter().map(|&(_, node)| node).collect();
        self.check(&nodes);
        match NodeLayout::of(self.meta).vectors(parts) {
            Some(place) => {
                let mut rows = rows.iter();
                Vectors::new(sealed, query.row_bytes(), place).for_each(&nodes, |_, bytes| {
                    let (row, _) = *rows.next().expect("as many rows as nodes");
                    visit(row, score(row, bytes));
                });
            }
            None => {
                let mut tids = self.rows();
                for &(row, _) in rows {
                    if let Some(tid) = tids.live_tid(row) {
                        heap(tid, &mut |bytes| visit(row, score(row, bytes)));
                    }
                }
            }
        }
    }
}
