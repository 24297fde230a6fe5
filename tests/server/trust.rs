//! An index changes no answer and blocks no other work: small cases, each of which has failed
//! before.

use crate::lifecycle::{findings, number};
use crate::support::server::Server;
use crate::{by_index, exactly, recall};
use postgres::Client;
use std::time::{Duration, Instant};

/// A server with the extension.
fn start(settings: &[&str]) -> (Server, Client) {
    let server = Server::start(settings);
    let mut client = server.connect();
    client.batch_execute("CREATE EXTENSION vdb").expect("the extension");
    (server, client)
}

/// `count` rows of `dims` numbers each, drawn from a normal distribution, so that they form no
/// clusters.
fn rows(table: &str, count: usize, dims: usize) -> String {
    format!(
        "SELECT setseed(0.3);
         CREATE TABLE {table} (id int PRIMARY KEY, v vector({dims})) WITH (autovacuum_enabled = off);
         INSERT INTO {table} SELECT i, (SELECT array_agg((sqrt(-2 * ln(1 - random()))
             * cos(2 * pi() * random()))::real) FROM generate_series(1, {dims}) d WHERE i IS NOT NULL)::vector
         FROM generate_series(1, {count}) i"
    )
}

/// The counts of some queries.
fn counts(client: &mut Client, queries: &[&str]) -> Vec<i64> {
    queries.iter().map(|query| number(client, query)).collect()
}

#[test]
fn null_and_nan_in_ranges_answer_as_the_operators_do() {
    let (_server, mut client) = start(&[]);
    client
        .batch_execute(
            "CREATE TABLE r (id int, v vector(3));
             INSERT INTO r SELECT i, array[i % 50, i % 7, i % 3]::vector FROM generate_series(1, 2000) i;
             CREATE INDEX r_v ON r USING vdb_hnsw (v vector_l2_ops); ANALYZE r;
             PREPARE p(vector, float8) AS SELECT count(*) FROM r WHERE v <-> $1 < $2;
             SET plan_cache_mode = force_generic_plan",
        )
        .expect("set-up");
    let queries = [
        "SELECT count(*) FROM r WHERE v <-> (SELECT v FROM r WHERE id = -1) < 0.5",
        "SELECT count(*) FROM r WHERE v <-> '[1,1,1]' < (SELECT 1.0::float8 WHERE false)",
        "SELECT count(*) FROM r WHERE v <-> '[1,1,1]' < 'NaN'",
        "SELECT count(*) FROM r WHERE v <-> '[1,1,1]' <= 'Infinity'",
        "SELECT count(*) FROM r WHERE v <-> '[1,1,1]' < '-Infinity'",
        "SELECT count(*) FROM (SELECT id FROM r WHERE v <-> '[1,1,1]' < 'NaN'
                               ORDER BY v <-> '[1,1,1]' LIMIT 10) x",
    ];
    let prepared = ["NULL", "'NaN'", "'Infinity'"].map(|radius| format!("EXECUTE p('[1,1,1]', {radius})"));
    let run = |client: &mut Client, scan: &str| -> (Vec<i64>, Vec<String>) {
        client.batch_execute(&format!("SET {scan} = off")).expect("a setting");
        let counted = counts(client, &queries);
        let executed = prepared.iter().map(|statement| {
            let messages = client.simple_query(statement).expect("a count");
            messages.iter().find_map(|message| match message {
                postgres::SimpleQueryMessage::Row(row) => row.get(0).map(String::from),
                _ => None,
            })
        });
        let executed = executed.map(Option::unwrap_or_default).collect();
        client.batch_execute(&format!("RESET {scan}")).expect("a setting");
        (counted, executed)
    };
    let (by_index, prepared_by_index) = run(&mut client, "enable_seqscan");
    assert_eq!((by_index, prepared_by_index), run(&mut client, "enable_indexscan"));
    assert_eq!(counts(&mut client, &queries), [0, 0, 2000, 2000, 0, 10]);
}

