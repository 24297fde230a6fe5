//! A streaming standby answers as its primary does, and takes over.

use crate::by_index;
use crate::support::server::Server;
use std::time::{Duration, Instant};

#[test]
fn a_standby_answers_as_the_primary_and_takes_over() {
    let primary =
        Server::start(&["wal_level = replica", "max_wal_senders = 4", "wal_consistency_checking = 'all'"]);
    let mut client = primary.connect();
    client
        .batch_execute(
            "CREATE EXTENSION vdb; CREATE TABLE items (id int, v vector(3));
             CREATE INDEX items_v ON items USING vdb_hnsw (v vector_l2_ops)",
        )
        .expect("set-up");
    let standby = primary.standby();
    client
        .batch_execute(
            "SET vdb.flush_rows = 300;
             INSERT INTO items SELECT i, array[i % 97, i % 89, i]::vector FROM generate_series(1, 2000) i;
             DELETE FROM items WHERE id % 3 = 0",
        )
        .expect("changes");
    client.batch_execute("VACUUM items").expect("VACUUM");
    client
        .batch_execute(
            "INSERT INTO items SELECT i, array[i % 97, i % 89, i]::vector FROM generate_series(2001, 2700) i",
        )
        .expect("more rows");
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
    let queries: Vec<String> = (0..20)
        .map(|i| format!("SELECT id FROM items ORDER BY v <-> '[{},{},{}]' LIMIT 20", i * 4, i * 3, i * 130))
        .collect();
    for query in &queries {
        assert_eq!(by_index(&mut client, query), by_index(&mut reader, query));
    }

    primary.kill();
    reader.batch_execute("SELECT pg_promote()").expect("promotion");
    reader
        .batch_execute(
            "SET vdb.flush_rows = 300;
             INSERT INTO items SELECT i, array[0, 0, i]::vector FROM generate_series(5000, 6000) i",
        )
        .expect("inserts after promotion");
    reader.batch_execute("VACUUM items").expect("VACUUM");
    let query = "SELECT id FROM items ORDER BY v <-> '[0,0,5500]' LIMIT 1";
    assert_eq!(by_index(&mut reader, query), [5500]);
}
