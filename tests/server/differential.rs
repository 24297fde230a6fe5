//! Compares answers with and without an index, for random tables, indexes, settings and queries.
//!
//! `VDB_DIFFERENTIAL_ROUNDS` sets the number of tables (6 by default). Each round has its own seed,
//! counted from `VDB_DIFFERENTIAL_SEED`. A failure names the values of both variables that repeat
//! its round alone.

mod queries;
mod table;

use crate::support::server::Server;
use postgres::{Client, SimpleQueryMessage};
use queries::{Check, Queries, Query};
use std::collections::HashSet;
use table::{Random, Table};

const SEED: u64 = 20_261_128;
const ROUNDS: u64 = 6;
const QUERIES: usize = 40;
/// The most differences that a failure shows.
const SHOWN: usize = 10;

/// Settings of the reference. The tables have no indexes except those under test.
const WITHOUT_INDEX: &str = "SET LOCAL enable_indexscan = off; ";

/// A row as text.
type Row = Vec<String>;

/// Counts of what was compared.
#[derive(Default)]
struct Tally {
    queries: usize,
    /// Queries with a range or an order, and those of them whose plan used a vdb index.
    of_distances: usize,
    by_index: usize,
    /// Queries that an index refused for `vdb.scan_mem`.
    refused: usize,
    differences: Vec<String>,
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The rows of all statements of a script, or the error that ended it.
fn rows(client: &mut Client, script: &str) -> Result<Vec<Row>, String> {
    let text = |error: postgres::Error| match error.as_db_error() {
        Some(error) => {
            let rest = [error.detail(), error.hint()].into_iter().flatten();
            rest.fold(error.message().to_string(), |text, line| format!("{text}\n{line}"))
        }
        None => format!("{error:?}"),
    };
    let messages = client.simple_query(script).map_err(text)?;
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let value = |column| row.get(column).unwrap_or("NULL").to_string();
            Some((0..row.len()).map(value).collect())
        }
        _ => None,
    };
    Ok(messages.iter().filter_map(row).collect())
}

/// Runs statements in a transaction that is rolled back, so that they leave nothing behind.
fn try_out(client: &mut Client, statements: &str) -> Result<Vec<Row>, String> {
    let result = rows(client, &format!("BEGIN; {statements}; DEALLOCATE ALL; ROLLBACK"));
    if let Err(error) = &result {
        let ended = client.batch_execute("ROLLBACK; DEALLOCATE ALL");
        assert!(ended.is_ok(), "the server is gone: {error}: {statements}");
    }
    result
}

/// The lines of a query's plan under some settings.
fn plan(client: &mut Client, query: &Query, settings: &str) -> Result<Vec<String>, String> {
    let script = format!("{settings}{}EXPLAIN {}", query.before, query.statement);
    Ok(try_out(client, &script)?.concat())
}

fn uses_index(plan: &[String]) -> bool {
    plan.iter().any(|line| line.contains("Index Scan using"))
}

/// The fault in an answer by index. `truth` is the answer without an index, or all rows that the
/// answer may contain.
fn fault(check: &Check, mut found: Vec<Row>, mut truth: Vec<Row>) -> Option<String> {
    match check {
        Check::Rows => {
            found.sort_unstable();
            truth.sort_unstable();
            (found != truth).then(|| difference(&found, &truth))
        }
        Check::Order if found == truth => None,
        Check::Order => Some(format!("another order: {}", difference(&found, &truth))),
        Check::Nearest { limit, may_miss } => {
            let distance = |row: &Row| row[1].clone();
            if !found.iter().map(distance).eq(truth.iter().map(distance)) {
                let others: HashSet<&Row> = found.iter().collect();
                let missing = truth.iter().filter(|row| !others.contains(row)).count();
                if found.len() == truth.len() && missing <= *may_miss {
                    return None;
                }
                return Some(format!("other distances: {}", difference(&found, &truth)));
            }
            // The answer may contain any of the rows at the last distance, because the limit cuts
            // there.
            let is_cut = truth.len() == *limit;
            let last = truth.last().map(distance).filter(|_| is_cut);
            for rows in [&mut found, &mut truth] {
                rows.retain(|row| Some(&row[1]) != last.as_ref());
                rows.sort_unstable();
            }
            (found != truth).then(|| difference(&found, &truth))
        }
        Check::Limited { limit, may_miss, is_ordered, .. } => {
            let possible: HashSet<&Row> = truth.iter().collect();
            let unique: HashSet<&Row> = found.iter().collect();
            let distance = |row: &Row| row[1].parse().unwrap_or(f64::NAN);
            let in_order = |a: &Row, b: &Row| distance(a).total_cmp(&distance(b)).is_le();
            let wanted = truth.len().min(*limit);
            let least = wanted - (may_miss * wanted as f64).ceil() as usize;
            if let Some(row) = found.iter().find(|row| !possible.contains(row)) {
                Some(format!("no row of the answer: {row:?}"))
            } else if unique.len() < found.len() {
                Some("a row twice".into())
            } else if *is_ordered && !found.is_sorted_by(in_order) {
                Some(format!("out of order: {found:?}"))
            } else if !(least..=wanted).contains(&found.len()) {
                Some(format!("{} rows instead of {wanted}", found.len()))
            } else {
                None
            }
        }
    }
}

