//! Degenerate data: equal rows, zeros, numbers that overflow or vanish, tables of one or two rows.
//! Every index of such data is sound, an exhaustive search of it is exact, and the server survives.
//!
//! `VDB_DEGENERATE=all`, which `make soak` sets, tries every combination of type, data, operator
//! class, index and way to build it. Otherwise a fixed selection combines each kind of data with
//! each type and access method. It combines each kind of index with each type, metric and way.

mod data;

use crate::lifecycle::{NOTHING_LEFT, findings, wait_until};
use crate::soak::{Random, reconnect};
use crate::support::server::{Server, error_text};
use data::{DATA, Data, OUTLIER};
use postgres::{Client, Error, Row};
use std::collections::HashSet;
use std::fmt;
use std::io::Write;
use std::time::Duration;

/// Searches are exhaustive; segments are sealed and merged only where the test asks for it.
const SETTINGS: [&str; 8] = [
    "vdb.ef_search = 10000",
    "vdb.probes = 65536",
    "vdb.flush_rows = 1000000",
    "vdb.compact_segments = 100",
    "statement_timeout = '60s'",
    "autovacuum = off",
    "jit = off",
    "fsync = off",
];

/// Settings for the answer by a sequential scan, and for that by an index scan.
pub const EXACT: &str = "SET enable_indexscan = off; RESET enable_seqscan; RESET enable_sort";
pub const INDEXED: &str = "RESET enable_indexscan; SET enable_seqscan = off; SET enable_sort = off";

/// Rows of an ordered search.
pub const NEAREST: usize = 20;
/// The number of [`NEAREST`] rows that a search by RaBitQ's codes may miss. A bound of 2.5 standard
/// deviations on an estimate's error sometimes fails, and strict order leaves out rows that are
/// found late. Without such codes no row may be missed.
pub const MISSES: usize = 4;
/// Enough rows to train lists, even from half of them, and to link a graph in bulk.
const MANY: usize = 2200;
/// A number of rows for which a graph is built row by row.
const SOME: usize = 700;

/// Name of the operator class, and the operator.
type Metric = (&'static str, &'static str);

const METRICS: [Metric; 6] = [
    ("l2", "<->"),
    ("ip", "<#>"),
    ("cosine", "<=>"),
    // Not for lists.
    ("l1", "<+>"),
    // For bits; lists do not support the second.
    ("hamming", "<~>"),
    ("jaccard", "<%>"),
];

#[derive(Clone, Copy, Debug)]
struct Index {
    method: &'static str,
    options: &'static str,
    /// Whether the options need vectors that can be encoded.
    wants_codes: bool,
}

const fn index(method: &'static str, options: &'static str, wants_codes: bool) -> Index {
    Index { method, options, wants_codes }
}

/// More than 48 lists are trained by the hierarchical k-means: 60 here, 187 by default.
const INDEXES: [Index; 15] = [
    index("vdb_hnsw", "", false),
    index("vdb_hnsw", "quantizer = none", false),
    index("vdb_hnsw", "layout = compact", true),
    index("vdb_hnsw", "rerank = heap", true),
    index("vdb_ivf", "", false),
    index("vdb_ivf", "bits = 4", true),
    index("vdb_ivf", "quantizer = sq8", true),
    index("vdb_ivf", "quantizer = none", false),
    index("vdb_ivf", "rerank = heap", true),
    index("vdb_ivf", "lists = 40", false),
    index("vdb_ivf", "lists = 60", false),
    index("vdb_ivf", "lists = 60, bits = 4", true),
    index("vdb_ivf", "lists = 60, quantizer = sq8", true),
    index("vdb_ivf", "lists = 60, quantizer = none", false),
    index("vdb_ivf", "lists = 60, rerank = heap", true),
];

#[derive(Clone, Copy, Debug)]
enum Way {
    /// CREATE INDEX on a table with rows.
    Create,
    /// The rows are inserted into an indexed table and sealed.
    Flush,
    /// Two sealed segments are merged.
    Compact,
}

#[derive(Clone, Copy)]
struct Combination {
    column: &'static str,
    data: Data,
    metric: Metric,
    index: Index,
    way: Way,
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { column, data, metric: (metric, _), index, way } = self;
        write!(f, "{column} {metric}, {data:?}, {} ({}), {way:?}", index.method, index.options)
    }
}

