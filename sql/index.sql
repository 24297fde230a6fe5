-- The index access methods.

CREATE FUNCTION vdb_hnsw_handler(pg_catalog.internal) RETURNS pg_catalog.index_am_handler
    AS 'MODULE_PATHNAME', 'vdb_hnsw_handler_wrapper' LANGUAGE C;

CREATE ACCESS METHOD vdb_hnsw TYPE INDEX HANDLER vdb_hnsw_handler;

COMMENT ON ACCESS METHOD vdb_hnsw IS 'segments with HNSW graphs';

CREATE FUNCTION vdb_ivf_handler(pg_catalog.internal) RETURNS pg_catalog.index_am_handler
    AS 'MODULE_PATHNAME', 'vdb_ivf_handler_wrapper' LANGUAGE C;

CREATE ACCESS METHOD vdb_ivf TYPE INDEX HANDLER vdb_ivf_handler;

COMMENT ON ACCESS METHOD vdb_ivf IS 'segments with posting lists around centroids (IVF)';
