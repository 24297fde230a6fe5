//! Sealing: rows in memory become a segment with a graph.

use super::rotated::{Rotated, Rows};
use super::write::{self, Writer};
use crate::codec::encoder::{self, Encoder};
use crate::distance::{Arena, Space};
use crate::filter::Table;
use crate::graph::build::{self, Graph, Options, PriorGraph, PriorNeighbours};
use crate::graph::bulk::{self, Near};
use crate::graph::levels;
use crate::memory;
use crate::pg::progress::{self, Phase};
use crate::pg::threads;
use crate::segment::graph::candidates::{self, Neighbourhoods};
use crate::segment::graph::layout::NodeLayout;
use crate::segment::{Entry, Plan, TID_BYTES, Tid, rows};
use crate::storage::draft::Draft;
use crate::storage::manifest::Sealed;
use crate::storage::part_writer::write_rows;
use crate::storage::parts::{GraphParts, Parts};
use crate::structure::GraphOptions;
use crate::structure::PageKind;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// The purpose that errors about memory name.
const ROWS: &str = "rows of a segment";

/// Rows on their way into one sealed segment.
///
/// Rows with equal bytes share one graph node. Otherwise many equal vectors would have only one
/// another as neighbours, cut off from the rest of the graph.
pub struct GraphRows {
    options: GraphOptions,
    arena: Arena,
    columns: usize,
    /// Heap tuple and attributes of each arena row.
    tids: Vec<Tid>,
    attributes: Table,
    /// Rows equal to an arena row, and their attributes.
    duplicates: Vec<Duplicate>,
    attributes_of_duplicates: Table,
    /// The codes of arena rows, one after another, if the rows were decoded from codes.
    codes: Vec<u8>,
    /// First arena row with a checksum.
    rows_by_checksum: HashMap<u32, u32>,
}

/// Pages appended at a time while threads build a graph.
const PREPARED: u32 = 128;

/// A row equal to an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Duplicate {
    /// A row in the arena; a node when the graph is written.
    of: u32,
    tid: Tid,
    /// Its number among the duplicates.
    number: u32,
}

/// An older graph whose nodes are taken over.
#[derive(Default)]
pub struct PriorGraphLists {
    /// For each of its nodes the neighbours on each layer.
    lists: Vec<Vec<Vec<u32>>>,
    /// The arena row of each of its nodes that is alive.
    rows: Vec<Option<u32>>,
    /// Its node for each of the first arena rows.
    nodes: Vec<u32>,
}

/// Whether `nodes` nodes are linked in bulk (see [`bulk`]): if they can be encoded, and are worth
/// putting into lists. Codes of few dimensions are too inaccurate.
pub fn is_bulky(space: Space, nodes: u32) -> bool {
    const LEAST_NODES: u32 = 2000;
    const LEAST_DIMS: u32 = 17;
    encoder::is_supported(space) && nodes >= LEAST_NODES && space.dims >= LEAST_DIMS
}

impl PriorGraphLists {
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

    fn prior<'a>(&'a self, row_of_node: &'a [u32]) -> PriorGraphView<'a> {
        let mut new_nodes = vec![None; self.lists.len()];
        for (new, &row) in (0..).zip(row_of_node) {
            if let Some(&old) = self.nodes.get(row as usize) {
                new_nodes[old as usize] = Some(new);
            }
        }
        PriorGraphView { taken: self, row_of_node, new_nodes }
    }
}

/// [`PriorGraphLists`] as the build asks for it.
struct PriorGraphView<'a> {
    taken: &'a PriorGraphLists,
    row_of_node: &'a [u32],
    /// The new number of each old node that is alive.
    new_nodes: Vec<Option<u32>>,
}

impl PriorGraph for PriorGraphView<'_> {
    fn known(&self, layer: usize, node: u32) -> Option<PriorNeighbours> {
        let old = *self.taken.nodes.get(self.row_of_node[node as usize] as usize)?;
        let neighbours = |old: u32| self.taken.lists[old as usize][layer].iter().copied();
        let alive = |old: u32| self.new_nodes[old as usize].filter(|&new| new != node);
        if neighbours(old).all(|neighbour| alive(neighbour).is_some()) {
            return Some(PriorNeighbours::Neighbours(neighbours(old).filter_map(alive).collect()));
        }
        let near = neighbours(old).flat_map(|neighbour| match alive(neighbour) {
            Some(new) => vec![new],
            None => neighbours(neighbour).filter_map(alive).collect(),
        });
        Some(PriorNeighbours::Candidates(near.collect()))
    }
}

impl GraphRows {
    /// For rows with `columns` filter columns.
    pub fn new(space: Space, columns: usize, options: GraphOptions) -> Self {
        Self {
            columns,
            attributes: Table::new(columns),
            attributes_of_duplicates: Table::new(columns),
            options,
            arena: Arena::new(space),
            tids: Vec::new(),
            duplicates: Vec::new(),
            codes: Vec::new(),
            rows_by_checksum: HashMap::new(),
        }
    }

    /// Number of rows, duplicates included.
    pub fn rows(&self) -> usize {
        self.tids.len() + self.duplicates.len()
    }

    /// Number of rows, duplicates left out.
    pub fn nodes(&self) -> usize {
        self.tids.len()
    }

