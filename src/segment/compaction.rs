//! Compaction: several sealed segments become one, without their dead rows.
//!
//! 1. One record marks the segments as *compacting*. They are searched as before.
//! 2. Their live rows are merged into a new segment, whose pages the manifest lists as *creating*.
//! 3. One record lists the new segment in place of the old ones, whose pages become free.
//!
//! Steps 1 and 3 hold the manifest's lock; step 2 takes it only to allocate pages. Step 3 first
//! marks in the new segment what a vacuum has marked in between. After a crash or an error before
//! step 3 the old segments are as they were.

use crate::pg::error::Problem;
use crate::pg::interrupts;
use crate::pg::lock::{IndexLock, Purpose};
use crate::pg::relation::Relation;
use crate::pg::stream::for_each_page;
use crate::segment::rows::SealedRows;
use crate::segment::structures::Merged;
use crate::segment::{Plan, Tid, pages, structure_of, vacuum};
use crate::storage::draft::Draft;
use crate::storage::edit::Edit;
use crate::storage::manifest::{Manifest, Sealed};
use crate::storage::meta::Meta;
use crate::storage::page;
use crate::storage::part::Part;
use crate::storage::part_reader::require;
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use crate::storage::tasks::{Priority, TaskKind};
use crate::structure::PageKind;

/// A merge of segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Ids of segments.
    pub segments: Vec<u32>,
    /// Whether lists get new centroids; then all segments are merged.
    pub retrain: bool,
    pub priority: Priority,
}

/// Does the job that `choose` returns; returns the number of the new segment's rows, `None` if
/// there was no job.
pub fn compact(
    relation: Relation,
    lock: &IndexLock,
    choose: impl FnOnce(&Meta, &Manifest) -> Option<Job>,
    plan: impl FnOnce(&Meta) -> Plan,
) -> Option<u64> {
    debug_assert_eq!(lock.purpose(), Purpose::Compact);
    let job = begin(relation, choose)?;
    let snapshot = Snapshot::read(relation);
    let plan = plan(&snapshot.meta);
    let is_source = |segment: &Sealed| job.segments.contains(&segment.id);
    let sources: Vec<&Sealed> = snapshot.manifest.sealed.iter().filter(|s| is_source(s)).collect();
    let codebooks = snapshot.manifest.codebooks.iter();
    sources.iter().for_each(|source| verify(relation, source.id, &source.parts()));
    codebooks.for_each(|codebook| verify(relation, codebook.id, &codebook.parts()));
    let sources: Vec<SealedRef> = sources.iter().map(|source| SealedRef::new(&relation, source)).collect();
    let structure = structure_of(&plan.structure);
    let Merged { sealed, codebook } = structure
        .merge(&snapshot, &sources, plan, job.retrain, &mut || Draft::begin(relation, TaskKind::Compact));

    let mut edit = Edit::open(relation);
    // Read again: a vacuum may have marked rows meanwhile.
    let (sources, kept): (Vec<Sealed>, Vec<Sealed>) =
        std::mem::take(&mut edit.manifest.sealed).into_iter().partition(is_source);
    edit.manifest.sealed = kept;
    let mut rows = 0;
    if let Some(mut sealed) = sealed {
        sealed.level = 1 + sources.iter().map(|source| source.level).max().unwrap_or(0);
        let live = live_tids(relation, &sources);
        if live.len() < sealed.rows as usize {
            vacuum::mark_dead_but(relation, &mut sealed, &live);
        }
        rows = sealed.rows.into();
        edit.manifest.sealed.push(sealed);
    }
    for source in &sources {
        edit.free(source.id, source.extents());
    }
    edit.manifest.codebooks.extend(codebook);
    drop_codebooks(&mut edit);
    edit.end_task(TaskKind::Compact, rows);
    edit.publish();
    Some(rows)
}

/// Step 1.
fn begin(relation: Relation, choose: impl FnOnce(&Meta, &Manifest) -> Option<Job>) -> Option<Job> {
    let mut edit = Edit::open(relation);
    let job = choose(&edit.meta, &edit.manifest)?;
    edit.begin_task(TaskKind::Compact, job.priority);
    pages::sweep(&mut edit);
    for segment in &mut edit.manifest.sealed {
        segment.compacting = job.segments.contains(&segment.id);
    }
    edit.publish();
    Some(job)
}

/// Raises an error if a part is damaged: its copy in the new segment would get a valid checksum.
fn verify(relation: Relation, id: u32, parts: &[(PageKind, &Part)]) {
    for &(kind, part) in parts {
        let mut crc = crc32fast::Hasher::new();
        for_each_page(relation, part.pages.blocks(), |block, page| {
            interrupts::check();
            require(page.frozen(), &relation, block, kind, id);
            crc.update(page::payload(page.frozen()));
        });
        if kind != PageKind::Tombstones && crc.finalize() != part.crc {
            Problem::corrupt(format!("segment {id} of index \"{}\" is corrupted", relation.name()))
                .detail(format!("The checksum of its part {kind:?} is wrong."))
                .raise();
        }
    }
}

fn live_tids(relation: Relation, segments: &[Sealed]) -> Vec<Tid> {
    let mut live = Vec::new();
    for segment in segments {
        let mut rows = SealedRows::new(SealedRef::new(&relation, segment));
        live.extend((0..segment.rows).filter_map(|row| rows.live_tid(row)));
    }
    live.sort_unstable();
    live
}

/// Drops older codebooks that no segment uses, unless a flush under way might.
fn drop_codebooks(edit: &mut Edit) {
    let is_flushing = !edit.manifest.flushing.is_empty();
    let newest = edit.manifest.codebook().map(|codebook| codebook.id);
    let used: Vec<u32> = edit.manifest.sealed.iter().filter_map(Sealed::codebook).collect();
    let is_unused = |id: u32| !is_flushing && Some(id) != newest && !used.contains(&id);
    let (unused, kept) =
        std::mem::take(&mut edit.manifest.codebooks).into_iter().partition(|codebook| is_unused(codebook.id));
    edit.manifest.codebooks = kept;
    let unused: Vec<crate::storage::manifest::Codebook> = unused;
    for codebook in unused {
        edit.free(codebook.id, codebook.extents());
    }
}