#[test]
fn a_range_without_an_order_is_complete() {
    let (_server, mut client) = start(&[]);
    client.batch_execute(&rows("g", 5000, 128)).expect("rows");
    let query: String = client.query_one("SELECT v::text FROM g WHERE id = 42", &[]).expect("a row").get(0);
    let radius = |client: &mut Client, operator: &str, rank: usize| -> f64 {
        let query = format!("SELECT v {operator} '{query}' FROM g ORDER BY 1 OFFSET {rank} LIMIT 1");
        client.query_one(&query, &[]).expect("a distance").get(0)
    };
    let (l2, l1) = (radius(&mut client, "<->", 157), radius(&mut client, "<+>", 124));
    for (index, operator, radius, inside) in [
        ("vdb_ivf (v vector_l2_ops)", "<->", l2, 157),
        ("vdb_ivf (v vector_l2_ops) WITH (bits = 4)", "<->", l2, 157),
        ("vdb_ivf (v vector_l2_ops) WITH (rerank = heap)", "<->", l2, 157),
        ("vdb_ivf (v vector_l2_ops) WITH (quantizer = sq8)", "<->", l2, 157),
        ("vdb_ivf (v vector_l2_ops) WITH (quantizer = none)", "<->", l2, 157),
        ("vdb_hnsw (v vector_l2_ops)", "<->", l2, 157),
        ("vdb_hnsw (v vector_l2_ops) WITH (quantizer = none)", "<->", l2, 157),
        ("vdb_hnsw (v vector_l2_ops) WITH (layout = compact)", "<->", l2, 157),
        ("vdb_hnsw (v vector_l2_ops) WITH (rerank = heap)", "<->", l2, 157),
        ("vdb_hnsw (v vector_l1_ops)", "<+>", l1, 124),
    ] {
        client
            .batch_execute(&format!("CREATE INDEX g_v ON g USING {index}; SET enable_seqscan = off"))
            .expect(index);
        let count = format!("SELECT count(*) FROM g WHERE v {operator} '{query}' < {radius}");
        for setting in [
            "vdb.probes = 1",
            "vdb.ef_search = 1",
            "vdb.iterative_scan = off",
            "vdb.max_scan_tuples = 50",
            "vdb.scan_mem = '1MB'",
        ] {
            client.batch_execute(&format!("SET {setting}")).expect("a setting");
            let plan: Vec<String> = client
                .query(&format!("EXPLAIN {count}"), &[])
                .expect("a plan")
                .iter()
                .map(|row| row.get(0))
                .collect();
            assert!(plan.iter().any(|line| line.contains("g_v")), "{index}: {plan:#?}");
            assert_eq!(number(&mut client, &count), inside, "{index}, {setting}");
            let name = setting.split(' ').next().expect("a name");
            client.batch_execute(&format!("RESET {name}")).expect("a setting");
        }
        client
            .batch_execute(&format!("BEGIN; UPDATE g SET id = -id WHERE v {operator} '{query}' < {radius}"))
            .expect("an update");
        let updated = number(&mut client, "SELECT count(*) FROM g WHERE id < 0");
        client.batch_execute("ROLLBACK; DROP INDEX g_v; RESET enable_seqscan").expect("the end");
        assert_eq!(updated, inside, "{index}");
    }
}

