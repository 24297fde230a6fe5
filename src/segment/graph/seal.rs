//! Sealing: rows in memory become a segment with a graph.

use super::coded::SlotLayout;
use crate::distance::{Arena, Space};
use crate::graph::build::{self, Graph, Layer, Nodes, Options};
use crate::graph::levels;
use crate::pg::progress::{self, Phase};
use crate::pg::threads;
use crate::segment::encoder::Encoder;
use crate::segment::{Plan, TID_BYTES, Tid, row_layout, rows};
use crate::storage::edit::Edit;
use crate::storage::manifest::{GraphParts, Parts, Sealed};
use crate::storage::meta::{GraphOptions, Quantizer};
use crate::storage::page::Kind;
use crate::storage::part::{Layout, Part, PartWriter, write_rows};
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Rows on their way into one sealed segment.
///
/// Rows with equal bytes share one graph node: else a crowd of equal vectors would have only one another as
/// neighbours, and cut themselves off from the rest of the graph.
pub struct Batch {
    options: Options,
    arena: Arena,
    /// Heap tuple of each arena row.
    tids: Vec<Tid>,
    /// Rows equal to an arena row.
    duplicates: Vec<(u32, Tid)>,
    /// First arena row with a checksum.
    rows_by_checksum: HashMap<u32, u32>,
}

/// Where rows of a graph under construction are found: node numbers are not arena rows.
struct Rows<'a> {
    arena: &'a Arena,
    row_of_node: &'a [u32],
}

impl Nodes for Rows<'_> {
    fn score(&self, a: u32, b: u32) -> f32 {
        self.arena.score(self.row_of_node[a as usize], self.row_of_node[b as usize])
    }

    fn prefetch(&self, node: u32) {
        self.arena.prefetch(self.row_of_node[node as usize]);
    }
}

impl Batch {
    pub fn new(space: Space, options: GraphOptions) -> Self {
        Self {
            options: Options { m: options.m.into(), ef_construction: options.ef_construction.into() },
            arena: Arena::new(space),
            tids: Vec::new(),
            duplicates: Vec::new(),
            rows_by_checksum: HashMap::new(),
        }
    }

    /// Rows, duplicates among them.
    pub fn rows(&self) -> usize {
        self.tids.len() + self.duplicates.len()
    }

    /// Bytes that the rows take, and that their graph will take.
    pub fn bytes(&self, threads: usize) -> usize {
        // A hash table's entry with its control byte, at the load after growing.
        const CHECKSUM_BYTES: usize = 2 * 9;
        let per_node = TID_BYTES as usize
            + size_of::<u32>()
            + CHECKSUM_BYTES
            + Graph::bytes_per_node(self.options.m, threads);
        self.arena.bytes() + self.tids.len() * per_node + self.duplicates.capacity() * size_of::<(u32, Tid)>()
    }

    /// Adds a row; `false` if the bytes are no row of the space.
    pub fn push(&mut self, tid: Tid, row: &[u8]) -> bool {
        let checksum = crc32fast::hash(row);
        if let Some(&first) = self.rows_by_checksum.get(&checksum)
            && self.arena.row(first) == row
        {
            self.duplicates.push((first, tid));
            return true;
        }
        let added = self.arena.push(row);
        if added {
            self.rows_by_checksum.entry(checksum).or_insert(self.tids.len() as u32);
            self.tids.push(tid);
        }
        added
    }

    /// Builds the graph on threads and writes the segment's pages; the caller adds it to the manifest.
    pub fn seal(mut self, edit: &mut Edit, plan: Plan) -> Sealed {
        let id = edit.new_segment();
        let nodes = self.tids.len() as u32;
        let m = self.options.m;
        self.rows_by_checksum = HashMap::new();
        let (row_of_node, layers) = levels::order(plan.seed ^ u64::from(id), nodes, m);
        if plan.show_progress {
            progress::phase(Phase::BuildGraph);
        }
        let graph = {
            let source = Rows { arena: &self.arena, row_of_node: &row_of_node };
            let (done, layers) = (AtomicU64::new(0), &layers);
            let show = || {
                if plan.show_progress {
                    progress::tuples(done.load(Ordering::Relaxed), u64::from(nodes));
                }
            };
            threads::run(plan.threads, show, |cancel| {
                build::build(&source, nodes, layers, self.options, cancel, &done)
            })
        };
        if plan.show_progress {
            progress::phase(Phase::WriteSegment);
        }
        self.write(edit, id, plan, &row_of_node, layers, &graph)
    }

