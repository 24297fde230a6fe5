//! Reading a sealed segment's graph for a search.

use super::coded::SlotLayout;
use crate::codec::rabitq::Query;
use crate::distance::PreparedQuery;
use crate::filter::Bitset;
use crate::graph::Candidate;
use crate::graph::ahead::Ahead;
use crate::graph::search::GraphReader;
use crate::pg::relation::Relation;
use crate::segment::corrupt;
use crate::segment::vectors::{Place, Vectors};
use crate::storage::manifest::{GraphParts, Sealed};
use crate::storage::page::Kind;
use crate::storage::part::PartReader;

/// The graph of a sealed segment as one query sees it.
///
/// Holds pins, so it must not outlive the callback in which it was made.
pub struct SealedGraph<'a> {
    relation: Relation,
    segment: &'a Sealed,
    parts: &'a GraphParts,
    query: &'a PreparedQuery,
    codes: Option<Codes<'a>>,
    base: PartReader<'a>,
    upper: PartReader<'a>,
    vectors: Vectors<'a>,
    wanted: Option<&'a Bitset>,
}

/// What it takes to read the neighbours' codes.
#[derive(Clone, Copy)]
pub struct Codes<'a> {
    pub query: &'a Query,
    pub base: SlotLayout,
    pub upper: SlotLayout,
}

impl<'a> SealedGraph<'a> {
    /// `codes` are given if the segment's base layer has them; `wanted` are the nodes that may be returned, if not all
    /// may.
    pub fn new(
        relation: Relation,
        segment: &'a Sealed,
        parts: &'a GraphParts,
        query: &'a PreparedQuery,
        codes: Option<Codes<'a>>,
        wanted: Option<&'a Bitset>,
    ) -> Self {
        let part = |part, kind| PartReader::new(relation, part, kind, segment.id);
        Self {
            relation,
            segment,
            parts,
            query,
            codes,
            wanted,
            base: part(&parts.base, Kind::GraphBase),
            upper: part(&parts.upper, Kind::GraphUpper),
            vectors: Vectors::new(
                relation,
                segment,
                query.row_bytes(),
                match codes {
                    Some(codes) => Place::Slots { part: &parts.base, stride: codes.base.bytes() },
                    None => Place::Rows { part: &parts.vectors, offsets: parts.offsets.as_ref() },
                },
            ),
        }
    }
}

/// Slot of node 0 on an upper layer, and the nodes of that layer.
fn place_of(parts: &GraphParts, layer: usize) -> (u32, u32) {
    (parts.layers[..layer - 1].iter().sum(), parts.layers[layer - 1])
}

impl GraphReader for SealedGraph<'_> {
    fn nodes(&self) -> u32 {
        self.parts.nodes
    }

    fn upper_layers(&self) -> usize {
        self.parts.layers.len()
    }

    fn neighbours(&mut self, layer: usize, node: u32, neighbours: &mut Vec<u32>) {
        let (slot, nodes) = if layer == 0 {
            (self.base.slot(node.into()), self.parts.nodes)
        } else {
            let (first, nodes) = place_of(self.parts, layer);
            (self.upper.slot(u64::from(first) + u64::from(node)), nodes)
        };
        let numbers: &[u32] = bytemuck::try_cast_slice(slot).unwrap_or_default();
        let list = numbers.split_first().and_then(|(&count, rest)| rest.get(..count as usize));
        match list {
            Some(list) if list.iter().all(|&neighbour| neighbour < nodes) => {
                neighbours.clear();
                neighbours.extend_from_slice(list);
            }
            _ => corrupt(
                self.relation,
                self.segment,
                format!("The neighbours of node {node} on layer {layer} make no sense."),
            ),
        }
    }

    fn score(&mut self, nodes: &[u32], scores: &mut Vec<f64>) {
        let (relation, segment, query) = (self.relation, self.segment, self.query);
        self.vectors.for_each(nodes, |node, row| {
            let score = query.score(row).unwrap_or_else(|| {
                corrupt(relation, segment, format!("The vector of node {node} makes no sense."))
            });
            scores.push(score);
        });
    }

    fn has_estimates(&self) -> bool {
        self.codes.is_some()
    }

    fn visit(&mut self, nodes: &[u32], found: &mut Vec<Candidate>, estimated: &mut Vec<Ahead>) {
        let Some(Codes { query: tables, base: slots, .. }) = self.codes else { return };
        let (relation, segment, query) = (self.relation, self.segment, self.query);
        let total = self.parts.nodes;
        let visit = |node: u32, slot: &[u8]| {
            let score = query.score(slots.vector(slot));
            let read = score.and_then(|score| {
                found.push(Candidate { score, node });
                slots.estimate(slot, total, tables, score, estimated)
            });
            if read.is_none() {
                corrupt(relation, segment, format!("Node {node} makes no sense."));
            }
        };
        self.base.for_each_row(nodes, slots.bytes(), visit);
    }

    fn estimate_upper(&mut self, layer: usize, found: Candidate, estimated: &mut Vec<Ahead>) {
        let Some(Codes { query, upper: slots, .. }) = self.codes else { return };
        let (relation, segment) = (self.relation, self.segment);
        let (first, nodes) = place_of(self.parts, layer);
        let Some(index) = first.checked_add(found.node).filter(|_| found.node < nodes) else {
            corrupt(relation, segment, format!("Node {} is not on layer {layer}.", found.node))
        };
        self.upper.for_each_row(&[index], slots.bytes(), |_, slot| {
            if slots.estimate(slot, nodes, query, found.score, estimated).is_none() {
                let node = found.node;
                corrupt(relation, segment, format!("Node {node} makes no sense on layer {layer}."));
            }
        });
    }

    fn is_wanted(&self, node: u32) -> bool {
        self.wanted.is_none_or(|wanted| wanted.has(node as usize))
    }

    fn poll(&mut self) {
        pgrx::check_for_interrupts!();
    }
}
