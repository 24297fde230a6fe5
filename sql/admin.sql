-- Functions about indexes.

CREATE FUNCTION vdb_index_stats(index regclass)
    RETURNS TABLE (
        structure text,
        quantizer text,
        dimensions integer,
        lists integer,
        segments integer,
        sealed_rows bigint,
        growing_rows bigint,
        tombstones bigint,
        generation bigint,
        bytes bigint
    )
    AS 'MODULE_PATHNAME', 'vdb_index_stats_wrapper' LANGUAGE C STRICT VOLATILE PARALLEL SAFE;

COMMENT ON FUNCTION vdb_index_stats(regclass) IS 'what a vdb index consists of';