    fn write(
        mut self,
        edit: &mut Edit,
        id: u32,
        plan: Plan,
        row_of_node: &[u32],
        layers: Vec<u32>,
        graph: &Graph,
    ) -> Sealed {
        let nodes = row_of_node.len() as u32;
        let mut node_of_row = vec![0u32; row_of_node.len()];
        for (node, &row) in (0..).zip(row_of_node) {
            node_of_row[row as usize] = node;
        }
        for (row, _) in &mut self.duplicates {
            *row = node_of_row[*row as usize];
        }
        self.duplicates.sort_unstable();
        let rows = nodes + self.duplicates.len() as u32;
        let mut crc = crc32fast::Hasher::new();

        let of_nodes = row_of_node.iter().map(|&row| &self.tids[row as usize]);
        let of_duplicates = self.duplicates.iter().map(|(_, tid)| tid);
        let told = rows::write(edit, id, rows, of_nodes.chain(of_duplicates), &mut crc);

        let pages = match plan.quantizer {
            Quantizer::None => self.write_plain(edit, id, row_of_node, graph, &mut crc),
            Quantizer::Rabitq | Quantizer::Sq8 => {
                self.write_coded(edit, id, plan, row_of_node, graph, &mut crc)
            }
        };

        let count = self.duplicates.len() as u64;
        let nodes_of_duplicates = self.duplicates.iter().map(|(node, _)| node.to_ne_bytes());
        let duplicates =
            write_rows(edit, Kind::Duplicates, id, 4, count, nodes_of_duplicates, Some(&mut crc));
        let parts = GraphParts {
            nodes,
            layers,
            vectors: pages.vectors,
            offsets: pages.offsets,
            base: pages.base,
            upper: pages.upper,
            duplicates,
        };
        Sealed::new(id, rows, told, Parts::Graph(parts), crc)
    }
}

/// The parts that a quantizer decides about.
struct GraphPages {
    vectors: Part,
    offsets: Option<Part>,
    base: Part,
    upper: Part,
}

impl Batch {
    /// Vectors, and neighbour lists without codes.
    fn write_plain(
        &self,
        edit: &mut Edit,
        id: u32,
        row_of_node: &[u32],
        graph: &Graph,
        crc: &mut crc32fast::Hasher,
    ) -> GraphPages {
        let space = self.arena.space();
        let layout = row_layout(space);
        let nodes = row_of_node.len() as u64;
        let total = match layout {
            Layout::Slots { .. } => nodes,
            Layout::Tape => row_of_node.iter().map(|&row| self.arena.row(row).len() as u64).sum(),
        };
        let mut writer = PartWriter::new(edit, Kind::Rows, id, layout, total, Some(crc));
        for &row in row_of_node {
            writer.push(self.arena.row(row));
        }
        let vectors = writer.finish();
        let offsets = space.row_bytes().is_none().then(|| {
            let mut end = 0u64;
            let ends = row_of_node.iter().map(|&row| {
                end += self.arena.row(row).len() as u64;
                end
            });
            let offsets = std::iter::once(0).chain(ends).map(u64::to_ne_bytes);
            write_rows(edit, Kind::Offsets, id, 8, nodes + 1, offsets, Some(crc))
        });
        let (base, upper) = graph.layers.split_first().expect("a graph has a base layer");
        let m = self.options.m;
        let base = write_layers(edit, Kind::GraphBase, id, 2 * m, &[base], crc);
        let upper: Vec<&Layer> = upper.iter().collect();
        let upper = write_layers(edit, Kind::GraphUpper, id, m, &upper, crc);
        GraphPages { vectors, offsets, base, upper }
    }

