//! Every space: types, metrics, layouts, rows of any length.

#[pgrx::pg_schema]
mod tests {
    use crate::am::sql_tests::{assert_exact, assert_near, clustered, lines};
    use pgrx::prelude::*;

    #[pg_test]
    fn every_operator_class_returns_the_exact_neighbours() {
        Spi::run(
            "CREATE TABLE source AS SELECT i id, array_agg(round((sin(i * d) * 8)::numeric, 2)::float4)::vector v
             FROM generate_series(1, 400) i, generate_series(1, 20) d GROUP BY i",
        )
        .unwrap();
        let types = [
            ("vector", "v::vector(20)", &["l2", "ip", "cosine", "l1"][..]),
            ("halfvec", "v::halfvec(20)", &["l2", "ip", "cosine", "l1"][..]),
            ("sparsevec", "v::sparsevec(20)", &["l2", "ip", "cosine", "l1"][..]),
            ("bit", "binary_quantize(v)::bit(20)", &["hamming", "jaccard"][..]),
        ];
        for (name, expression, metrics) in types {
            for metric in metrics {
                let operator = match *metric {
                    "l2" => "<->",
                    "ip" => "<#>",
                    "cosine" => "<=>",
                    "l1" => "<+>",
                    "hamming" => "<~>",
                    _ => "<%>",
                };
                Spi::run(&format!(
                    "CREATE TABLE rows_{name}_{metric} AS SELECT id, {expression} v FROM source;
                     CREATE INDEX ON rows_{name}_{metric} USING vdb_hnsw (v {name}_{metric}_ops)"
                ))
                .unwrap();
                let table = format!("rows_{name}_{metric}");
                let query = Spi::get_one::<String>(&format!("SELECT v::text FROM {table} WHERE id = 77"))
                    .unwrap()
                    .unwrap();
                let query = if name == "bit" { format!("B'{query}'") } else { format!("'{query}'") };
                assert_exact(&table, operator, &query);
                // The same through the growing segment.
                Spi::run(&format!("INSERT INTO {table} SELECT id + 400, v FROM {table} WHERE id < 30"))
                    .unwrap();
                assert_near(&table, operator, &query);
            }
        }
    }

    #[pg_test]
    fn compact_graphs_return_the_neighbours_of_every_space() {
        let query = clustered(3000);
        // More candidates than there are rows in the two clusters in the middle, which look near
        // from above.
        Spi::run("SET vdb.ef_search = 200").unwrap();
        for (name, metric, operator) in [
            ("vector", "l2", "<->"),
            ("vector", "ip", "<#>"),
            ("vector", "cosine", "<=>"),
            ("halfvec", "l2", "<->"),
            ("halfvec", "ip", "<#>"),
            ("halfvec", "cosine", "<=>"),
        ] {
            for options in ["layout = compact", "rerank = heap"] {
                // Some rows twice.
                Spi::run(&format!(
                    "CREATE TABLE copies AS SELECT id, v::{name}(20) FROM items;
                     INSERT INTO copies SELECT id + 10000, v FROM copies WHERE id % 7 = 0;
                     CREATE INDEX copies_v ON copies USING vdb_hnsw (v {name}_{metric}_ops) WITH ({options});
                     INSERT INTO copies SELECT id + 20000, v FROM copies WHERE id < 100"
                ))
                .unwrap();
                assert_near("copies", operator, &query);
                assert_eq!(lines("SELECT finding FROM vdb_check('copies_v', true)"), [""; 0]);
                // Flushed and merged, three times: codes are copied unchanged.
                for round in 1..4 {
                    Spi::run(&format!(
                        "SELECT vdb_flush('copies_v'); SELECT vdb_compact('copies_v');
                         INSERT INTO copies SELECT id + {round}00000, v FROM copies WHERE id < 50"
                    ))
                    .unwrap();
                    assert_near("copies", operator, &query);
                    assert_eq!(lines("SELECT finding FROM vdb_check('copies_v', true)"), [""; 0]);
                }
                Spi::run("DROP TABLE copies").unwrap();
            }
        }
    }

    #[pg_test]
    fn compact_graphs_take_less_room() {
        Spi::run(
            "CREATE TABLE wide AS SELECT i id, (SELECT array_agg(sin(i * d)) FROM generate_series(1, 300) d)::vector(300) v
             FROM generate_series(1, 500) i;
             CREATE INDEX by_default ON wide USING vdb_hnsw (v vector_l2_ops);
             CREATE INDEX compact ON wide USING vdb_hnsw (v vector_l2_ops) WITH (layout = compact);
             CREATE INDEX by_table ON wide USING vdb_hnsw (v vector_l2_ops) WITH (rerank = heap)",
        )
        .unwrap();
        let size = |index: &str| {
            Spi::get_one::<i64>(&format!("SELECT pg_relation_size('{index}')")).unwrap().unwrap()
        };
        assert!(2 * size("compact") < size("by_default") + (64 << 10));
        assert!(2 * size("by_table") < size("compact"));
    }

