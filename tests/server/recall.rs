//! Recall on real word vectors.

use crate::support::data::{Dataset, glove_folder};
use crate::support::server::Server;
use postgres::Client;
use std::io::Write;

const ROWS: usize = 25_000;
const QUERIES: usize = 200;

#[test]
fn recall_on_word_vectors() {
    let Some(folder) = glove_folder().expect("the data set") else {
        eprintln!("SKIPPED: recall_on_word_vectors: no word vectors; run `make data`");
        return;
    };
    let data = Dataset::load(&folder).expect("the data set").slice(ROWS, QUERIES, 10);
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.batch_execute("CREATE EXTENSION vdb; CREATE TABLE items (id int, v vector(100))").expect("set-up");
    let mut copy = client.copy_in("COPY items FROM STDIN").expect("COPY");
    for row in 0..ROWS {
        writeln!(copy, "{row}\t{}", data.base.text(row)).expect("a row");
    }
    copy.finish().expect("COPY");
    client.batch_execute("CREATE INDEX ON items USING vdb_hnsw (v vector_cosine_ops)").expect("a build");

    let mut recall = |settings: &str| {
        client.batch_execute(settings).expect("settings");
        let statement = client
            .prepare("SELECT id FROM items ORDER BY v <=> $1::text::vector LIMIT 10")
            .expect("a statement");
        let mut sum = 0.0;
        for query in 0..QUERIES {
            let rows = client.query(&statement, &[&data.queries.text(query)]).expect("an answer");
            let answer: Vec<u32> = rows.iter().map(|row| row.get::<_, i32>(0) as u32).collect();
            sum += data.recall(query, &answer, 10);
        }
        sum / QUERIES as f64
    };
    // One segment, then several: recall must not fall when a build does not fit into memory.
    let defaults = recall("SET enable_seqscan = off");
    assert!(defaults >= 0.98, "recall {defaults} by default");
    let few = recall("SET vdb.ef_search = 20");
    assert!((0.80..1.0).contains(&few), "recall {few} at ef_search 20");
    let many = recall("SET vdb.ef_search = 200");
    assert!(many >= 0.98, "recall {many} at ef_search 200");
    let segmented = recall(
        "SET maintenance_work_mem = '6MB'; SET client_min_messages = warning;
         REINDEX TABLE items; RESET vdb.ef_search",
    );
    assert!(segmented >= 0.98, "recall {segmented} over several segments");
    let exact_vectors = recall(
        "RESET maintenance_work_mem; DROP INDEX items_v_idx;
         CREATE INDEX ON items USING vdb_hnsw (v vector_cosine_ops) WITH (quantizer = 'none');
         SET vdb.ef_search = 200",
    );
    assert!(exact_vectors >= 0.98, "recall {exact_vectors} without codes");
    for options in ["layout = compact", "rerank = heap"] {
        let defaults = recall(&format!(
            "DROP INDEX items_v_idx; CREATE INDEX ON items USING vdb_hnsw (v vector_cosine_ops) WITH ({options});
             RESET vdb.ef_search"
        ));
        assert!(defaults >= 0.98, "recall {defaults} with {options} by default");
        let few = recall("SET vdb.ef_search = 20");
        assert!((0.80..0.98).contains(&few), "recall {few} with {options} at ef_search 20");
    }
    let mut few = Vec::new();
    // Lists: single bits, fine codes with the vectors in the table, bytes, no codes at all.
    for options in ["", "WITH (bits = 4, rerank = heap)", "WITH (quantizer = sq8)", "WITH (quantizer = none)"]
    {
        let (defaults, many) = (
            recall(&format!(
                "DROP INDEX items_v_idx; CREATE INDEX ON items USING vdb_ivf (v vector_cosine_ops) {options};
                 RESET vdb.probes"
            )),
            recall("SET vdb.probes = 400"),
        );
        assert!(defaults >= 0.93, "recall {defaults} with {options:?} by default");
        few.push(recall("SET vdb.probes = 15"));
        assert!(many >= 0.985, "recall {many} with {options:?} at 400 probes");
        assert!(many > defaults, "more probes find more: {defaults}, {many}");
    }
    // Rows with codes are in second lists, too, so 15 of 632 lists give more recall: 0.82 instead
    // of 0.73.
    let [bits, fine, bytes, exact] = few[..] else { panic!("four kinds of lists") };
    assert!(bits.min(fine) > bytes.max(exact) + 0.04, "second lists: {few:?}");
    let few = recall("SET vdb.probes = 5");
    assert!((0.3..0.9).contains(&few), "recall {few} at 5 probes");
}

