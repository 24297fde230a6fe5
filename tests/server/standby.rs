//! A streaming standby answers as its primary does, and takes over.

use crate::by_index;
use crate::lifecycle::{NOTHING_LEFT, findings, number, wait_until};
use crate::support::server::Server;
use std::time::{Duration, Instant};

#[test]
fn a_standby_answers_as_the_primary_and_takes_over() {
    let primary = Server::start(&[
        "wal_level = replica",
        "max_wal_senders = 4",
        "wal_consistency_checking = 'all'",
        "vdb.compact_segments = 2",
        "vdb.flush_rows = 300",
    ]);
    let mut client = primary.connect();
    client
        .batch_execute(
            "CREATE EXTENSION vdb; CREATE TABLE items (id int, v vector(3));
             CREATE INDEX items_v ON items USING vdb_hnsw (v vector_l2_ops);
             CREATE INDEX items_c ON items USING vdb_hnsw (v vector_l2_ops) WITH (quantizer = rabitq);
             CREATE INDEX items_h ON items USING vdb_hnsw (v vector_l2_ops) WITH (rerank = heap);
             CREATE INDEX items_l ON items USING vdb_ivf (v vector_l2_ops) WITH (bits = 2)",
        )
        .expect("set-up");
    let standby = primary.standby();
    client
        .batch_execute(
            "INSERT INTO items SELECT i, array[i % 97, i % 89, i]::vector FROM generate_series(1, 2000) i;
             DELETE FROM items WHERE id % 3 = 0",
        )
        .expect("changes");
    client.batch_execute("VACUUM items").expect("VACUUM");
    client
        .batch_execute(
            "INSERT INTO items SELECT i, array[i % 97, i % 89, i]::vector FROM generate_series(2001, 2700) i",
        )
        .expect("more rows");
    wait_until(&mut client, NOTHING_LEFT);
    let compactions = "SELECT count(*) FROM vdb_tasks WHERE kind = 'compaction' AND state = 'completed'";
    assert!(number(&mut client, compactions) > 0);
    // The commit of a transaction that has an id writes out the WAL before it, workers' records
    // too.
    client.batch_execute("SELECT txid_current()").expect("a transaction");
    let position: String =
        client.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).expect("a position").get(0);

    let mut reader = standby.connect();
    let begin = Instant::now();
    loop {
        let reached = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
        if reader.query_one(&reached, &[]).expect("a position").get::<_, Option<bool>>(0) == Some(true) {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "the standby lags");
        std::thread::sleep(Duration::from_millis(50));
    }
    // No two rows are equally far from these queries, because the order of ties is not fixed.
    let queries: Vec<String> = (0..20)
        .map(|i| {
            format!(
                "SELECT id FROM items ORDER BY v <-> '[{}.3,{}.21,{}.117]' LIMIT 20",
                i * 4,
                i * 3,
                i * 130
            )
        })
        .collect();
    for query in &queries {
        assert_eq!(by_index(&mut client, query), by_index(&mut reader, query));
    }
    for index in ["items_v", "items_c", "items_l"] {
        assert_eq!(findings(&mut reader, index), [""; 0]);
    }
    for (call, code) in [("vdb_flush('items_v')", "25006"), ("vdb_compact('items_v')", "25006")] {
        let error = reader.batch_execute(&format!("SELECT {call}")).expect_err(call);
        assert_eq!(error.code().map(|code| code.code()), Some(code), "{call}");
    }

    primary.kill();
    reader.batch_execute("SELECT pg_promote()").expect("promotion");
    reader
        .batch_execute(
            "INSERT INTO items SELECT i, array[0, 0, i]::vector FROM generate_series(5000, 6000) i",
        )
        .expect("inserts after promotion");
    reader.batch_execute("VACUUM items").expect("VACUUM");
    let query = "SELECT id FROM items ORDER BY v <-> '[0,0,5500]' LIMIT 1";
    assert_eq!(by_index(&mut reader, query), [5500]);
}
