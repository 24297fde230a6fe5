//! How scans continue, what they return, and in which order.

#[pgrx::pg_schema]
mod tests {
    use crate::am::sql_tests::{assert_near, lines};
    use pgrx::prelude::*;

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

    /// What a scan returns when the query asks for more than it looks for at first.
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
}
