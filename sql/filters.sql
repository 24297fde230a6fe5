-- Filter columns: operator classes of both access methods for the columns after the vector.
--
-- Strategies: 1 to 5 are <, <=, =, >=, >; 6 to 8 are &&, @>, <@. Each support function names the
-- kind of keys.

CREATE FUNCTION vdb_int2_filter() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_int2_filter_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_int4_filter() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_int4_filter_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_int8_filter() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_int8_filter_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_float4_filter() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_float4_filter_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_float8_filter() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_float8_filter_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_numeric_filter() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_numeric_filter_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_bool_filter() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_bool_filter_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_date_filter() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_date_filter_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_timestamp_filter() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_timestamp_filter_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_uuid_filter() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_uuid_filter_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_text_filter() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_text_filter_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_enum_filter() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_enum_filter_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_array_filter() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_array_filter_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

-- vdb_hnsw

CREATE OPERATOR FAMILY vdb_integer_filters USING vdb_hnsw;
CREATE OPERATOR FAMILY vdb_float_filters USING vdb_hnsw;
CREATE OPERATOR FAMILY vdb_numeric_filters USING vdb_hnsw;
CREATE OPERATOR FAMILY vdb_bool_filters USING vdb_hnsw;
CREATE OPERATOR FAMILY vdb_date_filters USING vdb_hnsw;
CREATE OPERATOR FAMILY vdb_timestamp_filters USING vdb_hnsw;
CREATE OPERATOR FAMILY vdb_timestamptz_filters USING vdb_hnsw;
CREATE OPERATOR FAMILY vdb_uuid_filters USING vdb_hnsw;
CREATE OPERATOR FAMILY vdb_text_filters USING vdb_hnsw;

CREATE OPERATOR CLASS vdb_int2_filter DEFAULT FOR TYPE pg_catalog.int2 USING vdb_hnsw
    FAMILY vdb_integer_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_int2_filter();
CREATE OPERATOR CLASS vdb_int4_filter DEFAULT FOR TYPE pg_catalog.int4 USING vdb_hnsw
    FAMILY vdb_integer_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_int4_filter();
CREATE OPERATOR CLASS vdb_int8_filter DEFAULT FOR TYPE pg_catalog.int8 USING vdb_hnsw
    FAMILY vdb_integer_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_int8_filter();
CREATE OPERATOR CLASS vdb_float4_filter DEFAULT FOR TYPE pg_catalog.float4 USING vdb_hnsw
    FAMILY vdb_float_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_float4_filter();
CREATE OPERATOR CLASS vdb_float8_filter DEFAULT FOR TYPE pg_catalog.float8 USING vdb_hnsw
    FAMILY vdb_float_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_float8_filter();
CREATE OPERATOR CLASS vdb_numeric_filter DEFAULT FOR TYPE pg_catalog.numeric USING vdb_hnsw
    FAMILY vdb_numeric_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_numeric_filter();
CREATE OPERATOR CLASS vdb_bool_filter DEFAULT FOR TYPE pg_catalog.bool USING vdb_hnsw
    FAMILY vdb_bool_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_bool_filter();
CREATE OPERATOR CLASS vdb_date_filter DEFAULT FOR TYPE pg_catalog.date USING vdb_hnsw
    FAMILY vdb_date_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_date_filter();
CREATE OPERATOR CLASS vdb_timestamp_filter DEFAULT FOR TYPE pg_catalog.timestamp USING vdb_hnsw
    FAMILY vdb_timestamp_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_timestamp_filter();
CREATE OPERATOR CLASS vdb_timestamptz_filter DEFAULT FOR TYPE pg_catalog.timestamptz USING vdb_hnsw
    FAMILY vdb_timestamptz_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_timestamp_filter();
CREATE OPERATOR CLASS vdb_uuid_filter DEFAULT FOR TYPE pg_catalog.uuid USING vdb_hnsw
    FAMILY vdb_uuid_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_uuid_filter();
CREATE OPERATOR CLASS vdb_text_filter DEFAULT FOR TYPE pg_catalog.text USING vdb_hnsw
    FAMILY vdb_text_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_text_filter();
CREATE OPERATOR CLASS vdb_enum_filter DEFAULT FOR TYPE pg_catalog.anyenum USING vdb_hnsw AS
    OPERATOR 3 pg_catalog.=,
    FUNCTION 1 vdb_enum_filter();