    /// Bytes that the rows take, and that their graph will take.
    pub fn bytes(&self, threads: usize) -> usize {
        // A hash table's entry with its control byte, at the load after growing.
        const CHECKSUM_BYTES: usize = 2 * 9;
        let (space, nodes) = (self.arena.space(), self.tids.len());
        let per_node = TID_BYTES as usize
            + size_of::<u32>()
            + CHECKSUM_BYTES
            + Graph::bytes_per_node(self.options.m.into(), threads)
            + if is_bulky(space, nodes as u32) { candidates::bytes_per_row(space.dims as usize) } else { 0 };
        self.arena.bytes()
            + nodes * per_node
            + self.codes.capacity()
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

    /// Adds a row as a node of its own; returns its number in the arena, `None` if the bytes are no
    /// row of the space.
    pub fn push_node(&mut self, entry: Entry) -> Option<u32> {
        if !self.arena.push(entry.row) {
            return None;
        }
        let number = self.tids.len() as u32;
        self.rows_by_checksum.entry(crc32fast::hash(entry.row)).or_insert(number);
        memory::push(&mut self.tids, entry.tid, ROWS);
        self.attributes.push(entry.attributes);
        Some(number)
    }

    /// Adds the code of the last node added, whose vector was decoded from it.
    pub fn push_code(&mut self, code: &[u8]) {
        memory::extend(&mut self.codes, code, ROWS);
    }

    /// Adds a row that is equal to one in the arena.
    pub fn push_duplicate(&mut self, arena_row: u32, entry: Entry) {
        let number = self.duplicates.len() as u32;
        self.duplicates.push(Duplicate { of: arena_row, tid: entry.tid, number });
        self.attributes_of_duplicates.push(entry.attributes);
    }

    /// Builds the graph on threads and writes the segment's pages; the caller adds it to the
    /// manifest.
    pub fn seal(self, draft: &mut Draft, plan: Plan) -> Sealed {
        self.seal_after(draft, plan, PriorGraphLists::default())
    }

    /// As [`Self::seal`], but takes nodes over from an older graph, whose rows were added first.
    pub fn seal_after(mut self, draft: &mut Draft, plan: Plan, taken: PriorGraphLists) -> Sealed {
        let nodes = self.tids.len() as u32;
        let m = self.options.m.into();
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
        let rotated = encoder.as_ref().filter(|_| is_bulk || plan.quantizer.has_codes()).map(|encoder| {
            threads::run(plan.threads, || {}, |cancel| Rotated::new(rows, encoder, room, cancel))
        });
        let (graph, grouped) = {
            let prior = taken.prior(&row_of_node);
            let (done, layers) = (AtomicU64::new(0), &layers);
            let options = Options { m, ef_construction: self.options.ef_construction.into() };
            let mut coming = write::base_pages(self.node_layout(plan), m, nodes);
            let show = || {
                if plan.show_progress {
                    progress::tuples(done.load(Ordering::Relaxed), u64::from(nodes));
                }
                let now = coming.min(PREPARED);
                draft.prepare(now);
                coming -= now;
            };
            threads::run(plan.threads, show, |cancel| match &rotated {
                Some(rotated) if is_bulk => {
                    let near = Neighbourhoods::new(rotated, plan.seed, cancel);
                    let graph = bulk::build(rotated, nodes, layers, options, &near, cancel, &done);
                    (graph, Some(levels::regroup(near.groups(), layers)))
                }
                _ => (build::build(&rows, nodes, layers, options, &prior, cancel, &done), None),
            })
        };
        if plan.show_progress {
            progress::phase(Phase::WriteSegment);
        }
        let Some(old) = grouped else {
            return self.write(draft, plan, rows, rotated.as_ref(), layers, &graph);
        };
        // Nodes that are near one another share pages.
        let row_of_node: Vec<u32> = old.iter().map(|&node| row_of_node[node as usize]).collect();
        let rows = Rows { arena: &self.arena, row_of_node: &row_of_node };
        let graph = graph.renumbered(&old);
        let rotated = rotated.map(|rotated| rotated.renumbered(rows, old));
        self.write(draft, plan, rows, rotated.as_ref(), layers, &graph)
    }

    fn node_layout(&self, plan: Plan) -> NodeLayout {
        NodeLayout::new(self.arena.space(), self.options, plan.quantizer)
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
        let mut node_of_row = memory::zeros::<u32>(row_of_node.len(), ROWS);
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
        let row_parts = rows::write(draft, self.columns, rows, of_nodes.chain(of_duplicates));

        let nodes_of_duplicates: Vec<u32> = duplicates.iter().map(|duplicate| duplicate.of).collect();
        let writer = Writer { rows: numbered, graph, m: self.options.m.into(), threads: plan.threads };
        let pages = match (self.node_layout(plan), rotated) {
            (NodeLayout::Wide { base, upper }, Some(rotated)) => {
                writer.wide(draft, rotated, [base, upper], &nodes_of_duplicates)
            }
            (NodeLayout::Compact { codes, rerank }, Some(rotated)) => {
                writer.compact(draft, rotated, codes, rerank, &self.codes)
            }
            (NodeLayout::Plain, _) => writer.plain(draft),
            (_, None) => unreachable!("what has codes was rotated"),
        };

        let count = duplicates.len() as u64;
        let nodes_of_duplicates = nodes_of_duplicates.iter().map(|node| node.to_ne_bytes());
        let duplicates = write_rows(draft, PageKind::Duplicates, 4, count, nodes_of_duplicates);
        let parts = GraphParts {
            nodes,
            layers,
            vectors: pages.vectors,
            offsets: pages.offsets,
            base: pages.base,
            upper: pages.upper,
            duplicates,
            row_codes: pages.row_codes,
            node_codes: pages.node_codes,
        };
        Sealed::new(draft.id(), row_parts, Parts::Graph(parts))
    }
}
