//! Search of all segments with lists: rows in ascending order of their exact score, as many as are
//! asked for.

use super::scan::{Entries, ListQuery, ListedRow, Scan, Scanned, Scans, Seen};
use crate::codec::encoder::CodedQuery;
use crate::codec::fastscan::BLOCK;
use crate::codec::layout::block::Centre;
use crate::codec::layout::fine::FineLayout;
use crate::codec::rabitq_multibit;
use crate::distance::Space;
use crate::memory;
use crate::search::cost_model::{ListFacts, Probing};
use crate::search::rerank::{IterativeScan, Reranker, Step, Work};
use crate::search::strategy::{self, ListStrategy, SCANNED_PER_RETURNED};
use crate::segment::estimates::for_each_estimate;
use crate::segment::lists::codebook::CentroidReader;
use crate::segment::lists::probe_order::RankedLists;
use crate::segment::request::{HeapRows, Hit, SearchLimits, SeenShare};
use crate::segment::rows::SealedRows;
use crate::segment::stream::SearchView;
use crate::segment::vectors::{self, VectorPlace};
use crate::storage::manifest::{Codebook, Manifest, Sealed};
use crate::storage::pages::Pages;
use crate::storage::part::Part;
use crate::storage::parts::{ListParts, Parts};
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use crate::structure::ListOptions;
use crate::structure::PageKind;
use std::collections::{HashMap, HashSet};
use std::ops::Deref;

/// The lists of one codebook.
struct Family {
    /// The codebook's number in the manifest.
    codebook: usize,
    lists: RankedLists,
    /// Lists to probe next, all together.
    probes: usize,
}

/// What a search of lists reads.
#[derive(Clone, Copy)]
pub struct ListsView<'a> {
    view: SearchView<'a>,
    coded: &'a CodedQuery,
}

impl<'a> Deref for ListsView<'a> {
    type Target = SearchView<'a>;

    fn deref(&self) -> &SearchView<'a> {
        &self.view
    }
}

impl<'a> ListsView<'a> {
    pub fn of(view: SearchView<'a>) -> Self {
        Self { view, coded: view.coded.expect("queries of an index with lists are encoded") }
    }

    /// A segment as a scan sees it.
    fn scanned(self, number: u32) -> Scanned<'a> {
        let sealed = self.sealed(number as usize);
        Scanned { sealed, parts: sealed.lists(), matching: self.matching(number as usize) }
    }
}

/// The state of a search between two calls. It holds no pins.
pub struct ListSearch {
    space: Space,
    codes: ListQuery,
    /// Where fine codes are, if the index has any.
    fine: Option<FineLayout>,
    /// The query for the fine codes of each codebook, by its id.
    fine_queries: HashMap<u32, rabitq_multibit::Query>,
    centres: Vec<Centre>,
    /// The first entry of each list, and the end of the last, of segments that were searched.
    starts: HashMap<(u32, Entries), Vec<u32>>,
    /// What was scanned by codes.
    scans: Vec<Scan>,
    families: Vec<Family>,
    /// Rows that were refined, and those that were compared, where rows may be met in two lists.
    looked_at: HashSet<(u32, u32, bool)>,
    /// Whether the first rows were scanned.
    started: bool,
    /// All rows matching are compared, whatever their lists.
    is_flat: bool,
    rows: Reranker<ListedRow>,
    iterative_scan: IterativeScan,
    /// Rows matching that were looked at.
    scanned: u64,
    /// The fewest entries to scan (see [`Probing`]).
    least: u64,
    /// When `scanned` reaches this, the most promising rows are refined or compared, so that more
    /// of the rest are skipped.
    next_look: u64,
    returned: u64,
    seen: SeenShare,
    /// What is known of the segments, and the lists to probe where all rows are seen; `None` in a
    /// flat search.
    facts: Option<(ListFacts, usize)>,
    /// Lists probed so far.
    probed: usize,
}

/// Rows scanned before the most promising ones are refined for the first time.
const FIRST_LOOK: u64 = 512;

