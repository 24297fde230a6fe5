//! Malformed input of every kind: each is refused with its SQLSTATE, and the backend stays up.

use crate::support::server::Server;
use postgres::Client;
use std::io::Write;

const SYNTAX: &str = "22P02";
const DATA: &str = "22000";
const RANGE: &str = "22003";
const LIMIT: &str = "54000";
const PARAMETER: &str = "22023";
const BINARY: &str = "22P03";
const PROTOCOL: &str = "08P01";
const NULL: &str = "22004";
const FEATURE: &str = "0A000";
const OBJECT: &str = "42704";
const FUNCTION: &str = "42883";

/// Statements and the SQLSTATE that each must fail with.
const STATEMENTS: &[(&str, &str)] = &[
    // text of vector
    ("SELECT ''::vector", SYNTAX),
    ("SELECT '['::vector", SYNTAX),
    ("SELECT '[1'::vector", SYNTAX),
    ("SELECT '[1,'::vector", SYNTAX),
    ("SELECT '[1,]'::vector", SYNTAX),
    ("SELECT '[,1]'::vector", SYNTAX),
    ("SELECT '[1,,2]'::vector", SYNTAX),
    ("SELECT '[1 2]'::vector", SYNTAX),
    ("SELECT '[1,2]x'::vector", SYNTAX),
    ("SELECT '1,2'::vector", SYNTAX),
    ("SELECT '(1,2)'::vector", SYNTAX),
    ("SELECT '[hello,1]'::vector", SYNTAX),
    ("SELECT '[[1]]'::vector", SYNTAX),
    ("SELECT '{1,2}'::vector", SYNTAX),
    ("SELECT '[]'::vector", DATA),
    ("SELECT '[NaN,1]'::vector", DATA),
    ("SELECT '[Infinity]'::vector", DATA),
    ("SELECT '[-inf]'::vector", DATA),
    ("SELECT '[1e39]'::vector", RANGE),
    ("SELECT '[-4e38,1]'::vector", RANGE),
    ("SELECT ('[' || repeat('0,', 16000) || '0]')::vector", LIMIT),
    ("SELECT '[1,2]'::vector(3)", DATA),
    // text of halfvec
    ("SELECT '[1,2'::halfvec", SYNTAX),
    ("SELECT '[nan]'::halfvec", DATA),
    ("SELECT '[65520]'::halfvec", RANGE),
    ("SELECT '[]'::halfvec", DATA),
    ("SELECT '[1]'::halfvec(2)", DATA),
    ("SELECT ('[' || repeat('0,', 16000) || '0]')::halfvec", LIMIT),
    // text of sparsevec
    ("SELECT ''::sparsevec", SYNTAX),
    ("SELECT '{'::sparsevec", SYNTAX),
    ("SELECT '{}'::sparsevec", SYNTAX),
    ("SELECT '{}/'::sparsevec", SYNTAX),
    ("SELECT '{1:}/2'::sparsevec", SYNTAX),
    ("SELECT '{:1}/2'::sparsevec", SYNTAX),
    ("SELECT '{1 1}/2'::sparsevec", SYNTAX),
    ("SELECT '{1:1,}/2'::sparsevec", SYNTAX),
    ("SELECT '{1:1}/2x'::sparsevec", SYNTAX),
    ("SELECT '{x:1}/2'::sparsevec", SYNTAX),
    ("SELECT '{}/0'::sparsevec", DATA),
    ("SELECT '{}/-1'::sparsevec", DATA),
    ("SELECT '{}/1000000001'::sparsevec", LIMIT),
    ("SELECT '{3:1}/2'::sparsevec", DATA),
    ("SELECT '{1:1,1:2}/2'::sparsevec", DATA),
    ("SELECT '{1:NaN}/2'::sparsevec", DATA),
    ("SELECT '{1:1e39}/2'::sparsevec", RANGE),
    ("SELECT '{0:1}/2'::sparsevec", RANGE),
    ("SELECT '{1:1}/2'::sparsevec(3)", DATA),
    // type modifiers
    ("SELECT '[1]'::vector(0)", PARAMETER),
    ("SELECT '[1]'::vector(-1)", PARAMETER),
    ("SELECT '[1]'::vector(16001)", PARAMETER),
    ("SELECT '[1]'::vector(1,2)", PARAMETER),
    ("SELECT '[1]'::vector('x')", PARAMETER),
    ("SELECT '[1]'::halfvec(16001)", PARAMETER),
    ("SELECT '{1:1}/2'::sparsevec(1000000001)", PARAMETER),
    ("CREATE TABLE wrong (v vector(99999999999))", PARAMETER),
    // arrays and casts
    ("SELECT array[1,NULL]::int[]::vector", NULL),
    ("SELECT array[[1],[2]]::float4[]::vector", DATA),
    ("SELECT '{}'::float8[]::vector", DATA),
    ("SELECT array['NaN']::float8[]::vector", DATA),
    ("SELECT array[1e300]::float8[]::vector", DATA),
    ("SELECT array[70000]::int[]::halfvec", RANGE),
    ("SELECT array['Infinity']::float4[]::sparsevec", DATA),
    ("SELECT '[1e10]'::vector::halfvec", RANGE),
    ("SELECT '{}/20000'::sparsevec::vector", LIMIT),
    ("SELECT array_agg(1::float4)::vector FROM generate_series(1, 16001)", LIMIT),
    // operators and functions
    ("SELECT '[1,2]'::vector <-> '[1]'::vector", DATA),
    ("SELECT '[1,2]'::vector <#> '[1]'::vector", DATA),
    ("SELECT '[1,2]'::halfvec <=> '[1]'::halfvec", DATA),
    ("SELECT '{1:1}/2'::sparsevec <+> '{1:1}/3'::sparsevec", DATA),
    ("SELECT B'10' <~> B'101'", DATA),
    ("SELECT B'10' <%> B'101'", DATA),
    ("SELECT '[1]'::vector + '[1,2]'::vector", DATA),
    ("SELECT '[3e38]'::vector + '[3e38]'::vector", RANGE),
    ("SELECT '[-3e38]'::vector - '[3e38]'::vector", RANGE),
    ("SELECT '[1e37]'::vector * '[1e37]'::vector", RANGE),
    ("SELECT '[1e-37]'::vector * '[1e-37]'::vector", RANGE),
    ("SELECT '[65000]'::halfvec + '[65000]'::halfvec", RANGE),
    ("SELECT subvector('[1,2,3]'::vector, 4, 1)", DATA),
    ("SELECT subvector('[1,2,3]'::vector, 1, 0)", DATA),
    (
        "SELECT ('[' || repeat('0,', 9999) || '0]')::vector || ('[' || repeat('0,', 9999) || '0]')::vector",
        LIMIT,
    ),
    ("SELECT avg(v) FROM (VALUES ('[1]'::vector), ('[1,2]')) t(v)", DATA),
    ("SELECT sum(v) FROM (VALUES ('[1]'::vector), ('[1,2]')) t(v)", DATA),
    // indexes: columns, options, settings
    ("CREATE INDEX ON loose USING vdb_hnsw (v vector_l2_ops)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_hnsw (v)", OBJECT),
    ("CREATE INDEX ON items USING vdb_hnsw (v halfvec_l2_ops)", "42804"),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops, v vector_l2_ops)", FEATURE),
    ("CREATE UNIQUE INDEX ON items USING vdb_hnsw (v vector_l2_ops)", FEATURE),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops DESC)", FEATURE),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops) WITH (m = 1)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops) WITH (m = 101)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops) WITH (m = 'many')", PARAMETER),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops) WITH (ef_construction = 3)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops) WITH (ef_construction = 1001)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops) WITH (m = 40, ef_construction = 64)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops) WITH (quantizer = 'best')", PARAMETER),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops) WITH (layout = 'tall')", PARAMETER),
    (
        "CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops) WITH (layout = compact, quantizer = none)",
        PARAMETER,
    ),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l1_ops) WITH (layout = compact)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops) WITH (layout = wide, rerank = heap)", PARAMETER),
    (
        "CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops) WITH (quantizer = none, rerank = heap)",
        PARAMETER,
    ),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l1_ops) WITH (rerank = heap)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops) WITH (lists = 10)", PARAMETER),
    ("CREATE INDEX ON bits USING vdb_hnsw (b bit_hamming_ops)", LIMIT),
    ("CREATE INDEX ON loose USING vdb_ivf (v vector_l2_ops)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_ivf (v vector_l1_ops)", OBJECT),
    ("CREATE INDEX ON items USING vdb_ivf (v vector_l2_ops) WITH (m = 16)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_ivf (v vector_l2_ops) WITH (lists = -1)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_ivf (v vector_l2_ops) WITH (lists = 65537)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_ivf (v vector_l2_ops) WITH (bits = 0)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_ivf (v vector_l2_ops) WITH (bits = 9)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_ivf (v vector_l2_ops) WITH (quantizer = none, bits = 4)", PARAMETER),
    (
        "CREATE INDEX ON items USING vdb_ivf (v vector_l2_ops) WITH (quantizer = none, rerank = heap)",
        PARAMETER,
    ),
    ("CREATE INDEX ON items USING vdb_ivf (v vector_l2_ops) WITH (rerank = 'table')", PARAMETER),
    ("CREATE INDEX ON items USING vdb_ivf (v vector_l2_ops) WITH (quantizer = sq8, bits = 4)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops) WITH (quantizer = sq8)", PARAMETER),
    ("CREATE INDEX ON items USING vdb_hnsw (v vector_l1_ops) WITH (quantizer = rabitq)", PARAMETER),
    ("SET vdb.probes = -1", PARAMETER),
    ("SET vdb.probes = 65537", PARAMETER),
    ("SET vdb.ef_search = 0", PARAMETER),
    ("SET vdb.ef_search = 10001", PARAMETER),
    ("SET vdb.ef_search = 'all'", PARAMETER),
    ("SET vdb.flush_rows = 1", PARAMETER),
    ("SET vdb.no_such_setting = 1", "42602"),
    // an existing index
    ("INSERT INTO items VALUES (9, '[1,2]')", DATA),
    ("SELECT id FROM items ORDER BY v <-> '[1,2]' LIMIT 1", DATA),
    ("SELECT id FROM items ORDER BY v <-> 'x' LIMIT 1", SYNTAX),
    ("SELECT vdb_hnsw_handler()", FUNCTION),
    ("SELECT vdb_ivf_handler()", FUNCTION),
    ("SELECT * FROM vdb_index_stats('items')", "42809"),
    ("SELECT * FROM vdb_index_stats('pg_class_oid_index')", "42809"),
];

