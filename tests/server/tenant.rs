//! What an index takes from the server that it shares: buffers, memory, snapshots, locks.

use crate::lifecycle::{NOTHING_LEFT, SLOWLY_MERGED, begin_compaction, number, start, wait_until};
use crate::support::server::Server;
use postgres::Client;
use std::time::{Duration, Instant};

#[test]
fn pages_of_a_searched_index_rise_to_the_greatest_usage_count() {
    let (server, mut client) = start(&["shared_buffers = 64MB"], "vdb_hnsw (v vector_l2_ops)", 3000);
    client.batch_execute("CREATE EXTENSION pg_buffercache; CHECKPOINT").expect("buffers can be counted");
    drop(client);
    server.stop();
    server.launch();
    let mut client = server.connect();
    client.batch_execute("SET enable_seqscan = off").expect("a setting");
    for seed in 0..400 {
        client
            .execute(&format!("SELECT id FROM items ORDER BY v <-> vec({}) LIMIT 10", seed % 20), &[])
            .expect("a search");
    }
    let of = |usage: &str| {
        format!(
            "SELECT count(*) FROM pg_buffercache
             WHERE relfilenode = pg_relation_filenode('items_v') AND usagecount {usage}"
        )
    };
    let (most, all) = (number(&mut client, &of("= 5")), number(&mut client, &of("> 0")));
    assert!(all > 20 && 10 * most >= 8 * all, "{most} of {all} pages are at the greatest usage count");
}

/// A function that returns the kilobytes of its session's memory contexts.
const KB: &str = "CREATE FUNCTION kb() RETURNS int LANGUAGE sql VOLATILE
    AS $$ SELECT (sum(total_bytes) / 1024)::int FROM pg_backend_memory_contexts $$";

#[test]
fn inserts_with_arrays_take_constant_memory() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client
        .batch_execute(&format!(
            "CREATE EXTENSION vdb;
             CREATE TABLE items (id int, tags int[], v vector(3));
             CREATE INDEX items_v ON items USING vdb_hnsw (v vector_l2_ops, tags);
             {KB};
             SET vdb.flush_rows = 1000000;
             INSERT INTO items SELECT i, CASE WHEN i % 2000 = 0 THEN array[kb()]
                 ELSE array(SELECT j FROM generate_series(1, 100) j) END, array[i, 1, 2]::vector
                 FROM generate_series(1, 12000) i"
        ))
        .expect("inserts");
    let after = |id: i32| format!("SELECT tags[1]::bigint FROM items WHERE id = {id}");
    let grown = number(&mut client, &after(12_000)) - number(&mut client, &after(2000));
    assert!(grown < 64, "10,000 inserts of one statement took {grown} kB");
}

#[test]
fn rescans_take_constant_memory() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client
        .batch_execute(&format!(
            "CREATE EXTENSION vdb;
             CREATE TABLE items (id int, tags int[], v vector(3));
             INSERT INTO items SELECT i, array[i % 7, i % 11], array[i % 13, i % 17, 2]::vector
                 FROM generate_series(1, 500) i;
             CREATE INDEX items_v ON items USING vdb_hnsw (v vector_l2_ops, tags);
             CREATE TABLE asked (n int, tags int[], v vector(3));
             INSERT INTO asked SELECT i, array(SELECT (i + j) % 200 FROM generate_series(0, 99) j),
                 array[i % 5, i % 3, 1]::vector FROM generate_series(1, 8000) i;
             {KB};
             SET enable_seqscan = off; SET jit = off"
        ))
        .expect("set-up");
    let sampled = client
        .query(
            "SELECT CASE WHEN n % 1000 = 0 THEN kb() END FROM asked LEFT JOIN LATERAL (
                 SELECT id FROM items WHERE items.tags && asked.tags ORDER BY items.v <-> asked.v LIMIT 1
             ) nearest ON true",
            &[],
        )
        .expect("a join");
    let kb: Vec<i32> = sampled.iter().filter_map(|row| row.get(0)).collect();
    let (first, last) = (kb[0], kb[kb.len() - 1]);
    assert!(last - first < 64, "7000 rescans took {} kB", last - first);
}

#[test]
fn a_worker_holds_back_no_vacuum() {
    let (server, mut client) = start(&["vdb.worker_threads = 1"], SLOWLY_MERGED, 10);
    client.batch_execute("ALTER INDEX items_v SET (compact_segments = 2)").expect("an option");
    begin_compaction(&mut client);
    let mut other = server.connect();
    let (mut samples, mut held) = (0, 0);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        let worker = other
            .query(
                "SELECT backend_xmin IS NOT NULL FROM pg_stat_activity WHERE backend_type = 'vdb worker'
                 AND query LIKE 'vdb: Compact%'",
                &[],
            )
            .expect("the worker's state");
        samples += worker.len();
        held += worker.iter().filter(|row| row.get::<_, bool>(0)).count();
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(samples >= 20, "{samples} samples");
    assert!(4 * held <= samples, "the worker held a snapshot in {held} of {samples} samples");
}