#[test]
fn the_norms_of_vectors_do_not_shorten_a_range() {
    let (_server, mut client) = start(&[]);
    client.batch_execute(&rows("raw", 2000, 64)).expect("rows");
    for (mean, index) in [
        ("300", "vdb_ivf (v vector_l2_ops) WITH (lists = 60)"),
        ("1000", "vdb_ivf (v vector_l2_ops) WITH (lists = 60, bits = 4)"),
        ("1000", "vdb_hnsw (v vector_l2_ops)"),
        ("1000", "vdb_hnsw (v vector_l2_ops) WITH (layout = compact)"),
        ("1e6", "vdb_ivf (v vector_ip_ops) WITH (lists = 60)"),
    ] {
        let operator = if index.contains("_ip_") { "<#>" } else { "<->" };
        client
            .batch_execute(&format!(
                "CREATE TABLE far AS
                 SELECT id, (v + array_fill({mean}::real, ARRAY[64])::vector)::vector(64) v FROM raw;
                 CREATE INDEX far_v ON far USING {index}"
            ))
            .expect(index);
        let query: String =
            client.query_one("SELECT v::text FROM far WHERE id = 7", &[]).expect("a row").get(0);
        let radius: f64 = client
            .query_one(&format!("SELECT v {operator} '{query}' FROM far ORDER BY 1 OFFSET 300 LIMIT 1"), &[])
            .expect("a distance")
            .get(0);
        let ids = format!("SELECT id FROM far WHERE v {operator} '{query}' < {radius}");
        let (mut found, mut wanted) = (by_index(&mut client, &ids), exactly(&mut client, &ids));
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{mean}, {index}");
        client.batch_execute("DROP TABLE far").expect("the end");
    }
}

#[test]
fn dead_rows_do_not_use_up_an_answer() {
    let (_server, mut client) = start(&["autovacuum = off", "vdb.max_workers = 0"]);
    for (index, is_vacuumed) in [
        ("vdb_hnsw (v vector_l2_ops) WITH (rerank = heap)", false),
        ("vdb_ivf (v vector_l2_ops) WITH (rerank = heap)", false),
        ("vdb_hnsw (v vector_l2_ops) WITH (layout = compact)", true),
        ("vdb_hnsw (v vector_l2_ops)", true),
        ("vdb_hnsw (v vector_l2_ops) WITH (quantizer = none)", true),
        ("vdb_ivf (v vector_l2_ops)", true),
    ] {
        client.batch_execute(&rows("h", 20_000, 32)).expect("rows");
        // Workers would remove the dead rows by a merge, and so would the vacuum without workers.
        client
            .batch_execute(&format!(
                "SET vdb.compact_tombstones = 100; CREATE INDEX h_v ON h USING {index};
                 DELETE FROM h WHERE id % 50 <> 0"
            ))
            .expect(index);
        if is_vacuumed {
            client.batch_execute("VACUUM (INDEX_CLEANUP ON) h").expect("a vacuum");
            assert!(number(&mut client, "SELECT tombstones FROM vdb_index_stats('h_v')") > 19_000, "{index}");
        }
        let mut found = 0.0;
        for id in (0..20).map(|n| 50 * (1 + n * 17)) {
            let query =
                format!("SELECT id FROM h ORDER BY v <-> (SELECT v FROM h WHERE id = {id}) LIMIT 100");
            let answer = by_index(&mut client, &query);
            assert_eq!(answer.len(), 100, "{index}");
            found += recall(&answer, &exactly(&mut client, &query)) / 20.0;
        }
        assert!(found > 0.95, "{index}: {found}");
        client.batch_execute("DROP TABLE h").expect("the end");
    }
}

#[test]
fn a_cursor_on_a_temporary_table_keeps_its_pages() {
    let (server, mut client) = start(&[]);
    let mut other = server.connect();
    client
        .batch_execute(
            "SELECT setseed(0.1); CREATE TEMP TABLE tt (id serial, v vector(32));
             CREATE INDEX tti ON tt USING vdb_hnsw (v vector_l2_ops) WITH (flush_rows = 100);
             INSERT INTO tt (v) SELECT array_agg(random())::vector
             FROM generate_series(1, 3000) i, generate_series(1, 32) j GROUP BY i;
             SELECT vdb_flush('tti');
             BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL vdb.ef_search = 10;
             DECLARE c CURSOR FOR SELECT id FROM tt ORDER BY v <-> (SELECT v FROM tt WHERE id = 1);
             FETCH 3 FROM c; SELECT vdb_compact('tti')",
        )
        .expect("set-up");
    // Transactions of other sessions, after which pages of a permanent table could be reused.
    for _ in 0..3 {
        other.batch_execute("SELECT txid_current()").expect("a transaction");
        client.batch_execute("SELECT vdb_calibrate('tti', 5); SELECT vdb_compact('tti')").expect("changes");
    }
    let rest = client.query("FETCH ALL FROM c", &[]).expect("the cursor goes on");
    assert!(rest.len() > 2900, "{}", rest.len());
    client.batch_execute("COMMIT").expect("the end");
    assert_eq!(findings(&mut client, "tti"), [""; 0]);
}

