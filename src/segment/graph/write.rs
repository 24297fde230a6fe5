//! Writing a graph's nodes: plain, wide or compact.

use super::rotated::{Rotated, Rows};
use super::wide::SlotLayout;
use crate::codec::encoder::Code;
use crate::codec::fastscan::BLOCK;
use crate::codec::layout::CodeLayout;
use crate::codec::layout::block::BlockLayout;
use crate::graph::build::{Graph, Layer};
use crate::graph::packed::Packing;
use crate::memory;
use crate::pg::threads;
use crate::segment::graph::layout::NodeLayout;
use crate::segment::graph::node_codes::{self, NodeCodes};
use crate::segment::row_layout;
use crate::storage::draft::Draft;
use crate::storage::part::{Layout, Part};
use crate::storage::part_writer::{PartWriter, write_rows};
use crate::structure::PageKind;
use crate::structure::Rerank;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// The parts that depend on the layout of a graph's nodes.
pub struct GraphPages {
    pub vectors: Part,
    pub offsets: Option<Part>,
    pub base: Part,
    pub upper: Part,
    pub row_codes: Option<Part>,
    pub node_codes: Option<Part>,
}

/// Number of pages of the base layer of `nodes` nodes.
pub fn base_pages(node_layout: NodeLayout, m: usize, nodes: u32) -> u32 {
    let bytes = match node_layout {
        NodeLayout::Wide { base, .. } => base.bytes(),
        NodeLayout::Plain | NodeLayout::Compact { .. } => list_bytes(Packing::new(nodes), 2 * m) as usize,
    };
    let layout = Layout::for_rows(Some(bytes));
    u32::try_from(layout.pages(layout.size(nodes.into(), bytes))).unwrap_or(u32::MAX)
}

/// A graph on its way to pages.
pub struct Writer<'a> {
    pub rows: Rows<'a>,
    pub graph: &'a Graph,
    pub m: usize,
    pub threads: usize,
}

impl Writer<'_> {
    fn nodes(&self) -> Range<u32> {
        0..self.rows.nodes()
    }

    /// Vectors, and neighbour lists without codes.
    pub fn plain(&self, draft: &mut Draft) -> GraphPages {
        let space = self.rows.space();
        let vectors = self.vectors(draft, row_layout(space));
        let offsets = space.row_bytes().is_none().then(|| {
            let mut end = 0u64;
            let ends = self.nodes().map(|node| {
                end += self.rows.row(node).len() as u64;
                end
            });
            let offsets = std::iter::once(0).chain(ends).map(u64::to_ne_bytes);
            write_rows(draft, PageKind::Offsets, 8, u64::from(self.rows.nodes()) + 1, offsets)
        });
        let (base, upper) = self.links(draft);
        GraphPages { vectors, offsets, base, upper, row_codes: None, node_codes: None }
    }

    /// Vectors, neighbours and codes together, in slots of the base layer and of upper layers.
    pub fn wide(
        &self,
        draft: &mut Draft,
        rotated: &Rotated,
        [base_slots, upper_slots]: [SlotLayout; 2],
        nodes_of_duplicates: &[u32],
    ) -> GraphPages {
        let coder = Coder { threads: self.threads, rotated };
        let (base, upper) = self.layers();
        let base = coder.write_slots(draft, PageKind::GraphBase, base_slots, &[base]);
        let upper = coder.write_slots(draft, PageKind::GraphUpper, upper_slots, &upper);
        let nodes_of_rows: Vec<u32> = self.nodes().chain(nodes_of_duplicates.iter().copied()).collect();
        let row_codes = Some(coder.write_row_codes(draft, &nodes_of_rows));
        GraphPages { vectors: no_vectors(draft), offsets: None, base, upper, row_codes, node_codes: None }
    }

    /// Neighbours, a code for each node, and vectors unless they are in the table only. Rows that
    /// were decoded keep their `codes`, one for each row of the arena.
    pub fn compact(
        &self,
        draft: &mut Draft,
        rotated: &Rotated,
        layout: NodeCodes,
        rerank: Rerank,
        codes: &[u8],
    ) -> GraphPages {
        let vectors = match rerank {
            Rerank::Index => self.vectors(draft, node_codes::vector_layout(self.rows.space())),
            Rerank::Heap => no_vectors(draft),
        };
        let (base, upper) = self.links(draft);
        let coder = Coder { threads: self.threads, rotated };
        let node_codes = if codes.is_empty() {
            coder.write_node_codes(draft, layout)
        } else {
            let codes = self.rows.row_of_node.iter().map(|&row| &codes[row as usize * layout.bytes()..]);
            let codes = codes.map(|code| &code[..layout.bytes()]);
            write_rows(draft, PageKind::NodeCodes, layout.bytes(), self.rows.nodes().into(), codes)
        };
        GraphPages { vectors, offsets: None, base, upper, row_codes: None, node_codes: Some(node_codes) }
    }

    fn vectors(&self, draft: &mut Draft, layout: Layout) -> Part {
        let total = match layout {
            Layout::Slots { .. } => self.rows.nodes().into(),
            Layout::Tape => self.nodes().map(|node| self.rows.row(node).len() as u64).sum(),
        };
        let mut writer = PartWriter::new(draft, PageKind::Vectors, layout, total);
        self.nodes().for_each(|node| writer.push(self.rows.row(node)));
        writer.finish()
    }

    /// The base layer, and those above it.
    fn layers(&self) -> (&Layer, Vec<&Layer>) {
        let (base, upper) = self.graph.layers.split_first().expect("a graph has a base layer");
        (base, upper.iter().collect())
    }

    /// Neighbour lists of the base layer and of those above it.
    fn links(&self, draft: &mut Draft) -> (Part, Part) {
        let ((base, upper), m, nodes) = (self.layers(), self.m, self.rows.nodes());
        let base = write_layers(draft, PageKind::GraphBase, nodes, 2 * m, &[base]);
        (base, write_layers(draft, PageKind::GraphUpper, nodes, m, &upper))
    }
}