impl ListSearch {
    pub fn new(
        options: ListOptions,
        view: ListsView,
        (facts, strategy): (ListFacts, ListStrategy),
        limits: SearchLimits,
    ) -> Self {
        let (coded, SearchView { pages, snapshot, .. }) = (view.coded, view.view);
        let probing = match strategy {
            ListStrategy::Lists(probing) => probing,
            ListStrategy::Nothing | ListStrategy::Flat => Probing::default(),
        };
        let space = snapshot.meta.space;
        let dims = space.dims as usize;
        let fine = FineLayout::new(dims, options.bits);
        let iterative_scan = limits.effort.iterative_scan;
        let mut search = Self {
            space,
            codes: ListQuery::new(space, snapshot.meta.quantizer, &coded.vector),
            fine,
            fine_queries: HashMap::new(),
            centres: Vec::new(),
            starts: HashMap::new(),
            scans: Vec::new(),
            families: Vec::new(),
            looked_at: HashSet::new(),
            started: false,
            is_flat: strategy == ListStrategy::Flat,
            rows: Reranker::new(limits.within, iterative_scan),
            iterative_scan,
            scanned: 0,
            least: probing.least,
            next_look: FIRST_LOOK,
            returned: 0,
            seen: SeenShare::default(),
            facts: (strategy != ListStrategy::Flat).then_some((facts, probing.probes)),
            probed: 0,
        };
        if search.is_flat {
            return search;
        }
        let newest = snapshot.manifest.codebook().map_or(1, |codebook| codebook.lists);
        for (number, codebook) in snapshot.manifest.codebooks.iter().enumerate() {
            // As the automatic number of probes, which grows with the square root of the lists.
            let share = (f64::from(codebook.lists) / f64::from(newest)).sqrt().min(1.0);
            let leave_out =
                limits.leave_out.and_then(|row| search.list_of_left_out(pages, snapshot, codebook, row));
            search.families.push(Family {
                codebook: number,
                lists: RankedLists::new(pages, codebook, &snapshot.meta, coded).leave_out(leave_out),
                probes: ((probing.probes as f64 * share).ceil() as usize).max(1),
            });
        }
        search
    }

    /// The list of a codebook that a row is in, and its number of rows; `None` if the row is in
    /// none.
    fn list_of_left_out(
        &mut self,
        pages: &dyn Pages,
        snapshot: &Snapshot,
        codebook: &Codebook,
        (segment, row): (u32, u32),
    ) -> Option<(u32, u32)> {
        let mut segments = list_segments(&snapshot.manifest);
        let (number, segment, parts) =
            segments.find(|(_, sealed, parts)| sealed.id == segment && parts.codebook == codebook.id)?;
        let sealed = SealedRef::new(pages, segment);
        let starts = self.starts_of(sealed, snapshot, number, (&parts.starts, Entries::Own));
        let list = starts.partition_point(|&start| start <= row).checked_sub(1)?;
        Some((list as u32, starts.get(list + 1)? - starts[list]))
    }

    /// The first entry of each list of a segment, and the end of the last.
    fn starts_of(
        &mut self,
        sealed: SealedRef,
        snapshot: &Snapshot,
        number: u32,
        (part, entries): (&Part, Entries),
    ) -> &[u32] {
        self.starts.entry((number, entries)).or_insert_with(|| {
            let kind = match entries {
                Entries::Own => PageKind::ListStarts,
                Entries::Second => PageKind::SpillStarts,
            };
            let count = u64::from(snapshot.lists_of(sealed.lists())) + 1;
            sealed.part(part, kind).numbers(count)
        })
    }

    pub fn work(&self) -> Work {
        self.rows.work()
    }

    /// Whether the next row is known to have this score, too.
    pub fn has_tie(&self, score: f64) -> bool {
        self.rows.has_tie(score)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.rows.bytes()
            + self.centres.capacity() * size_of::<Centre>()
            + self.looked_at.capacity() * size_of::<(u32, u32, bool)>()
    }

