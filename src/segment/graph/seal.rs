//! Sealing: rows in memory become a segment with a graph.

use super::coded::SlotLayout;
use super::near::{self, Neighbourhoods};
use super::rotated::{Rotated, Rows};
use crate::codec::fastscan::BLOCK;
use crate::distance::{Arena, Space};
use crate::filter::Table;
use crate::graph::build::{self, Graph, Known, Layer, Options, Prior};
use crate::graph::bulk;
use crate::graph::levels;
use crate::pg::progress::{self, Phase};
use crate::pg::threads;
use crate::segment::block::BlockLayout;
use crate::segment::encoder::{self, Code, Encoder};
use crate::segment::{Entry, Plan, TID_BYTES, Tid, row_layout, rows};
use crate::storage::draft::Draft;
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
    columns: usize,
    /// Heap tuple and attributes of each arena row.
    tids: Vec<Tid>,
    attributes: Table,
    /// Rows equal to an arena row, and their attributes.
    duplicates: Vec<Duplicate>,
    attributes_of_duplicates: Table,
    /// First arena row with a checksum.
    rows_by_checksum: HashMap<u32, u32>,
}

/// A row equal to an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Duplicate {
    /// In the arena; a node when the graph is written.
    of: u32,
    tid: Tid,
    /// Counts the duplicates.
    number: u32,
}

/// An older graph whose nodes are taken over.
#[derive(Default)]
pub struct Taken {
    /// For each of its nodes the neighbours on each layer.
    lists: Vec<Vec<Vec<u32>>>,
    /// The arena row of each of its nodes that is alive.
    rows: Vec<Option<u32>>,
    /// Its node for each of the first arena rows.
    nodes: Vec<u32>,
}

/// Whether so many nodes are linked in bulk (see [`bulk`]): if they can be encoded, and are worth putting into lists. Codes
/// of few dimensions say too little.
pub fn is_bulky(space: Space, nodes: u32) -> bool {
    const LEAST_NODES: u32 = 2000;
    const LEAST_DIMS: u32 = 17;
    encoder::is_supported(space) && nodes >= LEAST_NODES && space.dims >= LEAST_DIMS
}

impl Taken {
    fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds the next node; `row` is its row in the arena if it is alive.
    pub fn add(&mut self, lists: Vec<Vec<u32>>, row: Option<u32>) {
        if let Some(row) = row {
            debug_assert_eq!(row as usize, self.nodes.len());
            self.nodes.push(self.lists.len() as u32);
        }
        self.lists.push(lists);
        self.rows.push(row);
    }

    /// The level of an arena row that was a node.
    fn level(&self, row: u32) -> Option<u8> {
        let node = *self.nodes.get(row as usize)?;
        Some((self.lists[node as usize].len() - 1) as u8)
    }

    fn prior<'a>(&'a self, row_of_node: &'a [u32]) -> TakenOver<'a> {
        let mut new_nodes = vec![None; self.lists.len()];
        for (new, &row) in (0..).zip(row_of_node) {
            if let Some(&old) = self.nodes.get(row as usize) {
                new_nodes[old as usize] = Some(new);
            }
        }
        TakenOver { taken: self, row_of_node, new_nodes }
    }
}

/// [`Taken`] as the build asks for it.
struct TakenOver<'a> {
    taken: &'a Taken,
    row_of_node: &'a [u32],
    /// The new number of each old node that is alive.
    new_nodes: Vec<Option<u32>>,
}

impl Prior for TakenOver<'_> {
    fn known(&self, layer: usize, node: u32) -> Option<Known> {
        let old = *self.taken.nodes.get(self.row_of_node[node as usize] as usize)?;
        let neighbours = |old: u32| self.taken.lists[old as usize][layer].iter().copied();
        let alive = |old: u32| self.new_nodes[old as usize].filter(|&new| new != node);
        if neighbours(old).all(|neighbour| alive(neighbour).is_some()) {
            return Some(Known::Neighbours(neighbours(old).filter_map(alive).collect()));
        }
        let near = neighbours(old).flat_map(|neighbour| match alive(neighbour) {
            Some(new) => vec![new],
            None => neighbours(neighbour).filter_map(alive).collect(),
        });
        Some(Known::Candidates(near.collect()))
    }
}

