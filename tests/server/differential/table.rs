//! Random tables: a column of vectors, columns to filter by, rows, and indexes over them.

/// A reproducible generator (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }
}

/// A distance: its name in operator classes, its operator, and the operator of its spheres.
pub struct Metric {
    pub name: &'static str,
    pub operator: &'static str,
    pub within: &'static str,
}

const fn metric(name: &'static str, operator: &'static str, within: &'static str) -> Metric {
    Metric { name, operator, within }
}

const OF_NUMBERS: &[&Metric] = &[
    &metric("l2", "<->", "<<->>"),
    &metric("ip", "<#>", "<<#>>"),
    &metric("cosine", "<=>", "<<=>>"),
    &metric("l1", "<+>", "<<+>>"),
];
const HAMMING: &Metric = &metric("hamming", "<~>", "<<~>>");
const OF_BITS: &[&Metric] = &[HAMMING, &metric("jaccard", "<%>", "<<%>>")];

/// Types of vectors, each with its distances.
const KINDS: [(&str, &[&Metric]); 4] =
    [("vector", OF_NUMBERS), ("halfvec", OF_NUMBERS), ("sparsevec", OF_NUMBERS), ("bit", OF_BITS)];

/// A column to filter by. Rows and conditions draw from the same few values, so that they meet.
pub struct Column {
    pub name: &'static str,
    pub sql_type: &'static str,
    pub values: &'static [&'static str],
    /// Conditions that only this column has, with `{c}` for its name.
    pub conditions: &'static [&'static str],
}

const TEXTS: &[&str] = &["", "a", "ab", "abcd", "abcde", "abcdf", "b", "zürich", "Z"];

/// The values of each column include some that share a key of 64 bits, and some that compare in a
/// special way.
pub const COLUMNS: [&Column; 10] = [
    &Column {
        name: "tenant",
        sql_type: "int",
        values: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "-2147483648", "2147483647"],
        conditions: &[
            "{c} < 3::bigint",
            "{c} = 2::smallint",
            "{c} < 3.5::float8",
            "{c} = 2.0",
            "{c} = ANY ('{1,2,NULL}'::bigint[])",
            "{c} < ANY ('{2,3}'::int[])",
        ],
    },
    &Column {
        name: "large",
        sql_type: "bigint",
        values: &["-9223372036854775808", "-1", "0", "1", "10000000000", "9223372036854775807"],
        conditions: &["{c} > 1::int", "{c} = 0::smallint", "{c} <= 1e10"],
    },
    &Column {
        name: "price",
        sql_type: "float8",
        values: &["NaN", "Infinity", "-Infinity", "-0", "0", "0.1", "0.25", "1.5", "100", "-3.75"],
        conditions: &["{c} < 1.5::real", "{c} = 2", "{c} = 'NaN'::real", "{c} <= 'Infinity'::real"],
    },
    &Column {
        name: "name",
        sql_type: "text",
        values: TEXTS,
        conditions: &["{c} LIKE 'ab%'", "{c} ^@ 'a'", "lower({c}) = 'z'"],
    },
    // The index answers ranges of texts under this collation only.
    &Column { name: "code", sql_type: "text", values: TEXTS, conditions: &["{c} LIKE 'abc_%'"] },
    &Column {
        name: "ready",
        sql_type: "boolean",
        values: &["true", "false"],
        conditions: &["{c}", "NOT {c}", "{c} IS NOT TRUE"],
    },
    &Column {
        name: "cost",
        sql_type: "numeric",
        values: &["NaN", "Infinity", "-1", "0", "0.1", "0.10000000000000000001", "999999999999999"],
        conditions: &["{c} < 1", "{c} > 0.1::float8"],
    },
    &Column {
        name: "day",
        sql_type: "date",
        values: &["infinity", "-infinity", "1999-12-31", "2024-02-29", "2024-03-01", "2024-12-31"],
        conditions: &["{c} < '2024-03-01 12:00'::timestamp"],
    },
    &Column {
        name: "key",
        sql_type: "uuid",
        values: &[
            "00000000-0000-0000-0000-000000000000",
            "12345678-9abc-def0-0000-000000000001",
            "12345678-9abc-def0-0000-000000000002",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ],
        conditions: &[],
    },
    TAGS,
];

