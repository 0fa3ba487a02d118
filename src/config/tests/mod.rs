//! Tests of the configuration as a whole, from the texts of files to sentences: the rules on
//! values, the merging of files, what is printed.

mod merge;
mod print;
mod rules;

use super::files::Source;
use super::{Loaded, assemble};

pub(super) const MAIN: &str = "/etc/waystation/waystation.toml";
pub(super) const DROP_IN: &str = "/etc/waystation/conf.d/10-site.toml";

pub(super) fn load_all(texts: &[&str]) -> Result<Loaded, Vec<String>> {
    let sources: Vec<_> = texts
        .iter()
        .zip([MAIN, DROP_IN])
        .map(|(text, file)| Source { file: file.into(), text: (*text).into() })
        .collect();
    assemble(&MAIN.into(), &sources, Vec::new(), Some("depot-7"))
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

pub(super) fn load(text: &str) -> Loaded {
    load_all(&[text]).unwrap()
}

/// The one problem of that text, without the file's name.
pub(super) fn problem(text: &str) -> String {
    let problems = load_all(&[text]).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].strip_prefix(MAIN).unwrap().to_owned()
}

/// The parts' configs cannot be compared; what they show can.
pub(super) fn shown(loaded: &Loaded) -> String {
    format!("{:?} {:?}", loaded.config, loaded.config.forward.kafka)
}

pub(super) fn route(path: &str, topic: &str, more: &str) -> String {
    format!("[[route]]\npath = \"{path}\"\ntopic = \"{topic}\"\n{more}\n")
}