impl Combination {
    fn can_be_encoded(&self) -> bool {
        let has_codes = matches!(self.metric.0, "l2" | "ip" | "cosine");
        matches!(self.column, "vector" | "halfvec") && has_codes
    }

    /// Whether the data, the operator class and the index exist for this type.
    fn is_valid(&self) -> bool {
        let (metric, _) = self.metric;
        let has_lists = self.can_be_encoded() || metric == "hamming";
        matches!(metric, "hamming" | "jaccard") == (self.column == "bit")
            && self.data.is_of(self.column)
            && (self.can_be_encoded() || !self.index.wants_codes)
            && (self.index.method == "vdb_hnsw" || has_lists)
    }

    fn rows(&self) -> usize {
        match (self.data, self.index.method, self.way) {
            (Data::Few(rows), _, _) => rows,
            (_, "vdb_hnsw", Way::Flush | Way::Compact) => SOME,
            _ => MANY,
        }
    }

    fn column_type(&self) -> String {
        format!("{}({})", self.column, self.data.dims(self.column))
    }

    fn literal(&self, value: &str) -> String {
        format!("'{value}'::{}", self.column_type())
    }

    /// The SQL condition on rows that the index contains.
    fn is_indexed(&self) -> String {
        if self.metric.0 == "cosine" {
            format!("v <> {}", self.literal(&self.data.zero(self.column)))
        } else {
            "v IS NOT NULL".into()
        }
    }

    fn misses_allowed(&self) -> usize {
        // The other quantizers miss no row.
        let is_rabitq = self.can_be_encoded() && !self.index.options.contains("quantizer");
        if is_rabitq { MISSES } else { 0 }
    }

    fn create_index(&self) -> String {
        let Self { column, metric: (metric, _), index: Index { method, options, .. }, .. } = self;
        let with = if options.is_empty() { String::new() } else { format!("WITH ({options})") };
        format!("CREATE INDEX items_v ON items USING {method} (v {column}_{metric}_ops) {with}")
    }
}

fn all_combinations() -> Vec<Combination> {
    let mut all = Vec::new();
    for column in ["vector", "halfvec", "sparsevec", "bit"] {
        for data in DATA {
            for metric in METRICS {
                for index in INDEXES {
                    let ways = [Way::Create, Way::Flush, Way::Compact];
                    all.extend(ways.map(|way| Combination { column, data, metric, index, way }));
                }
            }
        }
    }
    all.retain(Combination::is_valid);
    all
}

/// Combinations that are always tried, because they have failed before.
const FAILED: [&str; 7] = [
    "vector l2, Offset, vdb_ivf (), Create",
    "vector l2, Outlier, vdb_ivf (lists = 40), Create",
    "vector l2, Outlier, vdb_ivf (lists = 60), Create",
    "vector ip, Tiny, vdb_hnsw (layout = compact), Create",
    "vector ip, Tiny, vdb_ivf (bits = 4), Flush",
    "vector l2, Magnitudes, vdb_ivf (quantizer = sq8), Create",
    "halfvec cosine, Offset, vdb_ivf (bits = 4), Create",
];

/// All combinations if `VDB_DEGENERATE` is `all`, else those with something that no earlier one
/// has.
fn choose(mut all: Vec<Combination>) -> Vec<Combination> {
    if std::env::var("VDB_DEGENERATE").is_ok_and(|which| which == "all") {
        return all;
    }
    // Shuffled, so that one combination brings several new things.
    let mut random = Random(1);
    for last in (1..all.len()).rev() {
        all.swap(last, random.below(last as i32 + 1) as usize);
    }
    let mut met = HashSet::new();
    for failed in FAILED {
        assert!(all.iter().any(|combination| combination.to_string() == failed), "{failed}");
    }
    all.retain(|combination| {
        let Combination { column, data, metric: (metric, _), index, way } = combination;
        let pairs = [
            format!("{column} {data:?}"),
            format!("{data:?} {}", index.method),
            format!("{column} {index:?}"),
            format!("{metric} {index:?}"),
            format!("{way:?} {index:?}"),
        ];
        pairs.map(|pair| met.insert(pair)).contains(&true) || FAILED.contains(&&*combination.to_string())
    });
    all
}

