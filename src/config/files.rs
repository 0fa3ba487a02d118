//! Reading the configuration from the disk: the file, then `conf.d/*.toml` beside it.
//!
//! It gives texts in the order in which they are merged, and finds every file that cannot
//! be read, not only the first. It does not know what a configuration contains.

use super::problem::{Origin, Place, Problem, shown};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// No configuration comes near; `/dev/zero` and a mistyped image file do.
const MAX_BYTES: u64 = 1 << 20;

/// A file's text, with its name as it is shown.
#[derive(Debug)]
pub struct Source {
    pub file: Arc<str>,
    pub text: String,
}

/// The file, and then what stands in the `conf.d` beside it in the order of the names' bytes.
/// Hidden files and other endings are left alone: editors and dpkg leave such files behind.
pub fn read(path: &Path) -> (Vec<Source>, Vec<Problem>) {
    let mut sources = Vec::new();
    let mut problems = Vec::new();
    let dropped_in = match drop_ins(path) {
        Ok(paths) => paths,
        Err(problem) => {
            problems.push(problem);
            Vec::new()
        }
    };
    for path in std::iter::once(path.to_owned()).chain(dropped_in) {
        match read_one(&path) {
            Ok(source) => sources.push(source),
            Err(problem) => problems.push(problem),
        }
    }
    (sources, problems)
}

fn drop_ins(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    let dir = path.parent().unwrap_or(Path::new("")).join("conf.d");
    let cannot = |error: io::Error| whole(&dir, format!("cannot be listed: {error}"));
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        // The configuration itself is `x/file`, where `x` is no directory: its own sentence
        // says so better.
        Err(error) if error.kind() == ErrorKind::NotADirectory && !dir.exists() => {
            return Ok(Vec::new());
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(whole(&dir, unreadable(&error)));
        }
        Err(error) => return Err(cannot(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry.map_err(cannot)?.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !hidden && Path::new(&name).extension() == Some(OsStr::new("toml")) {
            paths.push(dir.join(name));
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_one(path: &Path) -> Result<Source, Problem> {
    let mut bytes = Vec::new();
    let file = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    match file {
        Ok(_) if bytes.len() as u64 > MAX_BYTES => {
            Err(whole(path, "is larger than 1 MiB, so it is not a configuration file".into()))
        }
        Ok(_) => text(path, bytes),
        Err(error) => Err(whole(path, unreadable(&error))),
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => {
            "does not exist; create it (an empty file is valid) or name another with --config"
                .into()
        }
        ErrorKind::IsADirectory => "is a directory; a configuration is a file".into(),
        ErrorKind::PermissionDenied => {
            "may not be read by this user; use root or a member of the group waystation".into()
        }
        _ => format!("cannot be read: {error}"),
    }
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<Source, Problem> {
    let file = shown(path);
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { file, text }),
        Err(error) => {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = valid.split(|byte| *byte == b'\n').count();
            let says = "has bytes that are not UTF-8; save the file as UTF-8".into();
            Err(Problem { place: Place::Line(Origin { file, line }), says })
        }
    }
}

fn whole(path: &Path, says: String) -> Problem {
    Problem { place: Place::File(shown(path)), says }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(problems: &[Problem], text: &str) {
        assert!(problems.iter().any(|p| p.to_string().contains(text)), "{text}: {problems:?}");
    }

    #[test]
    fn drop_ins_follow_in_the_order_of_their_names_and_leftovers_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("waystation.toml");
        let conf_d = dir.path().join("conf.d");
        fs::create_dir(&conf_d).unwrap();
        fs::write(&main, "a").unwrap();
        for name in ["20-b.toml", "10-a.toml", ".10-a.toml", "10-a.toml~", "c.toml.dpkg-old"] {
            fs::write(conf_d.join(name), name).unwrap();
        }
        let (sources, problems) = read(&main);
        assert_eq!(problems, []);
        let texts: Vec<_> = sources.iter().map(|source| source.text.as_str()).collect();
        assert_eq!(texts, ["a", "10-a.toml", "20-b.toml"]);
    }

    #[test]
    fn every_file_that_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let conf_d = dir.path().join("conf.d");
        fs::create_dir_all(conf_d.join("10.toml")).unwrap();
        fs::write(conf_d.join("20.toml"), b"# ok\n# \xff\n").unwrap();
        fs::write(conf_d.join("30.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
        let (sources, problems) = read(&dir.path().join("waystation.toml"));
        assert_eq!(sources.len(), 0);
        says(&problems, "waystation.toml: does not exist; create it");
        says(&problems, "conf.d/10.toml: is a directory");
        says(&problems, "conf.d/20.toml:2: has bytes that are not UTF-8");
        says(&problems, "conf.d/30.toml: is larger than 1 MiB");
    }

    #[test]
    fn a_conf_d_that_is_a_file_is_a_problem_and_a_missing_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("waystation.toml");
        fs::write(&main, "").unwrap();
        assert_eq!(read(&main).1, []);
        fs::write(dir.path().join("conf.d"), "").unwrap();
        says(&read(&main).1, "conf.d: cannot be listed");
    }

    #[test]
    fn a_file_below_a_file_is_one_problem() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(read(&file.join("waystation.toml")).1.len(), 1);
    }
}
