//! Conditions on filter columns: after any change of the rows an index returns those that match and
//! no others.

use crate::lifecycle::{NOTHING_LEFT, findings, number, wait_until};
use crate::support::data::{Dataset, glove_folder};
use crate::support::server::Server;
use crate::{by_index, exactly};
use postgres::Client;
use std::io::Write;

const TABLE: &str = "
    CREATE EXTENSION vdb;
    CREATE TYPE mood AS ENUM ('sad', 'calm', 'happy');
    CREATE TABLE items (
        id int PRIMARY KEY, tenant int, small int2, large int8, price float8, share float4, cost numeric, ready bool,
        day date, at timestamptz, key uuid, name text, code text COLLATE \"C\", mood mood, tags int[], words text[],
        meta jsonb, v vector(8));
    CREATE FUNCTION add(first int, last int) RETURNS void LANGUAGE sql AS $$
        INSERT INTO items SELECT i, i % 50, i % 7 - 3, i * 10000000000, CASE WHEN i % 10 > 0 THEN i / 8.0 END,
            -i % 100 / 3.0, i % 1000 / 10.0, i % 3 = 0, date '2024-01-01' + i % 400,
            timestamptz '2024-01-01' + i * interval '1 hour', md5((i % 300)::text)::uuid,
            CASE WHEN i % 9 > 0 THEN 'name ' || i % 40 END, 'c' || i % 200,
            (enum_range(NULL::mood))[1 + i % 3], ARRAY[i % 5, i % 11, i % 300], ARRAY['w' || i % 6, 'w' || i % 13],
            jsonb_build_object('lang', 'l' || i % 9, 'year', 2000 + i % 20),
            array(SELECT sin(i * 0.37 * d) + cos(i * d) FROM generate_series(1, 8) d)::real[]::vector
        FROM generate_series(first, last) i $$;";

const COLUMNS: &str =
    "tenant, small, large, price, share, cost, ready, day, at, name, code, mood, tags, words,
    ((meta ->> 'year')::int)";

const CONDITIONS: &[&str] = &[
    "tenant = 7",
    "tenant < 3 AND ready",
    "tenant BETWEEN 10 AND 12 AND NOT ready",
    "tenant IN (1, 5, 49)",
    "tenant = -1",
    "tenant = (SELECT NULL::int)",
    "tenant < ANY ('{2,3}')",
    "tenant < 3.5::float8",
    "small <= -2 AND tenant <> 4",
    "small = 3::bigint",
    "large > 19000000000000",
    "large = 10000000000",
    "price IS NULL",
    "price IS NOT NULL AND price < 1.5",
    "price >= 200 AND price < 201",
    "share > -0.5",
    "share = (-1 / 3.0)::float4",
    "cost = 12.3",
    "cost < 0.35",
    "day = '2024-03-01'",
    "day > '2025-02-01' AND at > '2024-02-01'",
    "at <= '2024-01-01 05:00+00'",
    "name = 'name 7'",
    "name IN ('name 1', 'name 2')",
    "name IS NULL AND tenant < 25",
    "name > 'name 8'",
    "code < 'c2'",
    "code BETWEEN 'c10' AND 'c105'",
    "mood = 'calm' AND tenant = 3",
    "mood IN ('sad', 'happy') AND tenant = 4",
    "tags && ARRAY[299, 298]",
    "tags @> ARRAY[1, 2]",
    "tags <@ ARRAY[0, 1, 2]",
    "words @> ARRAY['w3', 'w7']",
    "words && ARRAY['nothing']",
    "(meta ->> 'year')::int = 2003",
    "(meta ->> 'year')::int > 2018 AND ready AND tenant < 20",
];

