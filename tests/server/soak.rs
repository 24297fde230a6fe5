//! A server under load that is killed repeatedly: no committed row is lost, and no other row
//! appears.
//!
//! `VDB_SOAK_ROUNDS` is the number of kills, 5 by default; `make soak` sets 50.

use crate::lifecycle::{VEC, findings, number};
use crate::support::server::Server;
use crate::{by_index, ids};
use postgres::Client;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WRITERS: i32 = 3;
/// Ids of each writer.
const SPAN: i32 = 3000;

/// A writer's knowledge of its rows: the seed of each committed vector, and unconfirmed changes.
#[derive(Default)]
struct Known {
    seeds: HashMap<i32, i32>,
    unsure: Vec<i32>,
}

/// A reproducible generator.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: i32) -> i32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound as u64) as i32
    }
}

/// Inserts, updates and deletes its own rows until a flag stops it or the server goes away.
fn write(mut client: Client, writer: i32, mut known: Known, mut random: Random, stop: &AtomicBool) -> Known {
    while !stop.load(Ordering::Relaxed) {
        let id = writer * SPAN + random.below(SPAN);
        let ids: Vec<i32> = (id..(writer + 1) * SPAN).take(1 + random.below(20) as usize).collect();
        let seed = random.below(100_000);
        let (first, last) = (ids[0], ids[ids.len() - 1]);
        let (sql, after) = match random.below(10) {
            0..=1 => (format!("DELETE FROM items WHERE id BETWEEN {first} AND {last}"), None),
            2 => {
                // After a rollback the rows are unchanged.
                let sql = format!(
                    "BEGIN; INSERT INTO items SELECT -i, vec(i) FROM generate_series({first}, {last}) i; ROLLBACK"
                );
                if client.batch_execute(&sql).is_err() {
                    return known;
                }
                continue;
            }
            _ => (
                format!(
                    "INSERT INTO items SELECT i, vec(i + {seed}) FROM generate_series({first}, {last}) i
                     ON CONFLICT (id) DO UPDATE SET v = excluded.v"
                ),
                Some(seed),
            ),
        };
        if client.batch_execute(&sql).is_err() {
            known.unsure.extend(ids);
            return known;
        }
        for id in ids {
            match after {
                Some(seed) => known.seeds.insert(id, id + seed),
                None => known.seeds.remove(&id),
            };
        }
    }
    known
}

/// Gives half of each page that has changed since `before` its old content, as a power cut may do.
fn tear(file: &Path, before: &[u8], random: &mut Random) {
    const PAGE: usize = 8192;
    let mut content = std::fs::read(file).expect("the index's file");
    for (page, old) in content.chunks_exact_mut(PAGE).zip(before.chunks_exact(PAGE)) {
        if page != old && random.below(3) == 0 {
            page[..PAGE / 2].copy_from_slice(&old[..PAGE / 2]);
        }
    }
    std::fs::write(file, content).expect("the torn file");
}

