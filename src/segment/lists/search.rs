//! Search of all segments with lists: rows in ascending order of their exact score, as many as are asked for.

use super::centroids::{CentroidBlocks, CentroidReader};
use crate::codec::fastscan::BLOCK;
use crate::codec::rabitq::Query;
use crate::codec::rotation::Rotation;
use crate::distance::{Element, Metric, PreparedQuery, Space};
use crate::pg::relation::Relation;
use crate::rerank::{Keyed, Reranker, Step};
use crate::segment::block::{BlockLayout, Centre};
use crate::segment::corrupt;
use crate::segment::encoder::{rotate, widen};
use crate::segment::rows::SealedRows;
use crate::segment::search::{HeapRows, Hit};
use crate::segment::vectors::{Place, Vectors};
use crate::storage::manifest::{Codebook, ListParts, Manifest, Parts, Sealed, Snapshot};
use crate::storage::meta::Meta;
use crate::storage::page::Kind;
use crate::storage::part::PartReader;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A row of a segment, given by its number in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    segment: u32,
    row: u32,
}

/// A list by its estimated distance.
type Ranked = Keyed<f32, u32>;

/// The state of a search between two calls. It holds no pins.
pub struct ListSearch {
    space: Space,
    vector: Vec<f32>,
    tables: Query,
    /// Lists not probed yet.
    ranked: BinaryHeap<Reverse<Ranked>>,
    /// Lists to probe next, all together.
    probes: usize,
    /// Segments that have one list for everything were scanned.
    started: bool,
    rows: Reranker<Row>,
    scanned: u64,
    returned: u64,
}

/// Of so many rows scanned one may be returned before further lists are probed.
pub const SCANNED_PER_RETURNED: u64 = 8;

impl ListSearch {
    /// A search that probes `probes` lists before it returns its first row.
    pub fn new(relation: Relation, snapshot: &Snapshot, query: &PreparedQuery, probes: usize) -> Self {
        let Meta { space, seed, .. } = *snapshot.meta;
        let dims = space.dims as usize;
        let vector = widen(space, query.row());
        let tables = Query::new(&rotate(&Rotation::new(seed, dims), &vector));
        let mut search = Self {
            space,
            vector,
            tables,
            ranked: BinaryHeap::new(),
            probes: probes.max(1),
            started: false,
            rows: Reranker::default(),
            scanned: 0,
            returned: 0,
        };
        if let Some(codebook) = &snapshot.manifest.codebook {
            search.rank(relation, codebook);
        }
        search
    }

    /// Estimates the distance of every list.
    fn rank(&mut self, relation: Relation, codebook: &Codebook) {
        let dims = self.space.dims as usize;
        let mean_product = f32::dot(CentroidReader::new(relation, codebook, dims).mean(), &self.vector);
        let layout = CentroidBlocks::new(dims);
        let mut blocks = PartReader::new(relation, &codebook.codes, Kind::Codes, codebook.id);
        let mut ranked = Vec::with_capacity(codebook.lists as usize);
        for first in (0..codebook.lists).step_by(BLOCK) {
            let block = blocks.row(u64::from(first) / BLOCK as u64, layout.bytes());
            let estimates = layout.estimate(block, &self.tables, mean_product);
            let (products, norms) = estimates.expect("a row of as many bytes as were asked for");
            let key = |i: usize| match self.space.metric {
                Metric::InnerProduct | Metric::Cosine => products[i],
                _ => norms[i] + 2.0 * products[i],
            };
            ranked.extend(
                (first..codebook.lists)
                    .take(BLOCK)
                    .enumerate()
                    .map(|(i, list)| Reverse(Ranked { key: key(i), value: list })),
            );
        }
        self.ranked = ranked.into();
    }

    /// The next nearest row.
    pub fn next(
        &mut self,
        relation: Relation,
        snapshot: &Snapshot,
        query: &PreparedQuery,
        heap: &mut HeapRows,
    ) -> Option<Hit> {
        if !self.started {
            self.started = true;
            self.scan_unlisted(relation, &snapshot.manifest);
            self.probe(relation, &snapshot.manifest);
        }
        loop {
            if !self.ranked.is_empty() && self.returned * SCANNED_PER_RETURNED >= self.scanned {
                self.probe(relation, &snapshot.manifest);
            }
            match self.rows.step() {
                Step::Next(Row { segment, row }, score) => {
                    let segment = &snapshot.manifest.sealed[segment as usize];
                    if let Some(tid) = SealedRows::new(relation, segment).live_tid(row) {
                        self.returned += 1;
                        return Some(Hit { score, tid });
                    }
                }
                Step::Compare(rows) => self.compare(relation, &snapshot.manifest, query, heap, &rows),
                Step::Empty if self.ranked.is_empty() => return None,
                Step::Empty => self.probe(relation, &snapshot.manifest),
            }
        }
    }

