//! Tests against real servers. They need the installed extension; `make test` installs it.

mod bitflips;
mod churn;
mod concurrency;
mod corrupt;
mod crash;
mod ddl;
mod degenerate;
mod differential;
mod docs;
mod faults;
mod filters;
mod hostile;
mod lifecycle;
mod malformed;
mod memory;
mod parallel;
mod range;
mod recall;
mod soak;
mod standby;
#[path = "../support/mod.rs"]
mod support;
mod tenant;
mod trust;

use postgres::Client;

/// Ids in the order that a query returns them.
fn ids(client: &mut Client, query: &str) -> Vec<i32> {
    let rows = client.query(query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// The answer of an index scan; fails if the planner does not use one.
fn by_index(client: &mut Client, query: &str) -> Vec<i32> {
    client.batch_execute("SET enable_seqscan = off; SET enable_sort = off").expect("settings");
    let plan: Vec<String> = client
        .query(&format!("EXPLAIN {query}"), &[])
        .unwrap_or_else(|error| panic!("{query}: {error:?}"))
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(plan.iter().any(|line| line.contains("Index Scan")), "{query}: {plan:#?}");
    let answer = ids(client, query);
    client.batch_execute("RESET enable_seqscan; RESET enable_sort").expect("settings");
    answer
}

/// The answer without any index.
fn exactly(client: &mut Client, query: &str) -> Vec<i32> {
    client.batch_execute("SET enable_indexscan = off").expect("settings");
    let answer = ids(client, query);
    client.batch_execute("RESET enable_indexscan").expect("settings");
    answer
}

/// Share of `truth` that `answer` holds.
fn recall(answer: &[i32], truth: &[i32]) -> f64 {
    truth.iter().filter(|id| answer.contains(id)).count() as f64 / truth.len() as f64
}