fn no_vectors(draft: &mut Draft) -> Part {
    PartWriter::new(draft, PageKind::Vectors, Layout::Tape, 0).finish()
}

/// What it takes to write layers with codes.
struct Coder<'a> {
    threads: usize,
    rotated: &'a Rotated<'a>,
}

/// Rows whose codes are computed while those before them are written, and the bytes of these at
/// most.
const CODED_BATCH: u32 = 4096;
const CODED_BYTES: usize = 8 << 20;

impl Coder<'_> {
    /// A part of `count` rows of `bytes` bytes, which `encode` makes on threads, each from its
    /// number.
    fn write(
        &self,
        draft: &mut Draft,
        kind: PageKind,
        bytes: usize,
        count: u32,
        encode: impl Fn(u32, &mut [u8]) + Sync,
    ) -> Part {
        let mut writer = PartWriter::for_rows(draft, kind, bytes, count.into());
        let encode_all = |cancel: &AtomicBool, put: &dyn Fn(Vec<u8>)| {
            let together = CODED_BATCH.min((CODED_BYTES / bytes.max(1)).max(1) as u32);
            for first in (0..count).step_by(together as usize) {
                let batch = first..count.min(first + together);
                let mut encoded = memory::zeros::<u8>(batch.len() * bytes, "codes of a graph");
                encoded.par_chunks_exact_mut(bytes).zip(batch).for_each(|(row, number)| {
                    if !cancel.load(Ordering::Relaxed) {
                        encode(number, row);
                    }
                });
                put(encoded);
            }
        };
        let write = |encoded: Vec<u8>| encoded.chunks_exact(bytes).for_each(|row| writer.push(row));
        threads::stream(self.threads, || {}, encode_all, write);
        writer.finish()
    }

    /// The slots of layers, one layer after another.
    fn write_slots(&self, draft: &mut Draft, kind: PageKind, slots: SlotLayout, layers: &[&Layer]) -> Part {
        let (rotated, rows) = (self.rotated, self.rotated.rows());
        let nodes = layers.iter().map(|layer| layer.nodes()).sum();
        self.write(draft, kind, slots.bytes(), nodes, |number, slot| {
            let mut node = number;
            let layer = layers.iter().find(|layer| {
                let is_here = node < layer.nodes();
                node -= if is_here { 0 } else { layer.nodes() };
                is_here
            });
            let layer = layer.expect("a slot for each node of the layers");
            let neighbours = layer.neighbours(node).map(|neighbour| (neighbour, rotated.vector(neighbour)));
            rotated.encoder().encode_slot(slots, rows.row(node), &rotated.vector(node), neighbours, slot);
        })
    }

    /// Blocks of the rows' codes against the origin.
    fn write_row_codes(&self, draft: &mut Draft, nodes_of_rows: &[u32]) -> Part {
        let (rotated, encoder) = (self.rotated, self.rotated.encoder());
        let blocks = BlockLayout::new(rotated.rows().space().dims as usize);
        let count = nodes_of_rows.len().div_ceil(BLOCK) as u32;
        self.write(draft, PageKind::RowCodes, blocks.bytes(), count, |number, block| {
            let nodes = nodes_of_rows.chunks(BLOCK).nth(number as usize).expect("nodes for each block");
            let codes: Vec<Code> =
                nodes.iter().map(|&node| encoder.encode_vector(&rotated.vector(node))).collect();
            let codes: Vec<_> = codes.iter().map(|code| (code.factors, &code.bits[..])).collect();
            block.copy_from_slice(&blocks.pack(&codes));
        })
    }

    /// Every node's code.
    fn write_node_codes(&self, draft: &mut Draft, codes: NodeCodes) -> Part {
        let (rotated, nodes) = (self.rotated, self.rotated.rows().nodes());
        self.write(draft, PageKind::NodeCodes, codes.bytes(), nodes, |node, code| {
            codes.encode(rotated.encoder(), &rotated.vector(node), code);
        })
    }
}

/// Bytes of a slot with nothing except neighbours' numbers.
fn list_bytes(packing: Packing, degree: usize) -> u32 {
    (packing.words(degree) * size_of::<u32>()) as u32
}

fn write_layers(draft: &mut Draft, kind: PageKind, nodes: u32, degree: usize, layers: &[&Layer]) -> Part {
    let packing = Packing::new(nodes);
    let layout = Layout::Slots { bytes: list_bytes(packing, degree) };
    let count = layers.iter().map(|layer| u64::from(layer.nodes())).sum();
    let mut writer = PartWriter::new(draft, kind, layout, count);
    let (mut neighbours, mut words) = (Vec::with_capacity(degree), vec![0; packing.words(degree)]);
    for layer in layers {
        for node in 0..layer.nodes() {
            neighbours.clear();
            neighbours.extend(layer.neighbours(node));
            // Sorted, so that neighbours on one page are read one after another.
            neighbours.sort_unstable();
            packing.pack(&neighbours, &mut words);
            writer.push(bytemuck::cast_slice(&words));
        }
    }
    writer.finish()
}
