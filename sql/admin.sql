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

CREATE FUNCTION vdb_flush(index regclass) RETURNS bigint
    AS 'MODULE_PATHNAME', 'vdb_flush_wrapper' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION vdb_flush(regclass) IS 'seals the growing segment of a vdb index; returns its rows';

CREATE FUNCTION vdb_compact(index regclass) RETURNS bigint
    AS 'MODULE_PATHNAME', 'vdb_compact_wrapper' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION vdb_compact(regclass) IS
    'merges the sealed segments of a vdb index without their dead rows; returns the rows of the new segment';

CREATE FUNCTION vdb_segment_parts(index regclass)
    RETURNS TABLE (
        id bigint,
        state text,
        structure text,
        level integer,
        rows bigint,
        tombstones bigint,
        part text,
        pages bigint,
        bytes bigint,
        buffered_pages bigint,
        created timestamptz,
        crc bigint
    )
    AS 'MODULE_PATHNAME', 'vdb_segment_parts_wrapper' LANGUAGE C STRICT VOLATILE PARALLEL SAFE;

COMMENT ON FUNCTION vdb_segment_parts(regclass) IS 'every part of every segment of a vdb index';

CREATE FUNCTION vdb_segments(index regclass)
    RETURNS TABLE (
        id bigint,
        state text,
        structure text,
        level integer,
        rows bigint,
        tombstones bigint,
        pages bigint,
        bytes bigint,
        buffered_pages bigint,
        created timestamptz,
        crc bigint,
        parts jsonb
    )
    LANGUAGE sql VOLATILE STRICT PARALLEL SAFE
    BEGIN ATOMIC
        SELECT id, state, structure, level, rows, tombstones, sum(pages)::bigint, sum(bytes)::bigint,
               sum(buffered_pages)::bigint, created, crc,
               jsonb_object_agg(part, jsonb_build_object('pages', pages, 'bytes', bytes, 'buffered', buffered_pages))
        FROM vdb_segment_parts(index)
        GROUP BY id, state, structure, level, rows, tombstones, created, crc
        ORDER BY id;
    END;

COMMENT ON FUNCTION vdb_segments(regclass) IS 'the segments of a vdb index';

CREATE FUNCTION vdb_index_tasks(index regclass)
    RETURNS TABLE (
        kind text,
        priority text,
        state text,
        pid integer,
        rows bigint,
        started timestamptz,
        completed timestamptz,
        error text
    )
    AS 'MODULE_PATHNAME', 'vdb_index_tasks_wrapper' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION vdb_index_tasks(regclass) IS 'what is due in a vdb index, what is being done, and what was done last';

-- Rows done of a running task are those that its process reports.
CREATE VIEW vdb_tasks AS
    SELECT c.oid::regclass AS index, t.kind, t.priority, t.state, t.pid,
           coalesce(t.rows, p.param13) AS rows_done, t.started, t.completed, t.error
    FROM pg_class c
    JOIN pg_am a ON a.oid = c.relam AND a.amname IN ('vdb_hnsw', 'vdb_ivf')
    CROSS JOIN LATERAL vdb_index_tasks(c.oid) t
    LEFT JOIN pg_stat_get_progress_info('CREATE INDEX') p ON p.pid = t.pid AND p.relid = c.oid
    WHERE c.relkind = 'i' AND (c.relpersistence <> 't' OR pg_my_temp_schema() = c.relnamespace);

COMMENT ON VIEW vdb_tasks IS 'flushes and compactions of all vdb indexes: due, running and done';

GRANT SELECT ON vdb_tasks TO PUBLIC;

CREATE FUNCTION vdb_check(index regclass, deep boolean DEFAULT false)
    RETURNS TABLE (segment bigint, part text, block bigint, finding text)
    AS 'MODULE_PATHNAME', 'vdb_check_wrapper' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION vdb_check(regclass, boolean) IS
    'what is wrong with a vdb index: pages, checksums, structures; deep compares codes and the table as well';

CREATE FUNCTION vdb_last_search()
    RETURNS TABLE (
        index regclass,
        generation bigint,
        segment bigint,
        structure text,
        step text,
        rows bigint,
        matches bigint,
        effort bigint,
        expected_ms double precision,
        actual_ms double precision,
        returned bigint,
        estimated bigint,
        compared bigint,
        pages bigint
    )
    AS 'MODULE_PATHNAME', 'vdb_last_search_wrapper' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION vdb_last_search() IS 'the steps of this session''s last search by a vdb index, and what they took';

CREATE FUNCTION vdb_time_search(index regclass, query text, k integer, filter text) RETURNS void
    AS 'MODULE_PATHNAME', 'vdb_time_search_wrapper' LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION vdb_time_search(regclass, text, integer, text) IS
    'runs a search for the k nearest rows, of those that meet a condition, for vdb_last_search() to show';

CREATE FUNCTION vdb_explain_search(index regclass, query text, k integer DEFAULT 10, filter text DEFAULT NULL)
    RETURNS TABLE (
        segment bigint,
        structure text,
        step text,
        rows bigint,
        matches bigint,
        effort bigint,
        expected_ms double precision,
        actual_ms double precision,
        returned bigint,
        estimated bigint,
        compared bigint,
        pages bigint
    )
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    BEGIN ATOMIC
        SELECT vdb_time_search(index, query, k, filter);
        SELECT segment, structure, step, rows, matches, effort, expected_ms, actual_ms, returned, estimated, compared,
               pages
        FROM vdb_last_search();
    END;

COMMENT ON FUNCTION vdb_explain_search(regclass, text, integer, text) IS
    'runs a search for the k nearest rows, of those that meet a condition, and shows its steps';

CREATE FUNCTION vdb_calibrate(index regclass, queries integer DEFAULT 200)
    RETURNS TABLE (effort integer, recall double precision)
    AS 'MODULE_PATHNAME', 'vdb_calibrate_wrapper' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION vdb_calibrate(regclass, integer) IS
    'measures, with so many rows of the table, which vdb.ef_search or vdb.probes gives which recall: for vdb.target_recall';
