//! Range searches: every row within a distance and no other.

use crate::exactly;
use crate::lifecycle::{VEC, number};
use crate::support::server::Server;
use postgres::Client;

/// The answer of a plan that reads an index, in its order; fails if no plan does.
fn by_any_index(client: &mut Client, query: &str) -> Vec<i32> {
    client.batch_execute("SET enable_seqscan = off").expect("settings");
    let plan: Vec<String> =
        client.query(&format!("EXPLAIN {query}"), &[]).expect(query).iter().map(|row| row.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("Index Scan using items_v")), "{query}: {plan:#?}");
    assert!(plan.iter().any(|line| line.contains("Index Cond")), "{query}: {plan:#?}");
    let answer = client.query(query, &[]).expect(query).iter().map(|row| row.get(0)).collect();
    client.batch_execute("RESET enable_seqscan").expect("settings");
    answer
}

#[test]
fn an_index_returns_what_is_in_a_sphere() {
    let classes = [
        ("vector(24)", "l2", "<->", "<<->>", [2.0, 5.0, 7.5, 1000.0]),
        ("vector(24)", "cosine", "<=>", "<<=>>", [0.05, 0.4, 0.9, 3.0]),
        ("vector(24)", "ip", "<#>", "<<#>>", [-20.0, -10.0, -5.0, 1000.0]),
        ("halfvec(24)", "l2", "<->", "<<->>", [2.0, 5.0, 7.5, 1000.0]),
        ("vector(24)", "l1", "<+>", "<<+>>", [10.0, 25.0, 35.0, 1000.0]),
    ];
    let server = Server::start(&["vdb.ef_search = 10000", "vdb.probes = 65536", "vdb.flush_rows = 100000"]);
    let mut client = server.connect();
    client.batch_execute(&format!("CREATE EXTENSION vdb; {VEC}")).expect("set-up");
    for (column, metric, distance, within, radii) in classes {
        let opclass = format!("{}_{metric}_ops", column.split('(').next().expect("a type"));
        client
            .batch_execute(&format!(
                "DROP TABLE IF EXISTS items; CREATE TABLE items (id int, tenant int, v {column});
                 INSERT INTO items SELECT i, i % 3, vec(i)::{column} FROM generate_series(1, 3000) i"
            ))
            .expect("rows");
        for (access_method, options) in
            [("vdb_hnsw", ""), ("vdb_hnsw", "WITH (layout = compact)"), ("vdb_ivf", "")]
        {
            if metric == "l1" && (access_method, options) != ("vdb_hnsw", "") {
                continue;
            }
            client
                .batch_execute(&format!(
                    "DROP INDEX IF EXISTS items_v;
                     CREATE INDEX items_v ON items USING {access_method} (v {opclass}, tenant) {options};
                     INSERT INTO items SELECT i, i % 3, vec(i)::{column} FROM generate_series(3001, 3300) i"
                ))
                .expect("an index");
            let mut counts = Vec::new();
            for radius in radii {
                let near = "vec(77)";
                let sphere = format!("v {within} vdb_sphere({near}::{column}, {radius})");
                let plain = format!("v {distance} {near}::{column} < {radius}");
                let turned = format!("{radius} >= {near}::{column} {distance} v");
                for (condition, rest) in [
                    (&sphere, String::new()),
                    (&sphere, " AND tenant = 1".into()),
                    (&sphere, format!(" ORDER BY v {distance} {near}::{column}")),
                    (&sphere, format!(" AND tenant <> 1 ORDER BY v {distance} {near}::{column} LIMIT 50")),
                    (&sphere, format!(" ORDER BY v {distance} vec(5)::{column} LIMIT 20")),
                    (&plain, String::new()),
                    (&plain, format!(" AND tenant <> 1 ORDER BY v {distance} {near}::{column} LIMIT 50")),
                    (&turned, " AND tenant = 1".into()),
                ] {
                    let query = format!("SELECT id FROM items WHERE {condition}{rest}");
                    let mut found = by_any_index(&mut client, &query);
                    let mut truth = exactly(&mut client, &query);
                    counts.push(truth.len());
                    if !rest.contains("vec(5)") {
                        found.sort_unstable();
                        truth.sort_unstable();
                        assert!(
                            found == truth,
                            "{access_method}: {} of {}: {query}",
                            found.len(),
                            truth.len()
                        );
                    } else {
                        assert_eq!(found.len(), truth.len(), "{access_method}: {query}");
                    }
                }
            }
            assert!(counts.contains(&1) || metric == "ip", "{metric}: {counts:?}");
            assert!(counts.iter().any(|&count| count > 1000), "{metric}: {counts:?}");
            client.batch_execute("DELETE FROM items WHERE id > 3000").expect("deletes");
        }
    }
    // Conditions on null, and several spheres.
    let query = "SELECT count(*) FROM items WHERE v <<+>> ";
    assert_eq!(number(&mut client, &format!("{query} NULL")), 0);
    let several =
        format!("{query} ANY (ARRAY[vdb_sphere(vec(1)::vector, 1), vdb_sphere(vec(2)::vector, 1)])");
    assert_eq!(number(&mut client, &several), 2);
    client.batch_execute("SET enable_seqscan = off").expect("settings");
    assert_eq!(number(&mut client, &several), 2);
    assert_eq!(number(&mut client, "SELECT count(*) FROM items WHERE v IS NOT NULL"), 3000);
    let nulls = "vec(1)::vector <<->> ROW(NULL, 1)::vdb_sphere_vector";
    assert_eq!(number(&mut client, &format!("SELECT count(*) WHERE {nulls} IS NULL")), 1);
}

