//! Rows of a table, fetched by their addresses as an index scan fetches them.

use super::context::Context;
use super::owner::AsOwner;
use super::relation::Relation;
use pgrx::{PgList, pg_sys};

/// Fetches the indexed value of rows that a snapshot sees.
///
/// Must not outlive the callback in which it was made: its relations are open only so long.
pub struct HeapRows {
    fetch: *mut pg_sys::IndexFetchTableData,
    slot: *mut pg_sys::TupleTableSlot,
    snapshot: pg_sys::Snapshot,
    index: Relation,
    indexed: Indexed,
    /// Reset after each row, so that detoasted values do not pile up.
    context: Context,
}

/// What the index's first column is of.
enum Indexed {
    Column(i32),
    /// The owner's code, which runs as the owner; the index's other columns are not computed.
    Expression {
        expression: *mut pg_sys::ExprState,
        state: *mut pg_sys::EState,
        _as_owner: AsOwner,
    },
}

impl Indexed {
    /// # Safety
    /// `index` is an open index, and the caller is in a transaction.
    unsafe fn of(index: Relation) -> Self {
        // SAFETY: `index` is an open index by this function's contract, so it has a catalog row
        // with at least one column. Its expressions are valid nodes, one for each column with
        // number 0. The state that is made here outlives the expression.
        unsafe {
            let column = (*(*index.raw()).rd_index).indkey.values.as_slice(1)[0];
            if column != 0 {
                return Indexed::Column(column.into());
            }
            let _as_owner = AsOwner::of(index);
            let expressions = pg_sys::RelationGetIndexExpressions(index.raw());
            let first = PgList::<pg_sys::Expr>::from_pg(expressions).get_ptr(0);
            let state = pg_sys::CreateExecutorState();
            let first = first.expect("a column without a number is an expression");
            Indexed::Expression { expression: pg_sys::ExecPrepareExpr(first, state), state, _as_owner }
        }
    }
}

impl HeapRows {
    /// # Safety
    /// `heap` is an open table and `index` an open index of it; `snapshot` is registered or active.
    /// All stay so while the value lives.
    pub unsafe fn new(heap: pg_sys::Relation, index: Relation, snapshot: pg_sys::Snapshot) -> Self {
        // SAFETY: both relations are open by this function's contract and stay so while the value
        // lives. `drop` ends the fetch and the slot.
        unsafe {
            Self {
                fetch: pg_sys::table_index_fetch_begin(heap),
                slot: pg_sys::table_slot_create(heap, std::ptr::null_mut()),
                snapshot,
                index,
                indexed: Indexed::of(index),
                context: Context::new(c"vdb heap row"),
            }
        }
    }

    /// Calls `visit` with the indexed value of the row that an index entry points to, if the
    /// snapshot sees one.
    pub fn fetch(&mut self, tid: [u8; 6], visit: impl FnOnce(pg_sys::Datum)) {
        let mut tid = checked_tid(self.index, tid);
        let (fetch, slot, snapshot) = (self.fetch, self.slot, self.snapshot);
        let indexed = &self.indexed;
        // SAFETY: `new` made the fetch, the slot and the states, for relations and a snapshot that
        // are still valid. The slot's tuple is valid until the next fetch. What expressions and
        // detoasting allocate is valid until the contexts are reset below, after `visit`.
        unsafe {
            let (mut again, mut all_dead) = (false, false);
            let seen =
                pg_sys::table_index_fetch_tuple(fetch, &mut tid, snapshot, slot, &mut again, &mut all_dead);
            if !seen {
                return;
            }
            self.context.switch_to(|| {
                let value = match indexed {
                    Indexed::Column(column) => {
                        let mut is_null = false;
                        let value = pg_sys::slot_getattr(slot, *column, &mut is_null);
                        (!is_null).then_some(value)
                    }
                    Indexed::Expression { expression, state, .. } => {
                        let context = expression_context(*state);
                        (*context).ecxt_scantuple = slot;
                        let mut is_null = false;
                        let value = pg_sys::ExecEvalExprSwitchContext(*expression, context, &mut is_null);
                        (!is_null).then_some(value)
                    }
                };
                if let Some(value) = value {
                    visit(value);
                }
            });
            if let Indexed::Expression { state, .. } = indexed {
                pg_sys::MemoryContextReset((*expression_context(*state)).ecxt_per_tuple_memory);
            }
            self.context.reset();
        }
    }
}

/// Checks an address from an index's page, which may be corrupt. PostgreSQL would extend the table
/// at the invalid block number.
pub fn checked_tid(index: Relation, tid: [u8; 6]) -> pg_sys::ItemPointerData {
    let [block @ .., offset_low, offset_high] = tid;
    if block == [0xff; 4] || [offset_low, offset_high] == [0; 2] {
        index.corrupt().detail("The address of a row of its table is invalid.").raise();
    }
    let word = |at: usize| u16::from_ne_bytes([tid[at], tid[at + 1]]);
    pg_sys::ItemPointerData {
        ip_blkid: pg_sys::BlockIdData { bi_hi: word(0), bi_lo: word(2) },
        ip_posid: word(4),
    }
}

/// The state's context for expressions, as PostgreSQL's macro of that name makes it.
///
/// # Safety
/// `state` points to a valid executor state.
unsafe fn expression_context(state: *mut pg_sys::EState) -> *mut pg_sys::ExprContext {
    // SAFETY: `state` points to a valid executor state by this function's contract. Its per-tuple
    // context is null or valid.
    unsafe {
        if (*state).es_per_tuple_exprcontext.is_null() {
            pg_sys::MakePerTupleExprContext(state)
        } else {
            (*state).es_per_tuple_exprcontext
        }
    }
}

impl Drop for HeapRows {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: `new` made all of these, and nothing else ends them. After an error, which
        // returns above, PostgreSQL's resource owner and memory contexts do.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::table_index_fetch_end(self.fetch);
            if let Indexed::Expression { state, .. } = self.indexed {
                pg_sys::FreeExecutorState(state);
            }
        }
    }
}
