//! A search as a query of its own, put together from nodes. No text of a user becomes part of a
//! statement.

use super::compat;
use super::error::Problem;
use super::planner::{self, Expression};
use super::relation::Relation;
use pgrx::PgSqlErrorCode::*;
use pgrx::{PgBox, PgList, pg_sys};
use std::ffi::{CStr, CString};

/// PostgreSQL's `=` of double precision numbers.
const FLOAT8_EQUAL_OPERATOR: u32 = 670;

/// A search for the rows nearest to a query by an index's order.
pub struct Search<'a> {
    /// An index, or one of a partitioned table.
    pub index: Relation,
    /// A value of the type that the index's operator takes (see [`query_type`]).
    pub query: pg_sys::Datum,
    pub limit: i64,
    /// A condition in SQL, whose names are looked up as the user's own are.
    pub condition: Option<&'a str>,
}

/// The operator that an index orders by.
fn order_operator(index: Relation) -> pg_sys::Oid {
    const ORDER_STRATEGY: i16 = 1;
    // SAFETY: the caller is in a transaction, and an open index has an operator family for each
    // column.
    let operator = unsafe { planner::operator_of_strategy(*(*index.raw()).rd_opfamily, ORDER_STRATEGY) };
    operator.unwrap_or_else(|| {
        Problem::new(
            ERRCODE_INVALID_OBJECT_DEFINITION,
            format!("the operator class of index \"{}\" has no order", index.name()),
        )
        .raise()
    })
}

/// The type of the queries that an index is searched with.
pub fn query_type(index: Relation) -> pg_sys::Oid {
    // SAFETY: the caller is in a transaction, and the operator comes from a catalog.
    unsafe { planner::right_type(order_operator(index)) }
}

/// A value of a type, from its text.
pub fn value_of_text(of: pg_sys::Oid, text: &CStr) -> pg_sys::Datum {
    let (mut function, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
    // SAFETY: the caller is in a transaction. The function is the type's own input function, called
    // with the arguments of one: a C string, a parameter and a modifier.
    unsafe {
        pg_sys::getTypeInputInfo(of, &mut function, &mut parameter);
        pg_sys::OidInputFunctionCall(function, text.as_ptr().cast_mut(), parameter, -1)
    }
}

/// The name of a type, as messages show it.
pub fn type_name(of: pg_sys::Oid) -> String {
    // SAFETY: the caller is in a transaction, and PostgreSQL returns a C string for any Oid.
    unsafe { CStr::from_ptr(pg_sys::format_type_be(of)) }.to_string_lossy().into_owned()
}

/// Runs a search as the user, in a transaction that is read-only meanwhile. Its rows are dropped.
pub fn run(search: &Search) {
    let text = CString::new(search.condition.unwrap_or_default()).unwrap_or_else(|_| not_a_condition());
    let _read_only = ReadOnly::begin();
    // SAFETY: PostgreSQL calls SQL functions in a transaction with an active snapshot. Each step
    // gets the valid result of the one before, in the order of PostgreSQL's own queries.
    unsafe {
        let query = analyzed(search, &text);
        add_order(search, query);
        let rewritten = PgList::<pg_sys::Query>::from_pg(pg_sys::pg_rewrite_query(query));
        let query = rewritten.get_ptr(0).expect("a SELECT is rewritten to one");
        let plan = pg_sys::pg_plan_query(query, text.as_ptr(), 0, std::ptr::null_mut());
        if is_of_expression(search.index) && !computes_nothing(plan, search.index) {
            not_chosen(search.index);
        }
        execute(plan, &text);
    }
}

/// Whether an index's first column is an expression, which is code of the index's owner.
fn is_of_expression(index: Relation) -> bool {
    // SAFETY: an open index has its pg_index row in memory, with at least one column.
    unsafe { (*(*index.raw()).rd_index).indkey.values.as_slice(1)[0] == 0 }
}

/// Whether a plan leaves the index's expression to the index. Then the user does not run code of
/// the owner.
///
/// # Safety
/// `plan` points to a plan of a query of [`add_order`].
unsafe fn computes_nothing(plan: *mut pg_sys::PlannedStmt, index: Relation) -> bool {
    // SAFETY: `plan` is a valid plan by this function's contract, so its top node is one. `scan` is
    // read after the null check, and as an IndexScan after its tag says so. Target lists hold
    // entries with expressions.
    unsafe {
        let limit = (*plan).planTree;
        let scan = (*limit).lefttree;
        if (*limit).type_ != pg_sys::NodeTag::T_Limit
            || scan.is_null()
            || (*scan).type_ != pg_sys::NodeTag::T_IndexScan
        {
            return false;
        }
        let targets = PgList::<pg_sys::TargetEntry>::from_pg((*scan).targetlist);
        (*scan.cast::<pg_sys::IndexScan>()).indexid == index.oid()
            && targets.iter_ptr().all(|target| (*(*target).expr).type_ == pg_sys::NodeTag::T_Const)
    }
}

/// Raises the error of a search that would not use its index.
pub fn not_chosen(index: Relation) -> ! {
    Problem::new(
        ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the planner did not choose index \"{}\"", index.name()),
    )
    .detail("Another index answers the search too, or the condition contradicts a partial index's.")
    .hint("Of a partitioned table with an index of an expression name the index of a partition.")
    .raise()
}