#[test]
fn functions_refuse_what_is_no_index_with_rows() {
    let (_server, mut client) = start(&[]);
    client
        .batch_execute(
            "CREATE TABLE pt (id int, g int, v vector(4)) PARTITION BY LIST (g);
             CREATE TABLE pt_1 PARTITION OF pt FOR VALUES IN (1);
             CREATE TABLE pt_2 PARTITION OF pt FOR VALUES IN (2);
             CREATE INDEX pt_v ON pt USING vdb_hnsw (v vector_l2_ops);
             INSERT INTO pt SELECT i, 1 + i % 2, array[i, 1, 2, 3]::vector FROM generate_series(1, 1000) i",
        )
        .expect("set-up");
    for call in ["vdb_flush", "vdb_check", "vdb_index_stats", "vdb_segments", "vdb_compact", "vdb_calibrate"]
    {
        for name in ["pt_v", "pt", "pt_1", "pg_class_oid_index"] {
            let error = client.batch_execute(&format!("SELECT {call}('{name}')")).expect_err(call);
            assert_eq!(error.code().map(|code| code.code()), Some("42809"), "{call}('{name}')");
        }
    }
    let steps = "SELECT count(DISTINCT searched_index) FROM vdb_explain_search('pt_v', '[1,2,3,4]', 5)";
    assert_eq!(number(&mut client, steps), 2);
    assert_eq!(number(&mut client, "SELECT vdb_flush('pt_1_v_idx') + vdb_flush('pt_2_v_idx')"), 1000);
}

#[test]
fn tasks_are_shown_beside_indexes_that_come_and_go() {
    let (server, mut client) = start(&["max_prepared_transactions = 5"]);
    client
        .batch_execute(
            "CREATE TABLE kept (v vector(2)); CREATE INDEX kept_v ON kept USING vdb_hnsw (v vector_l2_ops);
             INSERT INTO kept VALUES ('[1,2]'); SELECT vdb_flush('kept_v');
             CREATE TABLE gone (v vector(2)); CREATE INDEX gone_v ON gone USING vdb_hnsw (v vector_l2_ops);
             CREATE TABLE slow (v vector(2)); INSERT INTO slow VALUES ('[1,2]')",
        )
        .expect("set-up");
    // One index is being dropped, another waits for a transaction before it is ready, a third was
    // never finished.
    let mut dropping = server.connect();
    dropping.batch_execute("BEGIN; DROP INDEX gone_v").expect("a drop");
    let mut writing = server.connect();
    writing.batch_execute("BEGIN; INSERT INTO slow VALUES ('[3,4]')").expect("a transaction");
    let mut building = server.connect();
    let build = std::thread::spawn(move || {
        building.batch_execute("CREATE INDEX CONCURRENTLY slow_v ON slow USING vdb_ivf (v vector_l2_ops)")
    });
    let waits = "SELECT count(*) FROM pg_class WHERE relname = 'slow_v'";
    while number(&mut client, waits) == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    client.batch_execute("SET statement_timeout = '5s'").expect("a setting");
    assert!(number(&mut client, "SELECT count(*) FROM vdb_tasks") > 0);
    let error = client.batch_execute("SELECT vdb_check('slow_v')").expect_err("it is not ready");
    assert_eq!(error.code().map(|code| code.code()), Some("55000"));
    // Reading the view keeps no lock.
    client.batch_execute("BEGIN; SELECT * FROM vdb_tasks").expect("a look");
    let kept = "SELECT count(*) FROM pg_locks WHERE relation = 'kept_v'::regclass AND pid = pg_backend_pid()";
    assert_eq!(number(&mut client, kept), 0);
    client.batch_execute("COMMIT").expect("the end");
    dropping.batch_execute("ROLLBACK").expect("the end");
    writing.batch_execute("COMMIT").expect("the end");
    build.join().expect("it ends").expect("the index is built");
    assert_eq!(findings(&mut client, "slow_v"), [""; 0]);
}

