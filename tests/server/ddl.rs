//! DDL on tables and indexes, dump and restore.

use crate::support::server::Server;
use crate::{by_index, exactly};
use postgres::Client;
use postgres::error::SqlState;
use std::time::{Duration, Instant};

const ROWS: &str =
    "INSERT INTO items SELECT i, array[i % 97, i % 89, i % 83]::vector FROM generate_series(1, 3000) i";
const QUERY: &str = "SELECT id FROM items ORDER BY v <-> '[50.2,40.3,30.4]', id LIMIT 5";

fn server() -> (Server, Client) {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.batch_execute("CREATE EXTENSION vdb; CREATE TABLE items (id int, v vector(3))").expect("set-up");
    client.batch_execute(ROWS).expect("rows");
    (server, client)
}

/// The index returns the same rows as an exact search.
fn assert_agrees(client: &mut Client) {
    let nearest = QUERY.replace(", id LIMIT", " LIMIT");
    let answer = by_index(client, &nearest);
    assert_eq!(answer, exactly(client, QUERY));
    assert!(!answer.is_empty());
}

#[test]
fn indexes_are_built_rebuilt_and_dropped_as_others_are() {
    let (server, mut client) = server();
    let mut writer = server.connect();
    let writing = std::thread::spawn(move || {
        for i in 0..300 {
            writer
                .batch_execute(&format!("INSERT INTO items VALUES ({}, '[900,{i},0]')", 10_000 + i))
                .expect("an insert during the build");
        }
    });
    client
        .batch_execute("CREATE INDEX CONCURRENTLY items_v ON items USING vdb_hnsw (v vector_l2_ops)")
        .expect("CREATE INDEX CONCURRENTLY");
    writing.join().expect("the writer");
    assert_agrees(&mut client);
    let late = by_index(&mut client, "SELECT id FROM items ORDER BY v <-> '[900,150,0]' LIMIT 1");
    assert_eq!(late, [10_150], "rows written meanwhile are indexed");

    client.batch_execute("REINDEX INDEX CONCURRENTLY items_v").expect("REINDEX CONCURRENTLY");
    assert_agrees(&mut client);
    client.batch_execute("REINDEX TABLE items").expect("REINDEX");
    assert_agrees(&mut client);
    client.batch_execute("VACUUM FULL items").expect("VACUUM FULL");
    assert_agrees(&mut client);
    client.batch_execute("CLUSTER items_id ON items").expect_err("no such index");
    client
        .batch_execute("CREATE INDEX second ON items USING vdb_hnsw (v vector_cosine_ops) WITH (m = 8)")
        .expect("a second index on the column");
    let cosine = "SELECT id FROM items ORDER BY v <=> '[1,2,3]' LIMIT 1";
    let distance = |client: &mut Client, id: i32| -> f64 {
        let query = format!("SELECT v <=> '[1,2,3]' FROM items WHERE id = {id}");
        client.query_one(&query, &[]).expect("a distance").get(0)
    };
    // Many directions are nearly equal; this tests only that the second index answers.
    client.batch_execute("SET vdb.ef_search = 1000").expect("setting");
    let (found, exact) = (by_index(&mut client, cosine)[0], exactly(&mut client, cosine)[0]);
    assert_eq!(distance(&mut client, found), distance(&mut client, exact));
    client.batch_execute("RESET vdb.ef_search").expect("setting");

    client.batch_execute("TRUNCATE items").expect("TRUNCATE");
    assert_eq!(by_index(&mut client, "SELECT id FROM items ORDER BY v <-> '[0,0,0]' LIMIT 5"), [0; 0]);
    client.batch_execute(ROWS).expect("rows");
    assert_agrees(&mut client);
    client.batch_execute("DROP INDEX items_v; DROP TABLE items").expect("DROP");
}

#[test]
fn partial_expression_temporary_and_unlogged_indexes() {
    let (_server, mut client) = server();
    client
        .batch_execute("CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops) WHERE id % 2 = 0")
        .expect("a partial index");
    let query = "SELECT id FROM items WHERE id % 2 = 0 ORDER BY v <-> '[50.2,40.3,30.4]' LIMIT 5";
    assert_eq!(by_index(&mut client, query), exactly(&mut client, query));

    client
        .batch_execute(
            "CREATE TABLE loose (id int, v vector);
             INSERT INTO loose SELECT id, v FROM items;
             INSERT INTO loose VALUES (-1, NULL);
             CREATE INDEX ON loose USING vdb_hnsw ((v::vector(3)) vector_l2_ops);
             CREATE INDEX ON loose USING vdb_hnsw ((binary_quantize(v)::bit(3)) bit_hamming_ops)",
        )
        .expect("expression indexes");
    let query = "SELECT id FROM loose ORDER BY v::vector(3) <-> '[50.2,40.3,30.4]' LIMIT 5";
    assert_eq!(by_index(&mut client, query), exactly(&mut client, query));
    let query = "SELECT id FROM loose ORDER BY binary_quantize(v)::bit(3) <~> B'111' LIMIT 5";
    assert_eq!(by_index(&mut client, query).len(), 5);

    for kind in ["TEMPORARY", "UNLOGGED"] {
        client
            .batch_execute(&format!(
                "DROP TABLE items; CREATE {kind} TABLE items (id int, v vector(3));
                 CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops); SET vdb.flush_rows = 500; {ROWS}"
            ))
            .expect("a table of this kind");
        assert_agrees(&mut client);
        client.batch_execute("DELETE FROM items WHERE id < 1000").expect("DELETE");
        client.batch_execute("VACUUM items").expect("VACUUM");
        assert_agrees(&mut client);
    }
    client
        .batch_execute(
            "CREATE TEMPORARY TABLE passing (id int, v vector(3)) ON COMMIT DELETE ROWS;
             CREATE INDEX ON passing USING vdb_hnsw (v vector_l2_ops)",
        )
        .expect("a table emptied at every commit");
    for round in 1..4 {
        let mut transaction = client.transaction().expect("BEGIN");
        transaction
            .batch_execute(&format!("INSERT INTO passing SELECT i, array[i, {round}, 0]::vector FROM generate_series(1, 600) i; SET LOCAL enable_seqscan = off"))
            .expect("rows");
        let rows = transaction
            .query("SELECT id FROM passing ORDER BY v <-> '[77,0,0]' LIMIT 1", &[])
            .expect("an answer");
        assert_eq!(rows[0].get::<_, i32>(0), 77, "round {round}");
        transaction.commit().expect("COMMIT");
    }
}