#[test]
fn calibrated_indexes_reach_their_target() {
    let Some(folder) = glove_folder().expect("the data set") else {
        eprintln!("SKIPPED: calibrated_indexes_reach_their_target: no word vectors; run `make data`");
        return;
    };
    // The number of queries makes the mean reliable: the recall of one query varies by about 0.17,
    // the means of 200 queries by 0.02.
    const QUERIES: usize = 1000;
    // The queries resemble the rows: words are sorted, and rare words differ from frequent ones.
    let data = Dataset::load(&folder).expect("the data set").hold_back(ROWS, ROWS / QUERIES, 10);
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.batch_execute("CREATE EXTENSION vdb; CREATE TABLE items (id int, v vector(100))").expect("set-up");
    let mut copy = client.copy_in("COPY items FROM STDIN").expect("COPY");
    for row in 0..data.base.len() {
        writeln!(copy, "{row}\t{}", data.base.text(row)).expect("a row");
    }
    copy.finish().expect("COPY");
    let recall = |client: &mut Client, target: f64| {
        client
            .batch_execute(&format!("SET enable_seqscan = off; SET vdb.target_recall = {target}"))
            .expect("settings");
        let statement = client
            .prepare("SELECT id FROM items ORDER BY v <=> $1::text::vector LIMIT 10")
            .expect("a statement");
        let recalls = (0..QUERIES).map(|query| {
            let rows = client.query(&statement, &[&data.queries.text(query)]).expect("an answer");
            let answer: Vec<u32> = rows.iter().map(|row| row.get::<_, i32>(0) as u32).collect();
            data.recall(query, &answer, 10)
        });
        recalls.sum::<f64>() / QUERIES as f64
    };
    for options in [
        "vdb_hnsw (v vector_cosine_ops)",
        "vdb_hnsw (v vector_cosine_ops) WITH (quantizer = none)",
        "vdb_hnsw (v vector_cosine_ops) WITH (layout = compact)",
        "vdb_ivf (v vector_cosine_ops)",
        "vdb_ivf (v vector_cosine_ops) WITH (rerank = heap, bits = 4)",
    ] {
        client
            .batch_execute(&format!(
                "DROP INDEX IF EXISTS items_v; CREATE INDEX items_v ON items USING {options}"
            ))
            .expect("an index");
        let points = client
            .query(&format!("SELECT * FROM vdb_calibrate('items_v', {QUERIES})"), &[])
            .expect("a calibration");
        let efforts: Vec<i32> = points.iter().map(|point| point.get(0)).collect();
        let recalls: Vec<f64> = points.iter().map(|point| point.get(1)).collect();
        assert!(efforts.is_sorted_by(|a, b| a < b) && recalls.is_sorted() && recalls.len() > 3, "{points:?}");
        for target in [0.9, 0.95, 0.99] {
            let reached = recall(&mut client, target);
            // A search for ten rows looks at ten at least, which may exceed the target.
            let is_least = recalls[0] >= target && reached > target;
            assert!(
                is_least || (reached - target).abs() < 0.03,
                "{options}: {reached} instead of {target}: {recalls:?}"
            );
        }
    }
    // ANALYZE calibrates an index again when its segments have changed.
    let generation = |client: &mut Client| -> i64 {
        client.query_one("SELECT generation FROM vdb_index_stats('items_v')", &[]).expect("stats").get(0)
    };
    let before = generation(&mut client);
    client.batch_execute("ANALYZE items").expect("ANALYZE");
    assert_eq!(generation(&mut client), before);
    client
        .batch_execute(
            "INSERT INTO items SELECT id + 1000000, v FROM items WHERE id < 500; SELECT vdb_flush('items_v')",
        )
        .expect("a flush");
    let flushed = generation(&mut client);
    client.batch_execute("ANALYZE items").expect("ANALYZE");
    assert!(generation(&mut client) > flushed);
}
