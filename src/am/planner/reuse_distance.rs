//! Hands distances over: where a plan shows what it orders by, the scan has computed it. For a long
//! vector, stored out of line, computing it again takes longer than the search.

use crate::pg::planner::{self, Expression};
use crate::segment::Tid;
use pgrx::{PgList, pg_extern, pg_sys};
use std::cell::RefCell;
use std::rc::Rc;

/// Vectors of this many dimensions may lie out of line; comparing shorter ones is as fast as
/// remembering.
const LEAST_DIMS: i32 = 500;

/// The row that a scan returned last.
struct Handed {
    index: pg_sys::Oid,
    tid: Tid,
    distance: f64,
    query: Rc<[u8]>,
}

thread_local! {
    static LAST: RefCell<Option<Handed>> = const { RefCell::new(None) };
}

/// Remembers the distance of the row that a scan returns next.
pub fn remember(index: pg_sys::Oid, tid: Tid, distance: f64, query: &Rc<[u8]>) {
    LAST.set(Some(Handed { index, tid, distance, query: query.clone() }));
}

/// The remembered distance, if it belongs to this row of this index and this query.
fn find_remembered(index: pg_sys::Oid, tid: Tid, query: &[u8]) -> Option<f64> {
    LAST.with_borrow(|last| {
        let last = last.as_ref()?;
        (last.index == index && last.tid == tid && *last.query == *query).then_some(last.distance)
    })
}

/// The key by which a scan remembers distances: the query as it was passed, if plans may ask for
/// distances to it.
///
/// # Safety
/// `query` is a non-null pointer to a variable-length value, which outlives the call.
pub unsafe fn query_of(dims: u32, query: pg_sys::Datum) -> Option<Rc<[u8]>> {
    // SAFETY: `query` points to a variable-length value by this function's contract, and its
    // content is copied before the call ends.
    (dims >= LEAST_DIMS as u32).then(|| unsafe { content_of(query) }).flatten().map(Rc::from)
}

/// The content of a variable-length value, if it lies in memory as it is.
///
/// # Safety
/// `value` is a non-null pointer to a variable-length value that outlives the result.
unsafe fn content_of<'a>(value: pg_sys::Datum) -> Option<&'a [u8]> {
    // SAFETY: `value` points to a variable-length value by this function's contract. One that is
    // neither external nor compressed has its content after its header, as long as the header says.
    unsafe {
        let value = value.cast_mut_ptr::<pg_sys::varlena>();
        if pgrx::varatt_is_1b_e(value) || pgrx::varatt_is_4b_c(value) {
            return None;
        }
        Some(std::slice::from_raw_parts(pgrx::vardata_any(value).cast(), pgrx::varsize_any_exhdr(value)))
    }
}

/// The distance to a query of the row at `tid`, which a scan of an index has just returned. It is
/// NULL if the scan has gone on since, or has found another version of the row.
///
/// Arguments: the row's `tid`, the index, the query.
#[pg_extern(sql = false)]
fn vdb_scanned_distance(call: pg_sys::FunctionCallInfo) -> Option<f64> {
    // SAFETY: PostgreSQL passes `nargs` arguments, of the declared types: a tid, an oid, and a type
    // of ours of variable length. Each is read once it is known not to be null.
    unsafe {
        let [tid, index, query] = (*call).args.as_slice((*call).nargs as usize) else { return None };
        if tid.isnull || index.isnull || query.isnull {
            return None;
        }
        let index = pg_sys::Oid::from(index.value.value() as u32);
        find_remembered(index, *tid.value.cast_mut_ptr::<Tid>(), content_of(query.value)?)
    }
}