    #[pg_test]
    fn long_vectors_span_pages() {
        Spi::run(
            "CREATE TABLE source AS SELECT i id, v::vector(16000), v::halfvec(16000) h FROM generate_series(1, 40) i,
                 LATERAL (SELECT array_agg((i * d) % 97)::vector v FROM generate_series(1, 16000) d) t;
             SET enable_seqscan = off; SET vdb.probes = 100",
        )
        .unwrap();
        let indexes = [
            ("vdb_hnsw", ""),
            ("vdb_ivf", ""),
            ("vdb_ivf", "WITH (lists = 3, bits = 2)"),
            ("vdb_ivf", "WITH (lists = 3, quantizer = sq8)"),
            ("vdb_ivf", "WITH (lists = 3, quantizer = none)"),
        ];
        for (method, options) in indexes {
            Spi::run(&format!(
                "CREATE TABLE items AS TABLE source;
                 CREATE INDEX ON items USING {method} (v vector_l2_ops) {options};
                 CREATE INDEX ON items USING {method} (h halfvec_l2_ops) {options};
                 INSERT INTO items SELECT id + 40, v, h FROM items WHERE id < 20"
            ))
            .unwrap();
            for column in ["v", "h"] {
                let nearest = |id: usize, limit: usize| {
                    let mut ids = lines(&format!(
                        "SELECT id::text FROM items
                         ORDER BY {column} <-> (SELECT {column} FROM items WHERE id = {id}) LIMIT {limit}"
                    ));
                    ids.sort();
                    ids
                };
                assert_eq!(nearest(33, 1), ["33"], "{method} {options}");
                assert_eq!(nearest(47, 2), ["47", "7"], "{method} {options}");
            }
            Spi::run("DROP TABLE items").unwrap();
        }
    }

    #[pg_test]
    fn sparse_rows_of_many_lengths_are_found() {
        // Hardly two rows share a dimension, so a graph has little guidance: look at all rows.
        Spi::run(
            "CREATE TABLE items (id int, v sparsevec(1000000000));
             INSERT INTO items SELECT i, ('{' || string_agg((d * 61 + i) || ':' || (d % 7 + 1), ',') || '}/1000000000')::sparsevec
             FROM generate_series(1, 300) i, generate_series(1, 1500) d WHERE d <= i * 5 GROUP BY i;
             CREATE INDEX ON items USING vdb_hnsw (v sparsevec_l2_ops);
             SET vdb.flush_rows = 100;
             INSERT INTO items SELECT id + 1000, v FROM items WHERE id < 250;
             SET enable_seqscan = off; SET vdb.ef_search = 400",
        )
        .unwrap();
        assert_eq!(
            lines("SELECT segments::text FROM vdb_index_stats('items_v_idx')"),
            ["2"],
            "sealed and flushed"
        );
        for id in [1, 42, 300] {
            let query = format!(
                "SELECT (id % 1000)::text FROM items ORDER BY v <-> (SELECT v FROM items WHERE id = {id}) LIMIT 1"
            );
            assert_eq!(lines(&query), [id.to_string()]);
        }
    }

    #[pg_test]
    fn nulls_and_zero_vectors_are_left_out() {
        Spi::run(
            "CREATE TABLE items (id int, v vector(2));
             INSERT INTO items VALUES (1, '[1,0]'), (2, NULL), (3, '[0,0]'), (4, '[0,1]');
             CREATE INDEX ON items USING vdb_hnsw (v vector_cosine_ops);
             INSERT INTO items VALUES (5, NULL), (6, '[-0,0]'), (7, '[1,1]');
             SET enable_seqscan = off",
        )
        .unwrap();
        assert_eq!(lines("SELECT id::text FROM items ORDER BY v <=> '[1,0.1]'"), ["1", "7", "4"]);
        let mut any: Vec<String> = lines("SELECT id::text FROM items ORDER BY v <=> (SELECT NULL::vector)");
        any.sort();
        assert_eq!(any, ["1", "4", "7"]);
        let mut any: Vec<String> = lines("SELECT id::text FROM items ORDER BY v <=> '[0,0]'::vector");
        any.sort();
        assert_eq!(any, ["1", "4", "7"]);
    }
}