/// The column of arrays, whose values cannot be elements of one array.
pub const TAGS: &Column = &Column {
    name: "tags",
    sql_type: "int[]",
    values: &["{}", "{1}", "{1,2}", "{2,3}", "{1,2,3}", "{NULL}", "{1,NULL}", "{7,8,9,1}", "{4}"],
    conditions: &["3 = ANY ({c})", "{c} && NULL", "cardinality({c}) > 2"],
};

/// Calls a function with each vdb index, among them those of a table's partitions.
fn with_each_index(function: &str) -> String {
    format!(
        "SELECT {function}(c.oid::regclass) FROM pg_class c JOIN pg_am a ON a.oid = c.relam
         WHERE a.amname IN ('vdb_hnsw', 'vdb_ivf') AND c.relkind = 'i'"
    )
}

/// Centres of queries: the vectors of the first rows of the table `other`, whose ids start at 1.
pub const CENTRES: usize = 8;
/// Rows of the table `other`, which queries join.
pub const OTHERS: usize = 30;

pub struct Table {
    /// The type of its vectors.
    pub kind: &'static str,
    pub metric: &'static Metric,
    dims: usize,
    /// Numbers are multiples of 1 / `grain`; with 1 many distances are equal.
    grain: usize,
    /// Columns of the first index.
    pub indexed: Vec<&'static Column>,
    /// Whether an index may have codes beside its vectors.
    pub has_codes: bool,
    /// The texts of the centres of queries.
    pub centres: Vec<String>,
    /// All texts that rows draw from: fewer than there are rows.
    palette: Vec<String>,
    rows: usize,
    /// The statements that make and fill the table.
    pub steps: Vec<String>,
    /// Those of them that define the table and its indexes.
    pub definitions: Vec<String>,
}

impl Table {
    /// A table with one of the types of vectors; the rest is random.
    pub fn random(random: &mut Random, kind: usize) -> Self {
        let (kind, metrics) = KINDS[kind % KINDS.len()];
        let mut table = Self {
            kind,
            metric: random.pick(metrics),
            dims: 2 + random.below(39),
            grain: [1, 1, 4, 1000][random.below(4)],
            indexed: Vec::new(),
            has_codes: false,
            centres: Vec::new(),
            palette: Vec::new(),
            rows: 0,
            steps: Vec::new(),
            definitions: Vec::new(),
        };
        let rows = 200 + random.below(1301);
        table.palette.push(table.vector(random, true));
        for _ in 1..rows / 2 {
            let text = table.vector(random, false);
            table.palette.push(text);
        }
        table.centres = (0..CENTRES - 1).map(|_| table.random_centre(random)).collect();
        table.centres.push(table.palette[0].clone());
        table.define(random);
        table.fill_other(random);
        let before = random.below(rows);
        table.insert(random, before);
        table.index(random, "items_v", "");
        if random.chance(25) {
            let predicate = random.pick(&["", "", " WHERE ready", " WHERE tenant > 3"]);
            table.index(random, "items_second", predicate);
        }
        table.insert(random, rows - before);
        table.change(random);
        if random.chance(70) {
            table.steps.push("ANALYZE items".into());
        }
        table
    }

    /// A vector's value as SQL.
    pub fn literal(&self, text: &str) -> String {
        if self.kind == "bit" { format!("B'{text}'") } else { format!("'{text}'::{}", self.kind) }
    }

    /// The type of the column of vectors.
    pub fn column_type(&self) -> String {
        format!("{}({})", self.kind, self.dims)
    }

