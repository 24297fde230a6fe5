//! Reading a sealed segment: its graph for a search, its rows' heap tuples.

use super::Tid;
use super::coded::SlotLayout;
use crate::codec::rabitq::Query;
use crate::distance::PreparedQuery;
use crate::graph::Candidate;
use crate::graph::search::GraphReader;
use crate::pg::error::Problem;
use crate::pg::relation::Relation;
use crate::storage::manifest::Sealed;
use crate::storage::page::Kind;
use crate::storage::part::{Layout, PartReader};

/// The graph of a sealed segment as one query sees it.
///
/// Holds pins, so it must not outlive the callback in which it was made.
pub struct SealedGraph<'a> {
    relation: Relation,
    segment: &'a Sealed,
    query: &'a PreparedQuery,
    codes: Option<Codes<'a>>,
    base: PartReader<'a>,
    upper: PartReader<'a>,
    vectors: Vectors<'a>,
}

/// What it takes to read the neighbours' codes.
#[derive(Clone, Copy)]
pub struct Codes<'a> {
    pub query: &'a Query,
    pub base: SlotLayout,
    pub upper: SlotLayout,
}

fn corrupt(relation: Relation, segment: &Sealed, detail: String) -> ! {
    Problem::corrupt(format!("segment {} of index \"{}\" is corrupted", segment.id, relation.name()))
        .detail(detail)
        .raise()
}

impl<'a> SealedGraph<'a> {
    /// `codes` are given if the segment's base layer has them.
    pub fn new(
        relation: Relation,
        segment: &'a Sealed,
        query: &'a PreparedQuery,
        codes: Option<Codes<'a>>,
    ) -> Self {
        let part = |part, kind| PartReader::new(relation, part, kind, segment.id);
        Self {
            relation,
            segment,
            query,
            codes,
            base: part(&segment.graph_base, Kind::GraphBase),
            upper: part(&segment.graph_upper, Kind::GraphUpper),
            vectors: Vectors::new(relation, segment, query.row_bytes(), codes.map(|codes| codes.base)),
        }
    }
}

/// Slot of node 0 on an upper layer, and the nodes of that layer.
fn place_of(segment: &Sealed, layer: usize) -> (u32, u32) {
    (segment.layers[..layer - 1].iter().sum(), segment.layers[layer - 1])
}

/// Visits slots with codes, wherever they lie.
fn for_each_slot(
    part: &mut PartReader,
    slots: SlotLayout,
    indices: &[u32],
    mut visit: impl FnMut(u32, &[u8]),
) {
    match part.layout() {
        Layout::Slots { .. } => part.for_each_slot(indices, slots.bytes(), visit),
        Layout::Tape => {
            for &index in indices {
                visit(index, part.tape(u64::from(index) * slots.bytes() as u64, slots.bytes()));
            }
        }
    }
}

impl GraphReader for SealedGraph<'_> {
    fn nodes(&self) -> u32 {
        self.segment.nodes
    }

    fn upper_layers(&self) -> usize {
        self.segment.layers.len()
    }

    fn neighbours(&mut self, layer: usize, node: u32, neighbours: &mut Vec<u32>) {
        let (slot, nodes) = if layer == 0 {
            (self.base.slot(node.into()), self.segment.nodes)
        } else {
            let (first, nodes) = place_of(self.segment, layer);
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

    fn visit(&mut self, nodes: &[u32], found: &mut Vec<Candidate>, estimated: &mut Vec<Candidate>) {
        let Some(Codes { query: tables, base: slots, .. }) = self.codes else { return };
        let (relation, segment, query) = (self.relation, self.segment, self.query);
        let visit = |node: u32, slot: &[u8]| {
            let score = query.score(slots.vector(slot));
            let read = score.and_then(|score| {
                found.push(Candidate { score, node });
                slots.estimate(slot, segment.nodes, tables, score, estimated)
            });
            if read.is_none() {
                corrupt(relation, segment, format!("Node {node} makes no sense."));
            }
        };
        for_each_slot(&mut self.base, slots, nodes, visit);
    }

    fn estimate_upper(&mut self, layer: usize, found: Candidate, estimated: &mut Vec<Candidate>) {
        let Some(Codes { query, upper: slots, .. }) = self.codes else { return };
        let (relation, segment) = (self.relation, self.segment);
        let (first, nodes) = place_of(segment, layer);
        let Some(index) = first.checked_add(found.node).filter(|_| found.node < nodes) else {
            corrupt(relation, segment, format!("Node {} is not on layer {layer}.", found.node))
        };
        for_each_slot(&mut self.upper, slots, &[index], |_, slot| {
            if slots.estimate(slot, nodes, query, found.score, estimated).is_none() {
                let node = found.node;
                corrupt(relation, segment, format!("Node {node} makes no sense on layer {layer}."));
            }
        });
    }

    fn poll(&mut self) {
        pgrx::check_for_interrupts!();
    }
}

/// The exact vectors of a sealed segment.
struct Vectors<'a> {
    relation: Relation,
    segment: &'a Sealed,
    row_bytes: Option<usize>,
    /// The slots at whose head the vectors are, if they have no part of their own.
    coded: Option<SlotLayout>,
    vectors: PartReader<'a>,
    offsets: Option<PartReader<'a>>,
}

