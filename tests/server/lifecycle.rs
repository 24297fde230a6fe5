//! Segments in the background: flushed, compacted, vacuumed, checked.

use crate::support::server::Server;
use crate::{by_index, exactly, recall};
use postgres::Client;
use std::time::{Duration, Instant};

pub const VEC: &str = "CREATE FUNCTION vec(seed int) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(sin(seed * 0.37 * d) + cos(seed * d * d * 0.011))::real[]::vector FROM generate_series(1, 24) d $$";

/// A server with a table of `rows` rows, indexed by `index`.
pub fn start(settings: &[&str], index: &str, rows: u32) -> (Server, Client) {
    let server = Server::start(settings);
    let mut client = server.connect();
    client
        .batch_execute(&format!(
            "CREATE EXTENSION vdb; CREATE TABLE items (id int PRIMARY KEY, v vector(24)); {VEC};
             INSERT INTO items SELECT i, vec(i) FROM generate_series(1, {rows}) i;
             CREATE INDEX items_v ON items USING {index}"
        ))
        .expect("set-up");
    (server, client)
}

/// An index without codes, whose compaction takes long enough to be interrupted.
pub const SLOWLY_MERGED: &str = "vdb_hnsw (v vector_l1_ops) WITH (m = 40, ef_construction = 800)";

/// Fills two segments of one size and waits until a worker merges them. The index has
/// `vdb.compact_segments = 2` and [`start`]'s first ten rows.
pub fn begin_compaction(client: &mut Client) {
    client.batch_execute("SET vdb.flush_rows = 100000").expect("a setting");
    for rows in ["11, 3000", "3001, 6000"] {
        client
            .batch_execute(&format!("INSERT INTO items SELECT i, vec(i) FROM generate_series({rows}) i"))
            .expect("rows");
        client.batch_execute("SELECT vdb_flush('items_v')").expect("a flush");
    }
    client.batch_execute("RESET vdb.flush_rows").expect("a setting");
    client.batch_execute("VACUUM items").expect("a VACUUM, which asks for a worker");
    wait_until(client, "EXISTS (SELECT FROM vdb_tasks WHERE kind = 'compaction' AND state = 'running')");
}

/// The findings of `vdb_check`.
pub fn findings(client: &mut Client, index: &str) -> Vec<String> {
    let query =
        format!("SELECT concat_ws(' ', segment, part, block, finding) FROM vdb_check('{index}', true)");
    client.query(&query, &[]).expect("a check").iter().map(|row| row.get(0)).collect()
}

