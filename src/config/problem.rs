//! What is wrong with a configuration, and where: one sentence a problem.
//!
//! It keeps every problem to one line, whatever a file's name or a value contains, so that
//! a list of problems can be read (and counted) by lines. It does not know what is right.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A line of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file's path as it was opened.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Where a problem is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In one line of a file.
    Line(Origin),
    /// In a file as a whole: it cannot be read, or something is not in it.
    File(Arc<str>),
}

/// One thing that is wrong: a place and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    /// What was found and what would be right; it begins with the key where there is one.
    pub says: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Line(origin) => write!(f, "{origin}: {}", self.says),
            Place::File(file) => write!(f, "{file}: {}", self.says),
        }
    }
}

/// Everything that is wrong with a configuration: never empty, printed one problem a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", one_per_line(.0))]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Sorted by file (in the order of reading) and line, so that a reader goes through each
    /// file once. At least one must have been found.
    pub(super) fn in_order(mut found: Vec<Problem>, files: &[Arc<str>]) -> Self {
        found.sort_by_key(|problem| match &problem.place {
            Place::Line(origin) => (position(files, &origin.file), origin.line),
            Place::File(file) => (position(files, file), 0),
        });
        Self(found)
    }

    /// The problems in the order of the files and lines.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

fn position(files: &[Arc<str>], file: &Arc<str>) -> usize {
    files.iter().position(|known| known == file).unwrap_or(files.len())
}

fn one_per_line(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A path as it is shown in sentences and comments: control characters would break the line.
pub(super) fn shown(path: &Path) -> Arc<str> {
    path.to_string_lossy().replace(char::is_control, "?").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, line: usize) -> Problem {
        let place = match line {
            0 => Place::File(file.into()),
            _ => Place::Line(Origin { file: file.into(), line }),
        };
        Problem { place, says: "spool is wrong".into() }
    }

    #[test]
    fn problems_come_in_the_order_of_files_and_lines_one_a_line() {
        let files = ["b".into(), "a".into()];
        let found = vec![at("a", 1), at("b", 9), at("b", 0), at("b", 2)];
        let problems = Problems::in_order(found, &files);
        let lines =
            "b: spool is wrong\nb:2: spool is wrong\nb:9: spool is wrong\na:1: spool is wrong";
        assert_eq!(problems.to_string(), lines);
    }

    #[test]
    fn a_line_end_in_a_file_name_does_not_break_the_line() {
        assert_eq!(&*shown(Path::new("/etc/a\nb.toml")), "/etc/a?b.toml");
    }
}
