//! Checking an index: what must hold of its pages, its segments and their codes.

use super::columns::StoredColumns;
use super::graph::compact::NodeCodes;
use super::graph::stored::StoredGraph;
use super::lists::assign::Assigner;
use super::lists::stored::{StoredLists, add_up};
use super::lists::write::RowSource;
use super::rows::{NodeRows, SealedRows};
use super::{Plan, Tid, growing, pages};
use crate::codec::encoder::Encoder;
use crate::codec::rotation::rotated_dims;
use crate::pg::buffer::Pinned;
use crate::pg::lock::{IndexLock, Purpose};
use crate::pg::relation::{Relation, in_recovery};
use crate::pg::stream::for_each_page;
use crate::segment::graph::layout::NodeLayout;
use crate::segment::lists::codebook::Lists;
use crate::storage::extent::gaps;
use crate::storage::manifest::{GraphParts, ListParts, Parts, Sealed};
use crate::storage::page::{self, Kind};
use crate::storage::part::Part;
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use crate::structure::{Quantizer, Structure};
use std::collections::HashSet;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub segment: Option<u32>,
    pub part: Option<Kind>,
    pub block: Option<u32>,
    pub text: String,
}

/// Tells what is wrong with a live row.
pub type RowVisitor<'a> = dyn FnMut(Tid, Option<&[u8]>, &[u64]) -> Option<String> + 'a;

/// Looks for what is wrong with one generation of an index.
pub struct Check {
    relation: Relation,
    snapshot: Snapshot,
    blocks: u32,
    pub findings: Vec<Finding>,
}

/// Findings of one kind in one segment: more would tell nothing new.
const MOST_ALIKE: usize = 20;

impl Check {
    /// Checks what a vacuum or a publication might change: that each page has one owner,
    /// tombstones, growing rows.
    ///
    /// `visit` tells what is wrong with a live row, given its heap tuple, vector and attributes.
    pub fn begin(relation: Relation, visit: &mut RowVisitor) -> Self {
        let lock = IndexLock::wait(relation, Purpose::Manifest);
        let blocks = relation.blocks();
        let snapshot = Snapshot::read(relation);
        let mut check = Self { relation, snapshot: snapshot.clone(), blocks, findings: Vec::new() };
        check.extents();
        for segment in &snapshot.manifest.sealed {
            check.part(segment.id, Kind::Tombstones, &segment.tombstone_bits);
            if check.findings.is_empty() {
                check.tombstones(segment);
            }
        }
        for segment in snapshot.manifest.flushing.iter().chain([&snapshot.meta.growing]) {
            let mut wrong = Vec::new();
            growing::for_each_row(relation, &snapshot.meta, segment, |entry| {
                wrong.extend(visit(entry.tid, Some(entry.row), entry.attributes));
            });
            for text in wrong {
                check.add(segment.segment, Some(Kind::Lane), None, text);
            }
        }
        drop(lock);
        check
    }

    /// Adds a finding about the index as a whole.
    pub fn find(&mut self, text: String) {
        let is_alike = |finding: &&Finding| (finding.segment, finding.block) == (None, None);
        if self.findings.iter().filter(is_alike).count() < MOST_ALIKE {
            self.findings.push(Finding { segment: None, part: None, block: None, text });
        }
    }

    fn add(&mut self, segment: u32, part: Option<Kind>, block: Option<u32>, text: String) {
        let segment = Some(segment);
        let alike = self.findings.iter().filter(|f| (f.segment, f.part) == (segment, part)).count();
        if alike < MOST_ALIKE {
            self.findings.push(Finding { segment, part, block, text });
        }
    }

