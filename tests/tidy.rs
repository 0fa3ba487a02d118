//! Is the house in order? The rules that a reviewer would otherwise have to remember.
//!
//! Each rule is a function from the crate's own files to the sentences that break it, and
//! each has a second test that shows it can fail. It deliberately looks at text only: what
//! the compiler and clippy check is theirs.

#[path = "tidy/alone.rs"]
mod alone;

#[path = "tidy/source.rs"]
mod source;

#[path = "tidy/selftest.rs"]
mod selftest;

use source::Source;
use std::collections::BTreeSet;
use std::path::Path;

/// The floors from the ground up. A module imports only from floors below its own, so
/// modules of one floor never see each other.
const FLOORS: &[&[&str]] = &[
    &["record", "ledger", "histogram"],
    &["spool", "convert", "status", "line"],
    &["dead", "repeats"],
    &["ingest", "forward", "admin", "control"],
    &["config"],
    &["app"],
    &["cli"],
    &["main"],
];

/// Crates that only these files (or folders, with a `/`) may name.
const NAMED_ONLY_IN: &[(&str, &[&str])] = &[
    (
        "rdkafka",
        &["src/forward/kafka.rs", "src/forward/kafka/", "src/cli/demo.rs", "src/cli/demo/"],
    ),
    ("sled", &["src/spool/store.rs"]),
    ("warp", &["src/ingest/", "src/admin/"]),
];

const LINES_OF_A_FILE: usize = 400;

/// The module of a file under `src`: `src/spool/mod.rs` is `spool`, `src/main.rs` is `main`,
/// `src/lib.rs` is the root and has none.
fn module_of(path: &str) -> Option<String> {
    let module = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let module = module.strip_suffix("/mod").unwrap_or(module);
    Some(if module == "lib" { String::new() } else { module.replace('/', "::") })
}

/// Which module of this crate imports which, as (file and line, from, to); tests left out.
fn imports(sources: &[Source]) -> Vec<(String, String, String)> {
    let modules: BTreeSet<String> = sources.iter().filter_map(|s| module_of(&s.path)).collect();
    let mut imports = Vec::new();
    for source in sources.iter().filter(|source| !only_for_tests(source, sources)) {
        let Some(from) = module_of(&source.path) else { continue };
        for (line, path) in source.paths() {
            let mut base: Vec<&str> = if ["crate", "waystation"].contains(&path[0].as_str()) {
                Vec::new()
            } else {
                from.split("::").collect()
            };
            for segment in &path {
                match segment.as_str() {
                    "crate" | "waystation" | "self" => {}
                    "super" => drop(base.pop()),
                    name => base.push(name),
                }
            }
            // The path goes on inside the module: to a type, a function.
            while !base.is_empty() && !modules.contains(&base.join("::")) {
                base.pop();
            }
            let to = base.join("::");
            if !to.is_empty() && to != from {
                imports.push((at(source, line), from.clone(), to));
            }
        }
    }
    imports.sort();
    imports.dedup();
    imports
}

/// A file whose `mod` line stands under `#[cfg(test)]`, or that of the folder it lies in.
fn only_for_tests(source: &Source, sources: &[Source]) -> bool {
    let Some(module) = module_of(&source.path) else { return true };
    let Some((parent, name)) = module.rsplit_once("::") else { return false };
    let declaration = format!("mod {name};");
    let declares = |other: &Source| {
        other.lines.iter().any(|l| l.test && l.code.trim().ends_with(&declaration))
    };
    sources
        .iter()
        .filter(|other| module_of(&other.path).as_deref() == Some(parent))
        .any(|other| declares(other) || only_for_tests(other, sources))
}

fn at(source: &Source, line: usize) -> String {
    format!("{}:{}", source.path, line + 1)
}

fn arrows_that_point_up(sources: &[Source]) -> Vec<String> {
    let floor = |module: &str| {
        let top = module.split("::").next().unwrap_or(module);
        FLOORS.iter().position(|floor| floor.contains(&top))
    };
    let mut wrong: Vec<String> = sources
        .iter()
        .filter_map(|source| Some((source, module_of(&source.path)?)))
        .filter(|(_, module)| !module.is_empty() && floor(module).is_none())
        .map(|(source, _)| format!("{}: its module has no floor; give it one here", source.path))
        .collect();
    for (place, from, to) in imports(sources) {
        let top = |module: &str| module.split("::").next().map(str::to_owned);
        if top(&from) != top(&to) && floor(&to) >= floor(&from) && floor(&from).is_some() {
            wrong.push(format!("{place}: {from} imports {to}, which is not on a floor below"));
        }
    }
    wrong
}

fn modules_that_import_each_other(sources: &[Source]) -> Vec<String> {
    let imports = imports(sources);
    let arrows: BTreeSet<(&str, &str)> =
        imports.iter().map(|(_, from, to)| (from.as_str(), to.as_str())).collect();
    // A folder's front door shows what is behind it, and what is behind it may use the
    // words of the door: parent and child are one module in two files.
    let related = |a: &str, b: &str| a.starts_with(&format!("{b}::"));
    arrows
        .iter()
        .filter(|(from, to)| from < to && arrows.contains(&(*to, *from)))
        .filter(|(from, to)| !related(from, to) && !related(to, from))
        .map(|(from, to)| format!("{from} and {to} import each other"))
        .collect()
}

