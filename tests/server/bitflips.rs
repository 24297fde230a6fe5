//! Single bits flipped, or a few bytes replaced, anywhere in pages of every kind. A statement
//! succeeds or refuses the index, and the server stays up. Every row returned meets the condition,
//! and REINDEX repairs the index.
//!
//! `VDB_BITFLIPS` is the number of mutations, 60 by default; `make soak` sets 3,000. Each table's
//! index gets one mutation. The damage of [`crate::corrupt`] is found at once, but a flipped bit
//! may pass as sound.

use crate::corrupt::{HEADER, KIND, PAGE, SEALED, SPECIAL, TOMBSTONES, is_refusal, write_at};
use crate::degenerate::{EXACT, INDEXED, MISSES, NEAREST, check, missing, started};
use crate::soak::{Random, reconnect};
use crate::support::server::{Server, error_text};
use postgres::{Client, Error, Row};
use std::collections::BTreeMap;
use std::time::Duration;

const DEFAULT_MUTATIONS: usize = 60;
/// Tables whose indexes are damaged during one stop of the server.
const TABLES: usize = 60;
const SEED: u64 = 1;
/// All kinds of pages. Kind 0 is a blank page, which an index has appended in advance.
const KINDS: std::ops::RangeInclusive<u8> = 1..=21;

/// Types of columns and indexes of them, which together have pages of every kind.
const INDEXES: [(&str, &str); 8] = [
    ("vector", "vdb_hnsw (v vector_l2_ops, id)"),
    ("vector", "vdb_hnsw (v vector_l2_ops, id) WITH (quantizer = none)"),
    ("vector", "vdb_hnsw (v vector_l2_ops, id) WITH (layout = compact)"),
    ("halfvec", "vdb_hnsw (v halfvec_l2_ops, id) WITH (rerank = heap)"),
    ("sparsevec", "vdb_hnsw (v sparsevec_l2_ops, id)"),
    ("vector", "vdb_ivf (v vector_l2_ops, id) WITH (bits = 3, lists = 12)"),
    ("halfvec", "vdb_ivf (v halfvec_l2_ops, id) WITH (quantizer = sq8, lists = 12)"),
    ("vector", "vdb_ivf (v vector_l2_ops, id) WITH (rerank = heap, lists = 12)"),
];

/// A table with an index that is damaged.
struct Table {
    name: String,
    column: &'static str,
    index: &'static str,
    /// The index's file.
    path: String,
    /// SQL of the distance that orders its searches.
    distance: String,
}

impl Table {
    /// Makes a table with some equal rows; its index has sealed, growing and dead rows.
    fn create(client: &mut Client, number: usize, query: &str) -> Self {
        let (column, index) = INDEXES[number % INDEXES.len()];
        let name = format!("items_{number}");
        let rows = |of: &str| format!("INSERT INTO {name} SELECT {of}::{column} FROM source");
        for statement in [
            format!("CREATE TABLE {name} (id int, v {column}(40))"),
            rows("id, v"),
            format!("CREATE INDEX {name}_v ON {name} USING {index}"),
            format!("{} WHERE id <= 100", rows("id + 1000, v")),
            format!("DELETE FROM {name} WHERE id % 40 = 0"),
            format!("VACUUM {name}"),
        ] {
            let done = client.batch_execute(&statement);
            done.unwrap_or_else(|error| panic!("{statement}: {}", error_text(&error)));
        }
        let file = format!("pg_relation_filepath('{name}_v')");
        let path = format!("SELECT current_setting('data_directory') || '/' || {file}");
        let path = client.query_one(&path, &[]).expect("a path").get(0);
        let distance = format!("v <-> '{query}'::vector(40)::{column}(40)");
        Self { name, column, index, path, distance }
    }

    /// Searches that return with each row whether it meets the condition.
    fn searches(&self) -> Vec<String> {
        let Self { name, distance, .. } = self;
        let search = |condition: &str, rest: &str| -> String {
            format!("SELECT {condition} FROM {name} WHERE {condition} {rest}")
        };
        let (ordered, range) = (format!("ORDER BY {distance}"), format!("{distance} < 6"));
        let first = format!("{ordered} LIMIT 20");
        vec![
            search("true", &first),
            search("true", &ordered),
            search("id BETWEEN 90 AND 500", &first),
            search("id BETWEEN 90 AND 500", &ordered),
            search("id > 1050", &ordered),
            search(&range, ""),
            search(&format!("{range} AND id < 400"), &first),
        ]
    }