/// Writes rows with ids from `first` on, and some nulls, which are not indexed.
fn copy(client: &mut Client, first: usize, rows: &[String]) -> Result<(), Error> {
    let numbered = rows.iter().zip(first..);
    let mut lines: String = numbered.map(|(row, id)| format!("{id}\t{row}\n")).collect();
    lines += &"0\t\\N\n".repeat(rows.len() / 50);
    let mut writer = client.copy_in("COPY items FROM STDIN")?;
    // An error that stops the copy appears at its end.
    let _ = writer.write_all(lines.as_bytes());
    writer.finish().map(|_| ())
}

/// Makes the table and its index.
fn build(client: &mut Client, of: &Combination, rows: &[String]) -> Result<(), Error> {
    let table = format!("CREATE TABLE items (id int, v {})", of.column_type());
    client.batch_execute(&format!("DROP TABLE IF EXISTS items; {table}"))?;
    if let Way::Create = of.way {
        copy(client, 1, rows)?;
        return client.batch_execute(&of.create_index());
    }
    client.batch_execute(&of.create_index())?;
    let flush = "SELECT vdb_flush('items_v')";
    if let Way::Flush = of.way {
        copy(client, 1, rows)?;
        return client.batch_execute(flush);
    }
    let (one, other) = rows.split_at(rows.len() / 2);
    for (first, half) in [(1, one), (1 + one.len(), other)] {
        copy(client, first, half)?;
        client.batch_execute(flush)?;
    }
    client.batch_execute("SELECT vdb_compact('items_v')")
}

/// The findings of `vdb_check`; the caller judges an error.
pub fn check(client: &mut Client, index: &str, deep: bool) -> Result<Vec<String>, Error> {
    let text = "concat_ws(' ', segment, part, block, finding)";
    let query = format!("SELECT {text} FROM vdb_check('{index}', {deep})");
    Ok(client.query(&query, &[])?.iter().map(|row| row.get(0)).collect())
}

/// A failure unless the index is one sealed segment of all rows that can be indexed.
fn check_rows(client: &mut Client, of: &Combination) -> Result<Option<String>, Error> {
    let count = format!("SELECT count(*) FROM items WHERE {}", of.is_indexed());
    let rows: i64 = client.query_one(&count, &[])?.get(0);
    let stats = "SELECT segments, sealed_rows, growing_rows FROM vdb_index_stats('items_v')";
    let stats = client.query_one(stats, &[])?;
    let found: (i32, i64, i64) = (stats.get(0), stats.get(1), stats.get(2));
    let expected = (i32::from(rows > 0), rows, 0);
    let text = || format!("segments, sealed and growing rows are {found:?}, not {expected:?}");
    Ok((found != expected).then(text))
}

/// The exact answers to a query.
struct Truth {
    /// SQL of the distance to the query.
    distance: String,
    nearest: Vec<f64>,
    /// Conditions on the distance, and the ids of the rows that meet them.
    ranges: Vec<(String, Vec<i32>)>,
}

impl Truth {
    fn find(client: &mut Client, of: &Combination, query: &str) -> Result<Self, Error> {
        let (_, operator) = of.metric;
        let distance = format!("v {operator} {query}");
        let rows = format!("FROM items WHERE {}", of.is_indexed());
        let sql = format!("SELECT {distance} {rows} ORDER BY 1 LIMIT {NEAREST}");
        let nearest: Vec<f64> = client.query(&sql, &[])?.iter().map(|row| row.get(0)).collect();
        let mut conditions = vec![format!("{distance} < 'Infinity'::float8")];
        let last = nearest.len().saturating_sub(1);
        for (comparison, place) in [("<=", last / 2), ("<", last)] {
            if let Some(radius) = nearest.get(place).filter(|radius| radius.is_finite()) {
                conditions.push(format!("{distance} {comparison} '{radius:e}'::float8"));
            }
        }
        let mut ranges = Vec::new();
        for condition in conditions {
            let rows = client.query(&range_query(&condition), &[])?;
            ranges.push((condition, sorted_ids(&rows)));
        }
        Ok(Self { distance, nearest, ranges })
    }