    /// The condition on rows that an index contains.
    pub fn is_indexed(&self) -> &'static str {
        match (self.metric.name, self.kind) {
            ("cosine", "vector") => "items.v IS NOT NULL AND vector_norm(items.v) > 0",
            ("cosine", _) => "items.v IS NOT NULL AND l2_norm(items.v) > 0",
            _ => "items.v IS NOT NULL",
        }
    }

    /// The text of a vector, of zeros if asked for.
    fn vector(&self, random: &mut Random, is_zero: bool) -> String {
        let is_sparse = self.kind == "sparsevec";
        let largest = if self.kind == "bit" { 1 } else { 3 * self.grain };
        let mut number = || -> f64 {
            let low = if self.kind == "bit" { 0 } else { largest };
            let number = (random.below(largest + low + 1) as f64 - low as f64) / self.grain as f64;
            let is_left_out = is_sparse && random.chance(60);
            if is_zero || is_left_out { 0.0 } else { number }
        };
        let numbers: Vec<f64> = (0..self.dims).map(|_| number()).collect();
        match self.kind {
            "bit" => numbers.iter().map(|&x| if x == 0.0 { '0' } else { '1' }).collect(),
            "sparsevec" => {
                let others = (1..).zip(&numbers).filter(|&(_, &x)| x != 0.0);
                let others: Vec<String> = others.map(|(i, x)| format!("{i}:{x}")).collect();
                format!("{{{}}}/{}", others.join(","), self.dims)
            }
            _ => {
                let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
                format!("[{}]", numbers.join(","))
            }
        }
    }

    /// A vector of the table, or a random one.
    fn random_centre(&self, random: &mut Random) -> String {
        if random.chance(50) {
            self.palette[random.below(self.palette.len())].clone()
        } else {
            self.vector(random, false)
        }
    }

    fn step(&mut self, definition: String) {
        self.definitions.push(definition.clone());
        self.steps.push(definition);
    }

    /// The tables, and what a user without rights may see of them.
    fn define(&mut self, random: &mut Random) {
        let columns: Vec<String> = COLUMNS
            .iter()
            .map(|column| {
                let collation = if column.name == "code" { " COLLATE \"C\"" } else { "" };
                format!("{} {}{collation}", column.name, column.sql_type)
            })
            .collect();
        let columns = format!("id int NOT NULL, {}, v {}", columns.join(", "), self.column_type());
        let partitions = if random.chance(30) { 2 + random.below(2) } else { 0 };
        let by = if partitions > 0 { " PARTITION BY HASH (id)" } else { "" };
        self.step(format!("CREATE TABLE items ({columns}){by}"));
        for number in 0..partitions {
            self.step(format!(
                "CREATE TABLE items_{number} PARTITION OF items
                 FOR VALUES WITH (MODULUS {partitions}, REMAINDER {number})"
            ));
        }
        self.steps.extend(
            [
                "CREATE TABLE other (LIKE items)",
                "CREATE TABLE radii (k int, r float8)",
                "INSERT INTO radii VALUES (1, NULL), (2, 'NaN'), (3, 'Infinity'), (4, 1.5)",
                "ALTER TABLE items ENABLE ROW LEVEL SECURITY",
                "CREATE POLICY some_tenants ON items USING (tenant <= 4)",
                "GRANT ALL ON items, other, radii TO reader",
            ]
            .map(String::from),
        );
    }

    /// The values of a row; `vector` is the text of its vector.
    fn row(random: &mut Random, id: usize, vector: Option<&str>) -> String {
        let mut values = vec![id.to_string()];
        let mut quoted = |text: Option<&str>| {
            values.push(text.map_or("NULL".into(), |text| format!("'{text}'")));
        };
        for column in COLUMNS {
            let is_null = random.chance(12);
            quoted((!is_null).then(|| random.pick(column.values)));
        }
        quoted(vector);
        format!("({})", values.join(","))
    }

    /// The rows of `other`: first the centres, then rows some of which have no vector.
    fn fill_other(&mut self, random: &mut Random) {
        let rows: Vec<String> = (1..=OTHERS)
            .map(|id| {
                let centre = self.centres.get(id - 1).map(String::as_str);
                let has_vector = random.chance(70);
                let vector = centre.or(has_vector.then(|| &*self.palette[id % 9 + 1]));
                Self::row(random, id, vector)
            })
            .collect();
        self.steps.push(format!("INSERT INTO other VALUES {}", rows.join(", ")));
    }

    /// Adds rows, in statements of a few hundred.
    fn insert(&mut self, random: &mut Random, rows: usize) {
        const AT_ONCE: usize = 250;
        let ids: Vec<usize> = (self.rows + 1..=self.rows + rows).collect();
        self.rows += rows;
        for ids in ids.chunks(AT_ONCE) {
            let rows: Vec<String> = ids
                .iter()
                .map(|&id| {
                    let text = match random.below(20) {
                        0 => None,
                        1 => Some(&*self.palette[0]),
                        _ => Some(&*self.palette[random.below(self.palette.len())]),
                    };
                    Self::row(random, id, text)
                })
                .collect();
            self.steps.push(format!("INSERT INTO items VALUES {}", rows.join(", ")));
        }
    }

    /// An index of either access method, over the vectors and some other columns.
    fn index(&mut self, random: &mut Random, name: &str, predicate: &str) {
        let mut columns = COLUMNS.to_vec();
        let mut filters = Vec::new();
        for _ in 0..random.below(6) {
            filters.push(columns.swap_remove(random.below(columns.len())));
        }
        let has_codes = ["vector", "halfvec"].contains(&self.kind) && self.metric.name != "l1";
        let is_graph = !(has_codes || self.metric.name == HAMMING.name) || random.chance(50);
        let options = options(random, is_graph, has_codes);
        self.has_codes |= has_codes && !options.contains("quantizer = none");
        let access_method = if is_graph { "vdb_hnsw" } else { "vdb_ivf" };
        let names: String = filters.iter().map(|column| format!(", {}", column.name)).collect();
        let class = format!("{}_{}_ops", self.kind, self.metric.name);
        self.step(format!(
            "CREATE INDEX {name} ON items
             USING {access_method} (v {class}{names}){options}{predicate}"
        ));
        if name == "items_v" {
            self.indexed = filters;
        }
    }

    /// Changes of a table over time.
    fn change(&mut self, random: &mut Random) {
        for _ in 0..2 + random.below(5) {
            let (divisor, rest) = (4 + random.below(9), random.below(4));
            let some = format!("WHERE id % {divisor} = {rest}");
            let vector = &self.palette[random.below(self.palette.len())];
            let statement = match random.below(9) {
                0 => format!("DELETE FROM items {some}"),
                1 => format!("UPDATE items SET tenant = 1, name = NULL {some}"),
                2 => format!("UPDATE items SET v = '{vector}' {some}"),
                3 => format!("UPDATE items SET v = NULL {some}"),
                4 => "VACUUM items".into(),
                5 => with_each_index("vdb_flush"),
                6 => with_each_index("vdb_compact"),
                7 => "REINDEX TABLE items".into(),
                _ => {
                    let rows = 1 + random.below(150);
                    self.insert(random, rows);
                    continue;
                }
            };
            self.steps.push(statement);
        }
    }
}