    fn extents(&mut self) {
        let Snapshot { meta, manifest } = &self.snapshot;
        let mut extents: Vec<_> =
            pages::owned(self.relation, meta, manifest).into_iter().map(|(_, extent)| extent).collect();
        let (lost, overlaps) = gaps(&mut extents, self.blocks);
        let mut find = |block, text| {
            self.findings.push(Finding { segment: None, part: None, block: Some(block), text });
        };
        for extent in overlaps {
            let owned = pages::owned(self.relation, meta, manifest);
            let owners = owned.iter().filter(|(_, other)| {
                other.start < extent.start + extent.pages && extent.start < other.start + other.pages
            });
            let owners: Vec<String> = owners.map(|(owner, _)| format!("{owner:?}")).collect();
            find(extent.start, format!("{} pages belong to {}", extent.pages, owners.join(" and ")));
        }
        // A writer may have appended pages since the length was read for the first time.
        let blocks = self.relation.blocks();
        if let Some(end) = extents.iter().map(|extent| extent.start + extent.pages).max()
            && end > blocks
        {
            find(end - 1, format!("a segment has this page, but the index has only {blocks} pages"));
        }
        // On a standby replay may have extended the file for a generation that is not there yet.
        if !in_recovery() {
            for block in lost.into_iter().flat_map(|extent| extent.start..extent.start + extent.pages) {
                // What was appended and never given to anybody is free: the next task finds it.
                // Such a page is blank, or was written for a generation that was not published: a
                // part of its manifest, a lane.
                let page = Pinned::read(self.relation, block).share().copy();
                let is_unpublished = page::is(&page.0, Kind::Manifest, 0) || growing::is_unused_root(&page.0);
                if page.0.iter().any(|&byte| byte != 0) && !is_unpublished {
                    find(block, format!("the page, {}, belongs to nobody", page::describe(&page.0)));
                }
            }
        }
    }

    /// Checks the sealed segments: pages, checksums, tombstones, graphs and lists; `deep` computes
    /// every code again.
    pub fn segments(&mut self, deep: bool) {
        let snapshot = self.snapshot.clone();
        for codebook in &snapshot.manifest.codebooks {
            codebook.parts().iter().for_each(|(kind, part)| self.part(codebook.id, *kind, part));
        }
        let is_damaged = |check: &Self, id| check.findings.iter().any(|found| found.segment == Some(id));
        for segment in &snapshot.manifest.sealed {
            for (kind, part) in segment.parts() {
                if kind != Kind::Tombstones {
                    self.part(segment.id, kind, part);
                }
            }
            if self.is_damaged(segment) || segment.codebook().is_some_and(|id| is_damaged(self, id)) {
                // What is read from damaged pages means nothing.
                continue;
            }
            match &segment.parts {
                Parts::Graph(parts) => self.graph(segment, parts, deep),
                Parts::Lists(parts) => self.lists(segment, parts, deep),
            }
        }
    }

    /// Whether the rows of some sealed segment could not be read.
    pub fn has_damage(&self) -> bool {
        self.snapshot.manifest.sealed.iter().any(|segment| self.is_damaged(segment))
    }

    fn is_damaged(&self, segment: &Sealed) -> bool {
        self.findings.iter().any(|finding| finding.segment == Some(segment.id))
    }

    fn part(&mut self, segment: u32, kind: Kind, part: &Part) {
        let mut crc = crc32fast::Hasher::new();
        let blocks = self.blocks;
        let (relation, readable) = (self.relation, part.pages.blocks().filter(|&block| block < blocks));
        for_each_page(relation, readable, |block, page| {
            pgrx::check_for_interrupts!();
            let page = page.share().copy();
            if !page::is(&page.0, kind, segment) {
                self.add(segment, Some(kind), Some(block), "the page is another's".into());
            }
            crc.update(page::payload(&page.0));
        });
        let crc = crc.finalize();
        if kind != Kind::Tombstones && crc != part.crc {
            self.add(segment, Some(kind), None, format!("the CRC is {crc}, not {}", part.crc));
        }
    }

    fn tombstones(&mut self, segment: &Sealed) {
        let mut rows = SealedRows::new(SealedRef::new(&self.relation, segment));
        let dead = (0..segment.rows).filter(|&row| rows.is_dead(row)).count();
        if dead < segment.tombstones as usize {
            let text = format!("{dead} rows are dead of the {} that were marked", segment.tombstones);
            self.add(segment.id, Some(Kind::Tombstones), None, text);
        }
    }

