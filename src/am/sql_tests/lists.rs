//! Lists.

#[pgrx::pg_schema]
mod tests {
    use crate::am::sql_tests::{assert_near, clustered, lines, plan};
    use pgrx::prelude::*;

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
        // The snapshot does not see the deleted rows; the index still has them.
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
        // The first thousand rows determined the lists.
        assert_eq!(stats(), ["lists rabitq 128 3500"]);
        for id in [17, 299, 1500, 3499] {
            assert_eq!(nearest(id), [id.to_string()]);
        }
    }
}