/// An index returns matching rows only, as many as there are up to the limit. They are the nearest:
/// all of them if there are fewer than the limit, else as far as codes allow.
fn assert_found(client: &mut Client, conditions: &[&str], stage: &str) {
    const LIMIT: usize = 15;
    // Several queries, because the random codes of an index may miss the answers of one.
    const QUERIES: [&str; 3] =
        ["[1,0,1,0,.5,.6,-.7,.8]", "[-1,.3,0,1,.2,-.4,.9,0]", "[.1,1.2,-.8,0,-1,.3,.5,-.2]"];
    let mut recalls = Vec::new();
    for condition in conditions {
        let matches = exactly(client, &format!("SELECT id FROM items WHERE {condition}"));
        for query in QUERIES {
            let query =
                format!("SELECT id FROM items WHERE {condition} ORDER BY v <-> '{query}' LIMIT {LIMIT}");
            let (found, truth) = (by_index(client, &query), exactly(client, &query));
            assert_eq!(found.len(), truth.len(), "{stage}: {condition}");
            assert!(found.iter().all(|id| matches.contains(id)), "{stage}: {condition}");
            if truth.len() == LIMIT {
                recalls.push(crate::recall(&found, &truth));
            }
        }
    }
    let mean = recalls.iter().sum::<f64>() / recalls.len() as f64;
    assert!(mean >= 0.98, "{stage}: recall {mean}");
}

#[test]
fn an_index_returns_the_rows_that_match() {
    for (access_method, options) in
        [("vdb_hnsw", ""), ("vdb_hnsw", "WITH (layout = compact)"), ("vdb_ivf", "")]
    {
        // All lists are probed, because the test is whether rows are lost.
        let server = Server::start(&["vdb.flush_rows = 100000", "vdb.probes = 65536", "autovacuum = off"]);
        let mut client = server.connect();
        client.batch_execute(TABLE).expect("a table");
        client
            .batch_execute(&format!(
                "SELECT add(1, 1500);
                 CREATE INDEX items_v ON items USING {access_method} (v vector_l2_ops, {COLUMNS}) {options}"
            ))
            .expect("an index");
        assert_found(&mut client, CONDITIONS, "built");
        client.batch_execute("SELECT add(1501, 2500); SELECT vdb_flush('items_v')").expect("a flush");
        client.batch_execute("SELECT add(2501, 3000)").expect("rows");
        assert_found(&mut client, CONDITIONS, "growing and sealed");
        client
            .batch_execute("DELETE FROM items WHERE id % 4 = 0; UPDATE items SET tenant = 7 WHERE id % 5 = 0")
            .expect("changes");
        client.batch_execute("VACUUM items").expect("VACUUM");
        wait_until(&mut client, NOTHING_LEFT);
        assert_found(&mut client, CONDITIONS, "vacuumed");
        client.batch_execute("SELECT vdb_flush('items_v'); SELECT vdb_compact('items_v')").expect("a merge");
        assert_eq!(number(&mut client, "SELECT segments::bigint FROM vdb_index_stats('items_v')"), 1);
        assert_found(&mut client, CONDITIONS, "merged");
        assert_eq!(findings(&mut client, "items_v"), [""; 0]);
        client.batch_execute("REINDEX INDEX items_v").expect("REINDEX");
        assert_found(&mut client, CONDITIONS, "built again");
    }
}

#[test]
fn rows_are_found_whatever_their_codes() {
    let is_of = |condition: &&str| ["tenant", "name"].iter().any(|column| condition.starts_with(column));
    let of_two_columns: Vec<&str> = CONDITIONS.iter().copied().filter(is_of).collect();
    for index in [
        "vdb_hnsw (v vector_l2_ops, tenant, name) WITH (quantizer = 'none')",
        "vdb_ivf (v vector_l2_ops, tenant, name) WITH (quantizer = 'none')",
        "vdb_ivf (v vector_l2_ops, tenant, name) WITH (quantizer = 'sq8')",
        "vdb_ivf (v vector_l2_ops, tenant, name) WITH (rerank = 'heap', bits = 3)",
        "vdb_hnsw (v vector_l2_ops, tenant, name) WITH (quantizer = 'rabitq')",
        "vdb_hnsw (v vector_l2_ops, tenant, name) WITH (rerank = 'heap')",
    ] {
        let server = Server::start(&["vdb.probes = 65536"]);
        let mut client = server.connect();
        client.batch_execute(TABLE).expect("a table");
        // Many rows have the same vector.
        client
            .batch_execute(&format!(
                "SELECT add(1, 2000); UPDATE items SET v = (SELECT v FROM items WHERE id = 5) WHERE id % 10 = 5;
                 CREATE INDEX items_v ON items USING {index}; SELECT add(2001, 2400)"
            ))
            .expect("an index");
        assert_found(&mut client, &of_two_columns, index);
        assert_eq!(findings(&mut client, "items_v"), [""; 0]);
    }
}