/// Moves the extension, except the tests, which a test build has in their own schema.
const MOVE: &str = "DO $$ DECLARE test regprocedure; BEGIN
    FOR test IN SELECT oid FROM pg_proc WHERE pronamespace = to_regnamespace('tests') LOOP
        EXECUTE 'ALTER EXTENSION vdb DROP FUNCTION ' || test;
    END LOOP;
    IF to_regnamespace('tests') IS NOT NULL THEN ALTER EXTENSION vdb DROP SCHEMA tests; END IF;
    END $$;
    CREATE SCHEMA moved; ALTER EXTENSION vdb SET SCHEMA moved";

#[test]
fn spheres_are_found_outside_the_search_path() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client
        .batch_execute(
            "CREATE SCHEMA extensions; CREATE EXTENSION vdb SCHEMA extensions;
             CREATE TABLE t (id int, v extensions.vector(3), b bit(8));
             INSERT INTO t VALUES (1, '[1,2,3]', B'10101010');
             CREATE FUNCTION near(q extensions.vector) RETURNS SETOF int LANGUAGE sql STABLE SET search_path = ''
             AS $$ SELECT id FROM public.t WHERE v OPERATOR(extensions.<<->>) extensions.vdb_sphere(q, 1.0) $$;
             SET search_path = ''",
        )
        .expect("set-up");
    for schema in ["extensions", "moved"] {
        if schema == "moved" {
            client.batch_execute(MOVE).expect("a move");
        }
        for condition in [
            format!("v OPERATOR({schema}.<<->>) {schema}.vdb_sphere('[1,2,3]'::{schema}.vector, 1.0)"),
            format!("v OPERATOR({schema}.<<->>) {schema}.vdb_sphere('[1,2,3]', 0.75)"),
            format!("b OPERATOR({schema}.<<~>>) {schema}.vdb_sphere(B'10101011', 2)"),
            format!("NOT b OPERATOR({schema}.<<~>>) {schema}.vdb_sphere('01010101', 8)"),
        ] {
            let query = format!("SELECT id::bigint FROM public.t WHERE {condition}");
            assert_eq!(number(&mut client, &query), 1, "{condition}");
        }
        if schema == "extensions" {
            assert_eq!(number(&mut client, "SELECT public.near('[1,2,3]')::bigint"), 1);
        }
    }
}

