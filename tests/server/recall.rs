//! Recall on real word vectors.

use crate::support::data::{Dataset, glove_folder};
use crate::support::server::Server;
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
    // One segment, then several: a build that does not fit into memory must not find less.
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
        assert!(many >= 0.985, "recall {many} with {options:?} at 400 probes");
        assert!(many > defaults, "more probes find more: {defaults}, {many}");
    }
    let few = recall("SET vdb.probes = 5");
    assert!((0.3..0.9).contains(&few), "recall {few} at 5 probes");
}
