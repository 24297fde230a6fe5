//! What a search did.

use crate::am;
use crate::pg::error::Problem;
use crate::segment::report::{self, Report, StepReport};
use pgrx::PgSqlErrorCode::{ERRCODE_INTERNAL_ERROR, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE};
use pgrx::iter::TableIterator;
use pgrx::{PgRelation, Spi, name, pg_extern, pg_sys};
use std::time::Duration;

/// The steps of the last search of this session that has ended; no rows if there was none.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // The columns of the SQL function.
fn vdb_last_search() -> TableIterator<
    'static,
    (
        name!(index, pg_sys::Oid),
        name!(generation, i64),
        name!(segment, Option<i64>),
        name!(structure, &'static str),
        name!(step, &'static str),
        name!(rows, i64),
        name!(matches, Option<i64>),
        name!(effort, Option<i64>),
        name!(expected_ms, f64),
        name!(actual_ms, Option<f64>),
        name!(returned, i64),
        name!(estimated, i64),
        name!(compared, i64),
        name!(pages, i64),
    ),
> {
    let steps = report::last().into_iter().flat_map(|Report { index, generation, steps }| {
        steps.into_iter().map(move |step| (index, generation, step))
    });
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let rows = steps.map(|(index, generation, step)| {
        let StepReport {
            segment,
            structure,
            step,
            rows,
            matches,
            effort,
            expected,
            actual,
            returned,
            work,
            pages,
        } = step;
        (
            pg_sys::Oid::from_u32(index),
            generation as i64,
            segment.map(i64::from),
            structure,
            step,
            rows as i64,
            matches.map(|matches| matches as i64),
            effort.map(|effort| effort as i64),
            ms(expected),
            (!actual.is_zero()).then(|| ms(actual)),
            returned as i64,
            work.estimated as i64,
            work.compared as i64,
            pages as i64,
        )
    });
    TableIterator::new(rows.collect::<Vec<_>>())
}

/// Searches an index for the `k` rows nearest to `query`, as text, that meet `filter`, a condition in SQL: for
/// `vdb_last_search()` to show the time it took as well.
#[pg_extern(sql = false)]
fn vdb_time_search(index: PgRelation, query: &str, k: i32, filter: Option<&str>) {
    // SAFETY: the argument keeps the index open and locked.
    am::require_own(unsafe { crate::pg::relation::Relation::from_raw(index.as_ptr()) });
    let statement = statement(&index, query, k, filter);
    report::remember(None);
    report::measure_time(true);
    let result = Spi::run(&statement);
    report::measure_time(false);
    if let Err(error) = result {
        Problem::new(ERRCODE_INTERNAL_ERROR, format!("the search failed: {error}")).raise();
    }
    if report::last().is_none_or(|report| report.index != index.oid().to_u32()) {
        Problem::new(
            ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("the planner did not choose index \"{}\"", index.name()),
        )
        .detail(format!("The search was: {statement}"))
        .hint("Another index answers it too, or the condition contradicts a partial index's.")
        .raise();
    }
}

/// The search as SQL.
fn statement(index: &PgRelation, query: &str, k: i32, filter: Option<&str>) -> String {
    let parts = "SELECT format('SELECT 1 FROM %s%s ORDER BY %s OPERATOR(%s) %L::%s LIMIT %s',
            i.indrelid::regclass, ' WHERE (' || $4 || ')', pg_get_indexdef(i.indexrelid, 1, true),
            format('%I.%s', n.nspname, o.oprname), $2, format_type(a.atttypid, a.atttypmod), $3)
        FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = i.indexrelid AND a.attnum = 1
        JOIN pg_opclass c ON c.oid = i.indclass[0]
        JOIN pg_amop s ON s.amopfamily = c.opcfamily AND s.amoppurpose = 'o'
        JOIN pg_operator o ON o.oid = s.amopopr
        JOIN pg_namespace n ON n.oid = o.oprnamespace
        WHERE i.indexrelid = $1";
    let arguments = [index.oid().into(), query.into(), k.into(), filter.into()];
    let statement = Spi::get_one_with_args::<String>(parts, &arguments);
    statement.ok().flatten().unwrap_or_else(|| {
        Problem::new(ERRCODE_INTERNAL_ERROR, format!("index \"{}\" is not in the catalog", index.name()))
            .raise()
    })
}