/// The table's rows that meet the condition, as PostgreSQL's parser understands it.
///
/// # Safety
/// The caller is in a transaction with an active snapshot.
unsafe fn analyzed(search: &Search, text: &CStr) -> *mut pg_sys::Query {
    // SAFETY: the caller is in a transaction with an active snapshot, and the index is open. Each
    // tag belongs to the struct beside it. The entry is that of the query's only table.
    unsafe {
        let table = pg_sys::IndexGetRelation(search.index.oid(), false);
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table));
        let range = pg_sys::makeRangeVar(schema, pg_sys::get_rel_name(table), -1);
        let mut tables = PgList::<pg_sys::Node>::new();
        tables.push(range.cast());
        let mut select = PgBox::<pg_sys::SelectStmt>::alloc_node(pg_sys::NodeTag::T_SelectStmt);
        select.fromClause = tables.into_pg();
        select.whereClause = match search.condition {
            Some(_) => condition(text),
            None => std::ptr::null_mut(),
        };
        let mut raw = PgBox::<pg_sys::RawStmt>::alloc_node(pg_sys::NodeTag::T_RawStmt);
        raw.stmt = select.into_pg().cast();
        let query = compat::analyze(raw.into_pg(), text);
        let entry = range_entry(query);
        if (*entry).relid != table {
            Problem::new(
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("the table of index \"{}\" was renamed concurrently", search.index.name()),
            )
            .raise();
        }
        query
    }
}

/// The only table of a query.
///
/// # Safety
/// `query` points to a query of [`analyzed`].
unsafe fn range_entry(query: *mut pg_sys::Query) -> *mut pg_sys::RangeTblEntry {
    // SAFETY: `query` is a valid query by this function's contract, and its range table a list of
    // entries.
    let entries = unsafe { PgList::<pg_sys::RangeTblEntry>::from_pg((*query).rtable) };
    entries.get_ptr(0).expect("a query of a table has its entry")
}

/// The expression that a text consists of; nothing else of a SELECT may be there.
///
/// # Safety
/// The caller is in a transaction.
unsafe fn condition(text: &CStr) -> Expression {
    // SAFETY: the parser takes a C string, and returns a list of raw statements. The statement is
    // read as a SelectStmt after its tag says so, and its target list holds valid targets.
    unsafe {
        let parsed = pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_PLPGSQL_EXPR);
        let statements = PgList::<pg_sys::RawStmt>::from_pg(parsed);
        let (1, Some(statement)) = (statements.len(), statements.get_ptr(0)) else { not_a_condition() };
        let select = (*statement).stmt.cast::<pg_sys::SelectStmt>();
        if (*select).type_ != pg_sys::NodeTag::T_SelectStmt {
            not_a_condition();
        }
        let select = &*select;
        let others = [
            select.distinctClause,
            select.fromClause,
            select.groupClause,
            select.windowClause,
            select.valuesLists,
            select.sortClause,
            select.lockingClause,
        ];
        let nodes = [select.whereClause, select.havingClause, select.limitOffset, select.limitCount];
        let targets = PgList::<pg_sys::ResTarget>::from_pg(select.targetList);
        let is_alone = others.iter().all(|list| list.is_null())
            && nodes.iter().all(|node| node.is_null())
            && select.intoClause.is_null()
            && select.withClause.is_null()
            && select.op == pg_sys::SetOperation::SETOP_NONE
            && targets.len() == 1;
        match targets.get_ptr(0) {
            Some(target) if is_alone && (*target).name.is_null() && !is_star((*target).val) => (*target).val,
            _ => not_a_condition(),
        }
    }
}

/// Whether an expression stands for all columns of something. The parser accepts that among targets
/// only.
///
/// # Safety
/// `node` is null or points to a node of the raw parser.
unsafe fn is_star(node: Expression) -> bool {
    // SAFETY: `node` is read after the null check, and is valid by this function's contract. Its
    // tag says that it is a ColumnRef, so the cast reads the right struct, whose fields are a list
    // of nodes.
    unsafe {
        if node.is_null() || (*node).type_ != pg_sys::NodeTag::T_ColumnRef {
            return false;
        }
        let fields = PgList::<pg_sys::Node>::from_pg((*node.cast::<pg_sys::ColumnRef>()).fields);
        let last = fields.len().checked_sub(1).and_then(|last| fields.get_ptr(last));
        last.is_some_and(|last| (*last).type_ == pg_sys::NodeTag::T_A_Star)
    }
}

fn not_a_condition() -> ! {
    Problem::new(ERRCODE_SYNTAX_ERROR, "the filter is not a condition")
        .hint("It is what stands after WHERE: one expression that is true or false.")
        .raise()
}