#[test]
fn filters_of_explained_searches_are_conditions() {
    let (_server, mut client) = start(&[]);
    client
        .batch_execute(
            "CREATE TABLE t (id int, v vector(2)); INSERT INTO t SELECT i, array[i, 1] FROM generate_series(1, 500) i;
             CREATE INDEX t_v ON t USING vdb_hnsw (v vector_l2_ops, id)",
        )
        .expect("set-up");
    for filter in [
        "*",
        "t.*",
        "",
        "id, 1",
        "id AS x",
        "1; SELECT 2",
        "id FROM t",
        "true LIMIT 1",
        "true FOR UPDATE",
        "DISTINCT id",
        "true UNION SELECT true",
        "true) OR (true",
        "$1",
    ] {
        let call = "SELECT count(*) FROM vdb_explain_search('t_v', '[1,2]', 5, $1)";
        let error = client.query(call, &[&filter]).expect_err(filter);
        let code = error.code().map(|code| code.code()).unwrap_or_default();
        assert!(["42601", "42P02"].contains(&code), "{filter}: {error:?}");
    }
    let writes = "CREATE FUNCTION writes() RETURNS boolean LANGUAGE plpgsql
                  AS 'BEGIN DELETE FROM t; RETURN true; END'";
    client.batch_execute(writes).expect("a function");
    let error = client
        .batch_execute("SELECT * FROM vdb_explain_search('t_v', '[1,2]', 5, 'writes()')")
        .expect_err("it is read-only");
    assert_eq!(error.code().map(|code| code.code()), Some("25006"));
    let of_vector = "SELECT count(*) FROM vdb_explain_search('t_v', '[1,2]'::vector, 5, 'id < 100')";
    assert!(number(&mut client, of_vector) > 0);
    let error = client
        .batch_execute("SELECT vdb_explain_search('t_v', '[1,2]'::halfvec, 5)")
        .expect_err("another type");
    assert_eq!(error.code().map(|code| code.code()), Some("42804"));
}

#[test]
fn owners_names_are_not_the_callers() {
    let (server, mut client) = start(&[]);
    client
        .batch_execute(
            "CREATE ROLE victim SUPERUSER; CREATE ROLE mallory; CREATE SCHEMA m AUTHORIZATION mallory;
             CREATE SCHEMA victims AUTHORIZATION victim; SET ROLE victim; SET search_path = victims, public;
             CREATE FUNCTION f(v vector) RETURNS vector IMMUTABLE LANGUAGE plpgsql SET search_path = victims, public
                 AS 'BEGIN RETURN v + ''[0,0]''; END';
             CREATE FUNCTION loose(v vector) RETURNS vector IMMUTABLE LANGUAGE plpgsql
                 AS 'BEGIN RETURN embed(v); END';
             CREATE FUNCTION embed(v vector) RETURNS vector IMMUTABLE LANGUAGE sql AS 'SELECT v';
             CREATE TABLE t (id int, v vector(2)); INSERT INTO t SELECT i, array[i, 1] FROM generate_series(1, 500) i;
             CREATE INDEX strict_v ON t USING vdb_hnsw ((f(v)::vector(2)) vector_l2_ops) WITH (rerank = heap);
             CREATE INDEX loose_v ON t USING vdb_hnsw ((loose(v)::vector(2)) vector_l2_ops) WITH (rerank = heap);
             GRANT USAGE ON SCHEMA victims TO mallory; GRANT SELECT ON t TO mallory; RESET ROLE",
        )
        .expect("set-up");
    let mut mallory = server.connect();
    mallory
        .batch_execute(
            "SET ROLE mallory;
             CREATE FUNCTION m.embed(v public.vector) RETURNS public.vector LANGUAGE plpgsql AS $$ BEGIN
             IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
                 RAISE EXCEPTION 'gained'; END IF; RETURN v; END $$;
             SET search_path = m, pg_catalog, victims, public; SET enable_seqscan = off; SET enable_sort = off",
        )
        .expect("set-up");
    let nearest = |function: &str| {
        format!("SELECT id FROM victims.t ORDER BY victims.{function}(v)::vector(2) <-> '[3,1]' LIMIT 1")
    };
    let rows = mallory.query(&nearest("f"), &[]).expect("what names its search path is found");
    assert_eq!(rows[0].get::<_, i32>(0), 3);
    // A name without a schema is not found, not even the caller's namesake.
    let error = mallory.query(&nearest("loose"), &[]).expect_err("embed is in no path");
    assert_eq!(error.code().map(|code| code.code()), Some("42883"), "{error:?}");
}

