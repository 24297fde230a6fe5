//! An index's table, and its rows as the index takes them.

use super::{attributes, opclass};
use crate::distance::Space;
use crate::filter::key::Kind;
use crate::pg::error::Problem;
use crate::pg::owner::AsOwner;
use crate::pg::relation::Relation;
use crate::segment::{Entry, Tid};
use pgrx::{PgSqlErrorCode, pg_guard, pg_sys};

/// The table and the index, as PostgreSQL passes them.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub heap: pg_sys::Relation,
    pub index: pg_sys::Relation,
    pub info: *mut pg_sys::IndexInfo,
    pub space: Space,
    pub kinds: &'a [Kind],
    /// Reset after each row, so that detoasted values do not pile up.
    row_context: pg_sys::MemoryContext,
}

/// What is scanned of a table.
pub enum Extent {
    All,
    Blocks {
        first: u32,
        count: u32,
    },
    /// One process's share of all, of which others scan the rest; the scan is ended when it is
    /// through.
    Share(pg_sys::TableScanDesc),
}

impl<'a> Source<'a> {
    /// # Safety
    /// The relations are open and stay so, and `info` tells of the index.
    pub unsafe fn new(
        heap: pg_sys::Relation,
        index: pg_sys::Relation,
        info: *mut pg_sys::IndexInfo,
        space: Space,
        kinds: &'a [Kind],
    ) -> Self {
        Self { heap, index, info, space, kinds, row_context: new_row_context() }
    }

    /// Calls `visit` with every row that the index has a place for; returns the number of the
    /// table's rows. The progress of a scan of all is shown if `show_progress` says so.
    pub fn scan(self, extent: Extent, show_progress: bool, visit: &mut dyn FnMut(Entry)) -> f64 {
        let mut state = Scan { source: self, visit };
        let (first, count, scan) = match extent {
            Extent::All => (0, pg_sys::InvalidBlockNumber, std::ptr::null_mut()),
            Extent::Blocks { first, count } => (first, count, std::ptr::null_mut()),
            Extent::Share(scan) => (0, pg_sys::InvalidBlockNumber, scan),
        };
        // Where a shared scan begins is its own affair, as nothing else is allowed; all others go
        // through the blocks in their order.
        let allow_sync = !scan.is_null();
        // SAFETY: the relations are open; the callback gets back the state passed here, which lives
        // until the scan has ended.
        unsafe {
            pg_sys::table_index_build_range_scan(
                self.heap,
                self.index,
                self.info,
                allow_sync,
                false,
                show_progress,
                first,
                count,
                Some(add_row),
                (&raw mut state).cast(),
                scan,
            )
        }
    }

    pub fn table(self) -> Relation {
        // SAFETY: the table is open.
        unsafe { Relation::from_raw(self.heap) }
    }

    /// Whether the index is made without keeping others from writing to the table.
    pub fn is_concurrent(self) -> bool {
        // SAFETY: see `new`.
        unsafe { (*self.info).ii_Concurrent }
    }
}

/// Calls `visit` with every row of the index's table that the transaction sees and the index has a
/// place for.
///
/// Expressions and predicates of the index are its owner's code, and run as such.
pub fn for_each_visible_row(index: Relation, visit: &mut dyn FnMut(Entry)) {
    let _as_owner = AsOwner::of(index);
    // SAFETY: the index is open and locked; the table is closed below, or by transaction abort. A
    // scan for a concurrent build sees what a snapshot of its own sees.
    unsafe {
        let table = pg_sys::IndexGetRelation(index.oid(), false);
        let heap = pg_sys::table_open(table, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        let info = pg_sys::BuildIndexInfo(index.raw());
        (*info).ii_Concurrent = true;
        let (space, kinds) = (opclass::space_of(index), attributes::kinds_of(index));
        Source::new(heap, index.raw(), info, space, &kinds).scan(Extent::All, false, visit);
        pg_sys::table_close(heap, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
    }
}

/// A child of the current context for what a row's value takes.
fn new_row_context() -> pg_sys::MemoryContext {
    // SAFETY: makes a context, which lives as long as its parent.
    unsafe {
        pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"vdb index build row".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        )
    }
}

/// What a scan of the table carries along.
struct Scan<'a> {
    source: Source<'a>,
    visit: &'a mut dyn FnMut(Entry<'_>),
}

pub fn malformed() -> ! {
    Problem::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "a stored vector is malformed").raise()
}

#[pg_guard]
unsafe extern "C-unwind" fn add_row(
    index: pg_sys::Relation,
    tid: pg_sys::ItemPointer,
    values: *mut pg_sys::Datum,
    isnull: *mut bool,
    _tuple_is_alive: bool,
    state: *mut std::ffi::c_void,
) {
    // SAFETY: `scan` passes its state; PostgreSQL passes one value and null flag per index column,
    // and the values come from the indexed columns, whose types the operator classes fix.
    unsafe {
        let Scan { source, visit } = &mut *state.cast::<Scan>();
        if *isnull {
            return;
        }
        let before = pg_sys::MemoryContextSwitchTo(source.row_context);
        let space = source.space;
        opclass::with_row(space, *values, |row| {
            if opclass::is_indexed(space, row) {
                let index = Relation::from_raw(index);
                let attributes = attributes::of_values(index, source.kinds, values, isnull);
                visit(Entry { tid: tid_bytes(tid), row, attributes: &attributes });
            }
        });
        pg_sys::MemoryContextSwitchTo(before);
        pg_sys::MemoryContextReset(source.row_context);
    }
}

/// The bytes of a heap tuple's address.
///
/// # Safety
/// `tid` points to a valid address.
pub unsafe fn tid_bytes(tid: pg_sys::ItemPointer) -> Tid {
    // SAFETY: the caller's promise; an ItemPointerData has six bytes.
    unsafe { *tid.cast::<Tid>() }
}
