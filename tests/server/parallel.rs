//! Builds with parallel workers.

use crate::support::server::Server;
use crate::{by_index, exactly};
use postgres::error::SqlState;
use postgres::{Client, Config, NoTls};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The final rows of the table, and those of them that an index contains.
const ROWS: i64 = 4500;
const INDEXED: i64 = 4400;

/// A table that is large enough for a worker. Its row versions lie on many pages; some are dead,
/// some have no vector. `told(v)` returns `v` and reports every thousandth time which process
/// computes it. `refused(v)` rejects one value.
const SETUP: &str = "
    CREATE EXTENSION vdb;
    CREATE TABLE items (id int, bucket int, v vector(3), filler text DEFAULT repeat('x', 500))
        WITH (parallel_workers = 1, autovacuum_enabled = off);
    INSERT INTO items SELECT i, i % 10, array[i % 97, i % 89, i % 83]::vector FROM generate_series(1, 5000) i;
    DELETE FROM items WHERE id % 10 = 3;
    UPDATE items SET bucket = bucket + 100 WHERE id % 10 = 4;
    UPDATE items SET v = NULL WHERE id % 50 = 1;
    CREATE FUNCTION told(v vector) RETURNS vector IMMUTABLE PARALLEL SAFE LANGUAGE plpgsql
        SET search_path = public AS $$
        BEGIN
            IF (v <-> '[0,0,0]')::int % 10 = 0 THEN RAISE NOTICE 'told'; PERFORM pg_sleep(0.001); END IF;
            RETURN v;
        END $$;
    CREATE FUNCTION refused(v vector) RETURNS vector IMMUTABLE PARALLEL SAFE LANGUAGE plpgsql
        SET search_path = public AS $$
        BEGIN
            IF v IS NOT NULL THEN PERFORM pg_sleep(0.001); END IF;
            IF v <-> '[50,50,50]' < 10 THEN RAISE 'refused by %', current_setting('is_superuser'); END IF;
            RETURN v;
        END $$;
    SET max_parallel_maintenance_workers = 2";

/// A server, a client, and the processes that notices name.
fn start() -> (Server, Client, Arc<Mutex<Vec<String>>>) {
    let server = Server::start(&[]);
    let notices = Arc::new(Mutex::new(Vec::new()));
    let put = Arc::clone(&notices);
    let mut client = server
        .url()
        .parse::<Config>()
        .expect("a valid URL")
        .notice_callback(move |notice| put.lock().unwrap().push(format!("{:?}", notice.where_())))
        .connect(NoTls)
        .expect("the server accepts connections");
    client.batch_execute(SETUP).expect("set-up");
    notices.lock().unwrap().clear();
    (server, client, notices)
}

/// Whether there are processors for several threads of a build.
fn has_processors() -> bool {
    std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1)
}

