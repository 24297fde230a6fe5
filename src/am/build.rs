//! CREATE INDEX and REINDEX: the table's rows become sealed segments.

use super::{opclass, options};
use crate::distance::Space;
use crate::graph::build::Options;
use crate::pg::error::{OrRaise, Problem};
use crate::pg::progress::{self, Phase};
use crate::pg::relation::Relation;
use crate::pg::{threads, wal};
use crate::segment::seal::{Batch, Plan};
use crate::segment::{empty, growing};
use crate::storage::edit::Edit;
use crate::storage::meta::Meta;
use pgrx::{PgBox, PgSqlErrorCode, pg_guard, pg_sys};

/// How segments of an index with this meta data are sealed.
pub fn plan(meta: &Meta, show_progress: bool) -> Plan {
    Plan {
        graph: Options { m: meta.graph.m.into(), ef_construction: meta.graph.ef_construction.into() },
        quantizer: meta.quantizer,
        seed: meta.seed,
        threads: threads::maintenance_threads(),
        show_progress,
    }
}

/// What the scan of the table carries along.
struct Build {
    edit: Edit,
    space: Space,
    plan: Plan,
    budget: usize,
    batch: Batch,
    indexed: u64,
    /// Reset after each row, so that detoasted values do not pile up.
    row_context: pg_sys::MemoryContext,
}

impl Build {
    fn add(&mut self, tid: crate::segment::Tid, datum: pg_sys::Datum) {
        let (space, batch) = (self.space, &mut self.batch);
        // SAFETY: the value comes from the indexed column, whose type the operator class fixes.
        let added = unsafe {
            opclass::with_row(space, datum, |row| {
                opclass::is_indexed(space, row).then(|| batch.push(tid, row))
            })
        };
        match added {
            None => return,
            Some(true) => self.indexed += 1,
            Some(false) => {
                Problem::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "a stored vector is malformed").raise()
            }
        }
        if self.batch.bytes(&self.plan) >= self.budget {
            self.seal();
            progress::phase(Phase::LoadRows);
        }
    }

    /// Seals the rows loaded so far.
    fn seal(&mut self) {
        let batch = std::mem::replace(&mut self.batch, Batch::new(self.space));
        if batch.rows() > 0 {
            let sealed = batch.seal(&mut self.edit, self.plan);
            self.edit.manifest.sealed.push(sealed);
        }
    }
}

fn new_meta(index: Relation) -> Meta {
    let space = opclass::space_of(index);
    let (graph, quantizer) = options::of(index, space);
    Meta::new(space, graph, quantizer, rand_seed())
}

/// A number that differs from build to build.
fn rand_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[pg_guard]
pub unsafe extern "C-unwind" fn ambuild(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    index_info: *mut pg_sys::IndexInfo,
) -> *mut pg_sys::IndexBuildResult {
    // SAFETY: PostgreSQL passes open relations; the index is ours alone until its transaction commits.
    let relation = unsafe { Relation::from_raw(index) };
    let meta = new_meta(relation);
    let plan = plan(&meta, true);
    // SAFETY: a plain read of a setting.
    let budget = unsafe { pg_sys::maintenance_work_mem } as usize * 1024;
    // SAFETY: creates a child of the current context, which outlives the scan.
    let row_context = unsafe {
        pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"vdb index build row".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        )
    };
    let space = meta.space;
    let mut build = Build {
        edit: Edit::create(relation, meta),
        space,
        plan,
        budget,
        batch: Batch::new(space),
        indexed: 0,
        row_context,
    };
    progress::phase(Phase::LoadRows);
    // SAFETY: the callback gets back the state passed here, which lives until the scan has ended.
    let heap_tuples = unsafe {
        pg_sys::table_index_build_scan(
            heap,
            index,
            index_info,
            true,
            true,
            Some(add_row),
            (&raw mut build).cast(),
            std::ptr::null_mut(),
        )
    };
    if !build.edit.manifest.sealed.is_empty() {
        let segments = build.edit.manifest.sealed.len() + 1;
        pgrx::ereport!(
            NOTICE,
            PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
            format!(
                "the table does not fit into maintenance_work_mem: the index gets {segments} segments; \
                 a search is faster over fewer"
            )
        );
    }
    build.seal();
    let fresh = growing::open(&mut build.edit);
    build.edit.meta.growing = fresh;
    build.edit.publish();

    // SAFETY: PgBox::alloc0 allocates the result in the current context, as the contract asks.
    let mut result = unsafe { PgBox::<pg_sys::IndexBuildResult>::alloc0() };
    result.heap_tuples = heap_tuples;
    result.index_tuples = build.indexed as f64;
    result.into_pg()
}

#[pg_guard]
unsafe extern "C-unwind" fn add_row(
    _index: pg_sys::Relation,
    tid: pg_sys::ItemPointer,
    values: *mut pg_sys::Datum,
    isnull: *mut bool,
    _tuple_is_alive: bool,
    state: *mut std::ffi::c_void,
) {
    // SAFETY: `ambuild` passes its state; PostgreSQL passes one value and null flag per index column.
    unsafe {
        let build = &mut *state.cast::<Build>();
        if *isnull {
            return;
        }
        let before = pg_sys::MemoryContextSwitchTo(build.row_context);
        build.add(tid_bytes(tid), *values);
        pg_sys::MemoryContextSwitchTo(before);
        pg_sys::MemoryContextReset(build.row_context);
    }
}

/// The bytes of a heap tuple's address.
///
/// # Safety
/// `tid` points to a valid address.
pub unsafe fn tid_bytes(tid: pg_sys::ItemPointer) -> crate::segment::Tid {
    // SAFETY: the caller's promise; an ItemPointerData has six bytes.
    unsafe { *tid.cast::<crate::segment::Tid>() }
}

/// An unlogged index after a crash: its init fork holds a meta page, a manifest page and empty lanes.
#[pg_guard]
pub unsafe extern "C-unwind" fn ambuildempty(index: pg_sys::Relation) {
    // SAFETY: PostgreSQL passes an open index whose init fork was just created.
    let relation = unsafe { Relation::from_raw(index) };
    wal::write_init_fork(relation, &empty::pages(new_meta(relation)).or_raise());
}