    /// The faults in the answers of the index.
    fn compare(&self, client: &mut Client, misses_allowed: usize) -> Result<Vec<String>, Error> {
        let Self { distance, nearest, ranges } = self;
        let mut wrong = Vec::new();
        let query = format!("SELECT id, {distance} FROM items ORDER BY {distance} LIMIT {NEAREST}");
        let rows = by_index(client, &query, &mut wrong)?;
        let found: Vec<f64> = rows.iter().map(|row| row.get(1)).collect();
        let is_twice = sorted_ids(&rows).windows(2).any(|pair| pair[0] == pair[1]);
        let is_in_order = found.is_sorted_by(|a, b| a <= b || b.is_nan());
        let has_all = found.len() == nearest.len();
        let missing = missing(&found, nearest);
        if is_twice || !is_in_order || !has_all || missing > misses_allowed {
            wrong.push(format!("{query}: {missing} missing: {found:?} instead of {nearest:?}"));
        }
        for (condition, ids) in ranges {
            let query = range_query(condition);
            let found = sorted_ids(&by_index(client, &query, &mut wrong)?);
            if found != *ids {
                let (some, all) = (found.len(), ids.len());
                let first = found.iter().zip(ids).find(|(found, id)| found != id);
                wrong.push(format!("{query}: {some} rows, not {all}; first difference {first:?}"));
            }
        }
        Ok(wrong)
    }
}

fn range_query(condition: &str) -> String {
    format!("SELECT id FROM items WHERE {condition}")
}

fn sorted_ids(rows: &[Row]) -> Vec<i32> {
    let mut ids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    ids.sort_unstable();
    ids
}

/// The answer of an index scan; notes a fault if the planner takes another plan.
fn by_index(client: &mut Client, query: &str, wrong: &mut Vec<String>) -> Result<Vec<Row>, Error> {
    let plan = client.query(&format!("EXPLAIN {query}"), &[])?;
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    if !plan.iter().any(|line| line.contains("Index Scan using items_v")) {
        wrong.push(format!("{query}: {plan:?}"));
    }
    client.query(query, &[])
}

/// The number of true distances that an answer lacks; both are in ascending order.
pub fn missing(found: &[f64], truth: &[f64]) -> usize {
    const TOLERANCE: f64 = 1e-5;
    // An infinite difference is a fault, whatever the numbers are.
    let is_near = |a: f64, b: f64| {
        let difference = (a - b).abs();
        difference.is_finite() && difference <= TOLERANCE * a.abs().max(b.abs())
    };
    let is_same = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan() || is_near(a, b);
    let mut next = 0;
    for &distance in truth {
        if found.get(next).is_some_and(|&found| is_same(found, distance)) {
            next += 1;
        }
    }
    truth.len() - next
}

/// Builds and searches an index; returns the faults. An error is a fault, too.
fn attempt(client: &mut Client, of: &Combination) -> Result<Vec<String>, Error> {
    let Combination { column, data, .. } = *of;
    let mut random = Random(1);
    let rows: Vec<String> = (0..of.rows()).map(|row| data.row(column, row, &mut random)).collect();
    let chance = data.query(column, &mut random);
    let own = rows.get(OUTLIER).or(rows.first());
    build(client, of, &rows)?;
    let mut wrong = check(client, "items_v", true)?;
    wrong.extend(check_rows(client, of)?);
    for query in own.into_iter().chain([&chance]) {
        client.batch_execute(EXACT)?;
        let truth = Truth::find(client, of, &of.literal(query))?;
        client.batch_execute(INDEXED)?;
        wrong.extend(truth.compare(client, of.misses_allowed())?);
    }
    Ok(wrong)
}

/// The start time of the postmaster. [`Server::crashes`] shows crashes of other processes.
pub fn started(client: &mut Client) -> String {
    client.query_one("SELECT pg_postmaster_start_time()::text", &[]).expect("a time").get(0)
}

#[test]
fn degenerate_data_is_indexed_and_searched_right() {
    let server = Server::start(&SETTINGS);
    let mut client = server.connect();
    client.batch_execute("CREATE EXTENSION vdb").expect("the extension");
    let before = started(&mut client);
    let combinations = choose(all_combinations());
    let mut failures = Vec::new();
    for combination in &combinations {
        match attempt(&mut client, combination) {
            Ok(wrong) => failures.extend(wrong.iter().map(|text| format!("{combination}: {text}"))),
            Err(error) => {
                failures.push(format!("{combination}: {}", error_text(&error)));
                // After a crash the postmaster also ends connections that were made meanwhile.
                std::thread::sleep(Duration::from_millis(500));
                client = reconnect(&server);
            }
        }
    }
    println!("{} combinations of data, index and way were tried", combinations.len());
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(started(&mut client), before, "the server was restarted");
    assert_eq!(server.crashes(), [""; 0]);
}

