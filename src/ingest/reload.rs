//! Files that are read again when they change, while requests are served.
//!
//! What was read last and was right stays in use until something else is right: a file that is
//! broken costs one line in the log. The disk is read on a thread of its own, never by the one that
//! serves. What the files mean is others' to know.

use super::files::{Changes, Fault, Stamp};
use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// What is in use now. It is replaced whole; whoever holds an old one goes on with it.
#[derive(Debug)]
pub(super) struct Current<T>(RwLock<Arc<T>>);

impl<T> Current<T> {
    pub(super) fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    pub(super) fn get(&self) -> Arc<T> {
        // Nothing panics while it holds the lock, and an `Arc` is never half written.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

/// Something to do at every look: it may block for as long as the disk does.
pub(super) type Look = Box<dyn FnMut() + Send>;

/// Some files, and how they are read.
pub(super) struct Source<T> {
    /// What they are, as the log tells of it: `the tokens`.
    pub what: &'static str,
    pub paths: Vec<PathBuf>,
    pub load: Box<dyn Fn() -> Result<T, Fault> + Send>,
}

impl<T> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Source<T> {
    /// Reads the files for the first time; gives what is in use from now on, and how it is kept up.
    pub(super) fn open(self) -> Result<(Arc<Current<T>>, Look), Fault> {
        let mut changes = Changes::since(Stamp::of(&self.paths));
        let current = Arc::new(Current::new((self.load)()?));
        let in_use = Arc::clone(&current);
        let look = move || {
            if changes.are_due(Stamp::of(&self.paths)) {
                self.read_again(&in_use);
            }
        };
        Ok((current, Box::new(look)))
    }

    fn read_again(&self, current: &Current<T>) {
        let what = self.what;
        match (self.load)() {
            Ok(new) => {
                current.set(new);
                tracing::info!("{what} were read again and are in use");
            }
            Err(fault) => {
                tracing::error!("{what} have changed, and those from before stay in use: {fault}");
            }
        }
    }
}

/// Looks again and again.
pub(super) async fn keep_up(mut looks: Vec<Look>, pace: Duration) -> Infallible {
    while !looks.is_empty() {
        tokio::time::sleep(pace).await;
        let all = move || {
            for look in &mut looks {
                look();
            }
            looks
        };
        looks = match tokio::task::spawn_blocking(all).await {
            Ok(looks) => looks,
            Err(error) => {
                tracing::error!("no file is read again any more: {error}");
                Vec::new()
            }
        };
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn number(path: &Path) -> Source<u32> {
        let file = path.to_owned();
        let load = move || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            text.parse().map_err(|_| Fault::new(&file, "holds no number"))
        };
        Source { what: "the numbers", paths: vec![path.to_owned()], load: Box::new(load) }
    }

    #[test]
    fn what_is_broken_leaves_the_old_one_in_use_until_it_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("number");
        assert!(number(&file).open().is_err());
        fs::write(&file, "1").unwrap();
        let (current, mut look) = number(&file).open().unwrap();
        let held = current.get();
        for (text, now) in [("22", 22), ("many", 22), ("333", 333), ("", 333), ("4", 4)] {
            fs::write(&file, text).unwrap();
            look();
            look();
            assert_eq!(*current.get(), now, "{text:?}");
        }
        fs::remove_file(&file).unwrap();
        look();
        look();
        assert_eq!((*current.get(), *held), (4, 1));
    }

    #[tokio::test]
    async fn all_files_are_looked_at_again_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let files = [dir.path().join("a"), dir.path().join("b")];
        let open = |file: &PathBuf| {
            fs::write(file, "1").unwrap();
            number(file).open().unwrap()
        };
        let (currents, looks): (Vec<_>, Vec<_>) = files.iter().map(open).unzip();
        let keeping = tokio::spawn(keep_up(looks, Duration::from_millis(1)));
        for now in [2, 3] {
            for file in &files {
                fs::write(file, now.to_string()).unwrap();
            }
            let read_again = async {
                while currents.iter().any(|current| *current.get() != now) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_mins(1), read_again).await.unwrap();
        }
        assert!(!keeping.is_finished());
        keeping.abort();
    }
}
