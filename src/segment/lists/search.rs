//! Search of all segments with lists: rows in ascending order of their exact score, as many as are asked for.

use super::centroids::{CentroidBlocks, CentroidReader};
use super::fine::FineLayout;
use crate::codec::fastscan::BLOCK;
use crate::codec::multibit;
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
use crate::storage::meta::{Meta, Structure};
use crate::storage::page::Kind;
use crate::storage::part::PartReader;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A row of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    /// The segment's number in the manifest.
    segment: u32,
    row: u32,
    /// What it was encoded against, among those that this search has met.
    centre: u32,
    /// Whether its fine code was looked at, or there is none.
    is_refined: bool,
}

/// A list by its estimated distance.
type Ranked = Keyed<f32, u32>;

/// The state of a search between two calls. It holds no pins.
pub struct ListSearch {
    space: Space,
    vector: Vec<f32>,
    tables: Query,
    /// The tables for fine codes, if the index has any.
    fine: Option<(FineLayout, multibit::Query)>,
    centres: Vec<Centre>,
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
        let rotated = rotate(&Rotation::new(seed, dims), &vector);
        let fine = match snapshot.meta.structure {
            Structure::Lists(options) => FineLayout::new(dims, options.bits),
            Structure::Graph(_) => None,
        };
        let mut search = Self {
            space,
            vector,
            tables: Query::new(&rotated),
            fine: fine.map(|layout| (layout, multibit::Query::new(&rotated))),
            centres: Vec::new(),
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
                Step::Next(Row { segment, row, .. }, score) => {
                    let segment = &snapshot.manifest.sealed[segment as usize];
                    if let Some(tid) = SealedRows::new(relation, segment).live_tid(row) {
                        self.returned += 1;
                        return Some(Hit { score, tid });
                    }
                }
                Step::Compare(rows) => {
                    let (refined, rough): (Vec<Row>, Vec<Row>) =
                        rows.into_iter().partition(|row| row.is_refined);
                    self.refine(relation, &snapshot.manifest, &rough);
                    self.compare(relation, &snapshot.manifest, query, heap, &refined);
                }
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
        self.centres.push(centre);
        let centre_number = self.centres.len() as u32 - 1;
        let is_refined = parts.fine.is_none();
        let place = |row| Row { segment: number as u32, row, centre: centre_number, is_refined };
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

    /// Replaces rows' estimates by those of their fine codes.
    fn refine(&mut self, relation: Relation, manifest: &Manifest, rows: &[Row]) {
        let Some((layout, tables)) = &self.fine else { return };
        for rows in rows.chunk_by(|a, b| a.segment == b.segment) {
            let segment = &manifest.sealed[rows[0].segment as usize];
            let Parts::Lists(ListParts { fine: Some(fine), .. }) = &segment.parts else {
                unreachable!("only rows with fine codes are refined")
            };
            let ordinals: Vec<u32> = rows.iter().map(|row| row.row).collect();
            let mut rows = rows.iter();
            let (reranker, centres) = (&mut self.rows, &self.centres);
            let mut reader = PartReader::new(relation, fine, Kind::FineCodes, segment.id);
            reader.for_each_row(&ordinals, layout.bytes(), |_, fine| {
                let row = *rows.next().expect("as many rows as ordinals");
                let estimate = layout.estimate(fine, tables, centres[row.centre as usize]);
                let (estimate, error) = estimate.expect("a row of as many bytes as were asked for");
                reranker.add(Row { is_refined: true, ..row }, estimate, error);
            });
        }
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
            let segment = &manifest.sealed[rows[0].segment as usize];
            let Parts::Lists(parts) = &segment.parts else { unreachable!("its lists were scanned") };
            let ordinals: Vec<u32> = rows.iter().map(|row| row.row).collect();
            let reranker = &mut self.rows;
            let score = |row: u32, bytes: &[u8]| {
                query.score(bytes).unwrap_or_else(|| {
                    corrupt(relation, segment, format!("The vector of row {row} makes no sense."))
                })
            };
            match &parts.vectors {
                Some(vectors) => {
                    let place = Place::Rows { part: vectors, offsets: None };
                    let mut rows = rows.iter();
                    Vectors::new(relation, segment, query.row_bytes(), place).for_each(
                        &ordinals,
                        |row, bytes| {
                            let score = score(row, bytes);
                            reranker.compared(*rows.next().expect("as many rows as ordinals"), score);
                        },
                    );
                }
                None => {
                    let mut tids = SealedRows::new(relation, segment);
                    for row in rows {
                        if let Some(tid) = tids.live_tid(row.row) {
                            heap(tid, &mut |bytes| reranker.compared(*row, score(row.row, bytes)));
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
