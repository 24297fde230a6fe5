//! The types' SQL surface, through the pgrx harness.

#[pgrx::pg_schema]
mod tests {
    use pgrx::{Spi, pg_test};

    /// Each expression, as text, is what stands beside it.
    fn assert_all(cases: &[(&str, &str)]) {
        for (expression, expected) in cases {
            let got = Spi::get_one::<String>(&format!("SELECT ({expression})::text"))
                .unwrap_or_else(|error| panic!("{expression}: {error}"));
            assert_eq!(got.as_deref(), Some(*expected), "{expression}");
        }
    }

    #[pg_test]
    fn text_forms_round_trip() {
        assert_all(&[
            ("' [ 1 , 2.5 ,-3e2] '::vector", "[1,2.5,-300]"),
            ("'[1.23456789,-0,1e-45,0.1]'::vector", "[1.2345679,-0,1e-45,0.1]"),
            ("'[65504,0.00006,1.5]'::halfvec", "[65504,6.0021877e-05,1.5]"),
            ("'{3:2.5, 1:1}/5'::sparsevec", "{1:1,3:2.5}/5"),
            ("'{2:0}/3'::sparsevec", "{}/3"),
            ("'[1,2,3]'::vector(3)", "[1,2,3]"),
        ]);
    }

    #[pg_test]
    fn distances_are_pgvectors() {
        assert_all(&[
            ("'[0,0]'::vector <-> '[3,4]'", "5"),
            ("'[1,2]'::vector <#> '[3,4]'", "-11"),
            ("'[1,2]'::vector <=> '[2,4]'", "0"),
            ("'[1,1]'::vector <=> '[-1,-1]'", "2"),
            ("'[0,0]'::vector <=> '[1,1]'", "NaN"),
            ("'[0,0]'::vector <+> '[3,-4]'", "7"),
            ("inner_product('[1,2]'::vector, '[3,4]')", "11"),
            ("vector_spherical_distance('[1,0]', '[0,1]')", "0.5"),
            ("'[0,0]'::halfvec <-> '[3,4]'", "5"),
            ("'[1,2]'::halfvec <#> '[3,4]'", "-11"),
            ("'[1,0]'::halfvec <=> '[0,2]'", "1"),
            ("'[0,0]'::halfvec <+> '[3,4]'", "7"),
            ("'{1:3}/2'::sparsevec <-> '{2:4}/2'", "5"),
            ("'{1:1,2:2}/2'::sparsevec <#> '{1:3,2:4}/2'", "-11"),
            ("'{1:1}/2'::sparsevec <=> '{2:1}/2'", "1"),
            ("'{1:3}/2'::sparsevec <+> '{2:4}/2'", "7"),
            ("B'111' <~> B'010'", "2"),
            ("B'1100' <%> B'1010'", "0.6666666666666667"),
            ("B'0000' <%> B'0000'", "1"),
        ]);
    }

    #[pg_test]
    fn arithmetic_and_functions() {
        assert_all(&[
            ("'[1,2]'::vector + '[3,4]'", "[4,6]"),
            ("'[1,2]'::vector - '[3,5]'", "[-2,-3]"),
            ("'[1,2]'::vector * '[3,5]'", "[3,10]"),
            ("'[1,2]'::vector || '[3]'", "[1,2,3]"),
            ("'[1,2]'::halfvec + '[3,4]'", "[4,6]"),
            ("'[1,2]'::halfvec || '[3]'", "[1,2,3]"),
            ("vector_dims('[1,2,3]'::vector)", "3"),
            ("vector_dims('[1,2,3]'::halfvec)", "3"),
            ("vector_norm('[3,4]')", "5"),
            ("l2_norm('[3,4]'::halfvec)", "5"),
            ("l2_norm('{1:3,2:4}/5'::sparsevec)", "5"),
            ("l2_normalize('[3,4]'::vector)", "[0.6,0.8]"),
            ("l2_normalize('[0,0]'::vector)", "[0,0]"),
            ("l2_normalize('{1:3,4:4}/5'::sparsevec)", "{1:0.6,4:0.8}/5"),
            ("subvector('[1,2,3,4]'::vector, 2, 2)", "[2,3]"),
            ("subvector('[1,2,3,4]'::vector, -1, 3)", "[1]"),
            ("subvector('[1,2,3,4]'::halfvec, 3, 9)", "[3,4]"),
            ("binary_quantize('[1,0,-1,0.5,2,2,2,2,2]'::vector)", "100111111"),
            ("binary_quantize('[1,-1]'::halfvec)", "10"),
        ]);
    }

