//! Flushes, compactions, vacuums, searches and DDL at the same time.

use crate::lifecycle::{
    SLOWLY_MERGED, VEC, begin_compaction, findings, mean_recall, number, start, wait_until,
};
use crate::support::server::Server;
use crate::{by_index, ids};
use postgres::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const GRAPH: &str = "vdb_hnsw (v vector_l2_ops)";
const LISTS: &str = "vdb_ivf (v vector_l2_ops) WITH (lists = 30)";

/// Repeats statements until a flag stops it; panics if one fails.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Load {
    fn begin(
        server: &Server,
        count: u64,
        statement: impl Fn(u64, u64) -> String + Clone + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|worker| {
            let (mut client, stop, statement) = (server.connect(), stop.clone(), statement.clone());
            std::thread::spawn(move || {
                let mut done = 0;
                while !stop.load(Ordering::Relaxed) {
                    let sql = statement(worker, done);
                    client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                    done += 1;
                }
                done
            })
        });
        Self { threads: threads.collect(), stop }
    }

    /// The number of statements that it has run.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("no statement fails")).sum()
    }
}

#[test]
fn glances_see_their_pages_while_buffers_change_hands() {
    // The index alone has more pages than there are buffers.
    let index = "vdb_hnsw (v vector_l2_ops) WITH (layout = compact)";
    let (server, mut client) = start(&["shared_buffers = 1MB"], index, 8000);
    client.batch_execute("SELECT vdb_flush('items_v')").expect("a flush");
    let pages = "SELECT pg_relation_size('items_v') / 8192 - setting::bigint FROM pg_settings WHERE name = 'shared_buffers'";
    assert!(number(&mut client, pages) > 0);
    let reads = Load::begin(&server, 1, |_, _| "SELECT sum(length(v::text)) FROM items".into());
    let searches = Load::begin(&server, 2, |worker, i| {
        format!(
            "SET enable_seqscan = off; SELECT id FROM items ORDER BY v <-> vec({}) LIMIT 10",
            2 * i + worker
        )
    });
    for round in 0..5 {
        let recall = mean_recall(&mut client);
        assert!(recall >= 0.95, "round {round}: recall {recall}");
    }
    assert!(reads.end() > 0 && searches.end() > 10);
}

/// Every row of the table is in the index, and the index is sound.
fn expect_sound(client: &mut Client, what: &str) {
    assert_eq!(findings(client, "items_v"), [""; 0], "{what}");
}

#[test]
fn everything_at_once_leaves_a_sound_index() {
    for index in [
        GRAPH,
        LISTS,
        "vdb_hnsw (v vector_l2_ops) WITH (rerank = heap)",
        "vdb_ivf (v vector_l2_ops) WITH (rerank = heap, bits = 2)",
    ] {
        let (server, mut client) = start(&["vdb.flush_rows = 200", "vdb.compact_segments = 2"], index, 1000);
        let inserts = Load::begin(&server, 2, |worker, i| {
            let first = 1_000_000 * (worker + 1) + i * 20;
            format!("INSERT INTO items SELECT i, vec(i) FROM generate_series({first}, {first} + 19) i")
        });
        let updates = Load::begin(&server, 1, |_, i| {
            format!("UPDATE items SET v = vec(id + 3) WHERE id = {}", i % 1000)
        });
        let deletes = Load::begin(&server, 1, |_, i| {
            format!("DELETE FROM items WHERE id IN ({}, {})", 1_000_000 + 7 * i, 2_000_000 + 3 * i)
        });
        let rollbacks = Load::begin(&server, 1, |_, i| {
            format!(
                "BEGIN; SAVEPOINT a; INSERT INTO items SELECT -{i} * 100 - i, vec(i) FROM generate_series(1, 30) i;
                 ROLLBACK TO a; INSERT INTO items SELECT -{i} * 100 - i, vec(i) FROM generate_series(50, 52) i; COMMIT"
            )
        });
        let searches = Load::begin(&server, 2, |worker, i| {
            format!(
                "SET enable_seqscan = off; SELECT id FROM items ORDER BY v <-> vec({}) LIMIT 20",
                worker * 1000 + i
            )
        });
        let maintenance = Load::begin(&server, 2, |worker, i| match (worker + i) % 4 {
            0 => "VACUUM items".into(),
            1 => "SELECT vdb_flush('items_v')".into(),
            2 => "SELECT vdb_compact('items_v')".into(),
            _ => "SELECT count(*) FROM vdb_check('items_v'); SELECT count(*) FROM vdb_tasks".into(),
        });
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(6) {
            expect_sound(&mut client, index);
        }
        let done = [inserts, updates, deletes, rollbacks, searches, maintenance].map(Load::end);
        assert!(done.iter().all(|&count| count > 5), "{index}: {done:?}");
        expect_sound(&mut client, index);
        client.batch_execute("VACUUM items; ").expect("VACUUM");
        client
            .batch_execute("SELECT vdb_flush('items_v'); SELECT vdb_compact('items_v')")
            .expect("a compaction");
        expect_sound(&mut client, index);
    }
}

