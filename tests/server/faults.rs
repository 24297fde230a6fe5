//! An error at any point of any work leaves no lock, pin or task behind, and the index stays sound.
//!
//! `VDB_FAULTS=all`, which `make test-assert` sets, tries about six times as many places.

use crate::lifecycle::{NOTHING_LEFT, findings, number, wait_until};
use crate::support::server::Server;
use postgres::Client;
use std::time::{Duration, Instant};

/// Work on a table and its index, each step in its own transaction.
const STEPS: &[&str] = &[
    "INSERT INTO items SELECT i, vec(i) FROM generate_series(1, 3000) i",
    "SELECT vdb_flush('items_v')",
    "DELETE FROM items WHERE id % 3 = 0",
    "VACUUM (INDEX_CLEANUP ON) items",
    "SELECT vdb_compact('items_v')",
    "SELECT vdb_calibrate('items_v', 20)",
    "SELECT id FROM items ORDER BY v <-> vec(5)",
    "SELECT count(*) FROM items WHERE v <-> vec(5) < 3",
    "REINDEX INDEX items_v",
];

fn start(index: &str) -> (Server, Client) {
    let server = Server::start(&["fsync = off", "autovacuum = off", "vdb.max_workers = 0", "jit = off"]);
    let mut client = server.connect();
    client
        .batch_execute(&format!(
            "CREATE EXTENSION vdb; CREATE EXTENSION pg_buffercache;
             CREATE FUNCTION vec(i int) RETURNS vector LANGUAGE sql IMMUTABLE
             AS 'SELECT array_agg(sin(i * d))::vector(24) FROM generate_series(1, 24) d';
             CREATE TABLE items (id int, v vector(24));
             INSERT INTO items SELECT i, vec(i) FROM generate_series(1, 3000) i;
             CREATE INDEX items_v ON items USING {index};
             SET enable_seqscan = off; SET enable_sort = off"
        ))
        .expect("set-up");
    (server, client)
}

/// Whether a session has left anything behind, as another session sees it.
fn assert_clean(client: &mut Client, observer: &mut Client, what: &str) {
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("the session goes on").get(0);
    let locks = format!("SELECT count(*) FROM pg_locks WHERE pid = {pid} AND locktype <> 'virtualxid'");
    assert_eq!(number(observer, &locks), 0, "{what}");
    let pins = "SELECT count(*) FROM pg_buffercache
                WHERE relfilenode = pg_relation_filenode('items_v') AND pinning_backends > 0";
    assert_eq!(number(observer, pins), 0, "{what}");
    let running = "SELECT count(*) FROM vdb_tasks WHERE state = 'running'";
    assert_eq!(number(observer, running), 0, "{what}");
}

const INDEXES: [&str; 3] = [
    "vdb_hnsw (v vector_l2_ops, id)",
    "vdb_hnsw (v vector_l2_ops) WITH (rerank = heap)",
    "vdb_ivf (v vector_l2_ops, id) WITH (lists = 60)",
];

#[test]
fn a_timeout_anywhere_leaves_nothing_behind() {
    let mut ended = 0;
    for index in INDEXES {
        let (server, mut client) = start(index);
        let mut observer = server.connect();
        for timeout in [1, 2, 4, 7, 12, 20, 35, 60, 100] {
            for step in STEPS {
                let what = format!("{index}, {timeout} ms: {step}");
                client.batch_execute(&format!("SET statement_timeout = {timeout}")).expect("a setting");
                if let Err(error) = client.batch_execute(step) {
                    assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{what}: {error:?}");
                    ended += 1;
                }
                // The step may time out, or so late that the next statement gets the error.
                while client.batch_execute("SET statement_timeout = 0").is_err()
                    || client.batch_execute("SELECT").is_err()
                {}
                assert_clean(&mut client, &mut observer, &what);
            }
            assert_eq!(findings(&mut observer, "items_v"), [""; 0], "{index}, {timeout} ms");
        }
        for step in STEPS {
            client.batch_execute(step).expect(step);
        }
        assert_eq!(findings(&mut observer, "items_v"), [""; 0], "{index}");
        assert_eq!(server.crashes(), [""; 0]);
    }
    println!("{ended} statements were ended");
    assert!(ended > 30, "{ended}");
}

/// PostgreSQL with assertions can empty its catalog caches wherever another session's DDL could.
#[test]
fn caches_may_be_emptied_anywhere() {
    for index in INDEXES {
        let (server, mut client) = start(index);
        let assertions: String = client.query_one("SHOW debug_assertions", &[]).expect("a setting").get(0);
        if assertions == "on" {
            client.batch_execute("SET debug_discard_caches = 1").expect("a setting");
        } else {
            println!("SKIPPED: PostgreSQL without assertions cannot empty its caches");
            return;
        }
        for step in STEPS {
            client.batch_execute(step).expect(step);
        }
        let mut observer = server.connect();
        assert_eq!(findings(&mut observer, "items_v"), [""; 0], "{index}");
        assert_eq!(server.crashes(), [""; 0]);
    }
}