#[test]
fn columns_that_cannot_be_filtered_by_are_refused() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client
        .batch_execute("CREATE EXTENSION vdb; CREATE TABLE t (a int, v vector(3), w vector(3), x point)")
        .expect("a table");
    for (columns, message) in [
        ("a, v vector_l2_ops", "the first column of a vdb index must be a vector"),
        ("v vector_l2_ops, w vector_l2_ops", "only the first column of a vdb index can be a vector"),
        (
            "v vector_l2_ops, x",
            "data type point has no default operator class for access method \"vdb_hnsw\"",
        ),
        (
            "v vector_l2_ops, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a",
            "a vdb index cannot have more than 15 filter columns",
        ),
    ] {
        let error = client.batch_execute(&format!("CREATE INDEX ON t USING vdb_hnsw ({columns})"));
        let error = error.expect_err(columns);
        assert_eq!(error.as_db_error().map(|error| error.message()), Some(message));
    }
}

const ROWS: usize = 25_000;
const QUERIES: usize = 50;

/// With filters that are independent of the vectors, and with one that correlates with them.
#[test]
fn recall_under_filters() {
    let Some(folder) = glove_folder().expect("the data set") else {
        eprintln!("SKIPPED: recall_under_filters: no word vectors; run `make data`");
        return;
    };
    let data = Dataset::load(&folder).expect("the data set").slice(ROWS, QUERIES, 10);
    let server = Server::start(&[]);
    let mut client = server.connect();
    client
        .batch_execute(
            "CREATE EXTENSION vdb; CREATE TABLE items (id int, even int, near float4, v vector(100))",
        )
        .expect("set-up");
    let mut copy = client.copy_in("COPY items FROM STDIN").expect("COPY");
    for row in 0..ROWS {
        let near: f32 = data.base.row(row).iter().zip(data.base.row(0)).map(|(a, b)| a * b).sum();
        writeln!(copy, "{row}\t{}\t{near}\t{}", row * 7919 % 10_000, data.base.text(row)).expect("a row");
    }
    copy.finish().expect("COPY");
    let near = |share: f64| {
        format!("near > (SELECT percentile_cont({}) WITHIN GROUP (ORDER BY near) FROM items)", 1.0 - share)
    };
    let mut conditions: Vec<String> =
        [5000, 1000, 100, 10, 1].iter().map(|below| format!("even < {below}")).collect();
    conditions.extend([0.5, 0.1, 0.01, 0.001].map(near));
    for access_method in ["vdb_hnsw", "vdb_ivf"] {
        client
            .batch_execute(&format!(
                "DROP INDEX IF EXISTS items_v;
                 CREATE INDEX items_v ON items USING {access_method} (v vector_cosine_ops, even, near)"
            ))
            .expect("an index");
        for condition in &conditions {
            let mut recall = 0.0;
            for query in 0..QUERIES {
                let query = format!(
                    "SELECT id FROM items WHERE {condition} ORDER BY v <=> '{}' LIMIT 10",
                    data.queries.text(query)
                );
                let (found, truth) = (by_index(&mut client, &query), exactly(&mut client, &query));
                assert_eq!(found.len(), truth.len(), "{access_method}: {condition}");
                recall += crate::recall(&found, &truth) / QUERIES as f64;
            }
            assert!(recall >= 0.95, "{access_method}: recall {recall} where {condition}");
        }
    }
}