#[test]
fn plain_comparisons_are_range_searches() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client
        .batch_execute(&format!(
            "CREATE EXTENSION vdb; {VEC}; CREATE TABLE items (id int, v vector(24));
             INSERT INTO items SELECT i, vec(i) FROM generate_series(1, 5000) i;
             CREATE INDEX items_v ON items USING vdb_hnsw (v vector_l2_ops); ANALYZE items"
        ))
        .expect("set-up");
    // At the exact distance of a row, which `<` leaves out and `<=` includes.
    let distance: f64 =
        client.query_one("SELECT vec(40) <-> vec(41)", &[]).expect("a distance").get::<_, f64>(0);
    for (comparison, is_closed) in [("<", false), ("<=", true)] {
        let query = format!("SELECT id FROM items WHERE v <-> vec(40) {comparison} {distance:?} ORDER BY id");
        let found = by_any_index(&mut client, &query);
        assert_eq!(found, exactly(&mut client, &query));
        assert_eq!(found.contains(&41), is_closed, "{query}");
    }
    // Parameters, as frameworks write them, also in a generic plan.
    client
        .batch_execute(
            "PREPARE nearest (vector, float8) AS SELECT id FROM items WHERE v <-> $1 < $2 ORDER BY v <-> $1 LIMIT 5;
             SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_sort = off",
        )
        .expect("a statement");
    let near: String = client.query_one("SELECT vec(9)::text", &[]).expect("a vector").get(0);
    let execute = &format!("EXECUTE nearest ('{near}', 0.5)");
    let plan: Vec<String> = client
        .query(&format!("EXPLAIN {execute}"), &[])
        .expect("a plan")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(plan.iter().any(|line| line.contains("Index Cond: (v <<->> ROW($1, $2)")), "{plan:#?}");
    let answer: Vec<i32> =
        client.query(execute, &[]).expect("an answer").iter().map(|row| row.get(0)).collect();
    assert_eq!(answer, [9]);
    // A value that depends on the row, or is random, is not a radius.
    for radius in ["id::float8", "random()"] {
        let query = format!("EXPLAIN SELECT id FROM items WHERE v <-> vec(40) < {radius}");
        let plan: Vec<String> =
            client.query(&query, &[]).expect("a plan").iter().map(|row| row.get(0)).collect();
        assert!(!plan.iter().any(|line| line.contains("Index")), "{plan:#?}");
    }
}
