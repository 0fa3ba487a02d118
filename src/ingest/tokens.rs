//! Who may post: the tokens of a file, and the one that a request comes with.
//!
//! The file has hashes, never a token, so that it is worth nothing to whoever reads it. What is
//! presented is hashed as well, and its hash is compared with every one of the file, in a time that
//! depends on their number alone. A token is 256 random bits: a plain SHA-256 of those
//! cannot be guessed back, as one of a password could.
//!
//! ```text
//! # name   hash of the token        paths, where not every route is meant
//! depot-7  sha256:9f86d081884c7d65…  /endpoint /vans
//! ```

use super::files::{self, Fault};
use super::reload::Source;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

const ALGORITHM: &str = "sha256:";

/// A token, as it stands in the file or was presented: its SHA-256, in the order of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Hashed([u64; 4]);

impl Hashed {
    fn of(token: &[u8]) -> Self {
        let hash = digest(&SHA256, token);
        let (words, _) = hash.as_ref().as_chunks::<8>();
        // There are four: SHA-256 has 32 bytes.
        Self(std::array::from_fn(|at| words.get(at).map_or(0, |word| u64::from_be_bytes(*word))))
    }

    /// 64 hexadecimal digits.
    fn read(text: &str) -> Option<Self> {
        let digits = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let mut hash = [0; 4];
        for (at, word) in hash.iter_mut().enumerate() {
            *word = u64::from_str_radix(text.get(16 * at..16 * at + 16)?, 16).ok()?;
        }
        digits.then_some(Self(hash))
    }

    /// In a time that does not depend on either.
    fn is(&self, other: &Self) -> Choice {
        let differing =
            self.0.iter().zip(&other.0).fold(0, |bits, (one, other)| bits | (one ^ other));
        differing.ct_eq(&0)
    }
}

impl fmt::Display for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALGORITHM)?;
        self.0.iter().try_for_each(|word| write!(f, "{word:016x}"))
    }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What `Authorization` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presented {
    Bearer(Hashed),
    /// Of another scheme, or not readable.
    Other,
}

impl Presented {
    /// From the header's bytes (RFC 6750: the scheme in any case, then the token).
    pub(super) fn read(value: &[u8]) -> Self {
        const SCHEME: &[u8] = b"bearer ";
        match value.split_at_checked(SCHEME.len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => {
                Self::Bearer(Hashed::of(token.trim_ascii()))
            }
            _ => Self::Other,
        }
    }
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub name: String,
    pub hash: Hashed,
    /// The routes that it may be used for; `None` for all.
    paths: Option<Vec<String>>,
}

impl Token {
    /// Whether it may be used for this route.
    pub(super) fn opens(&self, path: &str) -> bool {
        self.paths.as_ref().is_none_or(|paths| paths.iter().any(|known| known == path))
    }
}

/// All lines of the file.
#[derive(Debug)]
pub(super) struct Tokens(Vec<Arc<Token>>);

impl Tokens {
    /// The token of this hash. Every entry is looked at, whichever it is.
    pub(super) fn find(&self, presented: &Hashed) -> Option<&Arc<Token>> {
        let (mut found, mut place) = (Choice::from(0), 0_u32);
        for (at, token) in (0..).zip(&self.0) {
            let same = token.hash.is(presented);
            found |= same;
            place.conditional_assign(&at, same);
        }
        // Whether there is one is the answer; which one shows in what it may do.
        if bool::from(found) { self.0.get(usize::try_from(place).ok()?) } else { None }
    }

    pub(super) fn source(file: &Path, routes: Vec<String>) -> Source<Self> {
        let path = file.to_owned();
        let load = move || Self::load(&path, &routes);
        Source { what: "the tokens", paths: vec![file.to_owned()], load: Box::new(load) }
    }

    /// Reads the file; `routes` are the paths that there are.
    pub(super) fn load(file: &Path, routes: &[String]) -> Result<Self, Fault> {
        let bytes = files::read(file)?;
        let (mut tokens, mut names, mut hashes) = (Vec::new(), HashSet::new(), HashMap::new());
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let fault = |says: String| Fault::at(file, number, says);
            let Ok(line) = std::str::from_utf8(line) else {
                return Err(fault("has bytes that are not UTF-8".to_owned()));
            };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let token = token(line, routes).map_err(fault)?;
            if !names.insert(token.name.clone()) {
                return Err(fault(format!("there is another token {}", token.name)));
            }
            if let Some(other) = hashes.insert(token.hash, token.name.clone()) {
                return Err(fault(format!("{} is the same token as {other}", token.name)));
            }
            tokens.push(Arc::new(token));
        }
        if tokens.is_empty() {
            let says = "has no token, so that nobody could post; `waystation token NAME` makes one";
            return Err(Fault::new(file, says));
        }
        Ok(Self(tokens))
    }
}

fn token(line: &str, routes: &[String]) -> Result<Token, String> {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default().to_owned();
    legal_name(&name)?;
    let hash = words.next().and_then(|word| Hashed::read(word.strip_prefix(ALGORITHM)?));
    let Some(hash) = hash else {
        // What stands there may be a token.
        let right = "it takes sha256: and 64 hexadecimal digits, as `waystation token` prints them";
        return Err(format!("the hash of {name} is none; {right}"));
    };
    let paths: Vec<_> = words.map(ToOwned::to_owned).collect();
    if let Some(path) = paths.iter().find(|path| !routes.contains(path)) {
        let routes = routes.join(", ");
        return Err(format!("{name} names {path:?}, which is no route's path; those are {routes}"));
    }
    Ok(Token { name, hash, paths: (!paths.is_empty()).then_some(paths) })
}

fn legal_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=63).contains(&name.len()) && name.chars().all(legal) {
        return Ok(());
    }
    // Shown whole it could be a token that was pasted without a name.
    let begin: String = name.chars().take(8).collect();
    Err(format!(
        "{begin:?}... is no name; it takes 1 to 63 letters, digits, dots, hyphens and underscores"
    ))
}

/// A token that was just made.
#[derive(Debug)]
pub struct NewToken {
    /// What the device presents. It is nowhere else.
    pub secret: String,
    /// What stands in the file.
    pub line: String,
}

/// Makes a token of that name, for these routes or for all. Writes nothing.
pub fn new_token(name: &str, paths: &[String]) -> Result<NewToken, String> {
    legal_name(name)?;
    let in_one_word = |path: &&String| !path.starts_with('/') || path.contains(char::is_whitespace);
    if let Some(path) = paths.iter().find(in_one_word) {
        return Err(format!("{path:?} is no route's path, such as /endpoint"));
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| format!("no random numbers: {error}"))?;
    let secret = BASE64_URL_SAFE_NO_PAD.encode(random);
    let hash = Hashed::of(secret.as_bytes());
    let paths: String = paths.iter().flat_map(|path| [" ", path]).collect();
    Ok(NewToken { line: format!("{name} {hash}{paths}"), secret })
}

#[cfg(test)]
mod tests;