#[test]
fn no_error_carries_a_backtrace() {
    let server = Server::start(&[]);
    server.stop();
    server.launch_with("RUST_BACKTRACE", "full");
    let mut client = server.connect();
    client
        .batch_execute("CREATE EXTENSION vdb; CREATE TABLE t (v vector(2)); SELECT '[1]'::vector")
        .expect("the library is loaded");
    for statement in
        ["SELECT 1/0", "SELECT '['::vector", "INSERT INTO t VALUES ('[1]')", "SELECT vdb_flush('t')"]
    {
        let error = client.batch_execute(statement).expect_err(statement);
        let detail = error.as_db_error().and_then(|error| error.detail()).unwrap_or_default();
        assert!(!detail.contains("std::"), "{statement}: {detail}");
        assert!(detail.len() < 200, "{statement}: {detail}");
    }
}

#[test]
fn data_that_cannot_be_split_are_indexed_in_ordinary_time() {
    let (_server, mut client) = start(&["fsync = off"]);
    client
        .batch_execute(
            "CREATE TABLE ordinary AS SELECT (SELECT array_agg(sin(i * d)) FROM generate_series(1, 24) d)::vector(24) v
             FROM generate_series(1, 20000) i;
             CREATE TABLE collinear AS SELECT (array_fill((1 + i * 1e-4)::real, ARRAY[24]))::vector(24) v
             FROM generate_series(1, 20000) i",
        )
        .expect("set-up");
    for index in
        ["vdb_hnsw (v vector_cosine_ops)", "vdb_ivf (v vector_cosine_ops)", "vdb_hnsw (v vector_l2_ops)"]
    {
        let mut time = |table: &str| {
            let begin = Instant::now();
            client.batch_execute(&format!("CREATE INDEX ON {table} USING {index}")).expect(index);
            begin.elapsed()
        };
        let (ordinary, collinear) = (time("ordinary"), time("collinear"));
        assert!(
            collinear < 10 * ordinary + Duration::from_secs(2),
            "{index}: {collinear:?}, ordinary rows {ordinary:?}"
        );
    }
}

#[test]
fn types_are_as_strict_as_pgvectors() {
    let (_server, mut client) = start(&[]);
    client.batch_execute("CREATE TABLE bits (b varbit(8))").expect("a table");
    for (statement, code) in [
        ("SELECT '{1:1e-46,2:1}/2'::sparsevec", "22003"),
        ("SELECT vector_avg('{1}')", "22000"),
        (
            "SELECT vector_combine(array_fill(1::float8, ARRAY[16002]), array_fill(1::float8, ARRAY[16002]))",
            "54000",
        ),
        ("CREATE INDEX ON bits USING vdb_hnsw (b bit_hamming_ops)", "42809"),
    ] {
        let error = client.batch_execute(statement).expect_err(statement);
        assert_eq!(error.code().map(|code| code.code()), Some(code), "{statement}");
    }
    let norm: String =
        client.query_one("SELECT l2_norm('{}/2'::sparsevec)::text", &[]).expect("a norm").get(0);
    assert_eq!(norm, "0");
    let invalid = "SELECT count(*) FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod
                   WHERE a.amname LIKE 'vdb%' AND NOT amvalidate(c.oid)";
    assert_eq!(number(&mut client, invalid), 0);
    client
        .batch_execute(
            "CREATE OPERATOR CLASS wrong_ops FOR TYPE vector USING vdb_hnsw AS FUNCTION 1 vdb_vector_l2_support()",
        )
        .expect("an operator class");
    assert_eq!(number(&mut client, invalid), 1);
}

