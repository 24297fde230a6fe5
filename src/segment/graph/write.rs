//! Writing a graph's nodes: plain, wide or compact.

use super::compact::{self, NodeCodes};
use super::rotated::{Rotated, Rows};
use super::wide::SlotLayout;
use crate::codec::fastscan::BLOCK;
use crate::distance::Space;
use crate::graph::build::{Graph, Layer};
use crate::pg::threads;
use crate::segment::block::BlockLayout;
use crate::segment::encoder::Code;
use crate::segment::row_layout;
use crate::storage::draft::Draft;
use crate::storage::meta::{GraphLayout, GraphOptions, Quantizer, Rerank};
use crate::storage::page::{Kind, PAYLOAD};
use crate::storage::part::{Layout, Part, PartWriter, write_rows};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// The parts that the layout of a graph's nodes decides about.
pub struct GraphPages {
    pub vectors: Part,
    pub offsets: Option<Part>,
    pub base: Part,
    pub upper: Part,
    pub row_codes: Option<Part>,
    pub node_codes: Option<Part>,
}

/// Pages of the base layer of so many nodes.
pub fn base_pages(space: Space, options: GraphOptions, quantizer: Quantizer, nodes: u32) -> u32 {
    let degree = 2 * usize::from(options.m);
    let bytes = match (quantizer, options.layout) {
        (Quantizer::Rabitq | Quantizer::Sq8, GraphLayout::Wide) => SlotLayout::base(space, degree).bytes(),
        _ => node_slot_bytes(degree) as usize,
    };
    let layout = Layout::for_rows(Some(bytes));
    let pages = match layout {
        Layout::Slots { .. } => u64::from(nodes).div_ceil(layout.slots_per_page()),
        Layout::Tape => (u64::from(nodes) * bytes as u64).div_ceil(PAYLOAD as u64),
    };
    u32::try_from(pages).unwrap_or(u32::MAX)
}

/// A graph on its way to pages.
pub struct Writer<'a> {
    pub rows: Rows<'a>,
    pub graph: &'a Graph,
    pub options: GraphOptions,
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
            write_rows(draft, Kind::Offsets, 8, u64::from(self.rows.nodes()) + 1, offsets)
        });
        let (base, upper) = self.links(draft);
        GraphPages { vectors, offsets, base, upper, row_codes: None, node_codes: None }
    }

    /// Vectors, neighbours and codes together.
    pub fn wide(&self, draft: &mut Draft, rotated: &Rotated, nodes_of_duplicates: &[u32]) -> GraphPages {
        let (space, m) = (self.rows.space(), usize::from(self.options.m));
        let coder = Coder { threads: self.threads, rotated };
        let (base, upper) = self.layers();
        let base = coder.write(draft, Kind::GraphBase, SlotLayout::base(space, 2 * m), &[base]);
        let upper = coder.write(draft, Kind::GraphUpper, SlotLayout::upper(space, m), &upper);
        let nodes_of_rows: Vec<u32> = self.nodes().chain(nodes_of_duplicates.iter().copied()).collect();
        let row_codes = Some(coder.write_row_codes(draft, &nodes_of_rows));
        GraphPages { vectors: no_vectors(draft), offsets: None, base, upper, row_codes, node_codes: None }
    }

    /// Neighbours, a code for each node, and vectors unless they are in the table only. Rows that were decoded keep their
    /// `codes`, one for each row of the arena.
    pub fn compact(&self, draft: &mut Draft, rotated: &Rotated, codes: &[u8]) -> GraphPages {
        let vectors = match self.options.rerank {
            Rerank::Index => self.vectors(draft, compact::vector_layout(self.rows.space())),
            Rerank::Heap => no_vectors(draft),
        };
        let (base, upper) = self.links(draft);
        let coder = Coder { threads: self.threads, rotated };
        let layout = NodeCodes::new(self.rows.space());
        let node_codes = if codes.is_empty() {
            coder.write_node_codes(draft, layout)
        } else {
            let codes = self.rows.row_of_node.iter().map(|&row| &codes[row as usize * layout.bytes()..]);
            let codes = codes.map(|code| &code[..layout.bytes()]);
            write_rows(draft, Kind::NodeCodes, layout.bytes(), self.rows.nodes().into(), codes)
        };
        GraphPages { vectors, offsets: None, base, upper, row_codes: None, node_codes: Some(node_codes) }
    }

    fn vectors(&self, draft: &mut Draft, layout: Layout) -> Part {
        let total = match layout {
            Layout::Slots { .. } => self.rows.nodes().into(),
            Layout::Tape => self.nodes().map(|node| self.rows.row(node).len() as u64).sum(),
        };
        let mut writer = PartWriter::new(draft, Kind::Rows, layout, total);
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
        let ((base, upper), m) = (self.layers(), usize::from(self.options.m));
        let base = write_layers(draft, Kind::GraphBase, 2 * m, &[base]);
        (base, write_layers(draft, Kind::GraphUpper, m, &upper))
    }
}

fn no_vectors(draft: &mut Draft) -> Part {
    PartWriter::new(draft, Kind::Rows, Layout::Tape, 0).finish()
}

/// What it takes to write layers with codes.
struct Coder<'a> {
    threads: usize,
    rotated: &'a Rotated<'a>,
}

/// Nodes whose codes are computed while those before them are written.
const CODED_BATCH: usize = 4096;