    #[pg_test]
    fn casts_among_types_and_arrays() {
        assert_all(&[
            ("array[1,2]::vector", "[1,2]"),
            ("array[1.5,2]::numeric[]::vector", "[1.5,2]"),
            ("array[1.5,2]::float8[]::halfvec", "[1.5,2]"),
            ("array[0,2,0]::float4[]::sparsevec", "{2:2}/3"),
            ("'[1,2]'::vector::real[]", "{1,2}"),
            ("'[1,2]'::halfvec::real[]", "{1,2}"),
            ("'[1,0,3]'::vector::sparsevec", "{1:1,3:3}/3"),
            ("'{1:1,3:3}/3'::sparsevec::vector", "[1,0,3]"),
            ("'{1:1,3:3}/3'::sparsevec::halfvec", "[1,0,3]"),
            ("'[1,2]'::vector::halfvec(2)::vector", "[1,2]"),
            ("'[1,0]'::halfvec::sparsevec", "{1:1}/2"),
        ]);
    }

    #[pg_test]
    fn comparison_orders_element_by_element() {
        assert_all(&[
            ("'[1,2]'::vector < '[1,3]'", "true"),
            ("'[1,2]'::vector < '[1,2,0]'", "true"),
            ("'[1,2]'::vector = '[1,2]'", "true"),
            ("'[1,2]'::vector <> '[1,2]'", "false"),
            ("'[2]'::halfvec > '[1,9]'", "true"),
            ("'{2:1}/3'::sparsevec < '{1:1}/3'", "true"),
            ("'{2:1}/3'::sparsevec <= '{2:1}/3'", "true"),
            ("'{1:-1}/3'::sparsevec < '{2:1}/3'", "true"),
            (
                "(SELECT array_agg(v ORDER BY v)::text FROM (VALUES ('[3]'::vector), ('[1]'), ('[2]')) t(v))",
                "{[1],[2],[3]}",
            ),
            ("(SELECT count(DISTINCT v) FROM (VALUES ('[3]'::vector), ('[3]'), ('[2]')) t(v))", "2"),
        ]);
        Spi::run("CREATE TABLE sorted (v vector(2) PRIMARY KEY); INSERT INTO sorted VALUES ('[1,2]')")
            .unwrap();
    }

    #[pg_test]
    fn aggregates_add_and_average() {
        assert_all(&[
            ("(SELECT avg(v) FROM (VALUES ('[1,2]'::vector), ('[3,5]'), (NULL)) t(v))", "[2,3.5]"),
            ("(SELECT sum(v) FROM (VALUES ('[1,2]'::vector), ('[3,5]')) t(v))", "[4,7]"),
            ("(SELECT avg(v) FROM (VALUES ('[1,2]'::halfvec), ('[3,5]')) t(v))", "[2,3.5]"),
            ("coalesce((SELECT avg(v) FROM (VALUES (NULL::vector)) t(v))::text, 'nothing')", "nothing"),
            ("vector_avg(vector_combine('{1,1,2}', '{1,3,5}'))", "[2,3.5]"),
            ("vector_avg(vector_combine('{0}', '{2,3,5}'))", "[1.5,2.5]"),
        ]);
    }

    #[pg_test]
    fn large_values_survive_storage() {
        Spi::run(
            "CREATE TABLE large (v vector, h halfvec, s sparsevec);
             INSERT INTO large SELECT v, v::halfvec, v::sparsevec FROM (
                 SELECT array_agg(i % 100)::vector v FROM generate_series(1, 16000) i) t",
        )
        .unwrap();
        assert_all(&[
            ("(SELECT v <-> h::vector FROM large)", "0"),
            ("(SELECT v <-> s::vector FROM large)", "0"),
            ("(SELECT vector_dims(v) FROM large)", "16000"),
        ]);
    }
}