fn number(client: &mut Client, query: &str) -> i64 {
    client.query_one(query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

/// Searches and checks find every row in the index once.
fn assert_complete(client: &mut Client, index: &str, vector: &str) {
    let findings = client.query("SELECT finding FROM vdb_check($1::text::regclass, true)", &[&index]);
    assert!(findings.expect("a check").is_empty());
    assert_eq!(number(client, &format!("SELECT sum(rows)::bigint FROM vdb_segments('{index}')")), INDEXED);
    let told = format!("SELECT reltuples::bigint FROM pg_class WHERE oid = '{index}'::regclass");
    assert_eq!(number(client, &told), INDEXED, "what PostgreSQL was told");
    assert_eq!(number(client, "SELECT reltuples::bigint FROM pg_class WHERE oid = 'items'::regclass"), ROWS);
    client.batch_execute("SET vdb.probes = 1000; SET vdb.ef_search = 1000").expect("settings");
    for filter in ["", "WHERE bucket = 104", "WHERE bucket BETWEEN 2 AND 6"] {
        let query = format!("SELECT id FROM items {filter} ORDER BY {vector} <-> '[50.2,40.3,30.4]'");
        let sorted = |mut ids: Vec<i32>| {
            ids.sort_unstable();
            ids
        };
        // Many far rows have equal distances.
        let near = format!("{query} LIMIT 20");
        assert_eq!(sorted(by_index(client, &near)), sorted(exactly(client, &near)), "{near}");
    }
}

#[test]
fn workers_lose_no_rows() {
    let (_server, mut client, notices) = start();
    for am in ["vdb_hnsw", "vdb_ivf"] {
        for concurrently in ["", "CONCURRENTLY"] {
            client
                .batch_execute(&format!(
                    "CREATE INDEX {concurrently} items_v ON items USING {am}
                         ((told(v)::vector(3)) vector_l2_ops, bucket)"
                ))
                .unwrap_or_else(|error| panic!("{am} {concurrently}: {error:?}"));
            let notices = std::mem::take(&mut *notices.lock().unwrap());
            let by_workers = notices.iter().filter(|place| place.contains("parallel worker")).count();
            assert!(by_workers < notices.len(), "the backend does its share: {notices:?}");
            assert!(by_workers > 0 || !has_processors(), "{am} {concurrently}: no worker has helped");
            assert_complete(&mut client, "items_v", "told(v)::vector(3)");
            client.batch_execute("DROP INDEX items_v").expect("the index goes");
        }
    }
}

#[test]
fn no_worker_helps_where_none_may() {
    let (_server, mut client, notices) = start();
    for (before, after) in [
        ("SET max_parallel_maintenance_workers = 0", "SET max_parallel_maintenance_workers = 2"),
        ("ALTER FUNCTION told PARALLEL UNSAFE", "ALTER FUNCTION told PARALLEL SAFE"),
        ("ALTER TABLE items SET (parallel_workers = 0)", "ALTER TABLE items SET (parallel_workers = 1)"),
    ] {
        client
            .batch_execute(&format!(
                "{before}; CREATE INDEX items_v ON items USING vdb_ivf ((told(v)::vector(3)) vector_l2_ops, bucket)"
            ))
            .unwrap_or_else(|error| panic!("{before}: {error:?}"));
        let notices = std::mem::take(&mut *notices.lock().unwrap());
        assert!(!notices.is_empty() && notices.iter().all(|place| !place.contains("parallel worker")));
        assert_complete(&mut client, "items_v", "told(v)::vector(3)");
        client.batch_execute(&format!("DROP INDEX items_v; {after}")).expect("as before");
    }
}

#[test]
fn errors_and_cancels_end_all() {
    let (server, mut client, _notices) = start();
    for am in ["vdb_hnsw", "vdb_ivf"] {
        let create =
            format!("CREATE INDEX items_v ON items USING {am} ((refused(v)::vector(3)) vector_l2_ops)");
        let error = client.batch_execute(&create).expect_err("rows are refused");
        let message = error.as_db_error().expect("the server's").message();
        assert_eq!(message, "refused by on", "{am}");

        let begin = Instant::now();
        client
            .batch_execute("ALTER FUNCTION refused COST 1; SET statement_timeout = '300ms'")
            .expect("settings");
        let slow = create.replace("refused(v)", "told(refused(v + '[1000,0,0]'))");
        let error = client.batch_execute(&slow).expect_err("too slow");
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{am}: {error:?}");
        assert!(begin.elapsed() < Duration::from_secs(3), "{am}: {:?}", begin.elapsed());
        client.batch_execute("RESET statement_timeout").expect("a setting");

        let workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'";
        let mut other = server.connect();
        while number(&mut other, workers) > 0 {
            assert!(begin.elapsed() < Duration::from_secs(30), "{am}: a worker stays behind");
            std::thread::sleep(Duration::from_millis(20));
        }
        // The next build succeeds.
        client
            .batch_execute(&format!("CREATE INDEX items_v ON items USING {am} (v vector_l2_ops, bucket)"))
            .expect("an index");
        assert_complete(&mut client, "items_v", "v");
        client.batch_execute("DROP INDEX items_v").expect("the index goes");
    }
}
