//! Servers that kill -9 ends at bad moments.

use crate::by_index;
use crate::lifecycle::findings;
use crate::support::server::Server;
use std::time::Duration;

const SET_UP: &str = "CREATE EXTENSION vdb;
    CREATE TABLE items (id int PRIMARY KEY, v vector(3));
    CREATE INDEX items_v ON items USING vdb_hnsw (v vector_l2_ops)";

#[test]
fn every_committed_row_is_found_after_a_kill() {
    let server = Server::start(&["synchronous_commit = on"]);
    let mut client = server.connect();
    client.batch_execute(SET_UP).expect("set-up");
    for round in 0..3 {
        // Writers that are killed during their work; only acknowledged rows count.
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let mut client = server.connect();
                std::thread::spawn(move || {
                    let _ = client.batch_execute("SET vdb.flush_rows = 200");
                    let first = round * 1_000_000 + writer * 100_000;
                    let mut acknowledged = first;
                    for i in first..first + 100_000 {
                        let statement = format!("INSERT INTO items VALUES ({i}, '[{i},{writer},{round}]')");
                        match client.batch_execute(&statement) {
                            Ok(()) => acknowledged = i + 1,
                            Err(_) => break,
                        }
                    }
                    (first, acknowledged)
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(1500));
        server.kill();
        let written: Vec<(i32, i32)> =
            writers.into_iter().map(|writer| writer.join().expect("no writer panics")).collect();
        server.launch();
        let mut client = server.connect();
        assert_eq!(findings(&mut client, "items_v"), [""; 0], "round {round}");
        for (first, after) in written {
            assert!(after > first + 100, "a writer got somewhere: {first}..{after}");
            for id in (first..after).step_by(((after - first) / 40).max(1) as usize).chain([after - 1]) {
                let query = format!(
                    "SELECT id FROM items ORDER BY v <-> (SELECT v FROM items WHERE id = {id}) LIMIT 1"
                );
                assert_eq!(by_index(&mut client, &query), [id], "row {id} of {first}..{after}");
            }
        }
        let count: i64 = client.query_one("SELECT count(*) FROM items", &[]).expect("count").get(0);
        let all = by_index(&mut client, "SELECT id FROM items ORDER BY v <-> '[0,0,0]' LIMIT 1000000");
        assert!(all.len() as i64 <= count, "no row twice");
        assert!(all.len() as f64 >= 0.98 * count as f64, "{} of {count} rows", all.len());
        // The index takes new rows, and a flush resumes what was interrupted.
        client
            .batch_execute(&format!(
                "SET vdb.flush_rows = 200;
                 INSERT INTO items SELECT {round} * 1000000 - 1 - i, array[-i, i, {round}]::vector
                 FROM generate_series(1, 500) i"
            ))
            .expect("inserts after recovery");
        client.batch_execute("VACUUM items").expect("VACUUM");
    }
}

#[test]
fn a_killed_build_leaves_a_server_that_can_build() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client
        .batch_execute(
            "CREATE EXTENSION vdb; CREATE TABLE items (id int, v vector(3));
             INSERT INTO items SELECT i, array[random(), random(), random()]::vector FROM generate_series(1, 20000) i",
        )
        .expect("set-up");
    let builder = std::thread::spawn(move || {
        client.batch_execute("CREATE INDEX items_v ON items USING vdb_hnsw (v vector_l2_ops)")
    });
    std::thread::sleep(Duration::from_millis(300));
    server.kill();
    let _ = builder.join().expect("the builder does not panic");
    server.launch();
    let mut client = server.connect();
    client
        .batch_execute(
            "DROP INDEX IF EXISTS items_v; CREATE INDEX items_v ON items USING vdb_hnsw (v vector_l2_ops)",
        )
        .expect("a second build");
    let answer = by_index(
        &mut client,
        "SELECT id FROM items ORDER BY v <-> (SELECT v FROM items WHERE id = 7) LIMIT 1",
    );
    assert_eq!(answer, [7]);
}

#[test]
fn an_unlogged_table_is_empty_and_usable_after_a_crash() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client
        .batch_execute(
            "CREATE EXTENSION vdb; CREATE UNLOGGED TABLE items (id int, v vector(3));
             CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops);
             INSERT INTO items SELECT i, array[i, 0, 0]::vector FROM generate_series(1, 500) i; CHECKPOINT",
        )
        .expect("set-up");
    server.kill();
    server.launch();
    let mut client = server.connect();
    let query = "SELECT id FROM items ORDER BY v <-> '[9,0,0]' LIMIT 3";
    assert_eq!(by_index(&mut client, query), [0; 0]);
    client
        .batch_execute("INSERT INTO items SELECT i, array[i, 0, 0]::vector FROM generate_series(1, 500) i")
        .expect("inserts after recovery");
    assert_eq!(by_index(&mut client, query)[0], 9);
}
