//! Damaged pages: an error or a wrong answer, never a crash.

use crate::lifecycle::number;
use crate::support::server::Server;
use postgres::Error;
use std::collections::BTreeSet;
use std::fs::{OpenOptions, read};
use std::os::unix::fs::FileExt;

pub const PAGE: usize = 8192;
pub const HEADER: usize = 24;
pub const SPECIAL: usize = 16;
/// Offset of the page's kind in the special area; content begins after the header.
pub const KIND: usize = PAGE - SPECIAL + 2;
/// Kinds of pages except the meta page, which a server reads first; and a kind that no page has.
const KINDS: std::ops::RangeInclusive<u8> = 2..=21;

/// Kinds of a sealed segment's pages.
pub const SEALED: std::ops::RangeInclusive<u8> = 6..=21;
/// The kind among them that changes and has no checksum.
pub const TOMBSTONES: u8 = 7;

/// The damage to the first page of a kind.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    /// The content becomes random bytes, the stamp stays.
    Content(u8),
    /// The stamp names another kind.
    Stamp,
}

/// Damages the file's first page of a kind; false if it has none.
fn spoil(path: &str, kind: u8, damage: Damage) -> bool {
    let content = read(path).expect("the index's file");
    let Some(block) = content.chunks_exact(PAGE).position(|page| page[KIND] == kind) else { return false };
    let mut page = content[block * PAGE..][..PAGE].to_vec();
    match damage {
        Damage::Content(byte) => page[HEADER..PAGE - SPECIAL].fill(byte),
        Damage::Stamp => page[KIND] = 99,
    }
    write_at(path, block, 0, &page);
    true
}

/// Overwrites some bytes of a page.
pub fn write_at(path: &str, block: usize, at: usize, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).expect("the index's file");
    file.write_all_at(bytes, (block * PAGE + at) as u64).expect("a page");
}

/// Whether damage may lead to this error.
pub fn is_refusal(error: &Error) -> bool {
    let is_corrupt = error.code().is_some_and(|code| code.code() == "XX002");
    // PostgreSQL refuses an invalid address of a heap tuple.
    is_corrupt || error.as_db_error().is_some_and(|error| error.file() == Some("md.c"))
}

#[test]
fn damaged_pages_do_not_crash_the_server() {
    for index in [
        "vdb_hnsw (v vector_l2_ops, id)",
        "vdb_hnsw (v vector_l2_ops) WITH (quantizer = none)",
        "vdb_hnsw (v vector_l2_ops, id) WITH (layout = compact)",
        "vdb_ivf (v vector_l2_ops) WITH (bits = 3, lists = 12)",
        "vdb_ivf (v vector_l2_ops) WITH (quantizer = sq8, lists = 12)",
    ] {
        let server = Server::start(&["fsync = off"]);
        let mut client = server.connect();
        client
            .batch_execute(
                "CREATE EXTENSION vdb;
                 CREATE TABLE source AS SELECT i id, array_agg(sin(i * d))::vector(40) v
                 FROM generate_series(1, 800) i, generate_series(1, 40) d GROUP BY i",
            )
            .expect("set-up");
        // One table for each kind of page and each damage, so that one stop of the server suffices.
        let mut tables = Vec::new();
        for kind in KINDS {
            for damage in [Damage::Content(0xFF), Damage::Content(0x5A), Damage::Stamp] {
                let table = format!("items_{}", tables.len());
                client
                    .batch_execute(&format!(
                        "CREATE TABLE {table} AS SELECT * FROM source;
                         CREATE INDEX {table}_v ON {table} USING {index};
                         INSERT INTO {table} SELECT id + 1000, v FROM source WHERE id <= 100"
                    ))
                    .expect("a table");
                let query = format!(
                    "SELECT current_setting('data_directory') || '/' || pg_relation_filepath('{table}_v')"
                );
                let path: String = client.query_one(&query, &[]).expect("a path").get(0);
                tables.push((table, path, kind, damage));
            }
        }
        drop(client);
        server.stop();
        tables.retain(|(_, path, kind, damage)| spoil(path, *kind, *damage));
        server.launch();
        let mut client = server.connect();
        client
            .batch_execute("SET enable_seqscan = off; SET enable_sort = off; SET vdb.ef_search = 1")
            .expect("settings");
        let mut errors = BTreeSet::new();
        for (table, _, kind, damage) in &tables {
            let what = format!("{index}: {damage:?} of a page of kind {kind}");
            let pages = format!("SELECT pg_relation_size('{table}')");
            let before = number(&mut client, &pages);
            let condition = if index.contains(", id") { "WHERE id > 90" } else { "" };
            let query = format!(
                "SELECT id FROM {table} {condition} ORDER BY v <-> (SELECT v FROM source WHERE id = 9)"
            );
            for statement in [query.clone() + " LIMIT 20", query, format!("VACUUM {table}")] {
                if let Err(error) = client.batch_execute(&statement) {
                    assert!(error.code().is_some(), "{what} ended the backend: {error}");
                    assert!(is_refusal(&error), "{what}: {error:?}");
                    if *damage == Damage::Stamp {
                        errors.insert(*kind);
                    }
                }
            }
            assert_eq!(number(&mut client, &pages), before, "{what}: the table grew");
            // A check finds the damage or fails; a compaction copies no damage into a sound
            // segment.
            let check = client.query(&format!("SELECT finding FROM vdb_check('{table}_v', true)"), &[]);
            let is_found = match &check {
                Ok(findings) => !findings.is_empty(),
                Err(error) => error.code().is_some_and(|code| code.code() == "XX002"),
            };
            let flush = client.batch_execute(&format!("SELECT vdb_flush('{table}_v')"));
            let compaction = client.batch_execute(&format!("SELECT vdb_compact('{table}_v')"));
            if SEALED.contains(kind) && *kind != TOMBSTONES {
                assert!(is_found, "{what}: {check:?}");
                assert!(flush.is_err() || compaction.is_err(), "{what}: merged");
            }
        }
        let kinds: BTreeSet<u8> = tables.iter().map(|(_, _, kind, _)| *kind).collect();
        assert!(kinds.len() >= 6, "{index}: pages of kinds {kinds:?} were damaged");
        // Tombstones and duplicates are read only if there are any.
        let unread: Vec<_> = kinds.difference(&errors).filter(|kind| ![7, 12].contains(*kind)).collect();
        assert!(unread.is_empty(), "{index}: nobody noticed the stamps of pages of kinds {unread:?}");
    }
}