/// Options that are valid together, as the clause of an index's definition.
fn options(random: &mut Random, is_graph: bool, has_codes: bool) -> String {
    let mut options = Vec::new();
    let mut add = |option: &'static str| options.extend((!option.is_empty()).then_some(option));
    if is_graph {
        add(random.pick(&["", "", "m = 2", "m = 5", "m = 32", "m = 40, ef_construction = 80"]));
        add(match has_codes {
            true => random.pick(&[
                "",
                "quantizer = none",
                "quantizer = rabitq",
                "layout = compact",
                "layout = wide, quantizer = rabitq",
                "rerank = heap",
                "rerank = heap, layout = compact",
            ]),
            false => random.pick(&["", "quantizer = none"]),
        });
    } else {
        add(random.pick(&["", "lists = 1", "lists = 3", "lists = 40"]));
        add(match has_codes {
            true => random.pick(&[
                "",
                "quantizer = none",
                "quantizer = sq8",
                "quantizer = rabitq, bits = 2",
                "bits = 8",
                "rerank = heap",
                "rerank = heap, bits = 3",
                "rerank = heap, quantizer = sq8",
            ]),
            false => random.pick(&["", "quantizer = none"]),
        });
    }
    add(random.pick(&["", "flush_rows = 100", "flush_rows = 300, compact_segments = 2"]));
    if options.is_empty() { String::new() } else { format!(" WITH ({})", options.join(", ")) }
}
