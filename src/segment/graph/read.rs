//! Reading a plain or wide graph for a search.

use super::links::{Links, place_of};
use super::wide::SlotLayout;
use crate::codec::rabitq::Query;
use crate::distance::PreparedQuery;
use crate::filter::Bitset;
use crate::graph::Candidate;
use crate::graph::search::GraphReader;
use crate::segment::vectors::{VectorPlace, Vectors};
use crate::storage::part_reader::PartReader;
use crate::storage::parts::GraphParts;
use crate::storage::sealed::SealedRef;
use crate::structure::PageKind;
use crate::util::scored::Scored;

/// The graph of a sealed segment as one query sees it.
///
/// Holds pins, so it must not outlive the callback in which it was made.
pub struct SealedGraph<'a> {
    sealed: SealedRef<'a>,
    parts: &'a GraphParts,
    query: &'a PreparedQuery,
    codes: Option<SlotQuery<'a>>,
    links: Links<'a>,
    base: PartReader<'a>,
    upper: PartReader<'a>,
    vectors: Vectors<'a>,
    matching: Option<&'a Bitset>,
}

/// What reading the neighbours' codes takes.
#[derive(Clone, Copy)]
pub struct SlotQuery<'a> {
    pub query: &'a Query,
    pub base: SlotLayout,
    pub upper: SlotLayout,
}

impl<'a> SealedGraph<'a> {
    /// `codes` are given if the segment's base layer has them; `matching` are the matching nodes,
    /// `None` for all.
    pub fn new(
        sealed: SealedRef<'a>,
        parts: &'a GraphParts,
        query: &'a PreparedQuery,
        codes: Option<SlotQuery<'a>>,
        matching: Option<&'a Bitset>,
    ) -> Self {
        Self {
            sealed,
            parts,
            query,
            codes,
            matching,
            links: Links::new(sealed, parts),
            base: sealed.part(&parts.base, PageKind::GraphBase),
            upper: sealed.part(&parts.upper, PageKind::GraphUpper),
            vectors: Vectors::new(
                sealed,
                query.row_bytes(),
                match codes {
                    Some(codes) => VectorPlace::Slots { part: &parts.base, stride: codes.base.bytes() },
                    None => VectorPlace::Rows { part: &parts.vectors, offsets: parts.offsets.as_ref() },
                },
            ),
        }
    }
}

impl GraphReader for SealedGraph<'_> {
    fn nodes(&self) -> u32 {
        self.parts.nodes
    }

    fn upper_layers(&self) -> usize {
        self.parts.layers.len()
    }

    fn neighbours(&mut self, layer: usize, node: u32, neighbours: &mut Vec<u32>) {
        self.links.read(layer, node, neighbours);
    }

    fn score(&mut self, nodes: &[u32], scores: &mut Vec<f64>) {
        let (sealed, query) = (self.sealed, self.query);
        self.vectors.for_each(nodes, |node, row| {
            let score = query.score(row);
            let invalid = || sealed.corrupt(format!("The vector of node {node} is invalid."));
            scores.push(score.unwrap_or_else(invalid));
        });
    }

    fn has_estimates(&self) -> bool {
        self.codes.is_some()
    }

    fn visit(&mut self, nodes: &[u32], found: &mut Vec<Candidate>, estimated: &mut Vec<Scored>) {
        let Some(SlotQuery { query: tables, base: slots, .. }) = self.codes else { return };
        let (sealed, query) = (self.sealed, self.query);
        let total = self.parts.nodes;
        let visit = |node: u32, slot: &[u8]| {
            let score = query.score(slots.vector(slot));
            let read = score.and_then(|score| {
                found.push(Candidate { score, node });
                slots.estimate(slot, total, tables, score, estimated)
            });
            if read.is_none() {
                sealed.corrupt(format!("Node {node} is invalid."));
            }
        };
        self.base.for_each_row(nodes, slots.bytes(), visit);
    }

    fn estimate_upper(&mut self, layer: usize, found: Candidate, estimated: &mut Vec<Scored>) {
        let Some(SlotQuery { query, upper: slots, .. }) = self.codes else { return };
        let sealed = self.sealed;
        let (first, nodes) = place_of(self.parts, layer);
        let Some(index) = first.checked_add(found.node).filter(|_| found.node < nodes) else {
            sealed.corrupt(format!("Node {} is not on layer {layer}.", found.node))
        };
        self.upper.for_each_row(&[index], slots.bytes(), |_, slot| {
            if slots.estimate(slot, nodes, query, found.score, estimated).is_none() {
                sealed.corrupt(format!("Node {} is invalid on layer {layer}.", found.node));
            }
        });
    }

    fn matches(&self, node: u32) -> bool {
        self.matching.is_none_or(|matching| matching.has(node as usize))
    }

    fn poll(&mut self) {
        self.sealed.poll();
    }
}