#[test]
fn a_cancelled_worker_has_not_failed() {
    let (server, mut client) = start(&[], SLOWLY_MERGED, 10);
    client.batch_execute("ALTER INDEX items_v SET (compact_segments = 2)").expect("an option");
    begin_compaction(&mut client);
    let cancelled = number(
        &mut client,
        "SELECT count(*) FILTER (WHERE pg_cancel_backend(pid)) FROM pg_stat_activity
         WHERE backend_type = 'vdb worker'",
    );
    assert!(cancelled >= 1, "a worker was at work");
    // It goes on, and the task has not failed but was interrupted.
    wait_until(&mut client, NOTHING_LEFT);
    assert_eq!(
        number(
            &mut client,
            "SELECT count(*) FROM vdb_tasks WHERE state = 'failed' AND error NOT LIKE '%interrupted%'"
        ),
        0
    );
    assert_eq!(number(&mut client, "SELECT segments::bigint FROM vdb_index_stats('items_v')"), 1);
    assert!(server.crashes().is_empty());
}

#[test]
fn sessions_search_many_partitions_without_reading_manifests_again() {
    const PARTITIONS: u32 = 300;
    let server = Server::start(&["max_locks_per_transaction = 1024"]);
    let mut client = server.connect();
    client
        .batch_execute(&format!(
            "CREATE EXTENSION vdb;
             CREATE TABLE items (id int, v vector(3)) PARTITION BY RANGE (id);
             DO $$ BEGIN FOR i IN 0..{PARTITIONS} - 1 LOOP
                 EXECUTE format('CREATE TABLE items_%s PARTITION OF items FOR VALUES FROM (%s) TO (%s)',
                     i, i * 20, i * 20 + 20);
             END LOOP; END $$;
             INSERT INTO items SELECT i, array[i % 13, i % 17, 2]::vector
                 FROM generate_series(0, {PARTITIONS} * 20 - 1) i;
             CREATE INDEX items_v ON items USING vdb_ivf (v vector_l2_ops);
             SET enable_seqscan = off"
        ))
        .expect("partitions");
    let pages = |client: &mut Client| {
        let plan = client
            .query(
                "EXPLAIN (ANALYZE, BUFFERS, FORMAT TEXT) SELECT id FROM items ORDER BY v <-> '[1,2,3]' LIMIT 10",
                &[],
            )
            .expect("a plan");
        let text: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let planning =
            text.iter().position(|line| line.starts_with("Planning:")).expect("buffers of planning");
        let line = text[planning + 1..].iter().find(|line| line.contains("shared hit=")).cloned();
        let hits = line.and_then(|line| line.split("hit=").nth(1)?.split(' ').next()?.parse::<u32>().ok());
        hits.expect("pages that planning has read")
    };
    pages(&mut client);
    let warm = pages(&mut client);
    // The meta page of each index, a lane or two, and what PostgreSQL reads of its catalogs.
    assert!(warm < 4 * PARTITIONS, "planning read {warm} pages for {PARTITIONS} partitions");
}

#[test]
fn flushes_and_compactions_publish_while_a_vacuum_goes_on() {
    let server = Server::start(&["autovacuum = off", "vdb.workers = 0"]);
    let mut client = server.connect();
    client
        .batch_execute(
            "CREATE EXTENSION vdb;
             CREATE TABLE items (id int PRIMARY KEY, v vector(3));
             CREATE INDEX items_v ON items USING vdb_hnsw (v vector_l2_ops) WITH (compact_segments = 64)",
        )
        .expect("a table");
    for part in 0..8 {
        client
            .batch_execute(&format!(
                "INSERT INTO items SELECT i, array[i % 13, i % 17, i % 5]::vector
                     FROM generate_series({part} * 1000, {part} * 1000 + 999) i;
                 SELECT vdb_flush('items_v')"
            ))
            .expect("a segment");
    }
    client.batch_execute("DELETE FROM items WHERE id % 1000 = 500").expect("dead rows");
    let mut other = server.connect();
    let vacuum = std::thread::spawn(move || {
        // Each page that is changed costs the longest delay.
        other
            .batch_execute(
                "SET vacuum_cost_page_dirty = 10000; SET vacuum_cost_limit = 1; SET vacuum_cost_delay = 100",
            )
            .expect("settings");
        other.batch_execute("VACUUM items").expect("a vacuum");
    });
    const PHASE: &str = "SELECT count(*) FROM pg_stat_progress_vacuum WHERE phase = 'vacuuming indexes'";
    wait_until(&mut client, &format!("({PHASE}) = 1"));
    client
        .batch_execute(
            "INSERT INTO items SELECT i, array[i % 13, i % 17, i % 5]::vector
                 FROM generate_series(8000, 8999) i;
             SELECT vdb_flush('items_v'); SELECT vdb_compact('items_v')",
        )
        .expect("a flush and a compaction");
    assert_eq!(number(&mut client, PHASE), 1, "neither has waited for the vacuum");
    assert!(!vacuum.is_finished());
    vacuum.join().expect("the vacuum ends");
    // Rows take the places of the dead ones.
    client
        .batch_execute(
            "INSERT INTO items SELECT i, '[1000,1000,1000]' FROM generate_series(9000, 9999) i;
             SET enable_seqscan = off",
        )
        .expect("new rows");
    assert_eq!(number(&mut client, "SELECT count(*) FROM vdb_check('items_v')"), 0);
    let near =
        "SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> '[0,0,0]' LIMIT 100) near WHERE id < 9000";
    assert_eq!(number(&mut client, near), 100);
    let live = "SELECT sealed_rows - tombstones + growing_rows FROM vdb_index_stats('items_v')";
    assert_eq!(number(&mut client, live), 9992);
}
