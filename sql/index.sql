-- The index access methods and their operator classes.

CREATE FUNCTION vdb_hnsw_handler(pg_catalog.internal) RETURNS pg_catalog.index_am_handler
    AS 'MODULE_PATHNAME', 'vdb_hnsw_handler_wrapper' LANGUAGE C;

CREATE ACCESS METHOD vdb_hnsw TYPE INDEX HANDLER vdb_hnsw_handler;

COMMENT ON ACCESS METHOD vdb_hnsw IS 'segments with HNSW graphs';

CREATE FUNCTION vdb_ivf_handler(pg_catalog.internal) RETURNS pg_catalog.index_am_handler
    AS 'MODULE_PATHNAME', 'vdb_ivf_handler_wrapper' LANGUAGE C;

CREATE ACCESS METHOD vdb_ivf TYPE INDEX HANDLER vdb_ivf_handler;

COMMENT ON ACCESS METHOD vdb_ivf IS 'segments with posting lists around centroids (IVF)';

-- Each support function names an element type and a metric.

CREATE FUNCTION vdb_vector_l2_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_vector_l2_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_vector_ip_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_vector_ip_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_vector_cosine_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_vector_cosine_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_vector_l1_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_vector_l1_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_halfvec_l2_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_halfvec_l2_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_halfvec_ip_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_halfvec_ip_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_halfvec_cosine_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_halfvec_cosine_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_halfvec_l1_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_halfvec_l1_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_bit_hamming_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_bit_hamming_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_bit_jaccard_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_bit_jaccard_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_sparsevec_l2_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_sparsevec_l2_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_sparsevec_ip_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_sparsevec_ip_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_sparsevec_cosine_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_sparsevec_cosine_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_sparsevec_l1_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_sparsevec_l1_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR CLASS vector_l2_ops FOR TYPE vector USING vdb_hnsw AS
    OPERATOR 1 <-> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_vector_l2_support();
CREATE OPERATOR CLASS vector_ip_ops FOR TYPE vector USING vdb_hnsw AS
    OPERATOR 1 <#> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_vector_ip_support();
CREATE OPERATOR CLASS vector_cosine_ops FOR TYPE vector USING vdb_hnsw AS
    OPERATOR 1 <=> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_vector_cosine_support();
CREATE OPERATOR CLASS vector_l1_ops FOR TYPE vector USING vdb_hnsw AS
    OPERATOR 1 <+> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_vector_l1_support();
CREATE OPERATOR CLASS halfvec_l2_ops FOR TYPE halfvec USING vdb_hnsw AS
    OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_halfvec_l2_support();
CREATE OPERATOR CLASS halfvec_ip_ops FOR TYPE halfvec USING vdb_hnsw AS
    OPERATOR 1 <#> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_halfvec_ip_support();
CREATE OPERATOR CLASS halfvec_cosine_ops FOR TYPE halfvec USING vdb_hnsw AS
    OPERATOR 1 <=> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_halfvec_cosine_support();
CREATE OPERATOR CLASS halfvec_l1_ops FOR TYPE halfvec USING vdb_hnsw AS
    OPERATOR 1 <+> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_halfvec_l1_support();
CREATE OPERATOR CLASS bit_hamming_ops FOR TYPE bit USING vdb_hnsw AS
    OPERATOR 1 <~> (bit, bit) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_bit_hamming_support();
CREATE OPERATOR CLASS bit_jaccard_ops FOR TYPE bit USING vdb_hnsw AS
    OPERATOR 1 <%> (bit, bit) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_bit_jaccard_support();
CREATE OPERATOR CLASS sparsevec_l2_ops FOR TYPE sparsevec USING vdb_hnsw AS
    OPERATOR 1 <-> (sparsevec, sparsevec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_sparsevec_l2_support();
CREATE OPERATOR CLASS sparsevec_ip_ops FOR TYPE sparsevec USING vdb_hnsw AS
    OPERATOR 1 <#> (sparsevec, sparsevec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_sparsevec_ip_support();
CREATE OPERATOR CLASS sparsevec_cosine_ops FOR TYPE sparsevec USING vdb_hnsw AS
    OPERATOR 1 <=> (sparsevec, sparsevec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_sparsevec_cosine_support();
CREATE OPERATOR CLASS sparsevec_l1_ops FOR TYPE sparsevec USING vdb_hnsw AS
    OPERATOR 1 <+> (sparsevec, sparsevec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_sparsevec_l1_support();

CREATE OPERATOR CLASS vector_l2_ops FOR TYPE vector USING vdb_ivf AS
    OPERATOR 1 <-> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_vector_l2_support();
CREATE OPERATOR CLASS vector_ip_ops FOR TYPE vector USING vdb_ivf AS
    OPERATOR 1 <#> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_vector_ip_support();
CREATE OPERATOR CLASS vector_cosine_ops FOR TYPE vector USING vdb_ivf AS
    OPERATOR 1 <=> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_vector_cosine_support();
CREATE OPERATOR CLASS halfvec_l2_ops FOR TYPE halfvec USING vdb_ivf AS
    OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_halfvec_l2_support();
CREATE OPERATOR CLASS halfvec_ip_ops FOR TYPE halfvec USING vdb_ivf AS
    OPERATOR 1 <#> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_halfvec_ip_support();
CREATE OPERATOR CLASS halfvec_cosine_ops FOR TYPE halfvec USING vdb_ivf AS
    OPERATOR 1 <=> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_halfvec_cosine_support();
CREATE OPERATOR CLASS bit_hamming_ops FOR TYPE bit USING vdb_ivf AS
    OPERATOR 1 <~> (bit, bit) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_bit_hamming_support();

-- Plans call these to show the distance that they order by: the scan's own, or NULL if the scan has
-- moved on.

CREATE FUNCTION vdb_scanned_distance(pg_catalog.tid, index pg_catalog.oid, query vector) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vdb_scanned_distance_wrapper' LANGUAGE C STABLE PARALLEL SAFE;
CREATE FUNCTION vdb_scanned_distance(pg_catalog.tid, index pg_catalog.oid, query halfvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vdb_scanned_distance_wrapper' LANGUAGE C STABLE PARALLEL SAFE;
CREATE FUNCTION vdb_scanned_distance(pg_catalog.tid, index pg_catalog.oid, query sparsevec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vdb_scanned_distance_wrapper' LANGUAGE C STABLE PARALLEL SAFE;

COMMENT ON FUNCTION vdb_scanned_distance(pg_catalog.tid, pg_catalog.oid, vector) IS 'for plans only: the distance of the row that an index scan has just returned';
COMMENT ON FUNCTION vdb_scanned_distance(pg_catalog.tid, pg_catalog.oid, halfvec) IS 'for plans only: the distance of the row that an index scan has just returned';
COMMENT ON FUNCTION vdb_scanned_distance(pg_catalog.tid, pg_catalog.oid, sparsevec) IS 'for plans only: the distance of the row that an index scan has just returned';
