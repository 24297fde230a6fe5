//! Merging segments with lists: list by list, the rows of one codebook keep their codes.

use super::assign::Assigner;
use super::stored::StoredLists;
use super::train::{self, Sample};
use super::write::{self, Place, RowSource};
use crate::pg::relation::Relation;
use crate::segment::lists::codebook::Lists;
use crate::segment::{Plan, corrupt};
use crate::storage::draft::Draft;
use crate::storage::manifest::{Codebook, Manifest, Sealed};
use crate::storage::snapshot::Snapshot;
use crate::storage::tasks::TaskKind;
use crate::structure::{ListOptions, Rerank};

/// What a merge has made: a segment, unless no row is alive, and a codebook if there is a new one.
pub struct Merged {
    pub sealed: Option<Sealed>,
    pub codebook: Option<Codebook>,
}

/// When an index has so many times as many rows as its centroids were found among, new ones are
/// due.
const GROWTH: u64 = 4;

/// Whether rows can be assigned to lists again: not if their exact vectors are in the table only.
pub fn can_reassign(options: ListOptions) -> bool {
    options.rerank == Rerank::Index
}

/// Whether new centroids would be better than those of the index: it has none, or it has grown.
pub fn wants_centroids(manifest: &Manifest, options: ListOptions) -> bool {
    let sealed = manifest.sealed.iter();
    let rows: u64 = sealed.map(|segment| u64::from(segment.rows - segment.tombstones)).sum();
    let wanted = train::lists_wanted(options.lists, rows);
    can_reassign(options)
        && match manifest.codebook() {
            Some(codebook) => options.lists == 0 && rows >= GROWTH * codebook.rows,
            None => train::are_enough(wanted, rows),
        }
}

/// Makes one segment of the live rows of `sources`, with new centroids if `retrain`.
pub fn merge(
    relation: Relation,
    snapshot: &Snapshot,
    sources: &[&Sealed],
    plan: Plan,
    options: ListOptions,
    retrain: bool,
) -> Merged {
    let space = snapshot.meta.space;
    let mut sources: Vec<StoredLists> =
        sources.iter().map(|s| StoredLists::new(relation, snapshot, s)).collect();
    let lists = match Lists::read(relation, snapshot).filter(|_| !retrain) {
        Some(lists) => lists,
        None if retrain => train(relation, snapshot, &mut sources, plan, options),
        None => Lists::origin(space.dims as usize),
    };
    let mut assigner = Assigner::new(space, plan, options, lists);
    for source in &mut sources {
        if source.parts.codebook != assigner.lists.codebook {
            source.reassign(&mut assigner, space);
        }
    }
    let mut placed = Vec::new();
    for (number, source) in (0..).zip(&mut sources) {
        source.for_each_live(|list, row| placed.push((list, Place { source: number, row })));
    }
    let codebook = assigner.lists.new.take();
    let sealed = (!placed.is_empty()).then(|| {
        let format =
            write::Format::new(space, plan.columns, assigner.formats(), options.rerank, &assigner.lists);
        let mut draft = Draft::begin(relation, TaskKind::Compact);
        write::write(&mut draft, &format, placed.iter().copied(), &mut sources)
    });
    Merged { sealed, codebook }
}

/// Finds centroids among the rows of all sources.
fn train(
    relation: Relation,
    snapshot: &Snapshot,
    sources: &mut [StoredLists],
    plan: Plan,
    options: ListOptions,
) -> Lists {
    let space = snapshot.meta.space;
    let rows: u64 = sources.iter().map(|source| u64::from(source.segment.rows)).sum();
    let live: u64 = sources.iter().map(|s| u64::from(s.segment.rows - s.segment.tombstones)).sum();
    let lists = train::lists_wanted(options.lists, live);
    let wanted = train::sample_rows(lists, space.dims as usize, train::SAMPLE_BYTES) as u64;
    let step = rows.div_ceil(wanted).max(1) as usize;
    let bytes = space.row_bytes().unwrap_or_default();
    let mut sample = Sample::new(space);
    for source in sources {
        let segment = source.segment;
        for row in (0..segment.rows).step_by(step) {
            crate::pg::interrupts::check();
            if !sample.push(source.vector(row, bytes)) {
                corrupt(relation, segment, format!("The vector of row {row} is invalid."));
            }
        }
    }
    sample.into_lists(|| Draft::begin(relation, TaskKind::Compact), lists, live, plan)
}