    /// Scans segments whose rows are in one list around the origin.
    fn scan_unlisted(&mut self, relation: Relation, manifest: &Manifest) {
        let centre = Centre::origin(self.space.metric, &self.vector);
        for (number, segment, parts) in list_segments(manifest) {
            if parts.codebook == 0 {
                self.scan(relation, number, segment, parts, 0, centre);
            }
        }
    }

    /// Scans the next `probes` lists, in every segment.
    fn probe(&mut self, relation: Relation, manifest: &Manifest) {
        let Some(codebook) = &manifest.codebook else { return };
        let mut centroids = CentroidReader::new(relation, codebook, self.space.dims as usize);
        for _ in 0..self.probes {
            let Some(Reverse(ranked)) = self.ranked.pop() else { break };
            pgrx::check_for_interrupts!();
            let centre = Centre::new(self.space.metric, &self.vector, centroids.vector(ranked.value));
            for (number, segment, parts) in list_segments(manifest) {
                if parts.codebook == codebook.id {
                    self.scan(relation, number, segment, parts, ranked.value, centre);
                }
            }
        }
        // A search that goes on looks for ever farther rows.
        self.probes *= 2;
    }

    /// Makes candidates of a list's rows.
    fn scan(
        &mut self,
        relation: Relation,
        number: usize,
        segment: &Sealed,
        parts: &ListParts,
        list: u32,
        centre: Centre,
    ) {
        let mut starts = PartReader::new(relation, &parts.starts, Kind::Starts, segment.id);
        let mut start =
            |list: u32| u32::from_ne_bytes(starts.slot(list.into()).try_into().unwrap_or_default());
        let rows = start(list)..start(list + 1);
        if rows.end > segment.rows || rows.start > rows.end {
            corrupt(relation, segment, format!("List {list} would be rows {rows:?} of {}.", segment.rows));
        }
        self.scanned += rows.len() as u64;
        let place = |row| Row { segment: number as u32, row };
        let Some(codes) = &parts.codes else {
            rows.for_each(|row| self.rows.add(place(row), 0.0, f32::INFINITY));
            return;
        };
        if rows.is_empty() {
            return;
        }
        let layout = BlockLayout::new(self.space.dims as usize);
        let block_rows = BLOCK as u32;
        let mut reader = PartReader::new(relation, codes, Kind::Codes, segment.id);
        let blocks: Vec<u32> = (rows.start / block_rows..rows.end.div_ceil(block_rows)).collect();
        let (tables, reranker) = (&self.tables, &mut self.rows);
        reader.for_each_row(&blocks, layout.bytes(), |block, bytes| {
            let first = block * block_rows;
            let estimates = layout.estimate(bytes, tables, centre);
            let estimates = estimates.expect("a row of as many bytes as were asked for");
            let from = rows.start.max(first) - first;
            let to = (rows.end - first).min(block_rows);
            for i in from..to {
                reranker.add(place(first + i), estimates.scores[i as usize], estimates.errors[i as usize]);
            }
        });
    }

    /// Compares rows exactly.
    fn compare(
        &mut self,
        relation: Relation,
        manifest: &Manifest,
        query: &PreparedQuery,
        heap: &mut HeapRows,
        rows: &[Row],
    ) {
        for rows in rows.chunk_by(|a, b| a.segment == b.segment) {
            let number = rows[0].segment;
            let segment = &manifest.sealed[number as usize];
            let Parts::Lists(parts) = &segment.parts else { unreachable!("its lists were scanned") };
            let rows: Vec<u32> = rows.iter().map(|row| row.row).collect();
            let reranker = &mut self.rows;
            let mut compare = |row, bytes: &[u8]| {
                let score = query.score(bytes).unwrap_or_else(|| {
                    corrupt(relation, segment, format!("The vector of row {row} makes no sense."))
                });
                reranker.compared(Row { segment: number, row }, score);
            };
            match &parts.vectors {
                Some(vectors) => {
                    let place = Place::Rows { part: vectors, offsets: None };
                    Vectors::new(relation, segment, query.row_bytes(), place).for_each(&rows, compare);
                }
                None => {
                    let mut tids = SealedRows::new(relation, segment);
                    for row in rows {
                        if let Some(tid) = tids.live_tid(row) {
                            heap(tid, &mut |bytes| compare(row, bytes));
                        }
                    }
                }
            }
        }
    }
}

/// The segments with lists, and their numbers in the manifest.
fn list_segments(manifest: &Manifest) -> impl Iterator<Item = (usize, &Sealed, &ListParts)> {
    manifest.sealed.iter().enumerate().filter_map(|(number, segment)| match &segment.parts {
        Parts::Lists(parts) => Some((number, segment, parts)),
        Parts::Graph(_) => None,
    })
}