#[test]
fn a_cursor_goes_on_over_a_compaction() {
    for index in [GRAPH, LISTS] {
        let (server, mut client) = start(&["autovacuum = off", "vdb.max_workers = 0"], index, 2000);
        let expected = by_index(&mut client, "SELECT id FROM items ORDER BY v <-> vec(7) LIMIT 300");
        client
            .batch_execute("INSERT INTO items SELECT i, vec(i + 100000) FROM generate_series(2001, 2100) i")
            .expect("rows");
        let expected_now = by_index(&mut client, "SELECT id FROM items ORDER BY v <-> vec(7) LIMIT 300");
        let mut reader = server.connect();
        reader
            .batch_execute(
                "SET enable_seqscan = off; SET enable_sort = off; BEGIN;
                 DECLARE c SCROLL CURSOR FOR SELECT id FROM items ORDER BY v <-> vec(7)",
            )
            .expect("a cursor");
        let mut answer = ids(&mut reader, "FETCH 50 FROM c");
        client.batch_execute("DELETE FROM items WHERE id % 2 = 0").expect("deletes");
        client.batch_execute("VACUUM items").expect("VACUUM");
        client
            .batch_execute("SELECT vdb_flush('items_v'); SELECT vdb_compact('items_v')")
            .expect("a compaction");
        // New segments need pages, while a cursor still reads those of the old ones.
        client
            .batch_execute("INSERT INTO items SELECT i, vec(i) FROM generate_series(5001, 7000) i; SELECT vdb_flush('items_v')")
            .expect("more rows");
        answer.extend(ids(&mut reader, "FETCH 250 FROM c"));
        assert_eq!(answer.len(), 300, "{index}");
        assert_eq!(answer, expected_now, "{index}: as when the cursor was opened");
        assert_eq!(
            ids(&mut reader, "FETCH BACKWARD 5 FROM c"),
            answer[294..299].iter().rev().copied().collect::<Vec<_>>()
        );
        reader.batch_execute("MOVE ABSOLUTE 0 IN c").expect("back to the start");
        assert_eq!(ids(&mut reader, "FETCH 10 FROM c"), answer[..10]);
        reader.batch_execute("COMMIT").expect("COMMIT");
        assert_eq!(expected.len(), 300);
        expect_sound(&mut client, index);
    }
}

#[test]
fn nested_loops_rescan_over_publications() {
    let (server, mut client) = start(&["vdb.flush_rows = 200"], GRAPH, 1000);
    let inserts = Load::begin(&server, 1, |_, i| {
        format!("INSERT INTO items VALUES ({}, vec({}))", 10_000 + i, 100_000 + i)
    });
    client.batch_execute("SET enable_seqscan = off").expect("setting");
    for _ in 0..20 {
        let nearest = ids(
            &mut client,
            "SELECT n.id FROM generate_series(1, 200) q,
             LATERAL (SELECT id FROM items ORDER BY v <-> vec(q) LIMIT 1) n",
        );
        let right = nearest.iter().zip(1..).filter(|(id, q)| *id == q).count();
        assert!(right >= 196, "{right} of 200");
    }
    assert!(inserts.end() > 20);
    expect_sound(&mut client, "after it");
}

#[test]
fn two_flushes_and_two_compactions_do_not_get_in_each_others_way() {
    let (server, mut client) = start(&["autovacuum = off"], GRAPH, 100);
    for round in 1..5 {
        client
            .batch_execute(&format!(
                "INSERT INTO items SELECT i, vec(i) FROM generate_series({round}001, {round}900) i"
            ))
            .expect("rows");
        let calls = ["vdb_flush", "vdb_flush", "vdb_compact", "vdb_compact"].map(|call| {
            let mut client = server.connect();
            std::thread::spawn(move || number(&mut client, &format!("SELECT {call}('items_v')")))
        });
        let rows = calls.map(|call| call.join().expect("no call fails"));
        // Each of them seals what is growing, and one was first.
        assert!(rows.iter().any(|&rows| rows >= 900), "{rows:?}");
        let growing = "SELECT growing_rows FROM vdb_index_stats('items_v')";
        assert_eq!(number(&mut client, growing), 0);
        expect_sound(&mut client, "after two of each");
    }
}

#[test]
fn ddl_does_not_wait_for_a_compaction() {
    let settings = [
        "vdb.flush_rows = 1000",
        "vdb.compact_segments = 2",
        "autovacuum = off",
        "max_parallel_maintenance_workers = 0",
    ];
    let (_server, mut client) = start(&settings, SLOWLY_MERGED, 10);
    begin_compaction(&mut client);
    let begin = Instant::now();
    client.batch_execute("ALTER INDEX items_v SET (m = 41)").expect("ALTER INDEX");
    let waited = begin.elapsed();
    assert!(waited < Duration::from_secs(3), "waited {waited:?}");
    // The compaction is postponed, not given up.
    wait_until(
        &mut client,
        "EXISTS (SELECT FROM vdb_tasks WHERE kind = 'compaction' AND state IN ('running', 'completed') AND started > now() - interval '1 minute')",
    );
    client.batch_execute("DROP INDEX items_v").expect("DROP INDEX");
}

