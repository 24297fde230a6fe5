//! Range searches: every row within a distance, and no other.

use crate::exactly;
use crate::lifecycle::{VEC, number};
use crate::support::server::Server;
use postgres::Client;

/// The answer of a plan that reads an index, in its order; fails if there is none.
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
        for access_method in ["vdb_hnsw", "vdb_ivf"] {
            if (access_method, metric) == ("vdb_ivf", "l1") {
                continue;
            }
            client
                .batch_execute(&format!(
                    "DROP INDEX IF EXISTS items_v;
                     CREATE INDEX items_v ON items USING {access_method} (v {opclass}, tenant);
                     INSERT INTO items SELECT i, i % 3, vec(i)::{column} FROM generate_series(3001, 3300) i"
                ))
                .expect("an index");
            let mut counts = Vec::new();
            for radius in radii {
                let near = "vec(77)";
                let sphere = format!("v {within} vdb_sphere({near}::{column}, {radius})");
                for rest in [
                    String::new(),
                    " AND tenant = 1".into(),
                    format!(" ORDER BY v {distance} {near}::{column}"),
                    format!(" AND tenant <> 1 ORDER BY v {distance} {near}::{column} LIMIT 50"),
                    format!(" ORDER BY v {distance} vec(5)::{column} LIMIT 20"),
                ] {
                    let query = format!("SELECT id FROM items WHERE {sphere}{rest}");
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
    let error = client
        .batch_execute("SELECT vdb_sphere(vec(1), 1) <> NULL, vec(1) <<->> ROW(NULL, 1)::vdb_sphere_vector");
    assert!(error.is_err());
}