/// Has a scan of an index of ours show its own distances.
///
/// # Safety
/// `scan` is part of a finished plan that no other code refers to, and the caller is in a
/// transaction.
pub unsafe fn hand_over(scan: &mut pg_sys::IndexScan) {
    // SAFETY: the scan is part of a valid plan by this function's contract. Its order is a list of
    // nodes, and its target list one of entries. `operator_of` returns an operator and its
    // arguments. The call has the types that the function was looked up by. Only this code refers
    // to the entries that change.
    unsafe {
        let ordered = PgList::<pg_sys::Node>::from_pg(scan.indexorderbyorig);
        let Some(order) = ordered.get_ptr(0).filter(|_| ordered.len() == 1) else { return };
        let Some((operator, [row, query])) = planner::operator_of(order) else { return };
        if pg_sys::exprTypmod(row) < LEAST_DIMS {
            return;
        }
        let types = [pg_sys::TIDOID, pg_sys::OIDOID, pg_sys::exprType(query)];
        let entries = PgList::<pg_sys::TargetEntry>::from_pg(scan.scan.plan.targetlist);
        let is_shown = entries.iter_ptr().any(|entry| holds((*entry).expr.cast(), order));
        let function = is_shown.then(|| planner::function_beside(operator, c"vdb_scanned_distance", &types));
        let Some(function) = function.flatten() else { return };
        let tid = pg_sys::makeVar(
            scan.scan.scanrelid as _,
            pg_sys::SelfItemPointerAttributeNumber as pg_sys::AttrNumber,
            pg_sys::TIDOID,
            -1,
            pg_sys::InvalidOid,
            0,
        );
        let arguments = [tid.cast(), planner::oid(scan.indexid), query];
        let handed = planner::call(function, pg_sys::FLOAT8OID, &arguments);
        let shown = planner::coalesce(pg_sys::FLOAT8OID, [handed, order]);
        for entry in entries.iter_ptr() {
            replace(&mut *(&raw mut (*entry).expr).cast(), order, shown);
        }
    }
}

/// Calls `visit` with the place of each argument of an expression, if it is an operator or function
/// call, or a cast.
///
/// # Safety
/// `node` is null, or points to a valid node whose arguments may be changed.
unsafe fn for_each_argument(node: Expression, mut visit: impl FnMut(&mut Expression)) {
    // SAFETY: `node` is null or valid by this function's contract, and each cast follows the tag,
    // which names the struct. A pointer to an Expr is one to a Node. A list of expressions has
    // `length` cells that hold pointers.
    unsafe {
        let arguments = match node.as_ref().map(|node| node.type_) {
            Some(pg_sys::NodeTag::T_OpExpr) => (*node.cast::<pg_sys::OpExpr>()).args,
            Some(pg_sys::NodeTag::T_FuncExpr) => (*node.cast::<pg_sys::FuncExpr>()).args,
            Some(pg_sys::NodeTag::T_CoerceViaIO) => {
                return visit(&mut *(&raw mut (*node.cast::<pg_sys::CoerceViaIO>()).arg).cast());
            }
            Some(pg_sys::NodeTag::T_RelabelType) => {
                return visit(&mut *(&raw mut (*node.cast::<pg_sys::RelabelType>()).arg).cast());
            }
            _ => return,
        };
        if let Some(arguments) = arguments.as_mut() {
            let cells = std::slice::from_raw_parts_mut(arguments.elements, arguments.length as usize);
            cells.iter_mut().for_each(|cell| visit(&mut *(&raw mut cell.ptr_value).cast()));
        }
    }
}

/// Whether an expression equals another, or contains it below functions and operators.
///
/// # Safety
/// `node` and `other` are null, or point to valid nodes.
unsafe fn holds(node: Expression, other: Expression) -> bool {
    // SAFETY: both are null or valid nodes by this function's contract, and so is each argument.
    // The visitor changes none.
    unsafe {
        let mut found = pg_sys::equal(node.cast(), other.cast());
        for_each_argument(node, |argument| found |= holds(*argument, other));
        found
    }
}

/// Puts `new` in each place where an expression contains `other`.
///
/// # Safety
/// `node`, `other` and `new` point to valid nodes, and `node` is part of a plan that may be
/// changed.
unsafe fn replace(node: &mut Expression, other: Expression, new: Expression) {
    // SAFETY: all are valid nodes by this function's contract, and so is each argument of `node`,
    // whose place may be changed.
    unsafe {
        if pg_sys::equal(node.cast(), other.cast()) {
            *node = new;
        } else {
            for_each_argument(*node, |argument| replace(argument, other, new));
        }
    }
}
