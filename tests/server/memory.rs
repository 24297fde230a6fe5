//! Refused memory is an error with its SQLSTATE, and the session and the server go on.

use crate::support::server::{Server, unprivileged};
use postgres::Client;
use std::path::Path;

/// Rows and dimensions of the table: a build takes several times the lowest limit.
const ROWS: usize = 12_000;
const DIMS: usize = 64;

/// Sets how much more memory a process may map than it has, in megabytes; `None` is no limit.
fn limit(pid: i32, megabytes: Option<u64>) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmSize:")).expect("it has a size");
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    let limit = megabytes.map_or("unlimited".into(), |more| ((kilobytes + (more << 10)) << 10).to_string());
    // Only the soft limit, so that it can be raised again.
    let status = unprivileged(Path::new("prlimit"))
        .args(["--pid", &pid.to_string(), &format!("--as={limit}:")])
        .status()
        .expect("prlimit runs");
    assert!(status.success(), "prlimit --as={limit}:");
}

fn pid(client: &mut Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).expect("the session goes on").get(0)
}

/// Runs statements under one limit after another, each in its own session; returns the number of
/// refusals.
///
/// No statement may end the session or fail for another reason.
fn refusals(server: &Server, statements: &[&str]) -> usize {
    let mut refused = 0;
    for more in [1, 2, 4, 8, 9, 10, 12, 14, 16, 20, 24, 32] {
        let mut client = server.connect();
        // Loads the library and the catalogs before the limit is set.
        client.batch_execute("SELECT * FROM vdb_index_stats('items_v')").expect("statistics");
        let backend = pid(&mut client);
        limit(backend, Some(more));
        for statement in statements {
            if let Err(error) = client.batch_execute(statement) {
                // Without memory for their stacks, threads fail for lack of resources.
                let code = error.code().map(|code| code.code());
                let is_refusal = code.is_some_and(|code| ["53200", "53000"].contains(&code));
                assert!(is_refusal, "{statement} with {more} MB: {error:?}");
                refused += 1;
                client.batch_execute("ROLLBACK").expect("the session goes on");
            }
        }
        limit(backend, None);
        assert_eq!(pid(&mut client), backend);
        let rows: i64 = client.query_one("SELECT count(*) FROM items", &[]).expect("a count").get(0);
        assert!(rows as usize >= ROWS, "with {more} MB");
    }
    refused
}

#[test]
fn memory_that_cannot_be_had_is_an_error() {
    let server = Server::start(&["shared_buffers = 32MB", "fsync = off", "autovacuum = off", "jit = off"]);
    let mut client = server.connect();
    client
        .batch_execute(&format!(
            "CREATE EXTENSION vdb;
             CREATE TABLE items AS SELECT i id, (SELECT array_agg(sin(i * d)) FROM generate_series(1, {DIMS}) d)::vector({DIMS}) v
             FROM generate_series(1, {ROWS}) i;
             CREATE INDEX items_v ON items USING vdb_hnsw (v vector_l2_ops, id)"
        ))
        .expect("set-up");
    let mut builds = 0;
    for (index, class) in [
        ("vdb_hnsw", "vector_l2_ops, id"),
        ("vdb_hnsw", "vector_l1_ops"),
        ("vdb_ivf", "vector_cosine_ops, id"),
    ] {
        let create = format!("BEGIN; CREATE INDEX other ON items USING {index} (v {class}); ROLLBACK");
        let settings = "SET maintenance_work_mem = '4GB'; SET max_parallel_maintenance_workers = 1";
        builds += refusals(&server, &[settings, &create]);
    }
    let query = "SET enable_seqscan = off; SET enable_sort = off; SET vdb.scan_mem = '1GB';
                 SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> (SELECT v FROM items LIMIT 1)) x";
    let range = "SELECT count(*) FROM items WHERE v <-> (SELECT v FROM items LIMIT 1) < 100";
    let searches = refusals(&server, &[query, range, "SELECT vdb_calibrate('items_v', 100)"]);
    println!("{builds} builds and {searches} searches were refused");
    assert!(builds > 5, "{builds}");
    let findings = client.query("SELECT * FROM vdb_check('items_v')", &[]).expect("a check");
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(server.crashes(), [""; 0]);
}

#[test]
fn numbers_without_bounds_are_refused() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client
        .batch_execute(
            "CREATE EXTENSION vdb; CREATE TABLE t (v vector(2)); CREATE INDEX t_v ON t USING vdb_ivf (v vector_l2_ops)",
        )
        .expect("set-up");
    let error = client.batch_execute("SELECT vdb_calibrate('t_v', 2147483647)").expect_err("too many");
    assert_eq!(error.code().map(|code| code.code()), Some("22023"));
}