CREATE OPERATOR CLASS vdb_array_filter DEFAULT FOR TYPE pg_catalog.anyarray USING vdb_hnsw AS
    OPERATOR 3 pg_catalog.=, OPERATOR 6 pg_catalog.&&, OPERATOR 7 pg_catalog.@>, OPERATOR 8 pg_catalog.<@,
    FUNCTION 1 vdb_array_filter();

-- Numbers of one kind and several sizes are compared with one another.

ALTER OPERATOR FAMILY vdb_integer_filters USING vdb_hnsw ADD
    OPERATOR 1 pg_catalog.< (pg_catalog.int2, pg_catalog.int4),
    OPERATOR 2 pg_catalog.<= (pg_catalog.int2, pg_catalog.int4),
    OPERATOR 3 pg_catalog.= (pg_catalog.int2, pg_catalog.int4),
    OPERATOR 4 pg_catalog.>= (pg_catalog.int2, pg_catalog.int4),
    OPERATOR 5 pg_catalog.> (pg_catalog.int2, pg_catalog.int4),
    OPERATOR 1 pg_catalog.< (pg_catalog.int2, pg_catalog.int8),
    OPERATOR 2 pg_catalog.<= (pg_catalog.int2, pg_catalog.int8),
    OPERATOR 3 pg_catalog.= (pg_catalog.int2, pg_catalog.int8),
    OPERATOR 4 pg_catalog.>= (pg_catalog.int2, pg_catalog.int8),
    OPERATOR 5 pg_catalog.> (pg_catalog.int2, pg_catalog.int8),
    OPERATOR 1 pg_catalog.< (pg_catalog.int4, pg_catalog.int2),
    OPERATOR 2 pg_catalog.<= (pg_catalog.int4, pg_catalog.int2),
    OPERATOR 3 pg_catalog.= (pg_catalog.int4, pg_catalog.int2),
    OPERATOR 4 pg_catalog.>= (pg_catalog.int4, pg_catalog.int2),
    OPERATOR 5 pg_catalog.> (pg_catalog.int4, pg_catalog.int2),
    OPERATOR 1 pg_catalog.< (pg_catalog.int4, pg_catalog.int8),
    OPERATOR 2 pg_catalog.<= (pg_catalog.int4, pg_catalog.int8),
    OPERATOR 3 pg_catalog.= (pg_catalog.int4, pg_catalog.int8),
    OPERATOR 4 pg_catalog.>= (pg_catalog.int4, pg_catalog.int8),
    OPERATOR 5 pg_catalog.> (pg_catalog.int4, pg_catalog.int8),
    OPERATOR 1 pg_catalog.< (pg_catalog.int8, pg_catalog.int2),
    OPERATOR 2 pg_catalog.<= (pg_catalog.int8, pg_catalog.int2),
    OPERATOR 3 pg_catalog.= (pg_catalog.int8, pg_catalog.int2),
    OPERATOR 4 pg_catalog.>= (pg_catalog.int8, pg_catalog.int2),
    OPERATOR 5 pg_catalog.> (pg_catalog.int8, pg_catalog.int2),
    OPERATOR 1 pg_catalog.< (pg_catalog.int8, pg_catalog.int4),
    OPERATOR 2 pg_catalog.<= (pg_catalog.int8, pg_catalog.int4),
    OPERATOR 3 pg_catalog.= (pg_catalog.int8, pg_catalog.int4),
    OPERATOR 4 pg_catalog.>= (pg_catalog.int8, pg_catalog.int4),
    OPERATOR 5 pg_catalog.> (pg_catalog.int8, pg_catalog.int4);
ALTER OPERATOR FAMILY vdb_float_filters USING vdb_hnsw ADD
    OPERATOR 1 pg_catalog.< (pg_catalog.float4, pg_catalog.float8),
    OPERATOR 2 pg_catalog.<= (pg_catalog.float4, pg_catalog.float8),
    OPERATOR 3 pg_catalog.= (pg_catalog.float4, pg_catalog.float8),
    OPERATOR 4 pg_catalog.>= (pg_catalog.float4, pg_catalog.float8),
    OPERATOR 5 pg_catalog.> (pg_catalog.float4, pg_catalog.float8),
    OPERATOR 1 pg_catalog.< (pg_catalog.float8, pg_catalog.float4),
    OPERATOR 2 pg_catalog.<= (pg_catalog.float8, pg_catalog.float4),
    OPERATOR 3 pg_catalog.= (pg_catalog.float8, pg_catalog.float4),
    OPERATOR 4 pg_catalog.>= (pg_catalog.float8, pg_catalog.float4),
    OPERATOR 5 pg_catalog.> (pg_catalog.float8, pg_catalog.float4);