pub fn number(client: &mut Client, query: &str) -> i64 {
    client.query_one(query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

/// The rows of `vdb_tasks`, for the log.
fn tasks(client: &mut Client) -> String {
    let rows = client.query("SELECT t::text FROM vdb_tasks t", &[]).expect("tasks");
    rows.iter().map(|row| row.get::<_, &str>(0).to_owned() + "\n").collect()
}

/// Waits until a query returns true.
pub fn wait_until(client: &mut Client, condition: &str) {
    let begin = Instant::now();
    while !client.query_one(&format!("SELECT {condition}"), &[]).expect("a condition").get::<_, bool>(0) {
        if begin.elapsed() >= Duration::from_secs(60) {
            panic!("waited in vain for {condition}\n{}", tasks(client));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub const NOTHING_LEFT: &str = "NOT EXISTS (SELECT FROM vdb_tasks WHERE state IN ('queued', 'running'))";

/// Mean recall of 20 searches.
pub fn mean_recall(client: &mut Client) -> f64 {
    let mut found = 0.0;
    for seed in (0..20).map(|i| i * 137) {
        let vector: String =
            client.query_one(&format!("SELECT vec({seed})::text"), &[]).expect("a vector").get(0);
        let query = format!("SELECT id FROM items ORDER BY v <-> '{vector}' LIMIT 10");
        let (answer, truth) = (by_index(client, &query), exactly(client, &query));
        assert_eq!(answer.len(), truth.len());
        found += recall(&answer, &truth);
    }
    found / 20.0
}

#[test]
fn rows_are_flushed_and_merged_in_the_background() {
    for index in [
        "vdb_hnsw (v vector_l2_ops)",
        "vdb_hnsw (v vector_l2_ops) WITH (layout = compact)",
        "vdb_hnsw (v vector_l2_ops) WITH (rerank = heap)",
        "vdb_ivf (v vector_l2_ops)",
        "vdb_ivf (v vector_l2_ops) WITH (rerank = heap)",
    ] {
        let (_server, mut client) = start(&["vdb.flush_rows = 500", "vdb.probes = 1000"], index, 100);
        let backend = number(&mut client, "SELECT pg_backend_pid()::bigint");
        for batch in 1..=20 {
            client
                .batch_execute(&format!(
                    "INSERT INTO items SELECT i, vec(i) FROM generate_series({batch}01, {batch}01 + 299) i ON CONFLICT DO NOTHING"
                ))
                .expect("rows");
            std::thread::sleep(Duration::from_millis(50));
        }
        wait_until(&mut client, NOTHING_LEFT);
        let by_others =
            format!("SELECT count(*) FROM vdb_tasks WHERE state = 'completed' AND pid = {backend}");
        assert_eq!(number(&mut client, &by_others), 0);
        assert!(
            number(
                &mut client,
                "SELECT count(*) FROM vdb_tasks WHERE kind = 'flush' AND state = 'completed'"
            ) > 0
        );
        assert_eq!(findings(&mut client, "items_v"), [""; 0], "{index}");
        let recall = mean_recall(&mut client);
        assert!(recall >= 0.95, "{index}: recall {recall}");

        client
            .batch_execute("SELECT vdb_flush('items_v'); SELECT vdb_compact('items_v')")
            .expect("one segment");
        let rows = number(&mut client, "SELECT count(*) FROM items");
        let states = "SELECT string_agg(DISTINCT state, ' ' ORDER BY state) FROM vdb_segments('items_v') WHERE rows > 0";
        let state: String = client.query_one(states, &[]).expect("states").get(0);
        // Rows without vectors in the index cannot move to new lists.
        if !(index.contains("ivf") && index.contains("heap")) {
            let sealed = "SELECT rows FROM vdb_segments('items_v') WHERE state = 'indexed'";
            assert_eq!(number(&mut client, sealed), rows, "{index}: {state}");
        }
        assert_eq!(findings(&mut client, "items_v"), [""; 0], "{index}");
        let recall = mean_recall(&mut client);
        assert!(recall >= 0.95, "{index}: recall {recall} after compaction");
    }
}

#[test]
fn a_merged_graph_is_as_good_as_a_new_one() {
    let (_server, mut client) = start(
        &["vdb.max_workers = 0", "autovacuum = off", "vdb.ef_search = 20"],
        "vdb_hnsw (v vector_l2_ops)",
        4000,
    );
    client
        .batch_execute("INSERT INTO items SELECT i, vec(i) FROM generate_series(4001, 7000) i; DELETE FROM items WHERE id % 5 = 0")
        .expect("changes");
    client.batch_execute("VACUUM items").expect("VACUUM");
    client.batch_execute("SELECT vdb_flush('items_v'); SELECT vdb_compact('items_v')").expect("a merge");
    let one = "SELECT count(*) FROM vdb_segments('items_v') WHERE rows = 5600 AND tombstones = 0 AND state = 'indexed'";
    assert_eq!(number(&mut client, one), 1);
    assert_eq!(findings(&mut client, "items_v"), [""; 0]);
    let merged = mean_recall(&mut client);
    client.batch_execute("REINDEX INDEX items_v").expect("REINDEX");
    let built = mean_recall(&mut client);
    assert!(merged >= built - 0.02, "recall {merged} after merging, {built} after a build");
}

#[test]
fn a_freed_heap_tuple_is_never_answered_with_the_old_vector() {
    for index in ["vdb_hnsw (v vector_l2_ops)", "vdb_ivf (v vector_l2_ops) WITH (lists = 20)"] {
        let (_server, mut client) =
            start(&["autovacuum = off", "vdb.max_workers = 0", "vdb.flush_rows = 400"], index, 1000);
        // Strict order would leave out rows that are found too late.
        client
            .batch_execute("SET vdb.iterative_scan = relaxed; INSERT INTO items SELECT i, vec(i) FROM generate_series(1001, 1300) i")
            .expect("growing rows");
        for round in 1..=4 {
            // The first rows, which include entry points, and a stretch of the last.
            client
                .batch_execute("DELETE FROM items WHERE id IN (SELECT id FROM items ORDER BY ctid LIMIT 150);
                                DELETE FROM items WHERE id IN (SELECT id FROM items ORDER BY ctid DESC LIMIT 100)")
                .expect("deletes");
            client.batch_execute("VACUUM items").expect("VACUUM");
            client
                .batch_execute(&format!("INSERT INTO items SELECT {round} * 10000 + i, vec({round} * 1000 + i) FROM generate_series(1, 250) i"))
                .expect("rows in the same places");
            let first: i64 = number(&mut client, "SELECT min((ctid::text::point)[0])::bigint FROM items");
            assert_eq!(first, 0, "the freed tuples are used again");
            assert_eq!(findings(&mut client, "items_v"), [""; 0], "{index}");
            let rows = number(&mut client, "SELECT count(*) FROM items");
            let all = by_index(&mut client, "SELECT id FROM items ORDER BY v <-> vec(5) LIMIT 100000");
            let unique: std::collections::HashSet<_> = all.iter().collect();
            assert_eq!(unique.len(), all.len(), "no row twice");
            assert_eq!(all.len() as i64, rows, "{index}");
            client.batch_execute("SELECT vdb_compact('items_v')").expect("a compaction");
        }
    }
}

#[test]
fn vacuum_rewrites_nothing_when_nothing_has_changed() {
    let (_server, mut client) = start(&["autovacuum = off"], "vdb_hnsw (v vector_l2_ops)", 500);
    client.batch_execute("VACUUM items").expect("VACUUM");
    let generation = "SELECT generation FROM vdb_index_stats('items_v')";
    let before = number(&mut client, generation);
    client.batch_execute("VACUUM items; ").expect("VACUUM");
    client.batch_execute("ANALYZE items").expect("ANALYZE");
    assert_eq!(number(&mut client, generation), before);
    assert_eq!(number(&mut client, "SELECT reltuples::bigint FROM pg_class WHERE relname = 'items_v'"), 500);
    client.batch_execute("DELETE FROM items WHERE id <= 40").expect("deletes");
    client.batch_execute("VACUUM items").expect("VACUUM");
    assert_eq!(number(&mut client, "SELECT reltuples::bigint FROM pg_class WHERE relname = 'items_v'"), 460);
    assert_eq!(number(&mut client, "SELECT tombstones FROM vdb_index_stats('items_v')"), 40);
}

#[test]
fn an_endless_load_of_updates_needs_no_endless_room() {
    for index in ["vdb_hnsw (v vector_l2_ops)", "vdb_ivf (v vector_l2_ops)"] {
        let (_server, mut client) =
            start(&["autovacuum = off", "vdb.flush_rows = 300", "vdb.max_workers = 0"], index, 1000);
        let mut sizes = Vec::new();
        for round in 0..60 {
            client
                .batch_execute(&format!("UPDATE items SET v = vec(id + {round}) WHERE id % 2 = {round} % 2"))
                .expect("updates");
            client.batch_execute("VACUUM items").expect("VACUUM");
            sizes.push(number(&mut client, "SELECT pg_relation_size('items_v')"));
        }
        let (early, late) = (sizes[29], sizes[59]);
        assert!(late <= early * 115 / 100, "{index}: {sizes:?}");
        assert_eq!(findings(&mut client, "items_v"), [""; 0], "{index}");
    }
}

#[test]
fn temporary_and_new_tables_are_flushed_by_their_own_backend() {
    let server = Server::start(&["vdb.flush_rows = 200"]);
    let mut client = server.connect();
    client
        .batch_execute(&format!(
            "CREATE EXTENSION vdb; {VEC};
             CREATE TEMPORARY TABLE items (id int, v vector(24));
             CREATE INDEX items_v ON items USING vdb_hnsw (v vector_l2_ops);
             INSERT INTO items SELECT i, vec(i) FROM generate_series(1, 1500) i"
        ))
        .expect("a temporary table");
    assert!(number(&mut client, "SELECT sealed_rows FROM vdb_index_stats('items_v')") >= 1000);
    assert_eq!(findings(&mut client, "items_v"), [""; 0]);
    client
        .batch_execute(
            "BEGIN; CREATE TABLE news (id int, v vector(24)); CREATE INDEX news_v ON news USING vdb_ivf (v vector_l2_ops);
             INSERT INTO news SELECT i, vec(i) FROM generate_series(1, 1500) i; COMMIT",
        )
        .expect("a new table");
    assert!(number(&mut client, "SELECT sealed_rows FROM vdb_index_stats('news_v')") >= 1000);
    assert_eq!(findings(&mut client, "news_v"), [""; 0]);
}

#[test]
fn only_the_owner_may_change_or_check_an_index() {
    let (server, mut client) = start(&[], "vdb_hnsw (v vector_l2_ops)", 10);
    client.batch_execute("CREATE ROLE stranger; GRANT SELECT ON items TO stranger").expect("a role");
    let mut stranger = server.connect();
    stranger.batch_execute("SET ROLE stranger").expect("SET ROLE");
    let calls = [
        "vdb_flush('items_v')",
        "vdb_compact('items_v')",
        "vdb_check('items_v', true)",
        "vdb_calibrate('items_v', 5)",
        "vdb_index_stats('items_v')",
        "vdb_segments('items_v')",
        "vdb_segment_parts('items_v')",
        "vdb_index_tasks('items_v')",
    ];
    for call in calls {
        let error = stranger.batch_execute(&format!("SELECT {call}")).expect_err(call);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{call}");
    }
    let refused = stranger.batch_execute("SET vdb.flush_rows = 100").expect_err("a worker's setting");
    assert_eq!(refused.code().map(|code| code.code()), Some("42501"));
    client.batch_execute("INSERT INTO items SELECT i, vec(i) FROM generate_series(11, 20) i").expect("rows");
    client.batch_execute("SELECT vdb_flush('items_v')").expect("a task");
    assert!(number(&mut client, "SELECT count(*) FROM vdb_tasks") > 0);
    assert_eq!(number(&mut stranger, "SELECT count(*) FROM vdb_tasks"), 0, "tasks of others are not shown");
    client.batch_execute("GRANT pg_read_all_stats TO stranger").expect("a grant");
    assert!(number(&mut stranger, "SELECT count(*) FROM vdb_tasks") > 0, "but to those who monitor");
    stranger.batch_execute("SELECT FROM vdb_segments('items_v')").expect("who monitors may look");
    for call in ["vdb_flush('items_v')", "vdb_compact('items_v')"] {
        let error = client.batch_execute(&format!("BEGIN READ ONLY; SELECT {call}")).expect_err(call);
        assert_eq!(error.code().map(|code| code.code()), Some("25006"), "{call}");
        client.batch_execute("ROLLBACK").expect("ROLLBACK");
        let error = client
            .batch_execute(&format!("SELECT {}", call.replace("items_v", "items_pkey")))
            .expect_err(call);
        assert_eq!(error.code().map(|code| code.code()), Some("42809"), "{call}");
    }
}

#[test]
fn the_launcher_flushes_what_is_old() {
    let settings = ["shared_preload_libraries = 'vdb'", "vdb.naptime = 1", "vdb.flush_age = 1"];
    let (_server, mut client) = start(&settings, "vdb_hnsw (v vector_l2_ops)", 10);
    client.batch_execute("INSERT INTO items SELECT i, vec(i) FROM generate_series(11, 20) i").expect("rows");
    wait_until(&mut client, "(SELECT growing_rows = 0 FROM vdb_index_stats('items_v'))");
    assert_eq!(findings(&mut client, "items_v"), [""; 0]);
}

#[test]
fn a_task_that_fails_is_seen_and_tried_again() {
    let (server, mut client) =
        start(&["vdb.flush_rows = 1000", "vdb.compact_segments = 2", "autovacuum = off"], SLOWLY_MERGED, 10);
    begin_compaction(&mut client);
    // The worker is terminated; the next one takes over the task and frees the pages written.
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM vdb_tasks WHERE state = 'running'";
    assert!(number(&mut client, ended) > 0);
    wait_until(
        &mut client,
        "EXISTS (SELECT FROM vdb_tasks WHERE state = 'failed' AND error LIKE '%interrupted%')",
    );
    assert_eq!(findings(&mut client, "items_v"), [""; 0]);
    // A failed task is not tried again within two seconds; no other statement asks for a worker
    // later.
    std::thread::sleep(Duration::from_secs(3));
    client.batch_execute("VACUUM items").expect("a VACUUM, which asks for a worker");
    wait_until(
        &mut client,
        "EXISTS (SELECT FROM vdb_tasks WHERE kind = 'compaction' AND state = 'completed')",
    );
    wait_until(&mut client, NOTHING_LEFT);
    assert_eq!(findings(&mut client, "items_v"), [""; 0]);

    // A segment that cannot be read cannot be merged.
    let path = "SELECT current_setting('data_directory') || '/' || pg_relation_filepath('items_v')";
    let path: String = client.query_one(path, &[]).expect("a path").get(0);
    drop(client);
    server.stop();
    let mut content = std::fs::read(&path).expect("the index's file");
    const PAGE: usize = 8192;
    const KIND: usize = PAGE - 14;
    const GRAPH: u8 = 10;
    // Every page, as some may be free.
    content.chunks_exact_mut(PAGE).filter(|page| page[KIND] == GRAPH).for_each(|page| page[100] ^= 1);
    std::fs::write(&path, content).expect("a damaged file");
    server.launch();
    let mut client = server.connect();
    client.batch_execute("DELETE FROM items WHERE id % 2 = 0").expect("deletes");
    client.batch_execute("VACUUM items").expect("VACUUM");
    let failed = "state = 'failed' AND error LIKE '%corrupted%'";
    wait_until(&mut client, &format!("(SELECT count(*) >= 2 FROM vdb_tasks WHERE {failed})"));
    client.batch_execute("REINDEX INDEX items_v").expect("REINDEX");
    assert_eq!(findings(&mut client, "items_v"), [""; 0]);
}

#[test]
fn without_room_for_a_worker_the_backend_does_it() {
    for setting in ["max_worker_processes = 0", "vdb.max_workers = 0"] {
        let settings = [
            "shared_preload_libraries = 'vdb'",
            "max_logical_replication_workers = 0",
            "vdb.flush_rows = 200",
            setting,
        ];
        let (_server, mut client) = start(&settings, "vdb_hnsw (v vector_l2_ops)", 10);
        client
            .batch_execute("INSERT INTO items SELECT i, vec(i) FROM generate_series(11, 2000) i")
            .expect("rows");
        let backend = "SELECT growing_rows < 400 AND segments < 8 FROM vdb_index_stats('items_v')";
        assert!(client.query_one(backend, &[]).expect("statistics").get::<_, bool>(0), "{setting}");
        assert_eq!(findings(&mut client, "items_v"), [""; 0]);
    }
}
