//! Tests of the access methods in SQL, within a server, one file for each subject.

mod explain;
mod lists;
mod planner;
mod scans;
mod spaces;

use pgrx::prelude::*;

pub fn lines(query: &str) -> Vec<String> {
    Spi::connect(|client| {
        let rows = client.select(query, None, &[]).unwrap_or_else(|error| panic!("{query}: {error}"));
        rows.map(|row| row.get::<String>(1).expect("text").unwrap_or_default()).collect()
    })
}

pub fn plan(query: &str) -> String {
    lines(&format!("EXPLAIN {query}")).join("\n")
}

/// The distances of the ten nearest rows by the index, and exactly.
pub fn distances(table: &str, operator: &str, query: &str) -> (Vec<String>, Vec<String>) {
    let statement =
        format!("SELECT (v {operator} {query})::text FROM {table} ORDER BY v {operator} {query} LIMIT 10");
    Spi::run("SET enable_seqscan = off; SET enable_sort = off").unwrap();
    assert!(plan(&statement).contains("Index Scan"), "{statement}");
    let by_index = lines(&statement);
    Spi::run("RESET enable_seqscan; RESET enable_sort; SET enable_indexscan = off").unwrap();
    let exactly = lines(&statement);
    Spi::run("RESET enable_indexscan").unwrap();
    assert_eq!(by_index.len(), 10);
    (by_index, exactly)
}

/// The index returns the rows that exact search returns, at the same distances.
///
/// Rows at equal distances may be any of them.
pub fn assert_exact(table: &str, operator: &str, query: &str) {
    let (by_index, exactly) = distances(table, operator, query);
    assert_eq!(by_index, exactly, "{table} {operator} {query}");
}

/// The index returns at least nine of the ten rows that exact search returns, in order: bounds hold
/// for 99 in 100.
pub fn assert_near(table: &str, operator: &str, query: &str) {
    let (by_index, exactly) = distances(table, operator, query);
    let found = exactly.iter().filter(|distance| by_index.contains(distance)).count();
    assert!(found >= 9, "{table} {operator} {query}: {by_index:?} instead of {exactly:?}");
    let distance = |text: &String| text.parse::<f64>().unwrap();
    assert!(by_index.is_sorted_by(|a, b| distance(a) <= distance(b)), "{by_index:?}");
}

/// A table with clustered rows, and a vector near one of them.
pub fn clustered(rows: usize) -> String {
    Spi::run(&format!(
        "CREATE TABLE items AS SELECT i id, array_agg(sin(i % 40 * d) * 4 + sin(i * d * 1.7))::vector(20) v
         FROM generate_series(1, {rows}) i, generate_series(1, 20) d GROUP BY i"
    ))
    .unwrap();
    let query = Spi::get_one::<String>(
        "SELECT (v + '[1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]')::text FROM items WHERE id = 77",
    );
    format!("'{}'", query.unwrap().unwrap())
}
