//! Expressions as the planner sees them: taken apart, and put together.

use super::compat;
use pgrx::{PgBox, PgList, pg_sys};
use std::ffi::CStr;

/// A node of an expression tree, in the planner's memory.
pub type Expression = *mut pg_sys::Node;

/// The operator and the two arguments of a node, if it is an operator with two arguments.
///
/// # Safety
/// `node` is null or points to a valid node.
pub unsafe fn operator_of(node: Expression) -> Option<(pg_sys::Oid, [Expression; 2])> {
    // SAFETY: `node` is not null when it is read, and then a valid node by this function's
    // contract. Its tag says that it is an OpExpr, so the cast reads the right struct, whose `args`
    // is a list of nodes.
    unsafe {
        if node.is_null() || (*node).type_ != pg_sys::NodeTag::T_OpExpr {
            return None;
        }
        let expression = node.cast::<pg_sys::OpExpr>();
        let arguments = PgList::<pg_sys::Node>::from_pg((*expression).args);
        match (arguments.len(), arguments.get_ptr(0), arguments.get_ptr(1)) {
            (2, Some(left), Some(right)) => Some(((*expression).opno, [left, right])),
            _ => None,
        }
    }
}

/// The operator with a strategy number in an operator family, for families with at most one such.
///
/// # Safety
/// The caller is in a transaction.
pub unsafe fn operator_of_strategy(family: pg_sys::Oid, strategy: i16) -> Option<pg_sys::Oid> {
    let none = pg_sys::Datum::from(0);
    // SAFETY: the caller is in a transaction, so catalogs can be read. The list has `n_members`
    // entries that are rows of pg_amop. It is released after their last use.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::AMOPSTRATEGY as i32;
        let list = pg_sys::SearchSysCacheList(cache, 1, family.into(), none, none);
        let members = (*list).members.as_slice((*list).n_members as usize);
        let rows = members.iter().map(|&member| {
            let tuple = &raw mut (*member).tuple;
            &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_amop>()
        });
        let operator = rows.filter(|row| row.amopstrategy == strategy).map(|row| row.amopopr).next();
        pg_sys::ReleaseCatCacheList(list);
        operator
    }
}

/// The type of an operator's right argument.
///
/// # Safety
/// The caller is in a transaction, and `operator` exists.
pub unsafe fn right_type(operator: pg_sys::Oid) -> pg_sys::Oid {
    let (mut left, mut right) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
    // SAFETY: the operator exists by this function's contract, and the out-parameters are local
    // variables.
    unsafe { pg_sys::op_input_types(operator, &mut left, &mut right) };
    right
}

/// The C function of this name and these argument types in the schema of an operator's function, if
/// the current user may call it. It needs no right on the schema, and raises nothing.
///
/// # Safety
/// The caller is in a transaction, and `operator` exists.
pub unsafe fn function_beside(
    operator: pg_sys::Oid,
    name: &CStr,
    types: &[pg_sys::Oid],
) -> Option<pg_sys::Oid> {
    const C_LANGUAGE: u32 = 13;
    let none = pg_sys::Datum::from(0);
    // SAFETY: the caller is in a transaction, and the operator exists, so its function does. The
    // list has `n_members` entries that are rows of pg_proc, and `dim1` is the length of their
    // argument types. It is released after their last use.
    unsafe {
        let schema = pg_sys::get_func_namespace(pg_sys::get_opcode(operator));
        let cache = pg_sys::SysCacheIdentifier::PROCNAMEARGSNSP as i32;
        let list = pg_sys::SearchSysCacheList(cache, 1, name.as_ptr().into(), none, none);
        let members = (*list).members.as_slice((*list).n_members as usize);
        let rows = members.iter().map(|&member| {
            let tuple = &raw mut (*member).tuple;
            &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>()
        });
        let is_it = |row: &&pg_sys::FormData_pg_proc| {
            let arguments = &row.proargtypes;
            row.pronamespace == schema
                && row.prolang.to_u32() == C_LANGUAGE
                && arguments.values.as_slice(arguments.dim1.max(0) as usize) == types
        };
        let function = rows.filter(is_it).map(|row| row.oid).next();
        pg_sys::ReleaseCatCacheList(list);
        function.filter(|&function| compat::may_call(function))
    }
}

/// A call of a function.
///
/// # Safety
/// The arguments are valid expressions of the function's argument types, and it returns `result`.
pub unsafe fn call(function: pg_sys::Oid, result: pg_sys::Oid, arguments: &[Expression]) -> Expression {
    let mut list = PgList::<pg_sys::Node>::new();
    arguments.iter().for_each(|&argument| list.push(argument));
    // SAFETY: the list holds valid expressions by this function's contract; PostgreSQL allocates
    // the node around it.
    let call = unsafe {
        pg_sys::makeFuncExpr(
            function,
            result,
            list.into_pg(),
            pg_sys::InvalidOid,
            pg_sys::InvalidOid,
            pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
        )
    };
    call.cast()
}

