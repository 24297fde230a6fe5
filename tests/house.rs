//! The structure of the source: a folder imports what the table of layers allows, and files do not
//! import one another in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Imports of one file from others: the files by their paths below `src`.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the source") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The code without comments and without the unit tests at its end.
fn code_of(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code = code.split("#[cfg(any(test, feature = \"pg_test\"))]\n#[pgrx::pg_schema]").next();
    let lines = code.unwrap_or_default().lines();
    lines.map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect()
}

/// Paths that begin with `crate` or `super`, as segments from the crate's root. A group in braces
/// becomes a path for each member.
fn paths_of(code: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, word) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let is_inner = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        if is_inner {
            continue;
        }
        let mut base = if word == "crate::" { Vec::new() } else { parent(module) };
        let mut rest = &code[at + word.len()..];
        while let Some(outer) = rest.strip_prefix("super::") {
            base.pop();
            rest = outer;
        }
        spell_out(rest, &base, &mut paths);
    }
    paths
}

fn parent(module: &[String]) -> Vec<String> {
    module[..module.len().saturating_sub(1)].to_vec()
}

/// Appends every path that `rest` begins with: one, or those of a group.
fn spell_out(rest: &str, base: &[String], paths: &mut Vec<Vec<String>>) {
    let mut path = base.to_vec();
    let mut rest = rest;
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let end = group.find(|c| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                depth == 0
            });
            let group = &group[..end.unwrap_or(group.len())];
            let mut depth = 0;
            let members = group.split(|c| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                c == ',' && depth == 0
            });
            members.for_each(|member| spell_out(member.trim(), &path, paths));
            return;
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        path.push(rest[..end].to_owned());
        match rest[end..].strip_prefix("::") {
            Some(further) => rest = further,
            None => break,
        }
    }
    paths.push(path);
}

fn imports() -> Imports {
    let source = root().join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let name = |file: &Path| file.strip_prefix(&source).expect("below src").display().to_string();
    let module = |name: &str| -> Vec<String> {
        let path = name.trim_end_matches(".rs");
        let path = path.strip_suffix("/mod").unwrap_or(path);
        path.split('/').map(String::from).collect()
    };
    let of_module: BTreeMap<Vec<String>, String> =
        files.iter().map(|file| (module(&name(file)), name(file))).collect();
    let mut imports = Imports::new();
    for file in &files {
        let (name, source) = (name(file), fs::read_to_string(file).expect("a source file"));
        let found = imports.entry(name.clone()).or_default();
        for path in paths_of(&code_of(&source), &module(&name)) {
            let longest = (1..=path.len()).rev().find_map(|len| of_module.get(&path[..len]));
            found.extend(longest.filter(|other| **other != name).cloned());
        }
    }
    imports
}

/// A file's folder below `src`, or the file itself if it lies in none.
fn folder_of(file: &str) -> &str {
    file.split_once('/').map_or(file.trim_end_matches(".rs"), |(folder, _)| folder)
}

/// A circle of imports that contains the file, if there is one.
fn circle<'a>(
    imports: &'a Imports,
    file: &'a str,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<String> {
    if let Some(first) = path.iter().position(|other| *other == file) {
        return Some(path[first..].join(" → "));
    }
    if !done.insert(file) {
        return None;
    }
    path.push(file);
    let found = imports[file].iter().find_map(|other| circle(imports, other, path, done));
    path.pop();
    found
}

#[test]
fn no_file_takes_from_one_that_takes_from_it() {
    let mut imports = imports();
    // A folder's `mod.rs` declares its files; they may import the words that it defines for all.
    for (file, of_file) in &mut imports {
        if let Some(folder) = file.strip_suffix("/mod.rs") {
            let prefix = folder.to_owned() + "/";
            of_file.retain(|other| !other.starts_with(&prefix));
        }
    }
    assert!(imports.len() > 100, "{}", imports.len());
    let mut done = BTreeSet::new();
    for file in imports.keys() {
        assert_eq!(circle(&imports, file, &mut Vec::new(), &mut done), None);
    }
}

/// The table of layers in ARCHITECTURE.md: a folder, and the folders that it may import.
fn layers() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let rows = text.lines().skip_while(|line| !line.starts_with("| folder |")).skip(2);
    let cells = |row: &str| -> Vec<String> { row.split('|').map(|cell| cell.trim().into()).collect() };
    let names = |cell: &str| -> BTreeSet<String> {
        cell.split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|name| !name.is_empty())
            .map(Into::into)
            .collect()
    };
    let table = rows.take_while(|line| line.starts_with('|')).map(cells);
    table.map(|cells| (cells[1].trim_matches('`').into(), names(&cells[2]))).collect()
}