    fn changes(&self) -> [String; 3] {
        let Self { name, column, .. } = self;
        [
            format!("INSERT INTO {name} SELECT id + 5000, v::{column} FROM source WHERE id <= 40"),
            format!("DELETE FROM {name} WHERE id % 40 = 1"),
            format!("VACUUM {name}"),
        ]
    }
}

/// A mutation of a page.
struct Mutation {
    kind: u8,
    block: usize,
    at: usize,
    /// The new bytes.
    bytes: Vec<u8>,
}

impl std::fmt::Display for Mutation {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self { kind, block, at, bytes } = self;
        write!(f, "kind {kind}, block {block}, byte {at}: {bytes:?}")
    }
}

impl Mutation {
    /// Changes a page of the kind that has been changed least often.
    fn inflict(path: &str, random: &mut Random, mutated: &mut BTreeMap<u8, usize>) -> Self {
        let content = std::fs::read(path).expect("the index's file");
        let mut blocks: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
        for (block, page) in content.chunks_exact(PAGE).enumerate() {
            blocks.entry(page[KIND]).or_default().push(block);
        }
        let times = |kind: u8| mutated.get(&kind).copied().unwrap_or_default();
        let kind = blocks.keys().copied().min_by_key(|&kind| times(kind)).expect("pages");
        *mutated.entry(kind).or_default() += 1;
        let block = blocks[&kind][below(random, blocks[&kind].len())];
        let page = &content[block * PAGE..][..PAGE];
        let at = place(page, random);
        let bytes = if random.below(2) == 0 {
            vec![page[at] ^ (1 << random.below(8))]
        } else {
            let rest = (0..random.below(16)).map(|_| random.below(256) as u8);
            // The first byte changes, the others may change.
            let first = page[at] ^ 0x5A;
            std::iter::once(first).chain(rest).take(PAGE - at).collect()
        };
        write_at(path, block, at, &bytes);
        Self { kind, block, at, bytes }
    }

    /// Whether a checksum covers the page, so that a check must find the change.
    fn is_checked(&self) -> bool {
        let is_sealed = SEALED.contains(&self.kind) && self.kind != TOMBSTONES;
        is_sealed && (HEADER..PAGE - SPECIAL).contains(&self.at)
    }
}

fn below(random: &mut Random, bound: usize) -> usize {
    random.below(bound as i32) as usize
}

/// A byte of a page: of PostgreSQL's header, of the special area, of the counters at the start of
/// the content, or of any content.
fn place(page: &[u8], random: &mut Random) -> usize {
    const COUNTERS: usize = 64;
    let content = &page[HEADER..PAGE - SPECIAL];
    // Searches seldom read bytes that were never written.
    let used = content.iter().rposition(|&byte| byte != 0).map_or(1, |last| last + 1);
    match random.below(8) {
        0 => below(random, HEADER),
        1 => PAGE - SPECIAL + below(random, SPECIAL),
        2..=4 => HEADER + below(random, used.min(COUNTERS)),
        _ => HEADER + below(random, used),
    }
}

/// Runs a statement on a damaged index; notes an error that is not a refusal. Returns `None` after
/// an error of the statement, and an error if the connection is lost.
fn run(client: &mut Client, sql: &str, wrong: &mut Vec<String>) -> Result<Option<Vec<Row>>, Error> {
    match client.query(sql, &[]) {
        Ok(rows) => Ok(Some(rows)),
        Err(error) if error.code().is_none() => Err(error),
        Err(error) => {
            // PostgreSQL itself refuses a page whose header is invalid.
            let is_data_corrupted = error.code().is_some_and(|code| code.code() == "XX001");
            if !is_refusal(&error) && !is_data_corrupted {
                wrong.push(format!("{sql}: {}", error_text(&error)));
            }
            Ok(None)
        }
    }
}

/// Runs every kind of statement on a damaged index.
fn use_damaged(
    client: &mut Client,
    table: &Table,
    mutation: &Mutation,
    wrong: &mut Vec<String>,
) -> Result<(), Error> {
    client.batch_execute(INDEXED)?;
    // Searches by a walk of the graph, and by a flat search.
    for ef in [1, 100] {
        client.batch_execute(&format!("SET vdb.ef_search = {ef}"))?;
        for search in table.searches() {
            let rows = run(client, &search, wrong)?.unwrap_or_default();
            let others = rows.iter().filter(|row| !row.get::<_, bool>(0)).count();
            if others > 0 {
                wrong.push(format!("{search}: {others} of {} rows do not match", rows.len()));
            }
        }
    }
    for change in table.changes() {
        run(client, &change, wrong)?;
    }
    let sql = format!("SELECT finding FROM vdb_check('{}_v', true)", table.name);
    let findings = run(client, &sql, wrong)?;
    if mutation.is_checked() && findings.is_some_and(|findings| findings.is_empty()) {
        wrong.push("a check has found nothing".into());
    }
    Ok(())
}