/// The first of two expressions that is not null; the second is computed only if the first is.
///
/// # Safety
/// The expressions are valid and of type `of`.
pub unsafe fn coalesce(of: pg_sys::Oid, expressions: [Expression; 2]) -> Expression {
    // SAFETY: the tag T_CoalesceExpr belongs to the struct CoalesceExpr, and a zeroed node is
    // valid.
    let mut node = unsafe { PgBox::<pg_sys::CoalesceExpr>::alloc_node(pg_sys::NodeTag::T_CoalesceExpr) };
    let mut list = PgList::<pg_sys::Node>::new();
    expressions.into_iter().for_each(|expression| list.push(expression));
    node.coalescetype = of;
    node.args = list.into_pg();
    node.location = -1;
    node.into_pg().cast()
}

/// An Oid as a constant.
pub fn oid(oid: pg_sys::Oid) -> Expression {
    // SAFETY: the value is an Oid passed by value, with the size and the type that the constant
    // states.
    let constant = unsafe {
        let size = size_of::<pg_sys::Oid>() as i32;
        pg_sys::makeConst(pg_sys::OIDOID, -1, pg_sys::InvalidOid, size, oid.into(), false, true)
    };
    constant.cast()
}

/// A value of a composite type, from its fields.
///
/// # Safety
/// `fields` are valid expressions of the types of the columns of `composite`.
pub unsafe fn row(composite: pg_sys::Oid, fields: [Expression; 2]) -> Expression {
    // SAFETY: the tag T_RowExpr belongs to the struct RowExpr, and a zeroed node is valid.
    let mut row = unsafe { PgBox::<pg_sys::RowExpr>::alloc_node(pg_sys::NodeTag::T_RowExpr) };
    let mut list = PgList::<pg_sys::Node>::new();
    fields.into_iter().for_each(|field| list.push(field));
    row.args = list.into_pg();
    row.row_typeid = composite;
    row.row_format = pg_sys::CoercionForm::COERCE_EXPLICIT_CAST;
    row.colnames = std::ptr::null_mut();
    row.location = -1;
    row.into_pg().cast()
}

/// A number as a constant.
pub fn int8(number: i64) -> Expression {
    // SAFETY: the value is an int8 passed by value, with the size and the type that the constant
    // states.
    let constant = unsafe {
        let size = size_of::<i64>() as i32;
        pg_sys::makeConst(pg_sys::INT8OID, -1, pg_sys::InvalidOid, size, number.into(), false, true)
    };
    constant.cast()
}

/// An operator between two expressions.
///
/// # Safety
/// `operator` returns a value of type `result`. `left` and `right` are valid expressions of its
/// argument types.
pub unsafe fn operation(
    operator: pg_sys::Oid,
    result: pg_sys::Oid,
    left: Expression,
    right: Expression,
) -> *mut pg_sys::Expr {
    let none = pg_sys::InvalidOid;
    // SAFETY: operator and arguments fit by this function's contract. `make_opclause` returns an
    // OpExpr, which is what `set_opfuncid` takes.
    unsafe {
        let clause = pg_sys::make_opclause(operator, result, false, left.cast(), right.cast(), none, none);
        pg_sys::set_opfuncid(clause.cast());
        clause
    }
}

/// A restriction by `clause`, which mentions the same tables as the clause of `other`: on the same
/// sides, or on swapped ones.
///
/// # Safety
/// `other` points to a valid restriction, and `clause` to a valid clause of the same tables.
pub unsafe fn restriction_like(
    other: *mut pg_sys::RestrictInfo,
    clause: *mut pg_sys::Expr,
    is_swapped: bool,
) -> *mut pg_sys::RestrictInfo {
    // SAFETY: `other` is a valid RestrictInfo by this function's contract, so all its fields may be
    // copied. The copy shares its lists and sets, which stay unchanged. Cached figures of the other
    // clause are reset.
    unsafe {
        let mut copy = PgBox::<pg_sys::RestrictInfo>::alloc_node(pg_sys::NodeTag::T_RestrictInfo);
        *copy = *other;
        copy.clause = clause;
        copy.orclause = std::ptr::null_mut();
        copy.eval_cost.startup = -1.0;
        copy.norm_selec = -1.0;
        copy.outer_selec = -1.0;
        if is_swapped {
            let copy = &mut *copy;
            std::mem::swap(&mut copy.left_relids, &mut copy.right_relids);
        }
        copy.into_pg()
    }
}