-- vdb_ivf

CREATE OPERATOR FAMILY vdb_integer_filters USING vdb_ivf;
CREATE OPERATOR FAMILY vdb_float_filters USING vdb_ivf;
CREATE OPERATOR FAMILY vdb_numeric_filters USING vdb_ivf;
CREATE OPERATOR FAMILY vdb_bool_filters USING vdb_ivf;
CREATE OPERATOR FAMILY vdb_date_filters USING vdb_ivf;
CREATE OPERATOR FAMILY vdb_timestamp_filters USING vdb_ivf;
CREATE OPERATOR FAMILY vdb_timestamptz_filters USING vdb_ivf;
CREATE OPERATOR FAMILY vdb_uuid_filters USING vdb_ivf;
CREATE OPERATOR FAMILY vdb_text_filters USING vdb_ivf;

CREATE OPERATOR CLASS vdb_int2_filter DEFAULT FOR TYPE pg_catalog.int2 USING vdb_ivf
    FAMILY vdb_integer_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_int2_filter();
CREATE OPERATOR CLASS vdb_int4_filter DEFAULT FOR TYPE pg_catalog.int4 USING vdb_ivf
    FAMILY vdb_integer_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_int4_filter();
CREATE OPERATOR CLASS vdb_int8_filter DEFAULT FOR TYPE pg_catalog.int8 USING vdb_ivf
    FAMILY vdb_integer_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_int8_filter();
CREATE OPERATOR CLASS vdb_float4_filter DEFAULT FOR TYPE pg_catalog.float4 USING vdb_ivf
    FAMILY vdb_float_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_float4_filter();
CREATE OPERATOR CLASS vdb_float8_filter DEFAULT FOR TYPE pg_catalog.float8 USING vdb_ivf
    FAMILY vdb_float_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_float8_filter();
CREATE OPERATOR CLASS vdb_numeric_filter DEFAULT FOR TYPE pg_catalog.numeric USING vdb_ivf
    FAMILY vdb_numeric_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_numeric_filter();
CREATE OPERATOR CLASS vdb_bool_filter DEFAULT FOR TYPE pg_catalog.bool USING vdb_ivf
    FAMILY vdb_bool_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_bool_filter();
CREATE OPERATOR CLASS vdb_date_filter DEFAULT FOR TYPE pg_catalog.date USING vdb_ivf
    FAMILY vdb_date_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_date_filter();
CREATE OPERATOR CLASS vdb_timestamp_filter DEFAULT FOR TYPE pg_catalog.timestamp USING vdb_ivf
    FAMILY vdb_timestamp_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_timestamp_filter();
CREATE OPERATOR CLASS vdb_timestamptz_filter DEFAULT FOR TYPE pg_catalog.timestamptz USING vdb_ivf
    FAMILY vdb_timestamptz_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_timestamp_filter();
CREATE OPERATOR CLASS vdb_uuid_filter DEFAULT FOR TYPE pg_catalog.uuid USING vdb_ivf
    FAMILY vdb_uuid_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_uuid_filter();
CREATE OPERATOR CLASS vdb_text_filter DEFAULT FOR TYPE pg_catalog.text USING vdb_ivf
    FAMILY vdb_text_filters AS
    OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
    FUNCTION 1 vdb_text_filter();
CREATE OPERATOR CLASS vdb_enum_filter DEFAULT FOR TYPE pg_catalog.anyenum USING vdb_ivf AS
    OPERATOR 3 pg_catalog.=,
    FUNCTION 1 vdb_enum_filter();
CREATE OPERATOR CLASS vdb_array_filter DEFAULT FOR TYPE pg_catalog.anyarray USING vdb_ivf AS
    OPERATOR 3 pg_catalog.=, OPERATOR 6 pg_catalog.&&, OPERATOR 7 pg_catalog.@>, OPERATOR 8 pg_catalog.<@,
    FUNCTION 1 vdb_array_filter();

