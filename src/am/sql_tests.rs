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

    /// The distances of the ten nearest rows by the index, and exactly.
    fn distances(table: &str, operator: &str, query: &str) -> (Vec<String>, Vec<String>) {
        let statement = format!(
            "SELECT (v {operator} {query})::text FROM {table} ORDER BY v {operator} {query} LIMIT 10"
        );
        Spi::run("SET enable_seqscan = off; SET enable_sort = off").unwrap();
        assert!(plan(&statement).contains("Index Scan"), "{statement}");
        let by_index = lines(&statement);
        Spi::run("RESET enable_seqscan; RESET enable_sort; SET enable_indexscan = off").unwrap();
        let exactly = lines(&statement);
        Spi::run("RESET enable_indexscan").unwrap();
        assert_eq!(by_index.len(), 10);
        (by_index, exactly)
    }

    /// The index returns the rows that exact search returns, at the same distances.
    ///
    /// Rows at equal distances may be any of them.
    fn assert_exact(table: &str, operator: &str, query: &str) {
        let (by_index, exactly) = distances(table, operator, query);
        assert_eq!(by_index, exactly, "{table} {operator} {query}");
    }

    /// The index returns at least nine of the ten rows that exact search returns, in order: bounds hold for 99 in 100.
    fn assert_near(table: &str, operator: &str, query: &str) {
        let (by_index, exactly) = distances(table, operator, query);
        let found = exactly.iter().filter(|distance| by_index.contains(distance)).count();
        assert!(found >= 9, "{table} {operator} {query}: {by_index:?} instead of {exactly:?}");
        let distance = |text: &String| text.parse::<f64>().unwrap();
        assert!(by_index.is_sorted_by(|a, b| distance(a) <= distance(b)), "{by_index:?}");
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
                assert_near(&table, operator, &query);
            }
        }
    }

    #[pg_test]
    fn compact_graphs_return_the_neighbours_of_every_space() {
        let query = clustered(3000);
        // More candidates than the two clusters in the middle, which look near from above, have rows.
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
                // What is flushed and merged, three times over: codes are taken over as they are.
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

    /// A table with clustered rows, and a vector near one of them.
    fn clustered(rows: usize) -> String {
        Spi::run(&format!(
            "CREATE TABLE items AS SELECT i id, array_agg(sin(i % 40 * d) * 4 + sin(i * d * 1.7))::vector(20) v
             FROM generate_series(1, {rows}) i, generate_series(1, 20) d GROUP BY i"
        ))
        .unwrap();
        let query = Spi::get_one::<String>(
            "SELECT (v + '[1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]')::text FROM items WHERE id = 77",
        );
        format!("'{}'", query.unwrap().unwrap())
    }

    #[pg_test]
    fn every_ivf_operator_class_returns_the_neighbours() {
        let query = clustered(3000);
        let spaces = [
            ("vector", "v", "l2", "<->"),
            ("vector", "v", "ip", "<#>"),
            ("vector", "v", "cosine", "<=>"),
            ("halfvec", "v::halfvec(20)", "l2", "<->"),
            ("halfvec", "v::halfvec(20)", "ip", "<#>"),
            ("halfvec", "v::halfvec(20)", "cosine", "<=>"),
            ("bit", "binary_quantize(v)::bit(20)", "hamming", "<~>"),
        ];
        for (name, expression, metric, operator) in spaces {
            let options: &[&str] = match name {
                "bit" => &[""],
                _ => &[
                    "",
                    "WITH (quantizer = none)",
                    "WITH (rerank = heap)",
                    "WITH (lists = 9, bits = 5)",
                    "WITH (quantizer = sq8)",
                ],
            };
            for options in options {
                Spi::run(&format!(
                    "CREATE TABLE copies AS SELECT id, {expression} v FROM items;
                     CREATE INDEX ON copies USING vdb_ivf (v {name}_{metric}_ops) {options};
                     SET vdb.probes = 1000"
                ))
                .unwrap();
                let query = match name {
                    "bit" => format!("binary_quantize({query}::vector)::bit(20)"),
                    _ => query.clone(),
                };
                assert_near("copies", operator, &query);
                // The same through the growing segment.
                Spi::run("INSERT INTO copies SELECT id + 5000, v FROM copies WHERE id < 100").unwrap();
                assert_near("copies", operator, &query);
                Spi::run("DROP TABLE copies").unwrap();
            }
        }
    }

    #[pg_test]
    fn ivf_goes_on_for_as_long_as_rows_are_asked_for() {
        let query = clustered(3000);
        Spi::run("CREATE INDEX ON items USING vdb_ivf (v vector_l2_ops); SET enable_seqscan = off").unwrap();
        Spi::run("SET vdb.probes = 3").unwrap();
        let selective =
            format!("SELECT id::text FROM items WHERE id % 100 = 7 ORDER BY v <-> {query} LIMIT 20");
        assert!(plan(&selective).contains("Index Scan"));
        assert_eq!(lines(&selective).len(), 20);
        let distances = lines(&format!("SELECT (v <-> {query})::text FROM items ORDER BY v <-> {query}"));
        assert!(distances.len() > 2700, "{}", distances.len());
        assert!(distances.is_sorted_by(|a, b| a.parse::<f64>().unwrap() <= b.parse::<f64>().unwrap()));
        Spi::run("SET vdb.probes = 1000").unwrap();
        let all = lines(&format!("SELECT id::text FROM items ORDER BY v <-> {query}")).len();
        assert!(all >= 2940, "{all} of 3000");
        assert_eq!(lines("SELECT id::text FROM items ORDER BY v <-> (SELECT NULL::vector)").len(), 3000);
    }

    #[pg_test]
    fn an_ivf_index_of_an_expression_fetches_its_rows_from_the_heap() {
        clustered(2000);
        Spi::run(
            "CREATE TABLE source AS SELECT id, v::text t FROM items;
             CREATE INDEX ON source USING vdb_ivf ((t::vector(20)) vector_l2_ops) WITH (rerank = heap);
             SET vdb.probes = 1000; SET enable_seqscan = off",
        )
        .unwrap();
        let query = "SELECT id::text FROM source ORDER BY t::vector(20) <-> (SELECT v FROM items WHERE id = 41) LIMIT 1";
        assert!(plan(query).contains("Index Scan"));
        assert_eq!(lines(query), ["41"]);
        // The snapshot does not see what was deleted; the index still has it.
        Spi::run("DELETE FROM source WHERE id = 41").unwrap();
        assert_ne!(lines(query), ["41"]);
    }

    #[pg_test]
    fn an_empty_ivf_index_gets_its_lists_when_rows_have_come() {
        Spi::run(
            "CREATE TABLE items (id int, v vector(20));
             CREATE INDEX items_v ON items USING vdb_ivf (v vector_l2_ops);
             SET vdb.flush_rows = 1000; SET enable_seqscan = off",
        )
        .unwrap();
        let insert = |from: usize, to: usize| {
            Spi::run(&format!(
                "INSERT INTO items SELECT i, array_agg(sin(i % 40 * d) * 4 + sin(i * d * 1.7))::vector
                 FROM generate_series({from}, {to}) i, generate_series(1, 20) d GROUP BY i ORDER BY i"
            ))
            .unwrap();
        };
        let nearest = |id: usize| {
            lines(&format!(
                "SELECT id::text FROM items ORDER BY v <-> (SELECT v FROM items WHERE id = {id}) LIMIT 1"
            ))
        };
        insert(1, 300);
        assert_eq!(nearest(17), ["17"]);
        let stats = || {
            lines(
                "SELECT concat_ws(' ', structure, quantizer, lists, sealed_rows + growing_rows) FROM vdb_index_stats('items_v')",
            )
        };
        assert_eq!(stats(), ["lists rabitq 300"]);
        insert(301, 3500);
        // The first thousand rows decided about the lists.
        assert_eq!(stats(), ["lists rabitq 128 3500"]);
        for id in [17, 299, 1500, 3499] {
            assert_eq!(nearest(id), [id.to_string()]);
        }
    }

    #[pg_test]
    fn growing_rows_are_found_by_their_codes() {
        Spi::run(
            "CREATE TABLE items (id int, v vector(300));
             CREATE INDEX ON items USING vdb_hnsw (v vector_cosine_ops);
             INSERT INTO items SELECT i, array_agg(sin(i % 40 * d) * 4 + sin(i * d * 1.7))::vector
             FROM generate_series(1, 1003) i, generate_series(1, 300) d GROUP BY i",
        )
        .unwrap();
        let query = Spi::get_one::<String>("SELECT v::text FROM items WHERE id = 1003").unwrap().unwrap();
        assert_near("items", "<=>", &format!("'{query}'"));
        Spi::run("SET enable_seqscan = off").unwrap();
        let all = lines(&format!("SELECT id::text FROM items ORDER BY v <=> '{query}'")).len();
        assert!(all >= 983, "{all} of 1003");
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

    /// What a scan returns when more is asked for than it looks for at first.
    #[pg_test]
    fn a_scan_goes_on_as_the_settings_say() {
        Spi::run(
            "CREATE TABLE items AS SELECT i id, array[sin(i), cos(i * 0.7), sin(i * i)]::vector(3) v
             FROM generate_series(1, 20000) i;
             SET enable_seqscan = off; SET enable_sort = off; SET vdb.ef_search = 10; SET vdb.probes = 1",
        )
        .unwrap();
        for index in ["vdb_hnsw (v vector_l2_ops)", "vdb_ivf (v vector_l2_ops)"] {
            Spi::run(&format!("DROP INDEX IF EXISTS items_v_idx; CREATE INDEX ON items USING {index}"))
                .unwrap();
            let distances = |settings: &str| -> Vec<f64> {
                Spi::run(settings).unwrap();
                let query = "SELECT (v <-> '[0.1,0.2,0.3]')::text FROM items WHERE id % 10 = 3
                             ORDER BY v <-> '[0.1,0.2,0.3]'";
                lines(query).iter().map(|distance| distance.parse().unwrap()).collect()
            };
            let off = distances("SET vdb.iterative_scan = off");
            assert!(off.len() < 500, "{index}: {}", off.len());
            let strict = distances("SET vdb.iterative_scan = strict");
            assert!(strict.len() > 1900 && strict.is_sorted(), "{index}: {}", strict.len());
            let relaxed = distances("SET vdb.iterative_scan = relaxed");
            assert_eq!(relaxed.len(), 2000, "{index}: no row is lost");
            let few = distances("SET vdb.max_scan_tuples = 100");
            assert!((5..=100).contains(&few.len()), "{index}: {}", few.len());
            let little =
                "SET vdb.max_scan_tuples = 0; SET vdb.iterative_scan = strict; SET vdb.scan_mem = '1MB'";
            let little = distances(little);
            assert!(little.len() > 1900 && little.is_sorted(), "{index}: {}", little.len());
            Spi::run("RESET vdb.iterative_scan; RESET vdb.scan_mem").unwrap();
        }
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
        // Hardly two rows share a dimension, so a graph has little to go by: look at them all.
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

    #[pg_test]
    fn a_search_tells_its_steps() {
        Spi::run(
            "CREATE TABLE steps AS SELECT i id, ARRAY[sin(i), cos(i * 7), sin(i * 3), i % 5]::float4[]::vector(4) v
             FROM generate_series(1, 3000) i;
             CREATE INDEX steps_v ON steps USING vdb_hnsw (v vector_l2_ops, id) WITH (quantizer = none);
             INSERT INTO steps VALUES (3001, '[1, 2, 3, 4]')",
        )
        .unwrap();
        let steps = |arguments: &str| {
            lines(&format!(
                "SELECT concat_ws(' ', structure, step, rows, matches, returned, compared > 0, pages > 0,
                                  actual_ms > 0, expected_ms > 0)
                 FROM vdb_explain_search('steps_v', {arguments})"
            ))
        };
        let (idle, graph) = ("growing scan 1 0 t t t t", "graph graph 3000 10 t t t t");
        assert_eq!(steps("'[0, 0, 0, 0]'"), [idle, graph]);
        let flat = "graph flat 3000 20 7 t t t t";
        assert_eq!(steps("'[0, 0, 0, 0]', 7, 'id <= 20'"), ["growing scan 1 0 f t t t", flat]);
        let growing = "growing scan 1 1 t t t t";
        assert_eq!(steps("'[1, 2, 3, 4]', 1, 'id > 3000'"), [growing]);
        Spi::run(
            "SET LOCAL enable_seqscan = off; SELECT id FROM steps ORDER BY v <-> '[1, 2, 3, 4]' LIMIT 2",
        )
        .unwrap();
        let last =
            "SELECT concat_ws(' ', index, structure, returned, actual_ms IS NULL) FROM vdb_last_search()";
        assert_eq!(lines(last), ["steps_v growing 1 t", "steps_v graph 1 t"]);
    }

    #[cfg(pg_ge_18)]
    #[pg_test]
    fn explain_shows_the_steps() {
        Spi::run(
            "CREATE TABLE explained AS SELECT i id, ARRAY[i, 0, 0]::float4[]::vector(3) v FROM generate_series(1, 3000) i;
             CREATE INDEX explained_v ON explained USING vdb_hnsw (v vector_l2_ops, id) WITH (quantizer = none);
             INSERT INTO explained VALUES (3001, '[5, 0, 0]'); SET LOCAL enable_seqscan = off",
        )
        .unwrap();
        let plan = |options: &str| {
            let query = "SELECT id FROM explained WHERE id < 4000 ORDER BY v <-> '[5, 0, 0]' LIMIT 3";
            lines(&format!("EXPLAIN ({options}) {query}")).join("\n")
        };
        let analyzed = plan("ANALYZE, COSTS OFF");
        for part in ["Search Steps: ", "growing scan (1 rows", "graph graph (effort 100, 3000 of 3000 rows"] {
            assert!(analyzed.contains(part), "{part}: {analyzed}");
        }
        assert!(plan("ANALYZE, FORMAT yaml").contains("Search Steps: \n"));
        assert!(!plan("COSTS OFF").contains("Search Steps"), "a plan that was not executed has no search");
    }

    #[pg_test]
    fn equal_distances_come_in_the_order_of_the_table() {
        for (access_method, options) in [
            ("vdb_hnsw", "quantizer = none"),
            ("vdb_hnsw", "quantizer = rabitq"),
            ("vdb_hnsw", "layout = compact"),
            ("vdb_hnsw", "rerank = heap"),
            ("vdb_ivf", "quantizer = rabitq"),
            ("vdb_ivf", "quantizer = none"),
        ] {
            // Sixteen rows at each of a few distances, half of them equal to another.
            Spi::run(&format!(
                "CREATE TABLE ties (id int, v vector(32));
                 INSERT INTO ties SELECT i, (SELECT array_agg(CASE WHEN i % 12 IN (d, 2 * d) THEN i / 16 ELSE 0 END
                                                              ORDER BY d) FROM generate_series(1, 32) d)::vector
                 FROM generate_series(0, 799) i ORDER BY i * 37 % 800;
                 CREATE INDEX ties_v ON ties USING {access_method} (v vector_l2_ops) WITH ({options});
                 SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL vdb.probes = 65536"
            ))
            .unwrap();
            let near = "v <-> array_fill(0, ARRAY[32])::vector";
            let query = format!("SELECT ({near})::text || ' ' || ctid FROM ties ORDER BY {near} LIMIT 60");
            let query = query.as_str();
            let by_index = lines(query);
            Spi::run("SET LOCAL enable_indexscan = off; SET LOCAL enable_sort = on").unwrap();
            let exactly = lines(&query.replace(" LIMIT", ", ctid LIMIT"));
            assert_eq!(by_index, exactly, "{access_method} {options}");
            Spi::run("DROP TABLE ties; SET LOCAL enable_indexscan = on").unwrap();
        }
    }

    #[pg_test]
    fn a_target_without_a_calibration_is_none() {
        Spi::run(
            "CREATE TABLE uncalibrated (v vector(2)); INSERT INTO uncalibrated VALUES ('[1, 2]'), ('[3, 4]');
             CREATE INDEX uncalibrated_v ON uncalibrated USING vdb_hnsw (v vector_l2_ops);
             SET LOCAL vdb.target_recall = 0.9; SET LOCAL enable_seqscan = off",
        )
        .unwrap();
        let query = "SELECT v::text FROM uncalibrated ORDER BY v <-> '[3, 3]' LIMIT 1";
        assert_eq!(lines(query), ["[3,4]"]);
        // Two rows make a calibration, however small.
        assert_eq!(lines("SELECT recall::text FROM vdb_calibrate('uncalibrated_v', 5) LIMIT 1"), ["1"]);
        assert_eq!(lines(query), ["[3,4]"]);
    }

    #[pg_test(error = "a calibration needs at least one query, not 0")]
    fn a_calibration_without_queries_is_refused() {
        Spi::run("CREATE TABLE t (v vector(2)); CREATE INDEX t_v ON t USING vdb_ivf (v vector_l2_ops)")
            .unwrap();
        Spi::run("SELECT vdb_calibrate('t_v', 0)").unwrap();
    }

    #[pg_test]
    fn distances_that_are_only_ordered_by_are_left_out() {
        Spi::run(
            "CREATE TABLE dropped AS SELECT i id, ARRAY[i / 3, 0, 0]::float4[]::vector(3) v FROM generate_series(0, 299) i;
             CREATE INDEX ON dropped USING vdb_hnsw (v vector_l2_ops); SET LOCAL enable_seqscan = off",
        )
        .unwrap();
        let output = |query: &str| lines(&format!("EXPLAIN (VERBOSE, COSTS OFF) {query}")).join("\n");
        let near = "v <-> '[0, 0, 0]'";
        let query = format!("SELECT id FROM dropped ORDER BY {near} LIMIT 4");
        assert!(output(&query).contains("Output: id, NULL::double precision"), "{}", output(&query));
        assert_eq!(lines(&query.replace("id", "id::text")), ["0", "1", "2", "3"]);
        let inner = format!("SELECT count(*)::text FROM ({query}) q, dropped d WHERE d.id = q.id");
        assert!(output(&inner).contains("NULL::double precision"), "{}", output(&inner));
        assert_eq!(lines(&inner), ["4"]);
        // Shown, compared for ties, or merged by, they are there.
        let shown = format!("SELECT ({near})::text FROM dropped ORDER BY {near} LIMIT 4");
        assert_eq!(lines(&shown), ["0", "0", "0", "1"]);
        let ties = format!("SELECT id::text FROM dropped ORDER BY {near} FETCH FIRST 4 ROWS WITH TIES");
        assert_eq!(lines(&ties), ["0", "1", "2", "3", "4", "5"]);
        let both = format!("SELECT id::text FROM ({query}) a UNION ALL SELECT id::text FROM ({query}) b");
        assert_eq!(lines(&both).len(), 8);
    }

    #[pg_test]
    fn distances_that_are_shown_are_the_scans_own() {
        Spi::run(
            "CREATE TABLE far AS SELECT i id, 0 seen, (SELECT array_agg(sin(i * d)) FROM generate_series(1, 600) d)::vector(600) v
             FROM generate_series(1, 300) i;
             CREATE TABLE far_half AS SELECT id, seen, v::halfvec(600) FROM far;
             SET LOCAL vdb.ef_search = 1000; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off",
        )
        .unwrap();
        let query = "(SELECT array_agg(cos(d)) FROM generate_series(1, 600) d)";
        let query = lines(&format!("SELECT {query}::vector::text")).remove(0);
        for (table, metric, operator) in [
            ("far", "vector_l2", "<->"),
            ("far", "vector_ip", "<#>"),
            ("far", "vector_cosine", "<=>"),
            ("far", "vector_l1", "<+>"),
            ("far_half", "halfvec_l2", "<->"),
            ("far_half", "halfvec_cosine", "<=>"),
        ] {
            for options in ["", "WITH (quantizer = none)"] {
                Spi::run(&format!("CREATE INDEX shown ON {table} USING vdb_hnsw (v {metric}_ops) {options}"))
                    .unwrap();
                let near = format!("v {operator} '{query}'");
                let statement = format!(
                    "SELECT id || ' ' || ({near})::text || ' ' || (1 - ({near}))::text FROM {table} ORDER BY {near} LIMIT 20"
                );
                let explained = lines(&format!("EXPLAIN (VERBOSE, COSTS OFF) {statement}")).join(" ");
                // Both, as the limit and as the scan below it put them out.
                assert_eq!(explained.matches("vdb_scanned_distance(ctid").count(), 4, "{explained}");
                let shown = lines(&statement);
                Spi::run("DROP INDEX shown; SET LOCAL enable_sort = on").unwrap();
                // Bounds hold for 99 rows in 100.
                let exactly = lines(&statement.replace("LIMIT 20", ""));
                let first = exactly[..20].iter().filter(|line| shown.contains(line)).count();
                assert!(shown.iter().all(|line| exactly.contains(line)), "{metric} {options}: {shown:?}");
                assert!(shown.len() == 20 && first >= 18, "{metric} {options}: {shown:?}");
                Spi::run("SET LOCAL enable_sort = off").unwrap();
            }
        }
    }

    #[pg_test]
    fn a_distance_is_handed_over_to_its_own_row_only() {
        Spi::run(
            "CREATE TABLE far AS SELECT i id, 0 seen, (SELECT array_agg(sin(i * d)) FROM generate_series(1, 600) d)::vector(600) v
             FROM generate_series(1, 300) i;
             CREATE INDEX ON far USING vdb_hnsw (v vector_l2_ops) WITH (quantizer = none);
             SET LOCAL enable_seqscan = off;
             CREATE FUNCTION nearest_to(int) RETURNS int LANGUAGE plpgsql AS $$
                 DECLARE q vector := (SELECT v FROM far WHERE id = $1); DECLARE found int; BEGIN
                     SELECT id INTO found FROM (SELECT id, v <-> q FROM far ORDER BY v <-> q LIMIT 1 OFFSET 1) near;
                     RETURN found; END $$",
        )
        .unwrap();
        let query = lines("SELECT v::text FROM far WHERE id = 7").remove(0);
        let near = format!("v <-> '{query}'");
        // Scans within a scan, before its row is projected and after; versions of rows that the index does not point to.
        Spi::run("UPDATE far SET seen = 1 WHERE id % 2 = 0").unwrap();
        for statement in [
            format!(
                "SELECT id || ' ' || ({near})::text FROM far WHERE nearest_to(id) > 0 ORDER BY {near} LIMIT 20"
            ),
            format!("SELECT nearest_to(id) || ' ' || ({near})::text FROM far ORDER BY {near} LIMIT 20"),
            format!(
                "SELECT a.id || ' ' || b.id || ' ' || a.d || ' ' || b.d FROM
                     (SELECT id, v, {near} d FROM far ORDER BY {near} LIMIT 5) a,
                     LATERAL (SELECT id, v <-> a.v d FROM far ORDER BY v <-> a.v LIMIT 4) b"
            ),
        ] {
            let plan = lines(&format!("EXPLAIN (VERBOSE, COSTS OFF) {statement}")).join(" ");
            assert!(plan.contains("vdb_scanned_distance(") && plan.contains("ctid"), "{plan}");
            let by_index = lines(&statement);
            Spi::run("SET LOCAL enable_indexscan = off").unwrap();
            assert_eq!(by_index, lines(&statement), "{statement}");
            Spi::run("SET LOCAL enable_indexscan = on").unwrap();
        }
        let call = "SELECT vdb_scanned_distance('(0,1)', 'far_v_idx'::regclass, '[1, 2]'::vector)::text";
        assert_eq!(lines(call), [""], "nobody has returned such a row");
    }
}