#[test]
fn lists_over_rows_that_cannot_be_told_apart() {
    let settings = ["statement_timeout = '60s'", "vdb.probes = 65536", "fsync = off"];
    let server = Server::start(&settings);
    let mut client = server.connect();
    let fill = |table: &str, number: &str, rows: u32| {
        format!(
            "insert into {table} select array_fill({number}::real, array[16])::vector
             from generate_series(1, {rows})"
        )
    };
    for statement in [
        "create extension vdb",
        "create table d1(v vector(16))",
        &fill("d1", "0.5", 1100),
        "create index on d1 using vdb_ivf (v vector_l2_ops)",
        "create table d2(v vector(16))",
        &fill("d2", "random()", 2000),
        "create index on d2 using vdb_ivf (v vector_cosine_ops)",
        "create table d3(v vector(16))",
        "create index on d3 using vdb_ivf (v vector_l2_ops)",
        &fill("d3", "0.5", 12000),
        "select vdb_flush('d3_v_idx')",
    ] {
        let done = client.batch_execute(statement);
        done.unwrap_or_else(|error| panic!("{statement}: {}", error_text(&error)));
    }
    // The inserts into the third table have asked for a worker.
    wait_until(&mut client, NOTHING_LEFT);
    client.batch_execute(INDEXED).expect("settings");
    for (table, operator) in [("d1", "<->"), ("d2", "<=>"), ("d3", "<->")] {
        let distance = format!("v {operator} array_fill(0.5::real, array[16])::vector");
        let query = format!(
            "SELECT count(*), max(distance) FROM
             (SELECT {distance} AS distance FROM {table} ORDER BY {distance} LIMIT {NEAREST}) AS t"
        );
        let answer = client.query_one(&query, &[]).expect("a search");
        let (count, greatest): (i64, f64) = (answer.get(0), answer.get(1));
        assert_eq!(count, NEAREST as i64, "{table}");
        assert!(greatest < 1e-5, "{table}: {greatest}");
        assert_eq!(findings(&mut client, &format!("{table}_v_idx")), [""; 0], "{table}");
    }
    assert_eq!(server.crashes(), [""; 0]);
}

#[test]
fn a_check_finds_no_fault_with_rows_of_extreme_magnitude() {
    let server = Server::start(&["statement_timeout = '60s'", "fsync = off"]);
    let mut client = server.connect();
    client.batch_execute("CREATE EXTENSION vdb").expect("the extension");
    let fill = |number: &str| {
        format!(
            "drop table if exists h; create table h(id int primary key, v vector(32));
             select setseed(0.4);
             insert into h select i, (select array_agg((({number}) + k * 0)::real)
                 from generate_series(1,32) k where i is not null)::vector(32)
                 from generate_series(1,3000) i;"
        )
    };
    let with_row = |x: &str| {
        let row = format!("(array_fill({x}::real, array[32]))::vector");
        format!("{} update h set v = {row} where id=5;", fill("random()-0.5"))
    };
    let tables = [
        ("1e19", with_row("1e19")),
        ("1e-42", with_row("1e-42")),
        ("1e30", with_row("1e30")),
        ("magnitudes side by side", fill("(random()-0.5) * 10::float8 ^ (i % 60 - 30)")),
    ];
    for (what, table) in tables {
        for class in ["vector_l2_ops", "vector_cosine_ops"] {
            let index = format!("create index h_v on h using vdb_hnsw (v {class})");
            // One transaction for each: an update in the same transaction as CREATE INDEX is
            // another case.
            for statement in format!("{table} {index}").split(';') {
                client.batch_execute(statement).expect("a table and its index");
            }
            for deep in [true, false] {
                let found = check(&mut client, "h_v", deep).expect("a check");
                assert_eq!(found, [""; 0], "{what}, {class}, deep: {deep}");
            }
        }
    }
}