-- Numbers of one kind and several sizes are compared with one another.

ALTER OPERATOR FAMILY vdb_integer_filters USING vdb_ivf ADD
    OPERATOR 1 pg_catalog.< (pg_catalog.int2, pg_catalog.int4),
    OPERATOR 2 pg_catalog.<= (pg_catalog.int2, pg_catalog.int4),
    OPERATOR 3 pg_catalog.= (pg_catalog.int2, pg_catalog.int4),
    OPERATOR 4 pg_catalog.>= (pg_catalog.int2, pg_catalog.int4),
    OPERATOR 5 pg_catalog.> (pg_catalog.int2, pg_catalog.int4),
    OPERATOR 1 pg_catalog.< (pg_catalog.int2, pg_catalog.int8),
    OPERATOR 2 pg_catalog.<= (pg_catalog.int2, pg_catalog.int8),
    OPERATOR 3 pg_catalog.= (pg_catalog.int2, pg_catalog.int8),
    OPERATOR 4 pg_catalog.>= (pg_catalog.int2, pg_catalog.int8),
    OPERATOR 5 pg_catalog.> (pg_catalog.int2, pg_catalog.int8),
    OPERATOR 1 pg_catalog.< (pg_catalog.int4, pg_catalog.int2),
    OPERATOR 2 pg_catalog.<= (pg_catalog.int4, pg_catalog.int2),
    OPERATOR 3 pg_catalog.= (pg_catalog.int4, pg_catalog.int2),
    OPERATOR 4 pg_catalog.>= (pg_catalog.int4, pg_catalog.int2),
    OPERATOR 5 pg_catalog.> (pg_catalog.int4, pg_catalog.int2),
    OPERATOR 1 pg_catalog.< (pg_catalog.int4, pg_catalog.int8),
    OPERATOR 2 pg_catalog.<= (pg_catalog.int4, pg_catalog.int8),
    OPERATOR 3 pg_catalog.= (pg_catalog.int4, pg_catalog.int8),
    OPERATOR 4 pg_catalog.>= (pg_catalog.int4, pg_catalog.int8),
    OPERATOR 5 pg_catalog.> (pg_catalog.int4, pg_catalog.int8),
    OPERATOR 1 pg_catalog.< (pg_catalog.int8, pg_catalog.int2),
    OPERATOR 2 pg_catalog.<= (pg_catalog.int8, pg_catalog.int2),
    OPERATOR 3 pg_catalog.= (pg_catalog.int8, pg_catalog.int2),
    OPERATOR 4 pg_catalog.>= (pg_catalog.int8, pg_catalog.int2),
    OPERATOR 5 pg_catalog.> (pg_catalog.int8, pg_catalog.int2),
    OPERATOR 1 pg_catalog.< (pg_catalog.int8, pg_catalog.int4),
    OPERATOR 2 pg_catalog.<= (pg_catalog.int8, pg_catalog.int4),
    OPERATOR 3 pg_catalog.= (pg_catalog.int8, pg_catalog.int4),
    OPERATOR 4 pg_catalog.>= (pg_catalog.int8, pg_catalog.int4),
    OPERATOR 5 pg_catalog.> (pg_catalog.int8, pg_catalog.int4);
ALTER OPERATOR FAMILY vdb_float_filters USING vdb_ivf ADD
    OPERATOR 1 pg_catalog.< (pg_catalog.float4, pg_catalog.float8),
    OPERATOR 2 pg_catalog.<= (pg_catalog.float4, pg_catalog.float8),
    OPERATOR 3 pg_catalog.= (pg_catalog.float4, pg_catalog.float8),
    OPERATOR 4 pg_catalog.>= (pg_catalog.float4, pg_catalog.float8),
    OPERATOR 5 pg_catalog.> (pg_catalog.float4, pg_catalog.float8),
    OPERATOR 1 pg_catalog.< (pg_catalog.float8, pg_catalog.float4),
    OPERATOR 2 pg_catalog.<= (pg_catalog.float8, pg_catalog.float4),
    OPERATOR 3 pg_catalog.= (pg_catalog.float8, pg_catalog.float4),
    OPERATOR 4 pg_catalog.>= (pg_catalog.float8, pg_catalog.float4),
    OPERATOR 5 pg_catalog.> (pg_catalog.float8, pg_catalog.float4);