    /// The next nearest row.
    pub fn next(&mut self, view: ListsView, heap: &mut HeapRows) -> Option<Hit> {
        if !self.started {
            self.started = true;
            if self.is_flat {
                self.compare_all(view, heap);
            } else {
                self.scan_unlisted(view);
                self.probe(view, heap);
            }
            while self.scanned < self.least && self.has_lists_left() {
                self.probe(view, heap);
            }
        }
        loop {
            let goes_on = self.has_lists_left() && self.iterative_scan != IterativeScan::Off;
            if goes_on && self.returned * SCANNED_PER_RETURNED >= self.seen.of(self.scanned) {
                self.probe(view, heap);
            }
            let last = self.rows.last();
            match self.rows.step() {
                // Most rows scanned are dead: as under a filter, more lists are probed before the
                // first row is returned.
                Step::Next(row, score) if self.is_thin() => {
                    self.rows.take_back(row, score, last);
                    self.probe(view, heap);
                }
                Step::Next(ListedRow { segment, row, .. }, score) => {
                    let segment = view.sealed(segment as usize);
                    if let Some(tid) = SealedRows::new(segment).live_tid(row) {
                        self.returned += 1;
                        return Some(Hit { score, tid });
                    }
                }
                Step::Compare(rows) => self.look_closer(view, heap, rows),
                Step::Reconsider => self.reconsider(view),
                Step::Empty if !goes_on => return None,
                Step::Empty => self.probe(view, heap),
            }
        }
    }

    /// Whether the snapshot sees so few rows that more lists must be probed first.
    fn is_thin(&self) -> bool {
        let Some((facts, probes)) = self.facts.filter(|_| self.returned == 0 && self.has_lists_left()) else {
            return false;
        };
        let rows = facts.matches.unwrap_or(facts.rows);
        let seen = self.seen.of(rows as u64) as usize;
        let probing = strategy::probe(rows, seen, facts.lists, probes).unwrap_or_default();
        4 * seen < 3 * rows && self.probed < probing.probes
    }

    /// Compares every matching row.
    fn compare_all(&mut self, view: ListsView, heap: &mut HeapRows) {
        const TOGETHER: usize = 256;
        let mut rows = Vec::with_capacity(TOGETHER);
        for (segment, sealed, _) in list_segments(&view.snapshot.manifest) {
            let matching: Box<dyn Iterator<Item = u32>> = match view.matching(segment as usize) {
                Some(matching) => Box::new(matching.iter().take_while(|&row| row < sealed.rows)),
                None => Box::new(0..sealed.rows),
            };
            for row in matching {
                rows.push(ListedRow { segment, row, centre: None, is_refined: true });
                if rows.len() == TOGETHER {
                    view.pages.poll();
                    self.compare(view, heap, &rows);
                    rows.clear();
                }
            }
        }
        self.compare(view, heap, &rows);
    }

    /// Scans segments whose rows are in one list around the origin.
    fn scan_unlisted(&mut self, view: ListsView) {
        let centre = Centre::origin(self.space.metric, &view.coded.vector);
        let scans = self.scans_of_list(view, 0, 0, centre);
        self.scan(view, scans);
    }

    fn has_lists_left(&self) -> bool {
        self.families.iter().any(|family| !family.lists.is_empty())
    }

    /// Scans the next lists of every codebook, in every segment.
    fn probe(&mut self, view: ListsView, heap: &mut HeapRows) {
        for family in 0..self.families.len() {
            self.probe_family(view, heap, family);
        }
    }

    fn probe_family(&mut self, view: ListsView, heap: &mut HeapRows, family: usize) {
        let Family { codebook, lists, probes } = &mut self.families[family];
        let codebook = &view.snapshot.manifest.codebooks[*codebook];
        let lists = lists.take(*probes, view.pages, codebook, view.coded);
        self.probed += *probes;
        // A search that goes on needs ever farther rows.
        *probes *= 2;
        let mut scans = Vec::new();
        let mut entries = 0;
        for (list, centre) in lists {
            let of_list = self.scans_of_list(view, codebook.id, list, centre);
            entries += of_list.iter().map(|scan| scan.range.len() as u64).sum::<u64>();
            scans.extend(of_list);
            if self.scanned + entries >= self.next_look {
                self.scan(view, std::mem::take(&mut scans));
                entries = 0;
            }
            if self.scanned >= self.next_look {
                let promising = self.rows.promising();
                self.look_closer(view, heap, promising);
                self.next_look = self.scanned * 4;
            }
        }
        self.scan(view, scans);
    }

