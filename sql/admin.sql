-- Functions about indexes.

CREATE FUNCTION vdb_index_stats(index pg_catalog.regclass)
    RETURNS TABLE (
        structure pg_catalog.text,
        quantizer pg_catalog.text,
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

COMMENT ON FUNCTION vdb_index_stats(pg_catalog.regclass) IS 'what a vdb index consists of';

CREATE FUNCTION vdb_flush(index pg_catalog.regclass) RETURNS bigint
    AS 'MODULE_PATHNAME', 'vdb_flush_wrapper' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION vdb_flush(pg_catalog.regclass) IS 'seals the growing segment of a vdb index; returns its rows';

CREATE FUNCTION vdb_compact(index pg_catalog.regclass) RETURNS bigint
    AS 'MODULE_PATHNAME', 'vdb_compact_wrapper' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION vdb_compact(pg_catalog.regclass) IS
    'seals the growing segment of a vdb index, merges segments without their dead rows; returns the rows of the new one';

CREATE FUNCTION vdb_segment_parts(index pg_catalog.regclass)
    RETURNS TABLE (
        id bigint,
        state pg_catalog.text,
        structure pg_catalog.text,
        level integer,
        rows bigint,
        tombstones bigint,
        part pg_catalog.text,
        pages bigint,
        bytes bigint,
        buffered_pages bigint,
        created pg_catalog.timestamptz,
        crc bigint
    )
    AS 'MODULE_PATHNAME', 'vdb_segment_parts_wrapper' LANGUAGE C STRICT VOLATILE PARALLEL SAFE;

COMMENT ON FUNCTION vdb_segment_parts(pg_catalog.regclass) IS 'every part of every segment of a vdb index';

CREATE FUNCTION vdb_segments(index pg_catalog.regclass)
    RETURNS TABLE (
        id bigint,
        state pg_catalog.text,
        structure pg_catalog.text,
        level integer,
        rows bigint,
        tombstones bigint,
        pages bigint,
        bytes bigint,
        buffered_pages bigint,
        created pg_catalog.timestamptz,
        crc bigint,
        parts pg_catalog.jsonb
    )
    LANGUAGE sql VOLATILE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT p.id, p.state, p.structure, p.level, p.rows, p.tombstones,
               pg_catalog.sum(p.pages)::bigint, pg_catalog.sum(p.bytes)::bigint,
               pg_catalog.sum(p.buffered_pages)::bigint, p.created, p.crc,
               pg_catalog.jsonb_object_agg(p.part, pg_catalog.jsonb_build_object(
                   'pages', p.pages, 'bytes', p.bytes, 'buffered', p.buffered_pages))
        FROM vdb_segment_parts(index) p
        GROUP BY p.id, p.state, p.structure, p.level, p.rows, p.tombstones, p.created, p.crc
        ORDER BY p.id;
    END;

COMMENT ON FUNCTION vdb_segments(pg_catalog.regclass) IS 'the segments of a vdb index';

CREATE FUNCTION vdb_index_tasks(index pg_catalog.regclass)
    RETURNS TABLE (
        kind pg_catalog.text,
        priority pg_catalog.text,
        state pg_catalog.text,
        pid integer,
        rows bigint,
        started pg_catalog.timestamptz,
        completed pg_catalog.timestamptz,
        error pg_catalog.text
    )
    AS 'MODULE_PATHNAME', 'vdb_index_tasks_wrapper' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION vdb_index_tasks(pg_catalog.regclass) IS 'what is due in a vdb index, what is being done, and what was done last';

CREATE FUNCTION vdb_all_tasks()
    RETURNS TABLE (
        index pg_catalog.oid,
        kind pg_catalog.text,
        priority pg_catalog.text,
        state pg_catalog.text,
        pid integer,
        rows bigint,
        started pg_catalog.timestamptz,
        completed pg_catalog.timestamptz,
        error pg_catalog.text
    )
    AS 'MODULE_PATHNAME', 'vdb_all_tasks_wrapper' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION vdb_all_tasks() IS
    'the tasks of vdb indexes whose owner''s rights the user has, for pg_read_all_stats of all, that are ready and not locked';

-- For a running task the process reports the rows done.
CREATE VIEW vdb_tasks AS
    SELECT t.index::pg_catalog.regclass AS index, t.kind, t.priority, t.state, t.pid,
           coalesce(t.rows, p.param13) AS rows_done, t.started, t.completed, t.error
    FROM vdb_all_tasks() t
    LEFT JOIN pg_catalog.pg_stat_get_progress_info('CREATE INDEX') p
        ON p.pid OPERATOR(pg_catalog.=) t.pid AND p.relid OPERATOR(pg_catalog.=) t.index;

COMMENT ON VIEW vdb_tasks IS 'flushes and compactions of all vdb indexes: due, running and done';

GRANT SELECT ON vdb_tasks TO PUBLIC;

CREATE FUNCTION vdb_check(index pg_catalog.regclass, deep boolean DEFAULT false)
    RETURNS TABLE (segment bigint, part pg_catalog.text, block bigint, finding pg_catalog.text)
    AS 'MODULE_PATHNAME', 'vdb_check_wrapper' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION vdb_check(pg_catalog.regclass, boolean) IS
    'what is wrong with a vdb index: pages, checksums, structures; deep compares codes and the table as well';

CREATE FUNCTION vdb_last_search()
    RETURNS TABLE (
        index pg_catalog.regclass,
        generation bigint,
        segment bigint,
        structure pg_catalog.text,
        step pg_catalog.text,
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

-- The query is a value of the index's type or its text. Sorts and other scans are disabled, so that
-- the plan uses the index.

CREATE FUNCTION vdb_explain_search(
    index pg_catalog.regclass, query pg_catalog.text, k integer DEFAULT 10, filter pg_catalog.text DEFAULT NULL)
    RETURNS TABLE (
        searched_index pg_catalog.regclass,
        segment bigint,
        structure pg_catalog.text,
        step pg_catalog.text,
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
    AS 'MODULE_PATHNAME', 'vdb_explain_search_wrapper' LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off;

COMMENT ON FUNCTION vdb_explain_search(pg_catalog.regclass, pg_catalog.text, integer, pg_catalog.text) IS
    'runs a search for the k nearest rows, of those that meet a condition, and shows its steps';

CREATE FUNCTION vdb_explain_search(
    index pg_catalog.regclass, query pg_catalog.anyelement, k integer DEFAULT 10, filter pg_catalog.text DEFAULT NULL)
    RETURNS TABLE (
        searched_index pg_catalog.regclass,
        segment bigint,
        structure pg_catalog.text,
        step pg_catalog.text,
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
    AS 'MODULE_PATHNAME', 'vdb_explain_search_wrapper' LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off;

COMMENT ON FUNCTION vdb_explain_search(pg_catalog.regclass, pg_catalog.anyelement, integer, pg_catalog.text) IS
    'runs a search for the k nearest rows, of those that meet a condition, and shows its steps';

CREATE FUNCTION vdb_calibrate(index pg_catalog.regclass, queries integer DEFAULT 200)
    RETURNS TABLE (effort integer, recall double precision)
    AS 'MODULE_PATHNAME', 'vdb_calibrate_wrapper' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION vdb_calibrate(pg_catalog.regclass, integer) IS
    'measures, with so many rows of the table, which vdb.ef_search or vdb.probes gives which recall: for vdb.target_recall';