/// The body of a binary value and the SQLSTATE with which COPY must refuse it.
fn binary_values() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let half = |words: &[u16]| -> Vec<u8> { words.iter().flat_map(|w| w.to_be_bytes()).collect() };
    let vector = |dims: u16, unused: u16, values: &[f32]| -> Vec<u8> {
        let mut bytes = half(&[dims, unused]);
        bytes.extend(values.iter().flat_map(|x| x.to_be_bytes()));
        bytes
    };
    let sparse = |header: [i32; 3], indices: &[i32], values: &[f32]| -> Vec<u8> {
        let mut bytes: Vec<u8> = header.iter().chain(indices).flat_map(|x| x.to_be_bytes()).collect();
        bytes.extend(values.iter().flat_map(|x| x.to_be_bytes()));
        bytes
    };
    vec![
        ("vector", vec![], PROTOCOL),
        ("vector", vec![0, 1], PROTOCOL),
        ("vector", vector(0, 0, &[]), DATA),
        ("vector", vector(16_001, 0, &[]), LIMIT),
        ("vector", vector(2, 0, &[1.0]), PROTOCOL),
        ("vector", vector(1, 0, &[1.0, 2.0]), BINARY),
        ("vector", vector(1, 7, &[1.0]), DATA),
        ("vector", vector(1, 0, &[f32::NAN]), DATA),
        ("vector", vector(1, 0, &[f32::INFINITY]), DATA),
        ("halfvec", half(&[2, 0, 0x3C00]), PROTOCOL),
        ("halfvec", half(&[1, 0, 0x7C00]), DATA),
        ("halfvec", half(&[1, 0, 0x7E00]), DATA),
        ("sparsevec", sparse([3, 1, 0], &[0], &[]), PROTOCOL),
        ("sparsevec", sparse([0, 0, 0], &[], &[]), DATA),
        ("sparsevec", sparse([3, -1, 0], &[], &[]), DATA),
        ("sparsevec", sparse([3, 4, 0], &[], &[]), DATA),
        ("sparsevec", sparse([100_000, 16_001, 0], &[], &[]), LIMIT),
        ("sparsevec", sparse([3, 1, 9], &[0], &[1.0]), DATA),
        ("sparsevec", sparse([3, 1, 0], &[3], &[1.0]), DATA),
        ("sparsevec", sparse([3, 1, 0], &[-1], &[1.0]), DATA),
        ("sparsevec", sparse([3, 2, 0], &[1, 1], &[1.0, 2.0]), DATA),
        ("sparsevec", sparse([3, 2, 0], &[2, 1], &[1.0, 2.0]), DATA),
        ("sparsevec", sparse([3, 1, 0], &[1], &[0.0]), DATA),
        ("sparsevec", sparse([3, 1, 0], &[1], &[f32::NAN]), DATA),
    ]
}