    fn graph(&mut self, segment: &Sealed, parts: &GraphParts, deep: bool) {
        let meta = self.snapshot.meta.clone();
        let Structure::Graph(options) = meta.structure else {
            return self.add(segment.id, None, None, "it has a graph, but the index has lists".into());
        };
        let relation = self.relation;
        let sealed = SealedRef::new(&relation, segment);
        let mut graph = StoredGraph::new(sealed, &meta, parts);
        for node in 0..parts.nodes {
            pgrx::check_for_interrupts!();
            for layer in 0..=graph.level(node) {
                let (kind, degree) =
                    if layer == 0 { (Kind::GraphBase, 2 * options.m) } else { (Kind::GraphUpper, options.m) };
                let neighbours = graph.try_neighbours(layer, node).filter(|n| n.len() <= degree.into());
                let unique: Option<HashSet<u32>> = neighbours.as_ref().map(|n| n.iter().copied().collect());
                let is_sane = unique.zip(neighbours).is_some_and(|(unique, neighbours)| {
                    unique.len() == neighbours.len() && !unique.contains(&node)
                });
                if !is_sane {
                    let text = format!("the neighbours of node {node} on layer {layer} are invalid");
                    self.add(segment.id, Some(kind), None, text);
                }
            }
        }
        let mut duplicates = sealed.part(&parts.duplicates, Kind::Duplicates);
        let mut last = 0;
        for row in 0..segment.rows.saturating_sub(parts.nodes) {
            let node = u32::from_ne_bytes(duplicates.slot(row.into()).try_into().unwrap_or_default());
            if node < last || node >= parts.nodes {
                let text = format!("row {} cannot be a duplicate of node {node}", row + parts.nodes);
                self.add(segment.id, Some(Kind::Duplicates), None, text);
            }
            last = node;
        }
        if deep && let Some(encoder) = Encoder::new(meta.space, meta.seed) {
            self.graph_codes(segment, parts, &mut graph, &encoder);
        }
    }

    /// Encodes the neighbours of every node again.
    fn graph_codes(
        &mut self,
        segment: &Sealed,
        parts: &GraphParts,
        graph: &mut StoredGraph,
        encoder: &Encoder,
    ) {
        let (base, upper) = match NodeLayout::of(&self.snapshot.meta) {
            NodeLayout::Wide { base, upper } => (base, upper),
            NodeLayout::Compact { codes, .. } => {
                return self.node_codes(segment, parts, graph, codes, encoder);
            }
            NodeLayout::Plain => return,
        };
        for node in 0..parts.nodes {
            pgrx::check_for_interrupts!();
            for layer in 0..=graph.level(node) {
                let (kind, layout) =
                    if layer == 0 { (Kind::GraphBase, base) } else { (Kind::GraphUpper, upper) };
                let Some(neighbours) = graph.try_neighbours(layer, node) else { continue };
                let stored = graph.slot(layer, node).to_vec();
                let mut vector = |node: u32| {
                    let mut copy = Vec::new();
                    graph.vector(node, |row| copy.extend_from_slice(row));
                    copy
                };
                let row = vector(node);
                let rotated = neighbours.iter().map(|&other| (other, encoder.rotate(&vector(other))));
                let mut encoded = vec![0; layout.bytes()];
                encoder.encode_slot(layout, &row, &encoder.rotate(&row), rotated, &mut encoded);
                if !layout.says_the_same(&stored, &encoded) {
                    let text = format!("the codes of node {node} on layer {layer} are not its neighbours'");
                    self.add(segment.id, Some(kind), None, text);
                }
            }
        }
    }

    /// Encodes every node again whose vector is in the index.
    fn node_codes(
        &mut self,
        segment: &Sealed,
        parts: &GraphParts,
        graph: &mut StoredGraph,
        codes: NodeCodes,
        encoder: &Encoder,
    ) {
        let nodes = if graph.has_vectors() { parts.nodes } else { 0 };
        let mut encoded = vec![0; codes.bytes()];
        for node in 0..nodes {
            pgrx::check_for_interrupts!();
            graph.vector(node, |row| codes.encode(encoder, &encoder.rotate(row), &mut encoded));
            if !graph.code(node).is_some_and(|code| codes.says_the_same(code, &encoded)) {
                let text = format!("the code of node {node} is not its vector's");
                self.add(segment.id, Some(Kind::NodeCodes), None, text);
            }
        }
    }