    /// The scans of a list of a codebook, in every segment.
    fn scans_of_list(&mut self, view: ListsView, codebook: u32, list: u32, centre: Centre) -> Vec<Scan> {
        self.centres.push(centre);
        let centre = self.centres.len() as u32 - 1;
        let mut scans = Vec::new();
        for (number, segment, parts) in list_segments(&view.snapshot.manifest) {
            let sealed = SealedRef::new(view.pages, segment);
            if parts.codebook != codebook {
                continue;
            }
            let second = parts.spill.as_ref().map(|spill| (&spill.starts, Entries::Second));
            for (part, entries) in std::iter::once((&parts.starts, Entries::Own)).chain(second) {
                let starts = self.starts_of(sealed, view.snapshot, number, (part, entries));
                let range = starts[list as usize]..starts[list as usize + 1];
                if range.end > sealed.rows || range.start > range.end {
                    sealed.corrupt(format!(
                        "List {list} has entries {range:?}, but the segment has {} rows.",
                        sealed.rows
                    ));
                }
                if !range.is_empty() {
                    scans.push(Scan { segment: number, entries, range, centre, limits: Vec::new() });
                }
            }
        }
        scans
    }

    /// Scans entries and makes candidates of them.
    fn scan(&mut self, view: ListsView, mut scans: Vec<Scan>) {
        scans.sort_by_key(|scan| (scan.segment, scan.entries));
        for scans in scans.chunk_by_mut(|a, b| (a.segment, a.entries) == (b.segment, b.entries)) {
            let scanned = view.scanned(scans[0].segment);
            if scanned.parts.codes.is_none() {
                scans.iter().for_each(|scan| self.add_all(scanned, scan));
                continue;
            }
            let (reranker, count) = (&mut self.rows, &mut self.scanned);
            let tables = &shifted_query(&self.families, view, scanned.parts).tables;
            let mut limits = vec![Vec::new(); scans.len()];
            Scans { scanned, scans, centres: &self.centres }.for_each_block(
                &self.codes,
                tables,
                |Seen { scan, scores, errors, matching, row, .. }| {
                    *count += u64::from((matching & u32::MAX >> (BLOCK - scores.len())).count_ones());
                    limits[scan].push(reranker.offer(scores, errors, matching, |place| Some(row(place))));
                },
            );
            scans.iter_mut().zip(limits).for_each(|(scan, limits)| scan.limits = limits);
        }
        self.scans.extend(scans);
    }

    /// Makes candidates of rows that have no codes.
    fn add_all(&mut self, scanned: Scanned, scan: &Scan) {
        let matches = |row: &u32| scanned.matching.is_none_or(|matching| matching.has(*row as usize));
        for row in scan.range.clone().filter(matches) {
            let row = ListedRow { segment: scan.segment, row, centre: Some(scan.centre), is_refined: true };
            self.rows.add(row, 0.0, f32::INFINITY);
            self.scanned += 1;
        }
    }

    /// Adds the rows skipped so far that may be among the next by now.
    fn reconsider(&mut self, view: ListsView) {
        let reranker = &mut self.rows;
        for scans in self.scans.chunk_by_mut(|a, b| (a.segment, a.entries) == (b.segment, b.entries)) {
            let scanned = view.scanned(scans[0].segment);
            if scanned.parts.codes.is_none() {
                continue;
            }
            let tables = &shifted_query(&self.families, view, scanned.parts).tables;
            let mut limits: Vec<_> = scans.iter_mut().map(|scan| std::mem::take(&mut scan.limits)).collect();
            let mut limit_of_block: Vec<_> = limits.iter_mut().map(|limits| limits.iter_mut()).collect();
            Scans { scanned, scans, centres: &self.centres }.for_each_block(
                &self.codes,
                tables,
                |Seen { scan, scores, errors, matching, row, .. }| {
                    let limit = limit_of_block[scan].next().expect("a limit for each block");
                    let row = |place| (matching >> place & 1 == 1).then(|| row(place));
                    *limit = reranker.reconsider(scores, errors, *limit, row);
                },
            );
            scans.iter_mut().zip(limits).for_each(|(scan, limits)| scan.limits = limits);
        }
    }