impl<'a> Vectors<'a> {
    fn new(
        relation: Relation,
        segment: &'a Sealed,
        row_bytes: Option<usize>,
        coded: Option<SlotLayout>,
    ) -> Self {
        let part = |part, kind| PartReader::new(relation, part, kind, segment.id);
        Self {
            relation,
            segment,
            row_bytes,
            coded,
            vectors: match coded {
                Some(_) => part(&segment.graph_base, Kind::GraphBase),
                None => part(&segment.vectors, Kind::Rows),
            },
            offsets: segment.offsets.as_ref().map(|offsets| part(offsets, Kind::Offsets)),
        }
    }

    fn for_each(&mut self, nodes: &[u32], mut visit: impl FnMut(u32, &[u8])) {
        match (self.vectors.layout(), self.row_bytes) {
            (Layout::Slots { bytes }, Some(len)) if len <= bytes as usize => {
                self.vectors.for_each_slot(nodes, len, visit);
            }
            _ => nodes.iter().for_each(|&node| visit(node, self.on_tape(node))),
        }
    }

    fn on_tape(&mut self, node: u32) -> &[u8] {
        match (self.vectors.layout(), self.row_bytes) {
            (Layout::Tape, Some(len)) => {
                let stride = self.coded.map_or(len, SlotLayout::bytes) as u64;
                self.vectors.tape(u64::from(node) * stride, len)
            }
            (Layout::Tape, None) => {
                let Some(offsets) = &mut self.offsets else {
                    corrupt(self.relation, self.segment, "Offsets are missing.".into())
                };
                let mut offset = |index: u64| {
                    let slot = offsets.slot(index);
                    u64::from_ne_bytes(slot.try_into().unwrap_or_default())
                };
                let (from, to) = (offset(node.into()), offset(u64::from(node) + 1));
                let len = to.checked_sub(from).filter(|&len| len <= MAX_SPARSE_BYTES);
                let Some(len) = len else {
                    corrupt(
                        self.relation,
                        self.segment,
                        format!("The vector of node {node} would lie from byte {from} to {to}."),
                    )
                };
                self.vectors.tape(from, len as usize)
            }
            (layout, len) => {
                corrupt(self.relation, self.segment, format!("Rows of {len:?} bytes lie in {layout:?}."))
            }
        }
    }
}

/// Longest stored sparse row: its count, indices and values.
const MAX_SPARSE_BYTES: u64 = 4 + 8 * crate::types::MAX_NON_ZEROS as u64;

/// The heap tuples of a sealed segment's rows.
pub struct SealedRows<'a> {
    segment: &'a Sealed,
    tids: PartReader<'a>,
    tombstones: PartReader<'a>,
    duplicates: PartReader<'a>,
}

impl<'a> SealedRows<'a> {
    pub fn new(relation: Relation, segment: &'a Sealed) -> Self {
        let part = |part, kind| PartReader::new(relation, part, kind, segment.id);
        Self {
            segment,
            tids: part(&segment.tids, Kind::Tids),
            tombstones: part(&segment.tombstone_bits, Kind::Tombstones),
            duplicates: part(&segment.duplicates, Kind::Duplicates),
        }
    }

    /// The heap tuple of a row, unless the row is dead.
    pub fn live_tid(&mut self, row: u32) -> Option<Tid> {
        if self.segment.tombstones > 0 {
            // VACUUM may set bits in this byte meanwhile: whichever value is read, the heap decides visibility.
            let bits = self.tombstones.tape(u64::from(row / 8), 1)[0];
            if bits >> (row % 8) & 1 == 1 {
                return None;
            }
        }
        self.tids.slot(row.into()).get(..6)?.try_into().ok()
    }

    /// Appends the heap tuples of the live rows that share a node.
    pub fn live_tids_of_node(&mut self, node: u32, tids: &mut impl Extend<Tid>) {
        tids.extend(self.live_tid(node));
        let (mut low, mut high) = (self.segment.nodes, self.segment.rows);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.node_of_duplicate(middle) < node {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        while low < self.segment.rows && self.node_of_duplicate(low) == node {
            tids.extend(self.live_tid(low));
            low += 1;
        }
    }

    fn node_of_duplicate(&mut self, row: u32) -> u32 {
        let slot = self.duplicates.slot(u64::from(row - self.segment.nodes));
        u32::from_ne_bytes(slot.try_into().unwrap_or_default())
    }
}