    /// Vectors, neighbours and codes together.
    fn write_coded(
        &self,
        edit: &mut Edit,
        id: u32,
        plan: Plan,
        row_of_node: &[u32],
        graph: &Graph,
        crc: &mut crc32fast::Hasher,
    ) -> GraphPages {
        let space = self.arena.space();
        let coder = Coder {
            encoder: Encoder::new(space, plan.seed).expect("the quantizer was checked against the space"),
            threads: plan.threads,
            arena: &self.arena,
            row_of_node,
        };
        let (base, upper) = graph.layers.split_first().expect("a graph has a base layer");
        let slots = SlotLayout::base(space, 2 * self.options.m);
        let base = coder.write(edit, Kind::GraphBase, id, slots, &[base], crc);
        let upper: Vec<&Layer> = upper.iter().collect();
        let slots = SlotLayout::upper(space, self.options.m);
        let upper = coder.write(edit, Kind::GraphUpper, id, slots, &upper, crc);
        let vectors = PartWriter::new(edit, Kind::Rows, id, Layout::Tape, 0, None).finish();
        GraphPages { vectors, offsets: None, base, upper }
    }
}

/// What it takes to write layers with codes.
struct Coder<'a> {
    encoder: Encoder,
    threads: usize,
    arena: &'a Arena,
    row_of_node: &'a [u32],
}

/// Nodes whose codes are computed before they are written.
const CODED_BATCH: usize = 4096;

impl Coder<'_> {
    fn write(
        &self,
        edit: &mut Edit,
        kind: Kind,
        segment: u32,
        slots: SlotLayout,
        layers: &[&Layer],
        crc: &mut crc32fast::Hasher,
    ) -> Part {
        let layout = Layout::for_rows(Some(slots.bytes()));
        let nodes: u64 = layers.iter().map(|layer| u64::from(layer.nodes())).sum();
        let count = layout.size(nodes, slots.bytes());
        let mut writer = PartWriter::new(edit, kind, segment, layout, count, Some(crc));
        for layer in layers {
            for first in (0..layer.nodes()).step_by(CODED_BATCH) {
                let last = layer.nodes().min(first + CODED_BATCH as u32);
                let encode = |cancel: &AtomicBool| self.encode(slots, layer, first..last, cancel);
                let encoded = threads::run(self.threads, || {}, encode);
                encoded.chunks_exact(slots.bytes()).for_each(|slot| writer.push(slot));
            }
        }
        writer.finish()
    }

    /// The slots of some nodes, one after another.
    fn encode(&self, slots: SlotLayout, layer: &Layer, nodes: Range<u32>, cancel: &AtomicBool) -> Vec<u8> {
        let row = |node: u32| self.arena.row(self.row_of_node[node as usize]);
        let mut encoded = vec![0u8; nodes.len() * slots.bytes()];
        encoded.par_chunks_exact_mut(slots.bytes()).zip(nodes).for_each(|(slot, node)| {
            if !cancel.load(Ordering::Relaxed) {
                let neighbours = layer.neighbours(node).map(|neighbour| (neighbour, row(neighbour)));
                self.encoder.encode_slot(slots, row(node), neighbours, slot);
            }
        });
        encoded
    }
}

/// Bytes of a node's slot: the number of its neighbours, then their node numbers.
pub fn node_slot_bytes(degree: usize) -> u32 {
    (4 + 4 * degree) as u32
}

fn write_layers(
    edit: &mut Edit,
    kind: Kind,
    segment: u32,
    degree: usize,
    layers: &[&Layer],
    crc: &mut crc32fast::Hasher,
) -> Part {
    let layout = Layout::Slots { bytes: node_slot_bytes(degree) };
    let count = layers.iter().map(|layer| u64::from(layer.nodes())).sum();
    let mut writer = PartWriter::new(edit, kind, segment, layout, count, Some(crc));
    let mut slot = Vec::with_capacity(4 + 4 * degree);
    for layer in layers {
        for node in 0..layer.nodes() {
            slot.clear();
            slot.extend_from_slice(&[0; 4]);
            for neighbour in layer.neighbours(node) {
                slot.extend_from_slice(&neighbour.to_ne_bytes());
            }
            let count = (slot.len() / 4 - 1) as u32;
            slot[..4].copy_from_slice(&count.to_ne_bytes());
            writer.push(&slot);
        }
    }
    writer.finish()
}
