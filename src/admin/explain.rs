//! What a search did.

use crate::pg::error::Problem;
use crate::pg::open::OpenIndex;
use crate::pg::partition;
use crate::pg::query::{self, Search};
use crate::segment::report::{self, Report, StepReport};
use pgrx::PgSqlErrorCode::*;
use pgrx::iter::TableIterator;
use pgrx::{FromDatum, name, pg_extern, pg_sys};
use std::ffi::CString;
use std::time::Duration;

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The steps of this session's last finished search; no rows if there was none.
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
    let rows = steps.map(|(index, generation, step)| {
        (
            pg_sys::Oid::from_u32(index),
            generation as i64,
            step.segment.map(i64::from),
            step.structure,
            step.step,
            step.rows as i64,
            step.matches.map(|matches| matches as i64),
            step.effort.map(|effort| effort as i64),
            ms(step.expected),
            (!step.actual.is_zero()).then(|| ms(step.actual)),
            step.returned as i64,
            step.work.estimated as i64,
            step.work.compared as i64,
            step.pages as i64,
        )
    });
    TableIterator::new(rows.collect::<Vec<_>>())
}

/// Searches an index for the `k` rows nearest to a query that meet a condition, and returns what
/// the search did.
///
/// Arguments: the index, the query (a vector, or its text), `k`, the condition in SQL or null.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // The columns of the SQL function.
fn vdb_explain_search(
    call: pg_sys::FunctionCallInfo,
) -> TableIterator<
    'static,
    (
        name!(index, pg_sys::Oid),
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
    // SAFETY: PostgreSQL passes `nargs` arguments, of the types that the functions are declared
    // with. Each is read as its type, with its null flag. `flinfo` is the called function's.
    let (index, query, of, k, filter) = unsafe {
        let arguments = (*call).args.as_slice((*call).nargs as usize);
        let [index, query, k, filter] = arguments else { unreachable!("it is declared with four") };
        let index = pg_sys::Oid::from_datum(index.value, index.isnull);
        let k = i32::from_datum(k.value, k.isnull);
        let filter = String::from_datum(filter.value, filter.isnull);
        let of = pg_sys::get_fn_expr_argtype((*call).flinfo, 1);
        (index, (!query.isnull).then_some(query.value), of, k, filter)
    };
    let (Some(index), Some(query), Some(limit)) = (index, query, k) else {
        Problem::new(ERRCODE_NULL_VALUE_NOT_ALLOWED, "a search needs an index, a query and a number of rows")
            .raise()
    };
    let reports = searched(index, query, of, limit, filter.as_deref()).into_iter();
    let steps = reports.flat_map(|report| report.steps.into_iter().map(move |step| (report.index, step)));
    let rows = steps.map(|(index, step)| {
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

/// The reports of an index's search, or of the indexes of its partitions.
fn searched(
    index: pg_sys::Oid,
    query: pg_sys::Datum,
    of: pg_sys::Oid,
    limit: i32,
    condition: Option<&str>,
) -> Vec<Report> {
    let open = OpenIndex::of_reader(index);
    let relation = open.relation();
    if limit < 1 {
        let message = format!("a search must return at least one row, not {limit}");
        Problem::new(ERRCODE_INVALID_PARAMETER_VALUE, message).raise();
    }
    let expected = query::query_type(relation);
    let query = match of {
        pg_sys::TEXTOID => {
            // SAFETY: the argument's type is text, and it is not null.
            let text = unsafe { String::from_datum(query, false) }.unwrap_or_default();
            query::value_of_text(expected, &CString::new(text).unwrap_or_default())
        }
        of if of == expected => query,
        of => Problem::new(
            ERRCODE_DATATYPE_MISMATCH,
            format!(
                "index \"{}\" is searched with values of type {}, not {}",
                relation.name(),
                query::type_name(expected),
                query::type_name(of)
            ),
        )
        .raise(),
    };
    let search = Search { index: relation, query, limit: limit.into(), condition };
    let mut reports = report::collect(|| query::run(&search));
    reports.retain(|report| partition::is_part_of(pg_sys::Oid::from_u32(report.index), index));
    if reports.is_empty() {
        query::not_chosen(relation);
    }
    reports
}