#[test]
fn keys_at_the_ends_of_their_range_are_told_apart() {
    let (_server, mut client) = start(&["fsync = off"]);
    client
        .batch_execute(
            "CREATE TABLE keys AS SELECT i::bigint b, array[i, 0, 0]::vector(3) v FROM generate_series(1, 70000) i;
             INSERT INTO keys VALUES (9223372036854775807, '[1,1,1]'), (9223372036854775806, '[1,1,2]'),
                 (-9223372036854775808, '[1,1,3]');
             CREATE INDEX keys_v ON keys USING vdb_hnsw (v vector_l2_ops, b) WITH (quantizer = none)",
        )
        .expect("set-up");
    for condition in [
        "b = 9223372036854775807",
        "b = 9223372036854775806",
        "b = -9223372036854775808",
        "b > 9223372036854775806",
        "b < -9223372036854775807",
    ] {
        let query = format!("SELECT (b % 100)::int FROM keys WHERE {condition} ORDER BY v <-> '[1,1,1]'");
        assert_eq!(by_index(&mut client, &query), exactly(&mut client, &query), "{condition}");
        assert_eq!(by_index(&mut client, &query).len(), 1, "{condition}");
    }
}

#[test]
fn rows_without_a_vector_are_looked_for_elsewhere() {
    let (_server, mut client) = start(&[]);
    client
        .batch_execute(
            "CREATE TABLE n (id int, v vector(3));
             INSERT INTO n SELECT i, CASE WHEN i % 10 > 0 THEN array[i, i, i]::vector END
             FROM generate_series(1, 3000) i;
             CREATE INDEX n_v ON n USING vdb_hnsw (v vector_l2_ops, id);
             CREATE INDEX n_none ON n USING vdb_hnsw (v vector_l2_ops) WHERE v IS NULL; ANALYZE n",
        )
        .expect("set-up");
    for seqscan in ["on", "off"] {
        client.batch_execute(&format!("SET enable_seqscan = {seqscan}")).expect("a setting");
        for (condition, count) in [
            ("v IS NULL", 300),
            ("v IS NOT NULL AND v IS NULL", 0),
            ("v <-> '[1,1,1]' < 5 AND v IS NULL", 0),
            ("v IS NULL AND id < 100", 9),
        ] {
            for order in ["", "ORDER BY v <-> '[1,1,1]'", "ORDER BY v <-> '[1,1,1]' LIMIT 5000"] {
                let query = format!("SELECT count(*) FROM (SELECT id FROM n WHERE {condition} {order}) x");
                assert_eq!(number(&mut client, &query), count, "{query}");
            }
        }
    }
}

#[test]
fn queries_of_tiny_numbers_are_answered_like_others() {
    let (_server, mut client) = start(&["vdb.probes = 65536", "vdb.ef_search = 2000"]);
    client.batch_execute(&rows("tiny", 2000, 64)).expect("rows");
    let query = "(SELECT (array(SELECT x * 1e-25 FROM unnest(v::real[]) x))::vector FROM tiny WHERE id = 7)";
    let query: String = client.query_one(&format!("SELECT {query}::text"), &[]).expect("a query").get(0);
    let distance = format!("v <#> '{query}'");
    let nearest = format!("SELECT id FROM tiny ORDER BY {distance} LIMIT 20");
    let within = format!("SELECT count(*) FROM tiny WHERE {distance} < -1e-24");
    client.batch_execute("SET enable_indexscan = off").expect("a setting");
    let (truth, count) = (exactly(&mut client, &nearest), number(&mut client, &within));
    assert!((10..1000).contains(&count), "{count}");
    client.batch_execute("RESET enable_indexscan").expect("a setting");
    for index in [
        "vdb_hnsw (v vector_ip_ops)",
        "vdb_hnsw (v vector_ip_ops) WITH (layout = compact)",
        "vdb_ivf (v vector_ip_ops) WITH (bits = 4)",
        "vdb_ivf (v vector_ip_ops) WITH (quantizer = sq8)",
    ] {
        client.batch_execute(&format!("CREATE INDEX tiny_v ON tiny USING {index}")).expect(index);
        assert_eq!(by_index(&mut client, &nearest), truth, "{index}");
        assert_eq!(number(&mut client, &within), count, "{index}");
        client.batch_execute("DROP INDEX tiny_v; RESET ALL").expect("a drop");
    }
}