#[test]
fn folders_take_from_others_as_the_table_of_layers_says() {
    let mut taken: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, others) in imports() {
        let folder = folder_of(&file).to_owned();
        let from = taken.entry(folder.clone()).or_default();
        from.extend(others.iter().map(|other| folder_of(other).to_owned()).filter(|other| *other != folder));
    }
    taken.remove("lib");
    for (folder, from) in &taken {
        println!("| `{folder}` | {} |", from.iter().cloned().collect::<Vec<_>>().join(", "));
    }
    assert_eq!(taken, layers());
}

fn rust_sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", ".cargo"] {
        rust_files(&root().join(folder), &mut files);
    }
    files
}

fn documents() -> Vec<PathBuf> {
    let mut documents = Vec::new();
    for folder in ["", "docs", "benches"] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder") {
            documents.push(entry.expect("an entry").path());
        }
    }
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents
}

const COLUMNS: usize = 100;
const LINES: usize = 600;

#[test]
fn comments_and_documents_keep_to_their_width_and_files_to_their_length() {
    let mut wrong = Vec::new();
    for path in rust_sources() {
        let source = fs::read_to_string(&path).expect("a source file");
        if source.lines().count() > LINES {
            wrong.push(format!("{}: {} lines", path.display(), source.lines().count()));
        }
        let mut is_code = false;
        for (number, line) in source.lines().enumerate() {
            let Some(comment) = line.trim_start().strip_prefix("//") else { continue };
            is_code ^= comment.contains("```");
            // A single word and code in a comment may exceed the width.
            if line.chars().count() > COLUMNS && !is_code && comment.trim().contains(' ') {
                wrong.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    for path in documents() {
        let text = fs::read_to_string(&path).expect("a document");
        let mut is_code = false;
        for (number, line) in text.lines().enumerate() {
            is_code ^= line.trim_start().starts_with("```");
            let is_free = is_code || line.starts_with('|') || line.starts_with("    ");
            if line.chars().count() > COLUMNS && !is_free {
                wrong.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// The anchor that a heading of a Markdown document has.
fn anchor(heading: &str) -> String {
    // The anchor contains a link's text, not its target.
    let parts = heading.trim_start_matches('#').trim().split("](");
    let rest = |part: &str| part.split_once(')').map_or(part, |(_, rest)| rest).to_owned();
    let text: String =
        parts.enumerate().map(|(i, part)| if i == 0 { part.into() } else { rest(part) }).collect();
    let kept = text.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).expect("a document");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://") && !link.contains(' ')) {
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { path.clone() } else { path.parent().expect("a folder").join(file) };
            let has_anchor = || {
                let text = fs::read_to_string(&target).unwrap_or_default();
                text.lines().any(|line| line.starts_with('#') && anchor(line) == fragment)
            };
            if !target.exists() || !fragment.is_empty() && !has_anchor() {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// Text that people read: comments of Rust and SQL, and documents without their code.
fn prose() -> Vec<(PathBuf, usize, String)> {
    let mut sql = Vec::new();
    for entry in fs::read_dir(root().join("sql")).expect("a folder") {
        sql.push(entry.expect("an entry").path());
    }
    let mut lines = Vec::new();
    for (paths, comment) in [(rust_sources(), Some("//")), (sql, Some("--")), (documents(), None)] {
        for path in paths {
            let text = fs::read_to_string(&path).expect("a file");
            let mut is_code = false;
            for (number, line) in text.lines().enumerate() {
                is_code ^= line.contains("```");
                let read = match comment {
                    Some(mark) => line.trim_start().strip_prefix(mark),
                    None => Some(line).filter(|line| !line.starts_with("    ")),
                };
                // What stands between backticks is code.
                let read = read.filter(|_| !is_code).map(|line| line.split('`').step_by(2).collect());
                lines.extend(read.map(|line| (path.clone(), number + 1, line)));
            }
        }
    }
    lines
}

#[test]
fn words_are_spelled_as_in_the_dictionary_and_plain() {
    /// Phrases for which the field has a word: *n*, "invalid", "except", "the caller".
    const DIALECT: [&str; 6] =
        ["so many", "whoever", "makes no sense", "make no sense", "blue moon", "somebody"];
    let (mut wrong, mut words) = (Vec::new(), 0);
    for (path, number, line) in prose() {
        let lower = line.to_lowercase();
        let phrases = DIALECT.iter().filter(|phrase| lower.contains(**phrase));
        wrong.extend(phrases.map(|phrase| format!("{}:{number}: {phrase}", path.display())));
        for word in line.split(|c: char| !c.is_alphanumeric()) {
            words += 1;
            let is_name = word.chars().skip(1).any(|c| c.is_uppercase() || c.is_numeric());
            if !is_name && let Some(meant) = typos_dict::WORD.find(&unicase::UniCase::new(word)) {
                wrong.push(format!("{}:{number}: {word}, meant {}", path.display(), meant.join(" or ")));
            }
        }
    }
    assert!(words > 50_000, "{words} words");
    assert_eq!(wrong, [""; 0]);
}

/// The files in the first table under a heading of CONTRIBUTING.md.
fn recipe(heading: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("CONTRIBUTING.md")).expect("CONTRIBUTING.md");
    let section = text.split(heading).nth(1).expect("the heading");
    let section = section.split("\n### ").next().unwrap_or_default();
    let rows = section.lines().skip_while(|line| !line.starts_with("| file |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let cell = |row: &str| row.split('|').nth(1).unwrap_or_default().trim().to_owned();
    // A link's target, or the name of a file that is to be made.
    let name = |cell: String| match cell.split_once("](") {
        Some((_, target)) => target.trim_end_matches(')').to_owned(),
        None => cell.trim_matches('`').to_owned(),
    };
    rows.map(|row| name(cell(row))).collect()
}

/// The files below `src` that have an arm for every one of an enum's variants.
fn files_that_match(of: &str, variants: &[&str]) -> BTreeSet<String> {
    let source = root().join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    files.retain(|path| !path.ends_with("tests.rs"));
    let has_arms = |path: &PathBuf| {
        let code = code_of(&fs::read_to_string(path).expect("a source file"));
        let arms = || code.lines().filter_map(|line| line.split_once("=>")).map(|(pattern, _)| pattern);
        let words = || arms().flat_map(|pattern| pattern.split(|c: char| !c.is_alphanumeric() && c != ':'));
        let has_arm = |variant: &&str| {
            words().any(|word| word == format!("{of}::{variant}") || word == format!("Self::{variant}"))
        };
        code.contains(of) && variants.iter().all(has_arm)
    };
    let name = |path: PathBuf| format!("src/{}", path.strip_prefix(&source).expect("below src").display());
    files.into_iter().filter(has_arms).map(name).collect()
}

#[test]
fn what_is_added_touches_the_files_of_its_recipe_and_few() {
    let is_rust = |file: &&String| file.ends_with(".rs");
    let metric = recipe("### Add a metric");
    let named = files_that_match("Metric", &["L2", "InnerProduct", "Cosine", "L1"]);
    assert!(!named.is_empty() && named.is_subset(&metric), "{named:?}, {metric:?}");
    assert!(metric.iter().filter(is_rust).count() <= 4, "{metric:?}");
    assert_eq!(metric.iter().filter(|file| file.ends_with(".sql")).count(), 1, "{metric:?}");

    let quantizer = recipe("### Add a quantizer");
    let named = files_that_match("Quantizer", &["None", "Rabitq", "Sq8"]);
    assert!(!named.is_empty() && named.is_subset(&quantizer), "{named:?}, {quantizer:?}");
    assert!(quantizer.len() <= 5, "{quantizer:?}");

    let structure = recipe("### Add a structure");
    for of in ["Structure", "Parts"] {
        let named = files_that_match(of, &["Graph", "Lists"]);
        assert!(!named.is_empty() && named.is_subset(&structure), "{named:?}, {structure:?}");
    }
    let others = structure.iter().filter(is_rust).filter(|file| !file.contains("NAME"));
    assert!(others.count() <= 4, "{structure:?}");

    let major = recipe("### Add a PostgreSQL major");
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    for path in files {
        let code = code_of(&fs::read_to_string(&path).expect("a source file"));
        let is_of_major = code.contains("pg_ge_") || (14..30).any(|n| code.contains(&format!("\"pg{n}\"")));
        let is_compat = path.starts_with(root().join("src/pg/compat"));
        let is_test = path.components().any(|part| part.as_os_str() == "sql_tests");
        assert!(!is_of_major || is_compat || is_test, "{} depends on the version", path.display());
    }
    assert!(major.iter().any(|file| file.starts_with("src/pg/compat/")), "{major:?}");
}