fn crates_named_elsewhere(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        let tokens = source.tokens(true);
        for (name, places) in NAMED_ONLY_IN {
            let allowed = places
                .iter()
                .any(|p| source.path == *p || p.ends_with('/') && source.path.starts_with(p));
            let text = |at: usize| tokens.get(at).map_or("", |(_, token)| token.as_str());
            let named = tokens.iter().enumerate().find(|&(at, (_, token))| {
                let [two_before, before] = [2, 1].map(|n| text(at.wrapping_sub(n)));
                // `::sled` names the crate; `a::sled` names something of a's.
                let root = before != "::" || ["use", ""].contains(&two_before);
                token == name && root && (text(at + 1) == "::" || ["use", "::"].contains(&before))
            });
            if let (false, Some((_, (line, _)))) = (allowed, named) {
                wrong.push(format!("{}: {name} is named only in {places:?}", at(source, *line)));
            }
        }
    }
    wrong
}

fn files_without_a_story(sources: &[Source]) -> Vec<String> {
    let begins = |source: &Source| source.lines.first().is_some_and(|l| l.raw.starts_with("//!"));
    sources
        .iter()
        .filter(|source| !begins(source))
        .map(|source| format!("{}: begins without a //! that says what it is for", source.path))
        .collect()
}

fn long_files(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|s| s.path.starts_with("src/") && s.lines.len() > LINES_OF_A_FILE)
        .map(|s| format!("{}: {} lines, more than {LINES_OF_A_FILE}", s.path, s.lines.len()))
        .collect()
}

fn unproved_unwraps(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|s| s.path.starts_with("src/")) {
        if only_for_tests(source, sources) {
            continue;
        }
        for (index, line) in source.lines.iter().enumerate().filter(|(_, line)| !line.test) {
            if !line.code.contains(".unwrap()") && !line.code.contains(".expect(") {
                continue;
            }
            // The proof stands above the line or above the statement that it ends.
            let mut first = index;
            let ends = |code: &str| code.is_empty() || code.ends_with([';', '{', '}', ',']);
            while first > 0
                && !source.lines[first - 1].is_comment()
                && !ends(source.lines[first - 1].code.trim())
            {
                first -= 1;
            }
            if first == 0 || !source.lines[first - 1].is_comment() {
                wrong.push(format!(
                    "{}: unwrap or expect without a comment above that proves it",
                    at(source, index)
                ));
            }
        }
    }
    wrong
}

fn unfinished_work(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources {
        let tokens = source.tokens(true);
        for pair in tokens.windows(2) {
            let [(line, name), (_, bang)] = pair else { continue };
            if ["todo", "unimplemented", "dbg"].contains(&name.as_str()) && bang == "!" {
                wrong.push(format!("{}: {name}!", at(source, *line)));
            }
        }
        for (index, line) in source.lines.iter().enumerate() {
            if line.code.trim_start().starts_with("#[ignore") {
                wrong.push(format!("{}: a test that is ignored", at(source, index)));
            }
        }
    }
    wrong
}

fn unexplained_dependencies(manifest: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let (mut in_dependencies, mut before) = (false, "");
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.trim_end().ends_with("dependencies]");
        } else if let (true, Some((name, _))) = (in_dependencies, line.split_once('=')) {
            let begins_an_entry = line.starts_with(|c: char| c.is_ascii_alphanumeric());
            if begins_an_entry && !before.starts_with('#') {
                wrong.push(format!("Cargo.toml: what is {} for?", name.trim()));
            }
        }
        before = line;
    }
    wrong
}

// ------------------------------------------------------------------- the house as it stands

fn house() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = vec![];
    let mut waiting: Vec<_> =
        ["src", "tests", "benches", "build.rs"].map(|name| root.join(name)).into();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.exists() {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            sources.push(Source::new(&name, &std::fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(sources.iter().any(|s| s.path == "src/lib.rs"), "the crate's files were not found");
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

#[track_caller]
fn nothing(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_arrow_points_up() {
    nothing(&arrows_that_point_up(&house()));
}

#[test]
fn no_two_modules_import_each_other() {
    nothing(&modules_that_import_each_other(&house()));
}

#[test]
fn each_foreign_crate_is_named_only_in_its_room() {
    nothing(&crates_named_elsewhere(&house()));
}

#[test]
fn every_file_says_what_it_is_for() {
    nothing(&files_without_a_story(&house()));
}

#[test]
fn no_file_is_too_long_to_read() {
    nothing(&long_files(&house()));
}

#[test]
fn every_unwrap_is_proved() {
    nothing(&unproved_unwraps(&house()));
}

#[test]
fn nothing_is_left_unfinished_or_ignored() {
    nothing(&unfinished_work(&house()));
}

#[test]
fn every_dependency_is_explained() {
    nothing(&unexplained_dependencies(include_str!("../Cargo.toml")));
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let texts = alone::texts(Path::new(env!("CARGO_MANIFEST_DIR")));
    nothing(&alone::places_that_are_not_the_projects(&texts));
}