#[test]
fn tablespaces_dump_and_restore() {
    let (server, mut client) = server();
    client.batch_execute("CREATE INDEX items_v ON items USING vdb_hnsw (v vector_l2_ops) WITH (m = 12, ef_construction = 48)").expect("an index");
    let folder = server.scratch("space");
    client
        .batch_execute(&format!("CREATE TABLESPACE elsewhere LOCATION '{}'", folder.display()))
        .expect("a tablespace");
    client.batch_execute("ALTER INDEX items_v SET TABLESPACE elsewhere").expect("a move");
    assert_agrees(&mut client);
    client
        .batch_execute("INSERT INTO items VALUES (70000, '[50.2,40.3,30.4]')")
        .expect("an insert after the move");
    assert_eq!(by_index(&mut client, &QUERY.replace(", id LIMIT", " LIMIT"))[0], 70000);
    client
        .batch_execute("ALTER INDEX items_v SET TABLESPACE pg_default; DELETE FROM items WHERE id = 70000")
        .expect("and back");

    client.batch_execute("CREATE DATABASE copy").expect("a database");
    server.dump_and_restore("postgres", "copy");
    let mut copy = Client::connect(&server.url().replace("dbname=postgres", "dbname=copy"), postgres::NoTls)
        .expect("a connection");
    assert_agrees(&mut copy);
    let definition: String = copy
        .query_one("SELECT indexdef FROM pg_indexes WHERE indexname = 'items_v'", &[])
        .expect("a definition")
        .get(0);
    assert!(definition.contains("m='12'") && definition.contains("ef_construction='48'"), "{definition}");
    drop(copy);
    client.batch_execute("DROP DATABASE copy").expect("tidying up");
    client.batch_execute("DROP TABLESPACE elsewhere").expect("tidying up");
}

#[test]
fn a_build_shows_its_progress_and_is_cancelled_at_once() {
    let server = Server::start(&["maintenance_work_mem = '1GB'"]);
    let mut client = server.connect();
    client
        .batch_execute(
            "CREATE EXTENSION vdb; CREATE TABLE items (id int, v vector(64));
             INSERT INTO items SELECT i, (SELECT array_agg(random()) FROM generate_series(1, 64) WHERE i > 0)::real[]::vector
             FROM generate_series(1, 60000) i",
        )
        .expect("set-up");
    let token = client.cancel_token();
    let build = std::thread::spawn(move || {
        let result = client.batch_execute(
            "CREATE INDEX items_v ON items USING vdb_hnsw (v vector_l2_ops) WITH (ef_construction = 400)",
        );
        (result, Instant::now(), client)
    });
    let mut observer = server.connect();
    let begin = Instant::now();
    loop {
        let progress = observer
            .query_opt("SELECT phase, tuples_done, tuples_total FROM pg_stat_progress_create_index", &[])
            .expect("the view");
        if let Some(row) = progress
            && row.get::<_, &str>(0) == "building index: building graph"
            && row.get::<_, i64>(1) > 100
        {
            assert_eq!(row.get::<_, i64>(2), 60_000);
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(120), "the phase never came");
        std::thread::sleep(Duration::from_millis(5));
    }
    let cancelled = Instant::now();
    token.cancel_query(postgres::NoTls).expect("a cancel request");
    let (result, ended, mut client) = build.join().expect("the build's thread");
    assert_eq!(result.expect_err("the build was cancelled").code(), Some(&SqlState::QUERY_CANCELED));
    let delay = ended - cancelled;
    // The limit is 100 ms; the rest allows for other tests that run at the same time.
    assert!(delay < Duration::from_millis(1000), "the cancel took {delay:?}");

    client.batch_execute("SET statement_timeout = 1000").expect("a setting");
    let begin = Instant::now();
    let error = client
        .batch_execute(
            "CREATE INDEX items_v ON items USING vdb_hnsw (v vector_l2_ops) WITH (ef_construction = 400)",
        )
        .expect_err("the build takes longer");
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
    assert!(begin.elapsed() < Duration::from_millis(2500), "the timeout took {:?}", begin.elapsed());
    client.batch_execute("RESET statement_timeout; SELECT 1").expect("the backend lives");
}