#[test]
fn an_index_is_built_concurrently_under_traffic() {
    let server = Server::start(&["vdb.flush_rows = 200"]);
    let mut client = server.connect();
    client
        .batch_execute(&format!(
            "CREATE EXTENSION vdb; CREATE TABLE items (id int PRIMARY KEY, v vector(24)); {VEC};
             INSERT INTO items SELECT i, vec(i) FROM generate_series(1, 3000) i"
        ))
        .expect("set-up");
    let inserts = Load::begin(&server, 2, |worker, i| {
        format!("INSERT INTO items VALUES ({}, vec({i}))", 10_000 * (worker + 1) + i)
    });
    let changes = Load::begin(&server, 1, |_, i| {
        format!(
            "UPDATE items SET v = vec(id + 1) WHERE id = {}; DELETE FROM items WHERE id = {}",
            i % 3000,
            10_000 + 2 * i
        )
    });
    for (name, index) in [("a", GRAPH), ("b", LISTS)] {
        client
            .batch_execute(&format!("CREATE INDEX CONCURRENTLY items_{name} ON items USING {index}"))
            .expect("a build");
    }
    client.batch_execute("REINDEX INDEX CONCURRENTLY items_a").expect("a rebuild");
    inserts.end();
    changes.end();
    for index in ["items_a", "items_b"] {
        assert_eq!(findings(&mut client, index), [""; 0]);
    }
}

#[test]
fn a_prepared_transaction_keeps_its_rows() {
    let (server, mut client) = start(&["max_prepared_transactions = 4", "vdb.flush_rows = 100"], GRAPH, 100);
    client
        .batch_execute(
            "BEGIN; INSERT INTO items SELECT i, vec(i) FROM generate_series(1001, 1300) i; PREPARE TRANSACTION 'kept';
             BEGIN; INSERT INTO items SELECT i, vec(i) FROM generate_series(2001, 2300) i; PREPARE TRANSACTION 'lost'",
        )
        .expect("two prepared transactions");
    let nearest =
        |client: &mut Client| by_index(client, "SELECT id FROM items ORDER BY v <-> vec(1100) LIMIT 1");
    assert_ne!(nearest(&mut client), [1100]);
    client.batch_execute("SELECT vdb_flush('items_v'); SELECT vdb_compact('items_v')").expect("a compaction");
    server.kill();
    server.launch();
    let mut client = server.connect();
    for second in ["COMMIT PREPARED 'kept'", "ROLLBACK PREPARED 'lost'"] {
        client.batch_execute(second).expect("the second phase");
    }
    client.batch_execute("VACUUM items").expect("VACUUM");
    assert_eq!(nearest(&mut client), [1100]);
    assert_eq!(number(&mut client, "SELECT count(*) FROM items"), 400);
    expect_sound(&mut client, "after the second phase");
}

#[test]
fn isolation_levels_hold_over_searches() {
    for index in [GRAPH, LISTS] {
        let (server, mut client) = start(&[], index, 500);
        let nearest = "SELECT id FROM items ORDER BY v <-> vec(7) LIMIT 5";

        // REPEATABLE READ: the same answer before and after other sessions insert, delete, vacuum
        // and compact.
        let mut other = server.connect();
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").expect("a transaction");
        let before = by_index(&mut client, nearest);
        for statement in [
            "INSERT INTO items SELECT i, vec(7) FROM generate_series(1001, 1020) i",
            "DELETE FROM items WHERE id = 7",
            "VACUUM items",
            "SELECT vdb_flush('items_v')",
            "SELECT vdb_compact('items_v')",
        ] {
            other.batch_execute(statement).expect(statement);
        }
        assert_eq!(by_index(&mut client, nearest), before, "{index}");
        client.batch_execute("COMMIT").expect("the end");
        assert_ne!(by_index(&mut client, nearest), before, "{index}");

        // SERIALIZABLE: two transactions that each read what the other writes cannot both commit.
        for session in [&mut client, &mut other] {
            session.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE").expect("a transaction");
            by_index(session, nearest);
        }
        client.batch_execute("INSERT INTO items VALUES (2001, vec(7))").expect("an insert");
        let outcomes = [
            other.batch_execute("INSERT INTO items VALUES (2002, vec(7)); COMMIT"),
            client.batch_execute("COMMIT"),
        ];
        let failures: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        assert_eq!(failures.len(), 1, "{index}");
        assert_eq!(failures[0].code().map(|code| code.code()), Some("40001"), "{index}");
        let _ = other.batch_execute("ROLLBACK");
    }
}
