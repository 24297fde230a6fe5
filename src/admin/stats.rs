//! Functions that show what an index consists of and what is done to it.

use crate::maintenance;
use crate::pg::attempt::attempt;
use crate::pg::buffer::{PAGE_SIZE, resident};
use crate::pg::lock::{IndexLock, Purpose};
use crate::pg::open::OpenIndex;
use crate::pg::relation::{Relation, in_recovery};
use crate::pg::{catalog, owner};
use crate::segment::{growing, structure_of};
use crate::storage::extent::Extent;
use crate::storage::manifest::Sealed;
use crate::storage::snapshot::Snapshot;
use crate::storage::tasks::{Priority, State, Task, TaskKind};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern, pg_sys};
use std::collections::HashSet;

/// What an index consists of, in one row.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // The columns of the SQL function.
fn vdb_index_stats(
    index: pg_sys::Oid,
) -> TableIterator<
    'static,
    (
        name!(structure, &'static str),
        name!(quantizer, &'static str),
        name!(dimensions, i32),
        name!(lists, Option<i32>),
        name!(segments, i32),
        name!(sealed_rows, i64),
        name!(growing_rows, i64),
        name!(tombstones, i64),
        name!(generation, i64),
        name!(bytes, i64),
    ),
> {
    let index = OpenIndex::to_tell_of(index);
    let relation = index.relation();
    let Snapshot { meta, manifest } = Snapshot::read(relation);
    let growing = manifest.unsealed(&meta);
    let growing_rows: u64 = growing.map(|segment| growing::rows(relation, segment)).sum();
    let sum = |count: fn(&Sealed) -> u32| -> i64 {
        manifest.sealed.iter().map(|segment| i64::from(count(segment))).sum()
    };
    TableIterator::once((
        structure_of(&meta.structure).name(),
        meta.quantizer.name(),
        meta.space.dims as i32,
        manifest.codebook().map(|codebook| codebook.lists as i32),
        manifest.sealed.len() as i32,
        sum(|segment| segment.rows),
        growing_rows as i64,
        sum(|segment| segment.tombstones),
        meta.generation as i64,
        i64::from(relation.blocks()) * i64::from(pg_sys::BLCKSZ),
    ))
}

/// A row of `vdb_segment_parts`.
struct PartRow {
    id: u32,
    state: &'static str,
    structure: &'static str,
    level: Option<u32>,
    rows: Option<u64>,
    tombstones: Option<u64>,
    part: &'static str,
    pages: u64,
    buffered: u64,
    created: Option<u64>,
    crc: Option<u32>,
}

/// Every part of every segment.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // The columns of the SQL function.
fn vdb_segment_parts(
    index: pg_sys::Oid,
) -> TableIterator<
    'static,
    (
        name!(id, i64),
        name!(state, &'static str),
        name!(structure, &'static str),
        name!(level, Option<i32>),
        name!(rows, Option<i64>),
        name!(tombstones, Option<i64>),
        name!(part, &'static str),
        name!(pages, i64),
        name!(bytes, i64),
        name!(buffered_pages, i64),
        name!(created, Option<TimestampWithTimeZone>),
        name!(crc, Option<i64>),
    ),
> {
    let index = OpenIndex::to_tell_of(index);
    let rows = part_rows(index.relation());
    TableIterator::new(rows.into_iter().map(|row| {
        (
            i64::from(row.id),
            row.state,
            row.structure,
            row.level.map(|level| level as i32),
            row.rows.map(|rows| rows as i64),
            row.tombstones.map(|tombstones| tombstones as i64),
            row.part,
            row.pages as i64,
            row.pages as i64 * PAGE_SIZE as i64,
            row.buffered as i64,
            row.created.and_then(timestamp),
            row.crc.map(i64::from),
        )
    }))
}

impl PartRow {
    const BLANK: Self = Self {
        id: 0,
        state: "growing",
        structure: "none",
        level: None,
        rows: None,
        tombstones: None,
        part: "lanes",
        pages: 0,
        buffered: 0,
        created: None,
        crc: None,
    };
}

fn part_rows(relation: Relation) -> Vec<PartRow> {
    let snapshot = Snapshot::read(relation);
    let Snapshot { meta, manifest } = &snapshot;
    let resident = resident(relation);
    let buffered = |extents: &mut dyn Iterator<Item = Extent>| -> u64 {
        let blocks = extents.flat_map(|extent| extent.start..extent.start + extent.pages);
        blocks.filter(|block| resident.contains(block)).count() as u64
    };
    let pages_of = |extents: &[Extent]| extents.iter().map(|extent| u64::from(extent.pages)).sum();
    let mut rows = Vec::new();
    let structure = structure_of(&meta.structure);
    for sealed in &manifest.sealed {
        let (structure, state) = match structure.is_indexed(sealed) {
            true => (structure.name(), "indexed"),
            false => ("none", "flushed"),
        };
        rows.extend(sealed.parts().into_iter().map(|(kind, part)| PartRow {
            id: sealed.id,
            state: if sealed.compacting { "compacting" } else { state },
            structure,
            level: Some(sealed.level),
            rows: Some(sealed.rows.into()),
            tombstones: Some(sealed.tombstones.into()),
            part: kind.name(),
            pages: part.pages.pages(),
            buffered: buffered(&mut part.pages.iter()),
            created: Some(sealed.created),
            crc: Some(sealed.crc()),
        }));
    }
    for (growing, state) in growing::stream::with_states(&snapshot) {
        let extents = growing::extents(relation, growing);
        let mut live = 0;
        growing::for_each_tid(relation, meta, growing, |_| live += 1);
        let total = growing::rows(relation, growing);
        rows.push(PartRow {
            id: growing.segment,
            state,
            rows: Some(total),
            tombstones: Some(total.saturating_sub(live)),
            pages: pages_of(&extents),
            buffered: buffered(&mut extents.into_iter()),
            created: Some(growing.opened),
            ..PartRow::BLANK
        });
    }
    for creating in &manifest.creating {
        rows.push(PartRow {
            id: creating.id,
            state: "creating",
            part: "all",
            pages: pages_of(&creating.pages),
            buffered: buffered(&mut creating.pages.iter().copied()),
            ..PartRow::BLANK
        });
    }
    let dropped: HashSet<u32> =
        manifest.free.iter().map(|freed| freed.segment).filter(|&id| id > 0).collect();
    for id in dropped {
        let freed = manifest.free.iter().filter(|freed| freed.segment == id);
        let extents: Vec<Extent> = freed.map(|freed| freed.extent).collect();
        let (pages, buffered) = (pages_of(&extents), buffered(&mut extents.into_iter()));
        rows.push(PartRow { id, state: "dropped", part: "all", pages, buffered, ..PartRow::BLANK });
    }
    rows.sort_by_key(|row| row.id);
    rows
}

/// From microseconds since 1970.
fn timestamp(micros: u64) -> Option<TimestampWithTimeZone> {
    const EPOCH_2000: i64 = 946_684_800_000_000;
    TimestampWithTimeZone::try_from(micros as i64 - EPOCH_2000).ok()
}

/// A row of `vdb_index_tasks`.
struct TaskRow {
    kind: TaskKind,
    priority: Priority,
    state: &'static str,
    pid: Option<i32>,
    rows: Option<i64>,
    started: Option<TimestampWithTimeZone>,
    completed: Option<TimestampWithTimeZone>,
    error: Option<String>,
}

fn priority_name(priority: Priority) -> String {
    format!("{priority:?}").to_lowercase()
}

/// The tasks that are due in an index, the running ones, and the last finished ones.
fn task_rows(relation: Relation) -> Vec<TaskRow> {
    let snapshot = Snapshot::read(relation);
    let mut rows: Vec<TaskRow> =
        snapshot.manifest.tasks.iter().map(|task| recorded_task(relation, task)).collect();
    if in_recovery() {
        return rows;
    }
    let due = maintenance::due(relation, &snapshot, maintenance::limits(relation, &snapshot.meta));
    let flush = due.flush.map(|priority| (TaskKind::Flush, priority));
    let compaction = due.compaction.map(|job| (TaskKind::Compact, job.priority));
    for (kind, priority) in flush.into_iter().chain(compaction) {
        if !rows.iter().any(|row| row.kind == kind && row.state == "running") {
            rows.push(TaskRow {
                kind,
                priority,
                state: "queued",
                pid: None,
                rows: None,
                started: None,
                completed: None,
                error: None,
            });
        }
    }
    rows
}

/// A task of the manifest's log.
fn recorded_task(relation: Relation, task: &Task) -> TaskRow {
    let Task { kind, priority, pid, .. } = *task;
    let (state, error) = match &task.state {
        State::Running if is_locked(relation, kind) => ("running", None),
        State::Running => ("failed", Some("the process that ran it was interrupted".into())),
        State::Completed => ("completed", None),
        State::Failed(error) => ("failed", Some(error.clone())),
    };
    TaskRow {
        kind,
        priority,
        state,
        pid: (state == "running").then_some(pid),
        rows: (state == "completed").then_some(task.rows as i64),
        started: timestamp(task.started),
        completed: Some(task.ended).filter(|&ended| ended > 0).and_then(timestamp),
        error,
    }
}

/// The tasks of one index.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // The columns of the SQL function.
fn vdb_index_tasks(
    index: pg_sys::Oid,
) -> TableIterator<
    'static,
    (
        name!(kind, &'static str),
        name!(priority, String),
        name!(state, &'static str),
        name!(pid, Option<i32>),
        name!(rows, Option<i64>),
        name!(started, Option<TimestampWithTimeZone>),
        name!(completed, Option<TimestampWithTimeZone>),
        name!(error, Option<String>),
    ),
> {
    let index = OpenIndex::to_tell_of(index);
    TableIterator::new(task_rows(index.relation()).into_iter().map(|row| {
        let TaskRow { kind, priority, state, pid, rows, started, completed, error } = row;
        (kind_name(kind), priority_name(priority), state, pid, rows, started, completed, error)
    }))
}

/// The tasks of all indexes that the user may see. Indexes that are locked, dropped meanwhile or
/// not ready have none.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // The columns of the SQL function.
fn vdb_all_tasks() -> TableIterator<
    'static,
    (
        name!(index, pg_sys::Oid),
        name!(kind, &'static str),
        name!(priority, String),
        name!(state, &'static str),
        name!(pid, Option<i32>),
        name!(rows, Option<i64>),
        name!(started, Option<TimestampWithTimeZone>),
        name!(completed, Option<TimestampWithTimeZone>),
        name!(error, Option<String>),
    ),
> {
    let may_monitor = owner::may_monitor();
    let mut tasks = Vec::new();
    for index in catalog::own_indexes() {
        pgrx::check_for_interrupts!();
        if !may_monitor && !owner::has_rights_of(index.owner) {
            continue;
        }
        if let Ok(open) = OpenIndex::try_to_read(index.oid) {
            // A corrupt index, or one of an older format, shows no tasks.
            let rows = attempt(|| task_rows(open.relation())).unwrap_or_default();
            tasks.extend(rows.into_iter().map(|row| (index.oid, row)));
        }
    }
    TableIterator::new(tasks.into_iter().map(|(index, row)| {
        let TaskRow { kind, priority, state, pid, rows, started, completed, error } = row;
        (index, kind_name(kind), priority_name(priority), state, pid, rows, started, completed, error)
    }))
}

fn kind_name(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Flush => "flush",
        TaskKind::Compact => "compaction",
    }
}

/// Whether a process is at work on a task. On a standby none is.
fn is_locked(relation: Relation, kind: TaskKind) -> bool {
    let purpose = match kind {
        TaskKind::Flush => Purpose::Flush,
        TaskKind::Compact => Purpose::Compact,
    };
    !in_recovery() && IndexLock::try_take(relation, purpose).is_none()
}