/// Some rows that only one of two answers has.
fn difference(found: &[Row], truth: &[Row]) -> String {
    const FEW: usize = 5;
    let only = |rows: &[Row], others: &[Row]| -> Vec<Row> {
        let others: HashSet<&Row> = others.iter().collect();
        rows.iter().filter(|row| !others.contains(row)).take(FEW).cloned().collect()
    };
    format!(
        "{} rows by index, {} without; only by index {:?}, only without {:?}",
        found.len(),
        truth.len(),
        only(found, truth),
        only(truth, found)
    )
}

/// Compares the answers of one query. The error is the fault.
fn compare(client: &mut Client, query: &Query, tally: &mut Tally) -> Result<(), String> {
    tally.queries += 1;
    let reference =
        plan(client, query, WITHOUT_INDEX).map_err(|error| format!("no plan without: {error}"))?;
    if uses_index(&reference) {
        return Err(format!("an index although it is switched off:\n{}", reference.join("\n")));
    }
    let by_index =
        plan(client, query, &query.settings).map_err(|error| format!("no plan by index: {error}"))?;
    let has_no_cost = |line: &String| line.contains("cost=NaN") || line.contains("..NaN");
    if by_index.iter().chain(&reference).any(has_no_cost) {
        return Err(format!("a cost of NaN:\n{}", by_index.join("\n")));
    }
    tally.of_distances += usize::from(query.has_distance);
    tally.by_index += usize::from(query.has_distance && uses_index(&by_index));
    let script = format!("{}{}; {}", query.before, query.statement, query.after);
    let expected = match &query.check {
        Check::Limited { all, .. } => format!("{}{all}", query.before),
        _ => script.clone(),
    };
    let truth = try_out(client, &format!("{WITHOUT_INDEX}{expected}"))
        .map_err(|error| format!("an error without index: {error}"))?;
    let found = match try_out(client, &format!("{}{script}", query.settings)) {
        Ok(found) => found,
        // The error about memory names the setting.
        Err(error) if error.contains("vdb.scan_mem") => {
            tally.refused += 1;
            return Ok(());
        }
        Err(error) => return Err(format!("an error: {error}\n{}", by_index.join("\n"))),
    };
    match fault(&query.check, found, truth) {
        Some(fault) => Err(format!("{fault}\n{}", by_index.join("\n"))),
        None => Ok(()),
    }
}

/// For each centre the distances of some rows: the nearest, the farthest and some between.
fn radii(client: &mut Client, table: &Table) -> Vec<Vec<String>> {
    let of_centre = |centre: &String| {
        let sql = format!(
            "SELECT unnest(percentile_disc('{{0,0.01,0.05,0.2,0.5,0.95}}'::float8[])
                 WITHIN GROUP (ORDER BY v {} {})) FROM items",
            table.metric.operator,
            table.literal(centre)
        );
        let rows = rows(client, &sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.concat()
    };
    table.centres.iter().map(of_centre).collect()
}

/// Makes a table and compares answers to queries on it.
fn try_table(client: &mut Client, seed: u64, tally: &mut Tally) {
    let mut random = Random(seed);
    let table = Table::random(&mut random, seed as usize);
    let definitions = table.definitions.join(";\n");
    for step in &table.steps {
        let done = client.batch_execute(step);
        done.unwrap_or_else(|error| panic!("seed {seed}: {error:?}\n{definitions};\n{step:.1000}"));
    }
    let radii = radii(client, &table);
    let mut queries = Queries::new(&mut random, &table, &radii);
    for number in 0..QUERIES {
        let query = queries.draw();
        if let Err(fault) = compare(client, &query, tally) {
            tally.differences.push(format!(
                "VDB_DIFFERENTIAL_SEED={seed} VDB_DIFFERENTIAL_ROUNDS=1, query {number}: {fault}\n\
                 {definitions};\n{}{}{}; {}\n",
                query.settings, query.before, query.statement, query.after
            ));
        }
        // Rows of a rolled-back statement are dead, also in the index. Half of the vacuums are left
        // out, so that further queries meet dead rows.
        if query.writes && number % 2 == 0 {
            client.batch_execute("VACUUM items").expect("VACUUM");
        }
    }
    client.batch_execute("DROP TABLE items, other, radii").expect("DROP");
}

