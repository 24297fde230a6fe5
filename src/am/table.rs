//! An index's table, and its rows as the index takes them.

use super::{attributes, opclass};
use crate::distance::Space;
use crate::filter::key::KeyKind;
use crate::pg::context::Context;
use crate::pg::error::Problem;
use crate::pg::owner::AsOwner;
use crate::pg::relation::Relation;
use crate::segment::{Entry, Tid};
use pgrx::{PgSqlErrorCode, pg_guard, pg_sys};

/// The table and the index that PostgreSQL passes.
#[derive(Clone, Copy)]
pub struct TableRows<'a> {
    pub heap: pg_sys::Relation,
    pub index: pg_sys::Relation,
    pub info: *mut pg_sys::IndexInfo,
    pub space: Space,
    pub kinds: &'a [KeyKind],
}

/// The part of a table that is scanned.
pub enum TableExtent {
    All,
    Blocks {
        first: u32,
        count: u32,
    },
    /// One process's share of the whole table; other processes scan the rest. The scan ends with
    /// the share.
    Share(pg_sys::TableScanDesc),
}

impl<'a> TableRows<'a> {
    /// # Safety
    /// The relations are open and locked, and `info` points to the information of the index. All
    /// stay so while the value and its copies are used.
    pub unsafe fn new(
        heap: pg_sys::Relation,
        index: pg_sys::Relation,
        info: *mut pg_sys::IndexInfo,
        space: Space,
        kinds: &'a [KeyKind],
    ) -> Self {
        Self { heap, index, info, space, kinds }
    }

    /// Calls `visit` with every row that the index has a place for; returns the number of the
    /// table's rows. `show_progress` is for a scan of all.
    pub fn scan(self, extent: TableExtent, show_progress: bool, visit: &mut dyn FnMut(Entry)) -> f64 {
        let row_context = Context::new(c"vdb index build row");
        let mut state = Scan { source: self, row_context, visit };
        let (first, count, scan) = match extent {
            TableExtent::All => (0, pg_sys::InvalidBlockNumber, std::ptr::null_mut()),
            TableExtent::Blocks { first, count } => (first, count, std::ptr::null_mut()),
            TableExtent::Share(scan) => (0, pg_sys::InvalidBlockNumber, scan),
        };
        // PostgreSQL decides where a shared scan begins, and allows nothing else. All others read
        // the blocks in order.
        let allow_sync = !scan.is_null();
        // SAFETY: the relations are open and `info` is valid, as `new` requires. The callback gets
        // the state passed here, which lives until the scan has ended, and nothing else uses it
        // meanwhile.
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
        // SAFETY: `new` requires the table to be open while the value is used.
        unsafe { Relation::from_raw(self.heap) }
    }

    /// Whether the index is made while other transactions may write to the table.
    pub fn is_concurrent(self) -> bool {
        // SAFETY: `new` requires `info` to be valid while the value is used.
        unsafe { (*self.info).ii_Concurrent }
    }
}

/// Calls `visit` with every row of the index's table that the transaction sees and the index has a
/// place for.
///
/// Expressions and predicates of the index are its owner's code, and run as the owner.
pub fn for_each_visible_row(index: Relation, visit: &mut dyn FnMut(Entry)) {
    let _as_owner = AsOwner::of(index);
    // SAFETY: the index is open and locked. The table is opened here, and closed below or by the
    // transaction's abort. `BuildIndexInfo` returns a valid struct; with `ii_Concurrent` set the
    // scan takes a snapshot of its own.
    unsafe {
        let table = pg_sys::IndexGetRelation(index.oid(), false);
        let heap = pg_sys::table_open(table, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        let info = pg_sys::BuildIndexInfo(index.raw());
        (*info).ii_Concurrent = true;
        let (space, kinds) = (opclass::space_of(index), attributes::kinds_of(index));
        TableRows::new(heap, index.raw(), info, space, &kinds).scan(TableExtent::All, false, visit);
        pg_sys::table_close(heap, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
    }
}

/// The state that a scan of the table passes to its callback.
struct Scan<'a> {
    source: TableRows<'a>,
    /// Reset after each row, so that detoasted values do not pile up.
    row_context: Context,
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
    // SAFETY: `state` is the `Scan` that `scan` passes, and nothing else uses it meanwhile.
    // PostgreSQL passes a valid address, and a value and a null flag per column, of the operator
    // classes' types. The first is not null when it is read.
    unsafe {
        let Scan { source, row_context, visit } = &mut *state.cast::<Scan>();
        if *isnull {
            return;
        }
        let (space, kinds) = (source.space, source.kinds);
        row_context.switch_to(|| {
            opclass::with_row(space, *values, |row| {
                if space.is_indexed(row) {
                    let index = Relation::from_raw(index);
                    let attributes = attributes::of_values(index, kinds, values, isnull);
                    visit(Entry { tid: tid_bytes(tid), row, attributes: &attributes });
                }
            });
        });
        row_context.reset();
    }
}

/// The bytes of a heap tuple's address.
///
/// # Safety
/// `tid` points to a valid address.
pub unsafe fn tid_bytes(tid: pg_sys::ItemPointer) -> Tid {
    // SAFETY: `tid` points to an ItemPointerData by this function's contract, which is six bytes of
    // plain data.
    unsafe { *tid.cast::<Tid>() }
}
