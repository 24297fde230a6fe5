//! Random inserts, updates, deletes and vacuums, each followed by searches.

use crate::support::server::Server;
use crate::{by_index, exactly, recall};
use std::collections::HashSet;

/// A reproducible generator: the same operations in every run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

#[test]
fn searches_of_graphs_find_what_lives_and_nothing_else() {
    churn("vdb_hnsw (v vector_l2_ops)");
}

#[test]
fn searches_of_lists_find_what_lives_and_nothing_else() {
    churn("vdb_ivf (v vector_l2_ops)");
}

#[test]
fn searches_that_fetch_rows_find_what_lives_and_nothing_else() {
    churn("vdb_ivf (v vector_l2_ops) WITH (rerank = heap, bits = 4)");
    churn("vdb_hnsw (v vector_l2_ops) WITH (rerank = heap)");
}

/// Changes a table with the index `index` at random, and compares searches with exact ones.
fn churn(index: &str) {
    let server = Server::start(&["autovacuum = off"]);
    let mut client = server.connect();
    client
        .batch_execute(&format!(
            "CREATE EXTENSION vdb;
             CREATE TABLE items (id int PRIMARY KEY, v vector(24));
             CREATE FUNCTION vec(seed int) RETURNS vector LANGUAGE sql AS $$
                 SELECT array_agg(sin(seed * 0.37 * d) + cos(seed * d * d * 0.011))::real[]::vector
                 FROM generate_series(1, 24) d $$;
             INSERT INTO items SELECT i, vec(i) FROM generate_series(1, 4000) i;
             CREATE INDEX items_v ON items USING {index};
             SET vdb.flush_rows = 1000; SET vdb.probes = 200",
        ))
        .expect("set-up");
    let mut random = Random(20_261_123);
    let mut next_id = 4000;
    let mut found = Vec::new();
    for round in 0..12 {
        for _ in 0..10 {
            let pick = random.next(next_id as u64) as i32 + 1;
            let statement = match random.next(10) {
                0..=4 => {
                    next_id += 100;
                    let first = next_id - 99;
                    format!("INSERT INTO items SELECT i, vec(i) FROM generate_series({first}, {next_id}) i")
                }
                5..=6 => format!("UPDATE items SET v = vec(id + 7) WHERE id BETWEEN {pick} AND {pick} + 80"),
                7 => format!(
                    "BEGIN; INSERT INTO items SELECT -i, vec(i) FROM generate_series({pick}, {pick} + 50) i; ROLLBACK"
                ),
                _ => format!("DELETE FROM items WHERE id BETWEEN {pick} AND {pick} + 60"),
            };
            client.batch_execute(&statement).expect("a change");
        }
        if round % 3 == 2 {
            client.batch_execute("VACUUM items").expect("VACUUM");
        }
        for _ in 0..10 {
            let seed = random.next(20_000);
            let query = format!("SELECT id FROM items ORDER BY v <-> vec({seed}) LIMIT 10");
            // The function is not immutable: give both scans the same constant.
            let vector: String =
                client.query_one(&format!("SELECT vec({seed})::text"), &[]).expect("a vector").get(0);
            let query = query.replace(&format!("vec({seed})"), &format!("'{vector}'"));
            let (answer, truth) = (by_index(&mut client, &query), exactly(&mut client, &query));
            assert_eq!(answer.len(), truth.len(), "as many rows as asked for");
            assert_eq!(answer.iter().collect::<HashSet<_>>().len(), answer.len(), "no row twice");
            found.push(recall(&answer, &truth));

            let distances = |client: &mut postgres::Client| -> Vec<f64> {
                let query = query.replace("SELECT id", &format!("SELECT v <-> '{vector}'"));
                client.query(&query, &[]).expect("distances").iter().map(|row| row.get(0)).collect()
            };
            client.batch_execute("SET enable_seqscan = off").expect("setting");
            let distances = distances(&mut client);
            client.batch_execute("RESET enable_seqscan").expect("setting");
            assert!(distances.is_sorted(), "exact order: {distances:?}");
        }
    }
    let mean = found.iter().sum::<f64>() / found.len() as f64;
    assert!(mean >= 0.98, "recall {mean} over {} queries", found.len());

    let alive: i64 = client.query_one("SELECT count(*) FROM items", &[]).expect("count").get(0);
    let query = "SELECT id FROM items ORDER BY v <-> (SELECT v FROM items ORDER BY id LIMIT 1) LIMIT 100000";
    let all = by_index(&mut client, query);
    let living: HashSet<i32> = exactly(&mut client, "SELECT id FROM items").into_iter().collect();
    assert!(all.iter().all(|id| living.contains(id)), "no dead row");
    // A resumed search leaves out rows that it finds too late for the order.
    assert!(all.len() as f64 >= 0.98 * alive as f64, "{} of {alive} rows", all.len());
}