/// Has a query return the nearest rows first, at most as many as the search asks for.
///
/// # Safety
/// `query` points to a query of [`analyzed`], and the caller is in a transaction.
unsafe fn add_order(search: &Search, query: *mut pg_sys::Query) {
    // SAFETY: `query` is a valid query of one table, number 1, by this function's contract, and the
    // index is one of that table. The query value is of the operator's right type, and not null.
    // Each tag belongs to the struct beside it.
    unsafe {
        let column = indexed(search.index);
        let operator = order_operator(search.index);
        let of = planner::right_type(operator);
        let value = pg_sys::makeConst(of, -1, pg_sys::get_typcollation(of), -1, search.query, false, false);
        let distance = planner::operation(operator, pg_sys::FLOAT8OID, column, value.cast());
        let mut targets = PgList::<pg_sys::TargetEntry>::new();
        targets.push(pg_sys::makeTargetEntry(planner::int8(1).cast(), 1, std::ptr::null_mut(), false));
        let ordered = pg_sys::makeTargetEntry(distance.cast(), 2, std::ptr::null_mut(), true);
        (*ordered).ressortgroupref = 1;
        targets.push(ordered);
        (*query).targetList = targets.into_pg();
        let mut clause = PgBox::<pg_sys::SortGroupClause>::alloc_node(pg_sys::NodeTag::T_SortGroupClause);
        clause.tleSortGroupRef = 1;
        clause.eqop = pg_sys::Oid::from_u32(FLOAT8_EQUAL_OPERATOR);
        clause.sortop = pg_sys::Oid::from_u32(pg_sys::Float8LessOperator);
        clause.hashable = true;
        let mut clauses = PgList::<pg_sys::SortGroupClause>::new();
        clauses.push(clause.into_pg());
        (*query).sortClause = clauses.into_pg();
        (*query).limitCount = planner::int8(search.limit);
        (*query).limitOption = pg_sys::LimitOption::LIMIT_OPTION_COUNT;
        require_columns(query, column);
    }
}

/// The value of an index's first column, as an expression of a query's first table.
///
/// # Safety
/// `index` is an open index, and the caller is in a transaction.
unsafe fn indexed(index: Relation) -> Expression {
    // SAFETY: `index` is an open index by this function's contract, so it has a catalog row with at
    // least one column. Its expressions are valid nodes, one for each column with number 0.
    unsafe {
        let column = (*(*index.raw()).rd_index).indkey.values.as_slice(1)[0];
        if column == 0 {
            let expressions = pg_sys::RelationGetIndexExpressions(index.raw());
            let first = PgList::<pg_sys::Node>::from_pg(expressions).get_ptr(0);
            let first = first.expect("a column without a number is an expression");
            return pg_sys::copyObjectImpl(first.cast()).cast();
        }
        let table = (*(*index.raw()).rd_index).indrelid;
        let (mut of, mut modifier, mut collation) = (pg_sys::InvalidOid, -1, pg_sys::InvalidOid);
        pg_sys::get_atttypetypmodcoll(table, column, &mut of, &mut modifier, &mut collation);
        pg_sys::makeVar(1, column, of, modifier, collation, 0).cast()
    }
}

/// Has the executor check that the user may read the columns of an expression.
///
/// # Safety
/// `query` points to a query of [`analyzed`], and `expression` to an expression of its table.
unsafe fn require_columns(query: *mut pg_sys::Query, expression: Expression) {
    // SAFETY: both nodes are valid by this function's contract. The set of columns is the query's
    // own, and stays in place during the call.
    unsafe {
        let entry = range_entry(query);
        pg_sys::pull_varattnos(expression, 1, compat::selected_columns(query, entry));
    }
}

/// Runs a plan to its end.
///
/// # Safety
/// `plan` points to a plan, and the caller is in a transaction with an active snapshot.
unsafe fn execute(plan: *mut pg_sys::PlannedStmt, text: &CStr) {
    // SAFETY: the plan is valid and a snapshot is active, by this function's contract. `text`
    // outlives the call. The executor's functions are called in PostgreSQL's order, each once.
    unsafe {
        let none = std::ptr::null_mut();
        let state = pg_sys::CreateQueryDesc(
            plan,
            text.as_ptr(),
            pg_sys::GetActiveSnapshot(),
            none,
            pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestNone),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
        );
        pg_sys::ExecutorStart(state, 0);
        compat::run_plan(state);
        pg_sys::ExecutorFinish(state);
        pg_sys::ExecutorEnd(state);
        pg_sys::FreeQueryDesc(state);
    }
}

/// While it lives, the transaction may not write. The abort of a transaction, or of a part of it,
/// ends that, too.
struct ReadOnly {
    before: bool,
}

impl ReadOnly {
    fn begin() -> Self {
        // SAFETY: a plain variable that only the main thread reads and writes.
        unsafe {
            let before = pg_sys::XactReadOnly;
            pg_sys::XactReadOnly = true;
            Self { before }
        }
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // SAFETY: a plain variable that only the main thread reads and writes.
        unsafe { pg_sys::XactReadOnly = self.before };
    }
}