#[test]
fn answers_are_the_same_with_and_without_an_index() {
    let seed = setting("VDB_DIFFERENTIAL_SEED", SEED);
    let rounds = setting("VDB_DIFFERENTIAL_ROUNDS", ROUNDS);
    // Without workers every run of a round does the same. JIT would compile each plan with a
    // disabled scan, because of its cost.
    let server = Server::start(&[
        "session_preload_libraries = 'vdb'",
        "vdb.max_workers = 0",
        "autovacuum = off",
        "fsync = off",
        "jit = off",
        "statement_timeout = '2min'",
    ]);
    let mut client = server.connect();
    client.batch_execute("CREATE EXTENSION vdb; CREATE ROLE reader").expect("set-up");
    let mut tally = Tally::default();
    for round in 0..rounds {
        try_table(&mut client, seed + round, &mut tally);
    }
    let Tally { queries, of_distances, by_index, refused, differences } = tally;
    eprintln!(
        "seed {seed}, {rounds} tables: {queries} queries compared; of {of_distances} with \
         distances {by_index} used an index; {refused} were refused for vdb.scan_mem; {} differ",
        differences.len()
    );
    let shown = &differences[..differences.len().min(SHOWN)];
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), shown.join("\n"));
    assert!(by_index * 3 > of_distances, "{by_index} of {of_distances} queries used an index");
}

/// The planner may want a filter column for a join, but a scan needs an order or a sphere.
#[test]
fn joins_on_a_filter_column_are_planned_and_answered() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client
        .batch_execute(
            "CREATE EXTENSION vdb;
             CREATE TABLE a AS SELECT i id, i % 1000 tenant, i x, repeat('x', 40) note
                 FROM generate_series(1, 300000) i;
             CREATE TABLE b AS SELECT i id, i % 1000 tenant,
                 array[random(), random(), random()]::vector(3) v, repeat('y', 60) note
                 FROM generate_series(1, 200000) i;
             ANALYZE a; ANALYZE b;
             CREATE INDEX ON b USING vdb_hnsw (v vector_l2_ops, tenant);
             ANALYZE b",
        )
        .expect("set-up");
    // In b, id and tenant end in the same two digits: the 200 ids of tenant 3 all end in 03. In a,
    // tenant 3 has 300 rows.
    for (rest, count, least, ids) in
        [(7, "0", "NULL", vec![]), (3, "60000", "3", vec![vec!["3"], vec!["1003"], vec!["2003"]])]
    {
        let both = format!("a.x % 1000 = 3 AND b.id % 100 = {rest}");
        let counted = "SELECT count(*) FROM a JOIN b USING (tenant) WHERE";
        let minimum = "SELECT min(b.id) FROM a, b WHERE a.tenant = b.tenant AND";
        let exists = format!(
            "SELECT a.id FROM a WHERE a.x % 1000 = 3
             AND EXISTS (SELECT 1 FROM b WHERE b.tenant = a.tenant AND b.id % 100 = {rest})
             ORDER BY 1 LIMIT 3"
        );
        for (query, answer) in [
            (format!("{counted} {both}"), vec![vec![count]]),
            (format!("{minimum} {both}"), vec![vec![least]]),
            (exists, ids),
        ] {
            let plan = rows(&mut client, &format!("EXPLAIN {query}")).expect("a plan").concat();
            assert!(!plan.iter().any(|line| line.contains("NaN")), "{plan:#?}");
            assert_eq!(rows(&mut client, &query).expect("an answer"), answer, "{query}: {plan:#?}");
        }
    }
}

/// An answer that does not fit into `vdb.scan_mem` is complete, or in relaxed order an error that
/// names the setting.
#[test]
fn little_memory_does_not_shorten_an_answer() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client
        .batch_execute(
            "CREATE EXTENSION vdb; CREATE TABLE s (id int PRIMARY KEY, b int, v vector(32));
             SELECT setseed(0.3);
             INSERT INTO s SELECT i, i % 1000,
                 (SELECT array_agg((random() - 0.5)::real) FROM generate_series(1, 32) g
                  WHERE i IS NOT NULL)::vector(32)
                 FROM generate_series(1, 120000) i;
             CREATE INDEX s_v ON s USING vdb_hnsw (v vector_cosine_ops); ANALYZE s;
             SET enable_seqscan = off; SET enable_sort = off; SET vdb.scan_mem = '1MB'",
        )
        .expect("set-up");
    let vector = client.query_one("SELECT v::text FROM s WHERE id = 5", &[]).expect("a vector");
    let near: String = vector.get(0);
    for (query, count) in [
        (format!("SELECT count(*) FROM s WHERE v <=> '{near}' < 3"), "120000"),
        (
            format!(
                "SELECT count(*) FROM (
                     SELECT id FROM s WHERE b = 5 ORDER BY v <=> '{near}' LIMIT 10) x"
            ),
            "10",
        ),
    ] {
        assert_eq!(rows(&mut client, &query).expect("an answer"), [[count]], "{query}");
    }
    // Only an exact order determines which rows are left.
    client.batch_execute("SET vdb.iterative_scan = relaxed").expect("a setting");
    let all = format!("SELECT count(*) FROM (SELECT id FROM s ORDER BY v <=> '{near}') x");
    let error = rows(&mut client, &all).expect_err("it takes more memory");
    assert!(error.contains("vdb.scan_mem"), "{error}");
}
