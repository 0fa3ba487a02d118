//! Can each rule fail? Small houses with one thing wrong, and the same put right.

use super::alone::places_that_are_not_the_projects;
use super::source::Source;
use super::*;

fn house_of(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(path, text)| Source::new(path, text)).collect()
}

#[test]
fn an_arrow_that_points_up_is_seen_in_any_spelling() {
    for line in [
        "use crate::ingest::Config;",
        "use crate::{record, ingest::Config};",
        "use crate::{\n    record::Sequence,\n    ingest::{self, Config as C},\n};",
        "use super::super::ingest::Config;",
        "fn f() -> crate::ingest::Config { g() }",
    ] {
        let sources = house_of(&[
            ("src/spool/writer.rs", line),
            ("src/ingest/mod.rs", ""),
            ("src/record.rs", ""),
        ]);
        assert_eq!(arrows_that_point_up(&sources).len(), 1, "{line}");
    }
}

#[test]
fn a_neighbour_on_the_same_floor_is_not_below() {
    let sources =
        house_of(&[("src/ingest/mod.rs", "use crate::forward::X;"), ("src/forward/mod.rs", "")]);
    assert_eq!(arrows_that_point_up(&sources).len(), 1);
}

#[test]
fn an_arrow_down_a_comment_a_string_and_a_test_are_fine() {
    let text = "use crate::spool::Spool;\n// crate::forward::X\nconst S: &str = \"crate::cli::X\";\n\
                const R: &str = r#\"crate::\"cli\"#;\n#[cfg(test)]\nmod tests {\n    use crate::app::X;\n}\n";
    let sources = house_of(&[
        ("src/ingest/mod.rs", text),
        ("src/spool/mod.rs", ""),
        ("src/forward/mod.rs", ""),
        ("src/cli/mod.rs", ""),
        ("src/app.rs", ""),
    ]);
    assert_eq!(arrows_that_point_up(&sources), Vec::<String>::new());
}

#[test]
fn code_behind_a_test_is_code_again() {
    let text = "#[cfg(test)]\nmod tests;\nuse crate::app::X;\n";
    let sources = house_of(&[("src/ingest/mod.rs", text), ("src/app.rs", "")]);
    assert_eq!(arrows_that_point_up(&sources).len(), 1);
}

#[test]
fn a_module_without_a_floor_is_seen() {
    assert_eq!(arrows_that_point_up(&house_of(&[("src/cellar.rs", "")])).len(), 1);
}

#[test]
fn main_stands_above_all() {
    let sources = house_of(&[
        ("src/main.rs", "use waystation::cli;"),
        ("src/cli/mod.rs", "use super::main;"),
    ]);
    assert_eq!(arrows_that_point_up(&sources).len(), 1);
}

#[test]
fn siblings_that_import_each_other_are_seen_and_a_front_door_is_not() {
    let door = ("src/spool/mod.rs", "pub use self::writer::W;");
    let writer = ("src/spool/writer.rs", "use super::reader::R; use super::Config;");
    let reader = ("src/spool/reader.rs", "use crate::spool::writer::W;");
    assert_eq!(modules_that_import_each_other(&house_of(&[door, writer, reader])).len(), 1);
    let reader = ("src/spool/reader.rs", "use super::Config;");
    assert!(modules_that_import_each_other(&house_of(&[door, writer, reader])).is_empty());
}

#[test]
fn a_foreign_crate_in_the_wrong_room_is_seen() {
    for (path, line, wrong) in [
        ("src/spool/mod.rs", "use sled::Db;", 1),
        ("src/app.rs", "fn f(db: &sled::Db) {}", 1),
        ("src/app.rs", "use rdkafka;", 1),
        ("src/app.rs", "use rdkafka as k;", 1),
        ("src/forward/mod.rs", "use ::rdkafka::ClientConfig;", 1),
        ("src/app.rs", "// sled::open\nlet sled = 1; let s = \"sled::open\";", 0),
        ("src/spool/store.rs", "use sled::Db;", 0),
        ("src/ingest/body.rs", "use warp::Filter;", 0),
        ("src/cli/status.rs", "use warp::Filter;", 1),
    ] {
        let found = crates_named_elsewhere(&house_of(&[(path, line)]));
        assert_eq!(found.len(), wrong, "{path}: {line}");
    }
}

