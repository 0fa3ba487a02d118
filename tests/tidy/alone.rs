//! The project speaks of itself alone: no text file names a place on the machine of whoever
//! wrote it, or where that machine gets its packages from.
//!
//! It looks at every file of the project, whatever its language, and knows nothing of Rust.

use std::path::Path;

/// Each in two pieces, so that this file keeps the rule too.
const WORKPLACES: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
const REGISTRIES: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("npm", "js."),
    concat!("proxy.go", "lang.org"),
    concat!("deb.deb", "ian.org"),
];

/// A text file's path under the crate's root, and what it holds.
pub type Text = (String, String);

pub fn places_that_are_not_the_projects(texts: &[Text]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in texts {
        for (index, line) in text.lines().enumerate() {
            let place = WORKPLACES.iter().find(|place| names_absolute(line, place));
            let found = place.or_else(|| REGISTRIES.iter().find(|host| line.contains(*host)));
            if let Some(name) = found {
                wrong.push(format!("{path}:{}: {name} is nothing of this project's", index + 1));
            }
        }
    }
    wrong
}

/// Whether the path stands there from its root on: in `$dir/root/` it is inside another.
fn names_absolute(line: &str, place: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || "_-.}".contains(c);
    line.match_indices(place).any(|(at, _)| !line[..at].ends_with(inside))
}

/// Every text file of the project but the lock file, which cargo writes. What is hidden or
/// under `target` is not the project's, `.ci` apart.
pub fn texts(root: &Path) -> Vec<Text> {
    let mut texts = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()).filter(
                |path| {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    name == ".ci"
                        || !name.starts_with('.') && name != "target" && name != "Cargo.lock"
                },
            ));
        } else if let Ok(text) = String::from_utf8(std::fs::read(&path).unwrap()) {
            // A picture is no text, and not looked at.
            texts.push((path.strip_prefix(root).unwrap().to_string_lossy().into_owned(), text));
        }
    }
    assert!(
        texts.iter().any(|(path, _)| path == "README.md"),
        "the project's files were not found"
    );
    texts.sort();
    texts
}