/// Connects to a server that may still be recovering from a crash.
pub fn reconnect(server: &Server) -> Client {
    let begin = Instant::now();
    loop {
        match server.try_connect() {
            Ok(client) => return client,
            Err(error) => assert!(begin.elapsed() < Duration::from_secs(60), "the server is gone: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Every row is as its writer knows it, or its last change was not confirmed.
fn compare(client: &mut Client, known: &mut [Known]) {
    let rows = client.query("SELECT id, v::text FROM items", &[]).expect("the rows");
    let stored: HashMap<i32, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(stored.keys().all(|&id| id >= 0), "a row that was rolled back");
    for (writer, known) in (0..).zip(known) {
        let seeds: Vec<i32> = known.seeds.values().copied().collect();
        let vectors: HashMap<i32, String> = client
            .query("SELECT s, vec(s)::text FROM unnest($1::int[]) s", &[&seeds])
            .expect("vectors")
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        for id in writer * SPAN..(writer + 1) * SPAN {
            if !known.unsure.contains(&id) {
                let expected = known.seeds.get(&id).map(|seed| &vectors[seed]);
                assert_eq!(stored.get(&id), expected, "row {id}");
            }
        }
        // Takes the table as the knowledge of the writer.
        for id in std::mem::take(&mut known.unsure) {
            client.execute("DELETE FROM items WHERE id = $1", &[&id]).expect("a clean slate");
            known.seeds.remove(&id);
        }
    }
}

fn soak(index: &str, settings: &[&str], rounds: u64) {
    let server = Server::start_with_checksums(settings);
    let mut client = server.connect();
    client
        .batch_execute(&format!(
            "CREATE EXTENSION vdb; CREATE TABLE items (id int PRIMARY KEY, v vector(24)); {VEC};
             CREATE INDEX items_v ON items USING {index}"
        ))
        .expect("set-up");
    let mut known: Vec<Known> = (0..WRITERS).map(|_| Known::default()).collect();
    let mut random = Random(rounds);
    for round in 0..rounds {
        client.batch_execute("CHECKPOINT").expect("CHECKPOINT");
        let path: String =
            client.query_one("SELECT pg_relation_filepath('items_v')", &[]).expect("a path").get(0);
        let file = server.data().join(path);
        let before = std::fs::read(&file).expect("the index's file");
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..)
            .zip(std::mem::take(&mut known))
            .map(|(writer, known)| {
                let (client, stop) = (server.connect(), stop.clone());
                let random = Random(round * 100 + writer as u64);
                std::thread::spawn(move || write(client, writer, known, random, &stop))
            })
            .collect();
        let others: Vec<_> = [
            "VACUUM items",
            "SELECT id FROM items ORDER BY v <-> vec(5) LIMIT 50",
            "SELECT vdb_compact('items_v')",
        ]
        .map(|sql| {
            let (mut client, stop) = (server.connect(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) && client.batch_execute(sql).is_ok() {
                    std::thread::sleep(Duration::from_millis(100));
                }
            })
        })
        .into();
        std::thread::sleep(Duration::from_millis(300 + random.below(1500) as u64));
        let victim = |client: &mut Client, kind: &str| -> Option<i32> {
            let sql = format!(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = '{kind}' AND pid <> pg_backend_pid() LIMIT 1"
            );
            ids(client, &sql).first().copied()
        };
        let kill = |pid: i32| {
            assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill").success())
        };
        match round % 3 {
            0 => {
                server.kill();
                tear(&file, &before, &mut random);
                server.launch();
            }
            // One process dies, and the postmaster ends all others.
            1 => victim(&mut client, "vdb worker")
                .or_else(|| victim(&mut client, "client backend"))
                .into_iter()
                .for_each(kill),
            _ => victim(&mut client, "client backend").into_iter().for_each(kill),
        }
        stop.store(true, Ordering::Relaxed);
        known = writers.into_iter().map(|writer| writer.join().expect("no writer panics")).collect();
        others.into_iter().for_each(|other| other.join().expect("nobody panics"));
        client = reconnect(&server);
        assert_eq!(findings(&mut client, "items_v"), [""; 0], "{index}: round {round}");
        compare(&mut client, &mut known);
        for known in &known {
            let id = known.seeds.keys().min().expect("a row");
            // Another row may have an equal vector.
            let vector = format!("(SELECT v FROM items WHERE id = {id})");
            let query = format!("SELECT (v = {vector})::int FROM items ORDER BY v <-> {vector} LIMIT 1");
            assert_eq!(by_index(&mut client, &query), [1], "{index}: round {round}, row {id}");
        }
    }
    let completed = number(&mut client, "SELECT count(*) FROM vdb_tasks WHERE state = 'completed'");
    assert!(completed > 0, "{index}: nothing was flushed");
}

fn rounds() -> u64 {
    std::env::var("VDB_SOAK_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5)
}

const SETTINGS: [&str; 4] =
    ["vdb.flush_rows = 200", "vdb.compact_segments = 2", "vdb.naptime = 1", "fsync = off"];

#[test]
fn a_graph_survives_kills() {
    soak(
        "vdb_hnsw (v vector_l2_ops)",
        &[&SETTINGS[..], &["shared_preload_libraries = 'vdb'"]].concat(),
        rounds(),
    );
}

#[test]
fn a_compact_graph_survives_kills() {
    soak("vdb_hnsw (v vector_l2_ops) WITH (rerank = heap)", &SETTINGS, rounds());
}

#[test]
fn lists_survive_kills() {
    soak("vdb_ivf (v vector_l2_ops)", &SETTINGS, rounds());
}

#[test]
fn a_full_disk_is_an_error_and_no_more() {
    for index in ["vdb_hnsw (v vector_l2_ops)", "vdb_ivf (v vector_l2_ops)"] {
        let server = Server::start_limited(&["vdb.flush_rows = 1000", "autovacuum = off"], 20 << 20);
        let mut client = server.connect();
        client
            .batch_execute(&format!(
                "CREATE EXTENSION vdb; CREATE TABLE items (id serial PRIMARY KEY, v vector(400));
                 ALTER TABLE items ALTER v SET STORAGE EXTERNAL;
                 CREATE FUNCTION vec(seed int) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
                     SELECT array_agg(sin(seed * 0.37 * d))::real[]::vector FROM generate_series(1, 400) d $$;
                 CREATE INDEX items_v ON items USING {index}"
            ))
            .expect("set-up");
        let insert = "INSERT INTO items (v) SELECT vec(i) FROM generate_series(1, 300) i";
        let error = (0..100).find_map(|_| client.batch_execute(insert).err()).expect("20 MB are not much");
        let message = error.as_db_error().map(|error| error.message().to_string()).unwrap_or_default();
        assert!(message.contains("could not extend file"), "{index}: {message}");
        // Rows are found, and inserts succeed when there is room again.
        assert_eq!(findings(&mut client, "items_v"), [""; 0], "{index}");
        server.kill();
        server.launch();
        let mut client = server.connect();
        client.batch_execute(insert).expect("there is room now");
        client.batch_execute("VACUUM items").expect("VACUUM");
        client.batch_execute("SELECT vdb_flush('items_v'), vdb_compact('items_v')").expect("a compaction");
        assert_eq!(findings(&mut client, "items_v"), [""; 0], "{index}");
    }
}