/// Kinds of faults (see `src/pg/fault.rs`).
const FAULTS: [&str; 3] = ["read", "extend", "log"];

fn all_places() -> bool {
    std::env::var("VDB_FAULTS").is_ok_and(|which| which == "all")
}

/// The counts at which a fault is injected: dense at first, then increasingly far apart.
fn places() -> impl Iterator<Item = u32> {
    let growth = if all_places() { 1.25 } else { 5.0 };
    std::iter::successors(Some(1), move |&at| Some((f64::from(at) * growth).ceil() as u32))
}

#[test]
fn a_fault_anywhere_leaves_nothing_behind() {
    let mut injected = 0;
    for index in INDEXES {
        let (server, mut client) = start(index);
        let mut observer = server.connect();
        for fault in FAULTS {
            client.batch_execute(&format!("SET vdb.fault = {fault}")).expect("a test build");
            for step in STEPS {
                for at in places() {
                    let what = format!("{index}, {fault} {at}: {step}");
                    client.batch_execute(&format!("SET vdb.fault_at = {at}")).expect("a setting");
                    let result = client.batch_execute(step);
                    // A page is read without a fault, so that the count starts again.
                    client.batch_execute("SET vdb.fault_at = 0").expect("a setting");
                    client
                        .batch_execute("SELECT FROM items ORDER BY v <-> vec(5) LIMIT 1")
                        .expect("a search");
                    let Err(error) = result else { break };
                    assert_eq!(error.code().map(|code| code.code()), Some("58030"), "{what}: {error:?}");
                    injected += 1;
                    assert_clean(&mut client, &mut observer, &what);
                }
                assert_eq!(findings(&mut observer, "items_v"), [""; 0], "{index}, {fault}: {step}");
            }
        }
        assert_eq!(server.crashes(), [""; 0]);
    }
    println!("{injected} faults were injected");
    assert!(injected > 60, "{injected}");
}

/// Sets values that every process reads at its next reload, a worker at its start.
fn configure(client: &mut Client, settings: &[(&str, &str)]) {
    for (name, value) in settings {
        client.batch_execute(&format!("ALTER SYSTEM SET {name} = {value}")).expect("a setting");
    }
    client.batch_execute("SELECT pg_reload_conf()").expect("a reload");
}

#[test]
fn workers_go_on_after_a_fault() {
    let (server, mut client) = start(INDEXES[0]);
    for (number, index) in INDEXES[1..].iter().enumerate() {
        let create = format!("CREATE INDEX items_{number} ON items USING {index}");
        client.batch_execute(&create).expect("an index");
    }
    // Only workers get the faults.
    client.batch_execute("SET vdb.fault_at = 0").expect("a test build");
    configure(&mut client, &[("vdb.flush_rows", "500"), ("vdb.max_workers", "2")]);
    for fault in FAULTS {
        for at in places().take(if all_places() { 24 } else { 4 }) {
            configure(&mut client, &[("vdb.fault", fault), ("vdb.fault_at", &at.to_string())]);
            let insert = "INSERT INTO items SELECT i, vec(i) FROM generate_series(1, 600) i";
            client.batch_execute(insert).expect("inserts");
            let sealed = "NOT EXISTS (SELECT FROM pg_index i, vdb_index_stats(i.indexrelid) s
                                      WHERE i.indrelid = 'items'::regclass AND s.growing_rows >= 500)";
            wait_until(&mut client, sealed);
            wait_until(&mut client, NOTHING_LEFT);
        }
    }
    // A worker that failed while it held a lock on a page still handles signals.
    let failures = |server: &Server| server.log().matches("failed: injected fault").count();
    let (first, mut ended) = (failures(&server), 0);
    for at in ["1", "2", "3", "4"] {
        configure(&mut client, &[("vdb.fault", "log"), ("vdb.fault_at", at)]);
        let before = failures(&server);
        client
            .batch_execute("INSERT INTO items SELECT i, vec(i) FROM generate_series(1, 600) i")
            .expect("inserts");
        let begin = Instant::now();
        while failures(&server) == before && begin.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Otherwise the workers would sleep for two seconds.
        let workers = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'vdb worker'";
        let pids: Vec<i32> =
            client.query(workers, &[]).expect("workers").iter().map(|row| row.get(0)).collect();
        ended += pids.len();
        for pid in &pids {
            client.execute("SELECT pg_terminate_backend($1)", &[pid]).expect("a signal");
        }
        std::thread::sleep(Duration::from_secs(1));
        let left = client.query(&format!("{workers} AND pid = ANY ($1)"), &[&pids]).expect("workers");
        assert_eq!(left.len(), 0, "log {at}");
    }
    assert!(failures(&server) > first && ended > 0, "{ended} workers were ended");
    configure(&mut client, &[("vdb.fault_at", "0")]);
    for index in ["items_v", "items_0", "items_1"] {
        assert_eq!(findings(&mut client, index), [""; 0], "{index}");
    }
    assert_eq!(server.crashes(), [""; 0]);
    let failed = failures(&server);
    println!("{failed} tasks failed");
    assert!(failed > 5, "{failed}");
}
