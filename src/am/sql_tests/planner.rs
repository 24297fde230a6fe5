//! The plans of queries.

#[pgrx::pg_schema]
mod tests {
    use crate::am::sql_tests::{lines, plan};
    use pgrx::prelude::*;

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
        // Shown, compared for ties, or merged by, the distances are in the plan.
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
                // Both in the limit and in the scan below it.
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
        // Scans within a scan, before its row is projected and after. Also versions of rows that
        // the index does not point to.
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
        assert_eq!(lines(call), [""], "no scan has returned such a row");
    }
}