#[test]
fn a_file_without_a_story_is_seen() {
    let files = [("src/a.rs", "//! Why.\n"), ("src/b.rs", "use x;\n"), ("tests/c.rs", "")];
    assert_eq!(files_without_a_story(&house_of(&files)).len(), 2);
}

#[test]
fn a_long_file_is_seen() {
    let (long, enough) = ("\n".repeat(LINES_OF_A_FILE + 1), "\n".repeat(LINES_OF_A_FILE));
    let files = [("src/a.rs", long.as_str()), ("src/b.rs", enough.as_str())];
    assert_eq!(long_files(&house_of(&files)).len(), 1);
}

#[test]
fn an_unwrap_needs_its_proof_directly_above() {
    for (text, wrong) in [
        ("let a = b.unwrap();", 1),
        ("let a = b\n    .c()\n    .expect(\"d\");", 1),
        ("// Never: b was checked.\nlet a = b.unwrap();", 0),
        ("// Never: b was checked.\nlet a = b\n    .c()\n    .expect(\"d\");", 0),
        ("// Never: b was checked.\n\nlet a = b.unwrap();", 1),
        ("// Never: b was checked.\nlet c = 1;\nlet a = b.unwrap();", 1),
        ("let a = b.unwrap_or(1); // .unwrap()", 0),
        ("#[cfg(test)]\nmod tests {\n    fn f() { b.unwrap(); }\n}\n", 0),
        ("#[cfg(test)]\nmod tests {}\nfn f() { b.unwrap(); }\n", 1),
    ] {
        assert_eq!(unproved_unwraps(&house_of(&[("src/a.rs", text)])).len(), wrong, "{text}");
    }
    let tests_in_a_file =
        house_of(&[("src/a/mod.rs", "#[cfg(test)]\nmod t;"), ("src/a/t.rs", "b.unwrap();")]);
    assert!(unproved_unwraps(&tests_in_a_file).is_empty());
}

#[test]
fn unfinished_work_is_seen() {
    for text in ["fn f() { todo!() }", "unimplemented!(\"x\")", "dbg!(x);", "    #[ignore]\n"] {
        assert_eq!(unfinished_work(&house_of(&[("tests/a.rs", text)])).len(), 1, "{text}");
    }
    let fine = "// todo!()\nlet s = \"dbg!(x) #[ignore]\"; let c = '\"'; let l: &'static str = s;";
    assert!(unfinished_work(&house_of(&[("tests/a.rs", fine)])).is_empty());
}

#[test]
fn an_unexplained_dependency_is_seen() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# Reads.\na = \"1\"\nb = \"1\"\n\
                    # Writes.\nc = { version = \"1\", features = [\n    \"d\", # e = 1\n] }\n[lints.rust]\nf = \"forbid\"\n";
    assert_eq!(unexplained_dependencies(manifest), ["Cargo.toml: what is b for?"]);
}

#[test]
fn a_place_of_somebody_elses_machine_is_seen() {
    for (text, wrong) in [
        (concat!("see /wo", "rk/notes.md"), 1),
        (concat!("fine\ndir = \"/ho", "me/someone/spool\""), 1),
        (concat!("file:///ro", "ot/x"), 1),
        (concat!("https://index.crates", ".io/"), 1),
        (concat!("\"$dir/ro", "ot/etc\" and ${x}/wo", "rk/y"), 0),
        ("/var/lib/waystation, /rooted/, a registry", 0),
    ] {
        let texts = [("docs/a.md".to_owned(), text.to_owned())];
        assert_eq!(places_that_are_not_the_projects(&texts).len(), wrong, "{text}");
    }
}