impl Coder<'_> {
    fn write(&self, draft: &mut Draft, kind: Kind, slots: SlotLayout, layers: &[&Layer]) -> Part {
        let layout = Layout::for_rows(Some(slots.bytes()));
        let nodes: u64 = layers.iter().map(|layer| u64::from(layer.nodes())).sum();
        let count = layout.size(nodes, slots.bytes());
        let mut writer = PartWriter::new(draft, kind, layout, count);
        let encode = |cancel: &AtomicBool, put: &dyn Fn(Vec<u8>)| {
            for layer in layers {
                for first in (0..layer.nodes()).step_by(CODED_BATCH) {
                    let last = layer.nodes().min(first + CODED_BATCH as u32);
                    put(self.encode(slots, layer, first..last, cancel));
                }
            }
        };
        threads::stream(
            self.threads,
            || {},
            encode,
            |encoded| {
                encoded.chunks_exact(slots.bytes()).for_each(|slot| writer.push(slot));
            },
        );
        writer.finish()
    }

    /// Blocks of the rows' codes against the origin.
    fn write_row_codes(&self, draft: &mut Draft, nodes_of_rows: &[u32]) -> Part {
        let blocks = BlockLayout::new(self.rotated.rows().space().dims as usize);
        let layout = Layout::for_rows(Some(blocks.bytes()));
        let count = layout.size(nodes_of_rows.len().div_ceil(BLOCK) as u64, blocks.bytes());
        let mut writer = PartWriter::new(draft, Kind::RowCodes, layout, count);
        let encode_block = |nodes: &[u32]| -> Vec<u8> {
            let encoder = self.rotated.encoder();
            let codes = nodes.iter().map(|&node| encoder.encode_vector(&self.rotated.vector(node)));
            let codes: Vec<Code> = codes.collect();
            let codes: Vec<_> = codes.iter().map(|code| (code.factors, &code.bits[..])).collect();
            blocks.pack(&codes)
        };
        let encode = |cancel: &AtomicBool, put: &dyn Fn(Vec<Vec<u8>>)| {
            for nodes in nodes_of_rows.chunks(CODED_BATCH) {
                let blocks = nodes.par_chunks(BLOCK).filter(|_| !cancel.load(Ordering::Relaxed));
                put(blocks.map(encode_block).collect());
            }
        };
        threads::stream(
            self.threads,
            || {},
            encode,
            |blocks| {
                blocks.iter().for_each(|block| writer.push(block));
            },
        );
        writer.finish()
    }

    /// Every node's code.
    fn write_node_codes(&self, draft: &mut Draft, codes: NodeCodes) -> Part {
        let layout = Layout::for_rows(Some(codes.bytes()));
        let nodes = self.rotated.rows().nodes();
        let mut writer =
            PartWriter::new(draft, Kind::NodeCodes, layout, layout.size(nodes.into(), codes.bytes()));
        let encode = |cancel: &AtomicBool, put: &dyn Fn(Vec<u8>)| {
            for first in (0..nodes).step_by(CODED_BATCH) {
                let batch = first..nodes.min(first + CODED_BATCH as u32);
                let mut encoded = vec![0u8; batch.len() * codes.bytes()];
                encoded.par_chunks_exact_mut(codes.bytes()).zip(batch).for_each(|(code, node)| {
                    if !cancel.load(Ordering::Relaxed) {
                        codes.encode(self.rotated.encoder(), &self.rotated.vector(node), code);
                    }
                });
                put(encoded);
            }
        };
        let write = |encoded: Vec<u8>| encoded.chunks_exact(codes.bytes()).for_each(|code| writer.push(code));
        threads::stream(self.threads, || {}, encode, write);
        writer.finish()
    }

    /// The slots of some nodes, one after another.
    fn encode(&self, slots: SlotLayout, layer: &Layer, nodes: Range<u32>, cancel: &AtomicBool) -> Vec<u8> {
        let (rotated, rows) = (self.rotated, self.rotated.rows());
        let mut encoded = vec![0u8; nodes.len() * slots.bytes()];
        encoded.par_chunks_exact_mut(slots.bytes()).zip(nodes).for_each(|(slot, node)| {
            if !cancel.load(Ordering::Relaxed) {
                let neighbours =
                    layer.neighbours(node).map(|neighbour| (neighbour, rotated.vector(neighbour)));
                rotated.encoder().encode_slot(slots, rows.row(node), &rotated.vector(node), neighbours, slot);
            }
        });
        encoded
    }
}

/// Bytes of a node's slot: the number of its neighbours, then their node numbers.
fn node_slot_bytes(degree: usize) -> u32 {
    (4 + 4 * degree) as u32
}

fn write_layers(draft: &mut Draft, kind: Kind, degree: usize, layers: &[&Layer]) -> Part {
    let layout = Layout::Slots { bytes: node_slot_bytes(degree) };
    let count = layers.iter().map(|layer| u64::from(layer.nodes())).sum();
    let mut writer = PartWriter::new(draft, kind, layout, count);
    let mut neighbours = Vec::with_capacity(1 + degree);
    for layer in layers {
        for node in 0..layer.nodes() {
            neighbours.clear();
            neighbours.push(0);
            neighbours.extend(layer.neighbours(node));
            neighbours[0] = neighbours.len() as u32 - 1;
            // Those on one page are read one after another.
            neighbours[1..].sort_unstable();
            writer.push(bytemuck::cast_slice(&neighbours));
        }
    }
    writer.finish()
}