fn copy_binary(client: &mut Client, type_name: &str, value: &[u8]) -> Result<(), postgres::Error> {
    let mut copy = client.copy_in(&format!("COPY binary_{type_name} FROM STDIN BINARY"))?;
    let mut message = b"PGCOPY\n\xff\r\n\0".to_vec();
    message.extend([0; 8]); // flags, length of the header's extension
    message.extend(1i16.to_be_bytes()); // fields
    message.extend((value.len() as i32).to_be_bytes());
    message.extend(value);
    message.extend((-1i16).to_be_bytes());
    copy.write_all(&message).expect("the message is sent");
    copy.finish().map(|_| ())
}

#[test]
fn every_malformed_input_is_refused_with_its_sqlstate() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client
        .batch_execute(
            "CREATE EXTENSION vdb;
             CREATE TABLE loose (v vector);
             CREATE TABLE bits (b bit(64001));
             CREATE TABLE items (id int, v vector(3));
             INSERT INTO items VALUES (1, '[1,2,3]');
             CREATE INDEX ON items USING vdb_hnsw (v vector_l2_ops);
             CREATE TABLE binary_vector (v vector);
             CREATE TABLE binary_halfvec (v halfvec);
             CREATE TABLE binary_sparsevec (v sparsevec)",
        )
        .expect("set-up");
    let backend = |client: &mut Client| -> i32 {
        client.query_one("SELECT pg_backend_pid()", &[]).expect("the backend lives").get(0)
    };
    let pid = backend(&mut client);
    let mut wrong = Vec::new();
    let mut check = |what: String, result: Result<(), postgres::Error>, expected: &str| match result {
        Ok(()) => wrong.push(format!("{what}: accepted")),
        Err(error) => {
            let state = error.code().map_or("no SQLSTATE", |code| code.code()).to_string();
            if state != expected {
                wrong.push(format!("{what}: {state} instead of {expected}: {error:?}"));
            }
        }
    };
    for (statement, expected) in STATEMENTS {
        check(statement.to_string(), client.batch_execute(statement), expected);
    }
    for (type_name, value, expected) in binary_values() {
        check(format!("{type_name} {value:?}"), copy_binary(&mut client, type_name, &value), expected);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(backend(&mut client), pid, "no input has crashed the backend");
    assert!(STATEMENTS.len() + binary_values().len() >= 60);
}
