//! Index scans, through the pgrx harness.

#[pgrx::pg_schema]
mod tests {
    use pgrx::{Spi, pg_test};

    fn lines(query: &str) -> Vec<String> {
        Spi::connect(|client| {
            let rows = client.select(query, None, &[]).unwrap_or_else(|error| panic!("{query}: {error}"));
            rows.map(|row| row.get::<String>(1).expect("text").unwrap_or_default()).collect()
        })
    }

    fn plan(query: &str) -> String {
        lines(&format!("EXPLAIN {query}")).join("\n")
    }

    /// The index returns the rows that exact search returns, at the same distances.
    ///
    /// Rows at equal distances may be any of them.
    fn assert_exact(table: &str, operator: &str, query: &str) {
        let statement = format!(
            "SELECT (v {operator} {query})::text FROM {table} ORDER BY v {operator} {query} LIMIT 10"
        );
        Spi::run("SET enable_seqscan = off; SET enable_sort = off").unwrap();
        assert!(plan(&statement).contains("Index Scan"), "{statement}");
        let by_index = lines(&statement);
        Spi::run("RESET enable_seqscan; RESET enable_sort; SET enable_indexscan = off").unwrap();
        let exactly = lines(&statement);
        Spi::run("RESET enable_indexscan").unwrap();
        assert_eq!(by_index, exactly, "{statement}");
        assert_eq!(by_index.len(), 10);
    }

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
                assert_exact(&table, operator, &query);
            }
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

    #[pg_test]
    fn equal_vectors_are_all_returned() {
        Spi::run(
            "CREATE TABLE items (id int, v vector(2));
             INSERT INTO items SELECT i, array[i % 4, 0]::vector FROM generate_series(1, 2000) i;
             CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops);
             SET enable_seqscan = off",
        )
        .unwrap();
        let nearest = lines("SELECT (id % 4)::text FROM items ORDER BY v <-> '[2,0]' LIMIT 600");
        assert!(nearest[..500].iter().all(|id| id == "2"));
        assert!(nearest[500..].iter().all(|id| id != "2"));
        assert_eq!(lines("SELECT id::text FROM items ORDER BY v <-> '[2,0]'").len(), 2000);
    }

    #[pg_test]
    fn the_planner_takes_the_index_when_it_pays() {
        Spi::run(
            "CREATE TABLE items (id int, v vector(32));
             INSERT INTO items SELECT i, (SELECT array_agg(sin(i * d))::vector FROM generate_series(1, 32) d)
             FROM generate_series(1, 20000) i;
             CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops);
             ANALYZE items;
             CREATE TABLE tiny AS SELECT * FROM items LIMIT 50;
             CREATE INDEX ON tiny USING vdb_hnsw (v vector_l2_ops);
             ANALYZE tiny",
        )
        .unwrap();
        let vector = Spi::get_one::<String>("SELECT v::text FROM items WHERE id = 9").unwrap().unwrap();
        let nearest = |table: &str, limit: &str| {
            plan(&format!("SELECT id FROM {table} ORDER BY v <-> '{vector}' {limit}"))
        };
        assert!(nearest("items", "LIMIT 10").contains("Index Scan"), "{}", nearest("items", "LIMIT 10"));
        for (table, limit) in [("tiny", "LIMIT 10"), ("items", "LIMIT 19000"), ("items", "")] {
            let plan = nearest(table, limit);
            assert!(plan.contains("Seq Scan"), "{table} {limit}: {plan}");
        }
        let unordered = plan("SELECT id FROM items WHERE id = 5");
        assert!(!unordered.contains("Index"), "{unordered}");
    }

    #[pg_test]
    fn long_vectors_span_pages() {
        Spi::run(
            "CREATE TABLE items (id int, v vector(16000), h halfvec(16000));
             INSERT INTO items SELECT i, v, v::halfvec FROM generate_series(1, 40) i,
                 LATERAL (SELECT array_agg((i * d) % 97)::vector v FROM generate_series(1, 16000) d) t;
             CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops);
             CREATE INDEX ON items USING vdb_hnsw (h halfvec_l2_ops);
             INSERT INTO items SELECT id + 40, v, h FROM items WHERE id < 20",
        )
        .unwrap();
        Spi::run("SET enable_seqscan = off").unwrap();
        for column in ["v", "h"] {
            let query = format!(
                "SELECT id::text FROM items ORDER BY {column} <-> (SELECT {column} FROM items WHERE id = 33) LIMIT 1"
            );
            assert_eq!(lines(&query), ["33"]);
            let query = format!(
                "SELECT id::text FROM items ORDER BY {column} <-> (SELECT {column} FROM items WHERE id = 47) LIMIT 2"
            );
            let mut both = lines(&query);
            both.sort();
            assert_eq!(both, ["47", "7"]);
        }
    }

    #[pg_test]
    fn sparse_rows_of_many_lengths_are_found() {
        // Hardly two rows share a dimension, so a graph has little to go by: look at them all.
        Spi::run(
            "CREATE TABLE items (id int, v sparsevec(1000000));
             INSERT INTO items SELECT i, ('{' || string_agg((d * 61 + i) || ':' || (d % 7 + 1), ',') || '}/1000000')::sparsevec
             FROM generate_series(1, 300) i, generate_series(1, 1500) d WHERE d <= i * 5 GROUP BY i;
             CREATE INDEX ON items USING vdb_hnsw (v sparsevec_l2_ops);
             INSERT INTO items SELECT id + 1000, v FROM items WHERE id < 50;
             SET enable_seqscan = off; SET vdb.ef_search = 400",
        )
        .unwrap();
        for id in [1, 42, 300] {
            let query = format!(
                "SELECT (id % 1000)::text FROM items ORDER BY v <-> (SELECT v FROM items WHERE id = {id}) LIMIT 1"
            );
            assert_eq!(lines(&query), [id.to_string()]);
        }
    }

    #[pg_test]
    fn a_scan_is_resumed_and_repeated() {
        Spi::run(
            "CREATE TABLE items (id int, v vector(2));
             INSERT INTO items SELECT i, array[i, 0]::vector FROM generate_series(1, 3000) i;
             CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops);
             SET enable_seqscan = off; SET vdb.ef_search = 20",
        )
        .unwrap();
        let lateral = lines(
            "SELECT n.id::text FROM generate_series(100, 300, 100) q,
             LATERAL (SELECT id FROM items ORDER BY v <-> array[q, 0]::vector LIMIT 1) n",
        );
        assert_eq!(lateral, ["100", "200", "300"]);
        let many = lines("SELECT id::text FROM items ORDER BY v <-> '[0,0]' LIMIT 400");
        let wanted: Vec<String> = (1..=400).map(|id| id.to_string()).collect();
        assert_eq!(many, wanted);
    }

    #[pg_test]
    fn conditions_beside_the_order_are_checked_row_by_row() {
        Spi::run(
            "CREATE TABLE items (id int, v vector(2));
             INSERT INTO items SELECT i, array[i, 0]::vector FROM generate_series(1, 3000) i;
             CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops);
             SET enable_seqscan = off",
        )
        .unwrap();
        let far = lines("SELECT id::text FROM items WHERE id > 2900 ORDER BY v <-> '[0,0]' LIMIT 3");
        assert_eq!(far, ["2901", "2902", "2903"], "the search goes on until enough rows pass");
    }
}