/// Rebuilds the index; after that no finding and no error is allowed.
fn mend(client: &mut Client, table: &Table, wrong: &mut Vec<String>) -> Result<(), Error> {
    let Table { name, distance, .. } = table;
    client.batch_execute(&format!("REINDEX INDEX {name}_v"))?;
    let found = check(client, &format!("{name}_v"), true)?;
    wrong.extend(found.iter().map(|finding| format!("after REINDEX: {finding}")));
    client.batch_execute("SET vdb.ef_search = 10000")?;
    for condition in ["true", "id BETWEEN 90 AND 500"] {
        let rows = format!("FROM {name} WHERE {condition}");
        let query = format!("SELECT {distance} {rows} ORDER BY {distance} LIMIT {NEAREST}");
        let truth = distances(client, EXACT, &query)?;
        let found = distances(client, INDEXED, &query)?;
        if found.len() != truth.len() || missing(&found, &truth) > MISSES {
            wrong.push(format!("after REINDEX: {query}: {found:?} instead of {truth:?}"));
        }
    }
    Ok(())
}

fn distances(client: &mut Client, settings: &str, query: &str) -> Result<Vec<f64>, Error> {
    client.batch_execute(settings)?;
    Ok(client.query(query, &[])?.iter().map(|row| row.get(0)).collect())
}

/// Damages the index of each of `count` tables, and returns the failures.
fn round(
    server: &Server,
    count: usize,
    random: &mut Random,
    mutated: &mut BTreeMap<u8, usize>,
) -> Vec<String> {
    let mut client = server.connect();
    let query: String =
        client.query_one("SELECT v::text FROM source WHERE id = 9", &[]).expect("a row").get(0);
    let create = |number| Table::create(&mut client, number, &query);
    let tables: Vec<Table> = (0..count).map(create).collect();
    drop(client);
    server.stop();
    let mutations: Vec<Mutation> =
        tables.iter().map(|table| Mutation::inflict(&table.path, random, mutated)).collect();
    server.launch();
    let mut client = server.connect();
    let before = started(&mut client);
    let mut failures = Vec::new();
    for (table, mutation) in tables.iter().zip(&mutations) {
        let mut wrong = Vec::new();
        let done = use_damaged(&mut client, table, mutation, &mut wrong)
            .and_then(|()| mend(&mut client, table, &mut wrong));
        if let Err(error) = done {
            wrong.push(error_text(&error));
            // After a crash the postmaster also ends connections that were made meanwhile.
            std::thread::sleep(Duration::from_millis(500));
            client = reconnect(server);
        }
        let what = format!("{} {}, {mutation}", table.column, table.index);
        failures.extend(wrong.iter().map(|wrong| format!("{what}: {wrong}")));
    }
    if started(&mut client) != before {
        failures.push("the server was restarted".into());
    }
    for Table { name, .. } in &tables {
        client.batch_execute(&format!("DROP TABLE {name}")).expect("a table is dropped");
    }
    failures
}

#[test]
fn flipped_bits_do_not_crash_the_server_or_break_conditions() {
    let asked_for = std::env::var("VDB_BITFLIPS").ok();
    let asked_for = asked_for.and_then(|count| count.parse::<usize>().ok());
    let mutations = asked_for.unwrap_or(DEFAULT_MUTATIONS);
    println!("seed {SEED}, {mutations} mutations");
    let settings = [
        // A search must read the damaged page.
        "vdb.probes = 65536",
        "statement_timeout = '60s'",
        "autovacuum = off",
        "jit = off",
        "fsync = off",
    ];
    let server = Server::start(&settings);
    server
        .connect()
        .batch_execute(
            "CREATE EXTENSION vdb;
             CREATE TABLE source AS SELECT i id, array_agg(sin((i % 700 + 1) * d))::vector(40) v
             FROM generate_series(1, 800) i, generate_series(1, 40) d GROUP BY i",
        )
        .expect("set-up");
    let (mut random, mut mutated) = (Random(SEED), BTreeMap::new());
    let mut failures = Vec::new();
    for first in (0..mutations).step_by(TABLES) {
        let count = TABLES.min(mutations - first);
        failures.extend(round(&server, count, &mut random, &mut mutated));
    }
    println!("mutated pages of each kind: {mutated:?}");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(server.crashes(), [""; 0]);
    let unmet: Vec<u8> = KINDS.filter(|kind| !mutated.contains_key(kind)).collect();
    assert!(mutations < DEFAULT_MUTATIONS || unmet.is_empty(), "no pages of kinds {unmet:?}");
}
