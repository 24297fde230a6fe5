//! Work that a timeout ends anywhere: it leaves no lock, no pin and no task behind, and the index as sound as before.

use crate::lifecycle::{findings, number};
use crate::support::server::Server;
use postgres::Client;

/// What is done to a table and its index, each in a transaction of its own.
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

/// Whether a session has left anything behind, as another sees it.
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

#[test]
fn a_timeout_anywhere_leaves_nothing_behind() {
    let mut ended = 0;
    for index in [
        "vdb_hnsw (v vector_l2_ops, id)",
        "vdb_hnsw (v vector_l2_ops) WITH (rerank = heap)",
        "vdb_ivf (v vector_l2_ops, id) WITH (lists = 60)",
    ] {
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
                // It may itself run out of time.
                while client.batch_execute("SET statement_timeout = 0").is_err() {}
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
