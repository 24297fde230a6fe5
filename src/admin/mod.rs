//! SQL functions about indexes.

use crate::am;
use crate::pg::relation::Relation;
use crate::segment::growing;
use crate::storage::manifest::Snapshot;
use crate::storage::meta::{Quantizer, Structure};
use pgrx::iter::TableIterator;
use pgrx::{PgRelation, name, pg_extern, pg_sys};

/// What an index consists of, in one row.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // The columns of the SQL function.
fn vdb_index_stats(
    index: PgRelation,
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
    // SAFETY: the argument keeps the index open and locked.
    let relation = unsafe { Relation::from_raw(index.as_ptr()) };
    am::require_own(relation);
    let Snapshot { meta, manifest } = Snapshot::read(relation);
    let growing = manifest.flushing.iter().chain([&meta.growing]);
    let growing_rows: u64 = growing.map(|segment| growing::rows(relation, segment)).sum();
    let sum = |count: fn(&crate::storage::manifest::Sealed) -> u32| -> i64 {
        manifest.sealed.iter().map(|segment| i64::from(count(segment))).sum()
    };
    TableIterator::once((
        match meta.structure {
            Structure::Graph(_) => "graph",
            Structure::Lists(_) => "lists",
        },
        match meta.quantizer {
            Quantizer::None => "none",
            Quantizer::Rabitq => "rabitq",
            Quantizer::Sq8 => "sq8",
        },
        meta.space.dims as i32,
        manifest.codebook.as_ref().map(|codebook| codebook.lists as i32),
        manifest.sealed.len() as i32,
        sum(|segment| segment.rows),
        growing_rows as i64,
        sum(|segment| segment.tombstones),
        meta.generation as i64,
        i64::from(relation.blocks()) * i64::from(pg_sys::BLCKSZ),
    ))
}