    fn lists(&mut self, segment: &Sealed, parts: &ListParts, deep: bool) {
        let snapshot = self.snapshot.clone();
        let Structure::Lists(options) = snapshot.meta.structure else {
            return self.add(segment.id, None, None, "it has lists, but the index has graphs".into());
        };
        let codebook = snapshot.codebook_of(parts);
        if codebook.is_none() && parts.codebook != 0 {
            let text = format!("its codebook {} is missing", parts.codebook);
            return self.add(segment.id, Some(Kind::Starts), None, text);
        }
        let relation = self.relation;
        let sealed = SealedRef::new(&relation, segment);
        let count = u64::from(snapshot.lists_of(parts)) + 1;
        let starts = sealed.part(&parts.starts, Kind::Starts).numbers(count);
        if !add_up(&starts, segment.rows) {
            return self.add(segment.id, Some(Kind::Starts), None, "the lists do not add up".into());
        }
        let mut stored = StoredLists::new(sealed, &snapshot);
        if let Err(text) = stored.read_second_lists() {
            return self.add(segment.id, Some(Kind::SpillCodes), None, text);
        }
        if !deep || parts.vectors.is_none() {
            return;
        }
        let space = snapshot.meta.space;
        let plan = Plan {
            structure: snapshot.meta.structure,
            quantizer: snapshot.meta.quantizer,
            columns: snapshot.meta.filters.len(),
            seed: snapshot.meta.seed,
            threads: crate::pg::threads::maintenance_threads(),
            memory: 0,
            show_progress: false,
        };
        let centroids = match codebook {
            Some(codebook) => Lists::of(&relation, &snapshot, codebook),
            None => Lists::origin(space.dims as usize),
        };
        let mut again = StoredLists::new(sealed, &snapshot);
        again.reassign(&mut Assigner::new(space, plan, options, centroids), space);
        let mut wrong = Vec::new();
        let code_bytes = rotated_dims(space.dims as usize) / 8;
        let mut listed = Vec::new();
        stored.for_each_live(|list, row| listed.push((list, row)));
        for (list, row) in listed {
            pgrx::check_for_interrupts!();
            if again.assigned_lists()[row as usize] != list {
                wrong.push(format!("row {row} should not be in list {list}"));
            } else if stored.second_list(row) != again.second_list(row) {
                wrong.push(format!("the second list of row {row} should be another"));
            } else if snapshot.meta.quantizer == Quantizer::Rabitq
                && (stored.bits(row, code_bytes).1 != again.bits(row, code_bytes).1
                    || stored.second_list(row).is_some()
                        && stored.second_bits(row, code_bytes).1 != again.second_bits(row, code_bytes).1)
            {
                wrong.push(format!("the code of row {row} is not its vector's"));
            }
        }
        for text in wrong {
            self.add(segment.id, Some(Kind::Codes), None, text);
        }
    }

    /// Calls `visit` with every live row of the sealed segments, as [`Self::begin`] does with
    /// growing rows. Where the index has no vectors it gets none.
    ///
    /// A row that is alive now was alive when the growing rows were visited.
    pub fn sealed_rows(&mut self, visit: &mut RowVisitor) {
        let (relation, Snapshot { meta, manifest }) = (self.relation, self.snapshot.clone());
        for segment in &manifest.sealed {
            if self.is_damaged(segment) {
                continue;
            }
            let mut wrong = Vec::new();
            let sealed = SealedRef::new(&relation, segment);
            let mut columns = StoredColumns::new(sealed);
            match &segment.parts {
                Parts::Graph(parts) => {
                    let mut graph = StoredGraph::new(sealed, &meta, parts);
                    let mut rows = NodeRows::new(sealed, parts);
                    for node in 0..parts.nodes {
                        pgrx::check_for_interrupts!();
                        let mut live = Vec::new();
                        rows.for_each_live(node, |row, tid| live.push((tid, columns.attributes(row))));
                        let mut visit_all = |row: Option<&[u8]>| {
                            for (tid, attributes) in &live {
                                wrong.extend(visit(*tid, row, attributes));
                            }
                        };
                        if graph.has_vectors() {
                            graph.vector(node, |row| visit_all(Some(row)));
                        } else {
                            visit_all(None);
                        }
                    }
                }
                Parts::Lists(parts) => {
                    let mut lists = StoredLists::new(sealed, &self.snapshot);
                    let bytes = meta.space.row_bytes().unwrap_or_default();
                    let mut live = Vec::new();
                    lists.for_each_live(|_, row| live.push(row));
                    for row in live {
                        pgrx::check_for_interrupts!();
                        let tid = lists.tid(row);
                        let vector = parts.vectors.is_some().then(|| lists.vector(row, bytes));
                        wrong.extend(visit(tid, vector, &columns.attributes(row)));
                    }
                }
            }
            for text in wrong {
                self.add(segment.id, Some(Kind::Tids), None, text);
            }
        }
    }
}