impl Batch {
    /// For rows with so many filter columns.
    pub fn new(space: Space, columns: usize, options: GraphOptions) -> Self {
        Self {
            columns,
            attributes: Table::new(columns),
            attributes_of_duplicates: Table::new(columns),
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
        let (space, nodes) = (self.arena.space(), self.tids.len());
        let per_node = TID_BYTES as usize
            + size_of::<u32>()
            + CHECKSUM_BYTES
            + Graph::bytes_per_node(self.options.m, threads)
            + if is_bulky(space, nodes as u32) { near::bytes_per_row(space.dims as usize) } else { 0 };
        self.arena.bytes()
            + nodes * per_node
            + self.duplicates.capacity() * size_of::<Duplicate>()
            + self.attributes.bytes()
            + self.attributes_of_duplicates.bytes()
    }

    /// Adds a row; `false` if the bytes are no row of the space.
    pub fn push(&mut self, entry: Entry) -> bool {
        if let Some(&first) = self.rows_by_checksum.get(&crc32fast::hash(entry.row))
            && self.arena.row(first) == entry.row
        {
            self.push_duplicate(first, entry);
            return true;
        }
        self.push_node(entry).is_some()
    }

    /// Adds a row that is to be a node of its own; returns its number in the arena, `None` if the bytes are no row of
    /// the space.
    pub fn push_node(&mut self, entry: Entry) -> Option<u32> {
        if !self.arena.push(entry.row) {
            return None;
        }
        let number = self.tids.len() as u32;
        self.rows_by_checksum.entry(crc32fast::hash(entry.row)).or_insert(number);
        self.tids.push(entry.tid);
        self.attributes.push(entry.attributes);
        Some(number)
    }

    /// Adds a row that is equal to one in the arena.
    pub fn push_duplicate(&mut self, arena_row: u32, entry: Entry) {
        let number = self.duplicates.len() as u32;
        self.duplicates.push(Duplicate { of: arena_row, tid: entry.tid, number });
        self.attributes_of_duplicates.push(entry.attributes);
    }

    /// Builds the graph on threads and writes the segment's pages; the caller adds it to the manifest.
    pub fn seal(self, draft: &mut Draft, plan: Plan) -> Sealed {
        self.seal_after(draft, plan, Taken::default())
    }

    /// As [`Self::seal`], but takes nodes over from an older graph, whose rows were added first.
    pub fn seal_after(mut self, draft: &mut Draft, plan: Plan, taken: Taken) -> Sealed {
        let nodes = self.tids.len() as u32;
        let m = self.options.m;
        self.rows_by_checksum = HashMap::new();
        let seed = plan.seed ^ u64::from(draft.id());
        let level = |row: u32| taken.level(row).unwrap_or_else(|| levels::level(seed, row, m));
        let (row_of_node, layers) = levels::order(nodes, level);
        if plan.show_progress {
            progress::phase(Phase::BuildGraph);
        }
        let rows = Rows { arena: &self.arena, row_of_node: &row_of_node };
        let room = plan.memory.saturating_sub(self.bytes(plan.threads));
        let encoder = Encoder::new(self.arena.space(), plan.seed);
        let is_bulk = taken.is_empty() && is_bulky(self.arena.space(), nodes);
        let rotated =
            encoder.as_ref().filter(|_| is_bulk || plan.quantizer != Quantizer::None).map(|encoder| {
                threads::run(plan.threads, || {}, |cancel| Rotated::new(rows, encoder, room, cancel))
            });
        let graph = {
            let prior = taken.prior(&row_of_node);
            let (done, layers, options) = (AtomicU64::new(0), &layers, self.options);
            let show = || {
                if plan.show_progress {
                    progress::tuples(done.load(Ordering::Relaxed), u64::from(nodes));
                }
            };
            threads::run(plan.threads, show, |cancel| match &rotated {
                Some(rotated) if is_bulk => {
                    let near = Neighbourhoods::new(rotated, plan.seed, cancel);
                    bulk::build(rotated, nodes, layers, options, &near, cancel, &done)
                }
                _ => build::build(&rows, nodes, layers, options, &prior, cancel, &done),
            })
        };
        if plan.show_progress {
            progress::phase(Phase::WriteSegment);
        }
        self.write(draft, plan, rows, rotated.as_ref(), layers, &graph)
    }

    fn write(
        &self,
        draft: &mut Draft,
        plan: Plan,
        numbered: Rows,
        rotated: Option<&Rotated>,
        layers: Vec<u32>,
        graph: &Graph,
    ) -> Sealed {
        let (row_of_node, nodes) = (numbered.row_of_node, numbered.nodes());
        let mut node_of_row = vec![0u32; row_of_node.len()];
        for (node, &row) in (0..).zip(row_of_node) {
            node_of_row[row as usize] = node;
        }
        let of_node =
            |duplicate: &Duplicate| Duplicate { of: node_of_row[duplicate.of as usize], ..*duplicate };
        let mut duplicates: Vec<Duplicate> = self.duplicates.iter().map(of_node).collect();
        duplicates.sort_unstable();
        let rows = nodes + duplicates.len() as u32;
        let of_nodes = row_of_node.iter().map(|&row| {
            let row = row as usize;
            (self.tids[row], self.attributes.row(row).to_vec())
        });
        let of_duplicates = duplicates.iter().map(|duplicate| {
            let attributes = self.attributes_of_duplicates.row(duplicate.number as usize);
            (duplicate.tid, attributes.to_vec())
        });
        let told = rows::write(draft, self.columns, rows, of_nodes.chain(of_duplicates));

        let nodes_of_duplicates: Vec<u32> = duplicates.iter().map(|duplicate| duplicate.of).collect();
        let pages = match rotated.filter(|_| plan.quantizer != Quantizer::None) {
            None => self.write_plain(draft, row_of_node, graph),
            Some(rotated) => self.write_coded(draft, plan, rotated, &nodes_of_duplicates, graph),
        };

        let count = duplicates.len() as u64;
        let nodes_of_duplicates = nodes_of_duplicates.iter().map(|node| node.to_ne_bytes());
        let duplicates = write_rows(draft, Kind::Duplicates, 4, count, nodes_of_duplicates);
        let parts = GraphParts {
            nodes,
            layers,
            vectors: pages.vectors,
            offsets: pages.offsets,
            base: pages.base,
            upper: pages.upper,
            duplicates,
            row_codes: pages.row_codes,
        };
        Sealed::new(draft.id(), told, Parts::Graph(parts))
    }
}

/// The parts that a quantizer decides about.
struct GraphPages {
    vectors: Part,
    offsets: Option<Part>,
    base: Part,
    upper: Part,
    row_codes: Option<Part>,
}

impl Batch {
    /// Vectors, and neighbour lists without codes.
    fn write_plain(&self, draft: &mut Draft, row_of_node: &[u32], graph: &Graph) -> GraphPages {
        let space = self.arena.space();
        let layout = row_layout(space);
        let nodes = row_of_node.len() as u64;
        let total = match layout {
            Layout::Slots { .. } => nodes,
            Layout::Tape => row_of_node.iter().map(|&row| self.arena.row(row).len() as u64).sum(),
        };
        let mut writer = PartWriter::new(draft, Kind::Rows, layout, total);
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
            write_rows(draft, Kind::Offsets, 8, nodes + 1, offsets)
        });
        let (base, upper) = graph.layers.split_first().expect("a graph has a base layer");
        let m = self.options.m;
        let base = write_layers(draft, Kind::GraphBase, 2 * m, &[base]);
        let upper: Vec<&Layer> = upper.iter().collect();
        let upper = write_layers(draft, Kind::GraphUpper, m, &upper);
        GraphPages { vectors, offsets, base, upper, row_codes: None }
    }

    /// Vectors, neighbours and codes together.
    fn write_coded(
        &self,
        draft: &mut Draft,
        plan: Plan,
        rotated: &Rotated,
        nodes_of_duplicates: &[u32],
        graph: &Graph,
    ) -> GraphPages {
        let space = self.arena.space();
        let coder = Coder { threads: plan.threads, rotated };
        let (base, upper) = graph.layers.split_first().expect("a graph has a base layer");
        let slots = SlotLayout::base(space, 2 * self.options.m);
        let base = coder.write(draft, Kind::GraphBase, slots, &[base]);
        let upper: Vec<&Layer> = upper.iter().collect();
        let slots = SlotLayout::upper(space, self.options.m);
        let upper = coder.write(draft, Kind::GraphUpper, slots, &upper);
        let vectors = PartWriter::new(draft, Kind::Rows, Layout::Tape, 0).finish();
        let nodes_of_rows: Vec<u32> =
            (0..rotated.rows().nodes()).chain(nodes_of_duplicates.iter().copied()).collect();
        let row_codes = Some(coder.write_row_codes(draft, &nodes_of_rows));
        GraphPages { vectors, offsets: None, base, upper, row_codes }
    }
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
pub fn node_slot_bytes(degree: usize) -> u32 {
    (4 + 4 * degree) as u32
}

fn write_layers(draft: &mut Draft, kind: Kind, degree: usize, layers: &[&Layer]) -> Part {
    let layout = Layout::Slots { bytes: node_slot_bytes(degree) };
    let count = layers.iter().map(|layer| u64::from(layer.nodes())).sum();
    let mut writer = PartWriter::new(draft, kind, layout, count);
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
