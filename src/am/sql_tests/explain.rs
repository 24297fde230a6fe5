//! What searches report of themselves.

#[pgrx::pg_schema]
mod tests {
    use crate::am::sql_tests::lines;
    use pgrx::prelude::*;

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
}