    /// Refines rows by their fine codes; compares exactly those that are refined already.
    fn look_closer(&mut self, view: ListsView, heap: &mut HeapRows, mut rows: Vec<ListedRow>) {
        if view.snapshot.meta.quantizer.has_spill() {
            memory::reserve_set(&mut self.looked_at, rows.len(), "candidates of a search");
            rows.retain(|row| self.looked_at.insert((row.segment, row.row, row.is_refined)));
        }
        rows.sort_unstable_by_key(|row| (row.is_refined, row.segment));
        let (rough, refined) = rows.split_at(rows.partition_point(|row| !row.is_refined));
        self.refine(view, rough);
        self.compare(view, heap, refined);
    }

    /// Replaces rows' estimates by those of their fine codes.
    fn refine(&mut self, view: ListsView, rows: &[ListedRow]) {
        let centres: Vec<Centre> = rows.iter().map(|row| self.own_centre(view, row)).collect();
        let mut first = 0;
        let Some(layout) = self.fine else { return };
        for rows in rows.chunk_by(|a, b| a.segment == b.segment) {
            let Scanned { sealed, parts, .. } = view.scanned(rows[0].segment);
            let ListParts { fine: Some(fine), codebook, .. } = parts else {
                unreachable!("only rows with fine codes are refined")
            };
            let coded = shifted_query(&self.families, view, parts);
            let fine_query = &*self
                .fine_queries
                .entry(*codebook)
                .or_insert_with(|| rabitq_multibit::Query::new(&coded.rotated));
            let ordinals: Vec<u32> = rows.iter().map(|row| row.row).collect();
            let reranker = &mut self.rows;
            let mut reader = sealed.part(fine, PageKind::FineCodes);
            let centres = &centres[first..];
            for_each_estimate(
                &mut reader,
                layout,
                &ordinals,
                fine_query,
                |i| centres[i],
                |i, _, estimate| {
                    let (estimate, error) = estimate;
                    reranker.add(ListedRow { is_refined: true, ..rows[i] }, estimate, error);
                },
            );
            first += rows.len();
        }
    }

    /// The centre of a row's own list.
    fn own_centre(&mut self, view: ListsView, row: &ListedRow) -> Centre {
        if let Some(centre) = row.centre {
            return self.centres[centre as usize];
        }
        let (coded, SearchView { pages, snapshot, .. }) = (view.coded, view.view);
        let Scanned { sealed, parts, .. } = view.scanned(row.segment);
        let starts = self.starts_of(sealed, snapshot, row.segment, (&parts.starts, Entries::Own));
        let list = starts.partition_point(|&start| start <= row.row).saturating_sub(1);
        let centroids = CentroidReader::of(pages, snapshot, parts);
        let mut centroids = centroids.expect("rows in two lists are in a codebook's");
        Centre::new(self.space.metric, &coded.vector, centroids.vector(list as u32))
    }

    /// Compares rows exactly.
    fn compare(&mut self, view: ListsView, heap: &mut HeapRows, rows: &[ListedRow]) {
        for rows in rows.chunk_by(|a, b| a.segment == b.segment) {
            let Scanned { sealed, parts, .. } = view.scanned(rows[0].segment);
            let ordinals: Vec<(u32, u32)> = rows.iter().map(|row| (row.row, row.row)).collect();
            let place = parts.vectors.as_ref().map(|part| VectorPlace::Rows { part, offsets: None });
            let is_fetched = place.is_none();
            let (reranker, mut seen) = (&mut self.rows, 0);
            vectors::compare(sealed, view.query, place, &ordinals, heap, |position, score| {
                seen += 1;
                reranker.compared(rows[position], score);
            });
            if is_fetched {
                self.seen.note(rows.len() as u64, seen);
            }
        }
    }
}

/// The query for the codes of a segment: less the shift of its codebook.
fn shifted_query<'a>(families: &'a [Family], view: ListsView<'a>, parts: &ListParts) -> &'a CodedQuery {
    let codebooks = &view.snapshot.manifest.codebooks;
    let family = families.iter().find(|family| codebooks[family.codebook].id == parts.codebook);
    family.and_then(|family| family.lists.shifted()).unwrap_or(view.coded)
}

/// The segments with lists, and their numbers in the manifest.
fn list_segments(manifest: &Manifest) -> impl Iterator<Item = (u32, &Sealed, &ListParts)> {
    (0..).zip(&manifest.sealed).filter_map(|(number, segment)| {
        let Parts::Lists(parts) = &segment.parts else { return None };
        Some((number, segment, parts))
    })
}