/// The kind of lanes' roots, and the numbers at their start: the frozen flag, the rows, the end of
/// the tape, the runs.
const LANE: u8 = 3;
const NUMBERS: [usize; 8] = [0, 4, 5, 6, 8, 16, 20, 24];

#[test]
fn damaged_roots_of_lanes_take_no_rows_and_end_no_server() {
    for column in ["vector(40)", "sparsevec(40)"] {
        let server = Server::start(&["fsync = off", "autovacuum = off", "statement_timeout = '10s'"]);
        let mut client = server.connect();
        client.batch_execute("CREATE EXTENSION vdb").expect("the extension");
        let mut tables = Vec::new();
        for number in NUMBERS {
            let (table, operators) =
                (format!("items_{number}"), column.split('(').next().unwrap_or_default());
            client
                .batch_execute(&format!(
                    "CREATE TABLE {table} (id int, v {column});
                     CREATE INDEX {table}_v ON {table} USING vdb_hnsw (v {operators}_l2_ops, id);
                     INSERT INTO {table} SELECT i, array_agg(sin(i * d))::vector(40)::{column}
                     FROM generate_series(1, 300) i, generate_series(1, 40) d GROUP BY i;
                     DELETE FROM {table} WHERE id % 10 = 0"
                ))
                .expect("a table");
            let path = format!(
                "SELECT current_setting('data_directory') || '/' || pg_relation_filepath('{table}_v')"
            );
            let path: String = client.query_one(&path, &[]).expect("a path").get(0);
            tables.push((table, path, number));
        }
        drop(client);
        server.stop();
        for (_, path, number) in &tables {
            let content = read(path).expect("the index's file");
            let pages = content.chunks_exact(PAGE).enumerate();
            for (block, page) in pages.filter(|(_, page)| page[KIND] == LANE) {
                let at = HEADER + number;
                write_at(path, block, at, &[page[at] ^ 0x40]);
            }
        }
        server.launch();
        let mut client = server.connect();
        let mut refused = 0;
        for (table, _, number) in &tables {
            for statement in [
                format!("INSERT INTO {table} SELECT id + 1000, v FROM {table} WHERE id <= 20"),
                format!("VACUUM {table}"),
                format!("SELECT vdb_flush('{table}_v')"),
            ] {
                if let Err(error) = client.batch_execute(&statement) {
                    assert!(is_refusal(&error), "{column}, number at {number}: {statement}: {error:?}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 8, "{refused}");
        assert_eq!(server.crashes(), [""; 0]);
    }
}
