//! Merging segments with lists: list by list, the rows of one codebook keep their codes.

use super::assign::Assigner;
use super::stored::StoredLists;
use super::train::{self, Sample};
use super::write::{self, RowPlace, RowSource};
use crate::distance::Space;
use crate::segment::Plan;
use crate::segment::lists::codebook::Lists;
use crate::segment::structures::{Merged, SAMPLE_BYTES};
use crate::storage::draft::Draft;
use crate::storage::manifest::Manifest;
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use crate::structure::{ListOptions, Rerank};

/// New centroids are due when an index has this many times the rows that its centroids were found
/// among.
const GROWTH: u64 = 4;

/// Whether rows can be assigned to lists again: not if their exact vectors are in the table only.
pub fn can_reassign(options: ListOptions) -> bool {
    options.rerank == Rerank::Index
}

/// Whether new centroids would be better than those of the index: it has none, or it has grown.
pub fn wants_codebook(manifest: &Manifest, options: ListOptions) -> bool {
    let sealed = manifest.sealed.iter();
    let rows: u64 = sealed.map(|segment| u64::from(segment.live())).sum();
    let lists = train::lists_wanted(options.lists, rows);
    can_reassign(options)
        && match manifest.codebook() {
            Some(codebook) => options.lists == 0 && rows >= GROWTH * codebook.rows,
            None => train::are_enough(lists, rows),
        }
}

/// Makes one segment of the live rows of `sources`, with new centroids if `retrain`.
pub fn merge(
    snapshot: &Snapshot,
    sources: &[SealedRef],
    plan: Plan,
    options: ListOptions,
    retrain: bool,
    draft: &mut dyn FnMut() -> Draft<'static>,
) -> Merged {
    let space = snapshot.meta.space;
    let mut sources: Vec<StoredLists> =
        sources.iter().map(|sealed| StoredLists::new(*sealed, snapshot)).collect();
    let known = sources.first().and_then(|source| Lists::read(source.sealed.pages(), snapshot));
    let lists = match known.filter(|_| !retrain) {
        Some(lists) => lists,
        None if retrain => train(space, &mut sources, plan, options, draft),
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
        source.for_each_live(|list, row| placed.push((list, RowPlace { source: number, row })));
    }
    let codebook = assigner.lists.new.take();
    let sealed = (!placed.is_empty()).then(|| {
        let format =
            write::Format::new(space, plan.columns, assigner.formats(), options.rerank, &assigner.lists);
        write::write(&mut draft(), &format, placed.iter().copied(), &mut sources)
    });
    Merged { sealed, codebook }
}

/// Finds centroids among the rows of all sources.
fn train(
    space: Space,
    sources: &mut [StoredLists],
    plan: Plan,
    options: ListOptions,
    draft: &mut dyn FnMut() -> Draft<'static>,
) -> Lists {
    let rows: u64 = sources.iter().map(|source| u64::from(source.sealed.rows)).sum();
    let live: u64 = sources.iter().map(|s| u64::from(s.sealed.live())).sum();
    let lists = train::lists_wanted(options.lists, live);
    let sampled = train::sample_rows(lists, space.dims as usize, SAMPLE_BYTES) as u64;
    let step = rows.div_ceil(sampled).max(1) as usize;
    let bytes = space.row_bytes().unwrap_or_default();
    let mut sample = Sample::new(space);
    for source in sources {
        let sealed = source.sealed;
        for row in (0..sealed.rows).step_by(step) {
            sealed.give_way();
            if !sample.push(source.vector(row, bytes)) {
                sealed.corrupt(format!("The vector of row {row} is invalid."));
            }
        }
    }
    sample.into_lists(draft, lists, live, plan)
}
