//! One source file as the rules of the house see it: its code without strings and comments,
//! which of its lines are tests, and which paths it names.
//!
//! It reads Rust only as far as that needs (strings, comments, braces, paths) and
//! deliberately knows no rule.

/// A file under the crate's root.
#[derive(Debug)]
pub struct Source {
    /// Relative to the crate's root, with `/`: `src/spool/mod.rs`.
    pub path: String,
    pub lines: Vec<Line>,
}

#[derive(Debug)]
pub struct Line {
    /// As it stands in the file.
    pub raw: String,
    /// The same with strings, characters and comments blanked.
    pub code: String,
    /// It belongs to an item under `#[cfg(test)]` or `#[test]`.
    pub test: bool,
}

impl Line {
    /// Nothing but a comment.
    pub fn is_comment(&self) -> bool {
        self.raw.trim_start().starts_with("//") && self.code.trim().is_empty()
    }
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = without_strings_and_comments(text);
        let mut lines: Vec<Line> = text
            .lines()
            .zip(code.lines())
            .map(|(raw, code)| Line { raw: raw.to_owned(), code: code.to_owned(), test: false })
            .collect();
        mark_tests(&mut lines);
        Self { path: path.to_owned(), lines }
    }

    /// The tokens of the code, each with the index of its line.
    pub fn tokens(&self, with_tests: bool) -> Vec<(usize, String)> {
        let mut tokens = Vec::new();
        for (index, line) in self.lines.iter().enumerate().filter(|(_, l)| with_tests || !l.test) {
            let mut rest = line.code.as_str();
            while let Some(first) = rest.chars().next() {
                let length = if first.is_alphanumeric() || first == '_' {
                    rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
                } else if rest.starts_with("::") {
                    2
                } else {
                    first.len_utf8()
                };
                if !first.is_whitespace() {
                    tokens.push((index, rest[..length].to_owned()));
                }
                rest = &rest[length..];
            }
        }
        tokens
    }

    /// Every path outside tests that begins with `crate`, `self`, `super` or `waystation`,
    /// groups unfolded: `use crate::{a::B, c}` names `crate::a::B` and `crate::c`.
    pub fn paths(&self) -> Vec<(usize, Vec<String>)> {
        let tokens = self.tokens(false);
        let mut paths = Vec::new();
        for (at, (line, token)) in tokens.iter().enumerate() {
            let starts = ["crate", "self", "super", "waystation"].contains(&token.as_str());
            let inside = at > 0 && tokens[at - 1].1 == "::";
            if starts && !inside && tokens.get(at + 1).is_some_and(|(_, next)| next == "::") {
                let mut found = Vec::new();
                unfold(&tokens, at, &[], &mut found);
                paths.extend(found.into_iter().map(|path| (*line, path)));
            }
        }
        paths
    }
}

/// Reads one path from `at` on; gives the index behind it.
fn unfold(
    tokens: &[(usize, String)],
    mut at: usize,
    before: &[String],
    found: &mut Vec<Vec<String>>,
) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |(_, token)| token.as_str());
    let mut path = before.to_vec();
    loop {
        if text(at) == "{" {
            at += 1;
            while !text(at).is_empty() && text(at) != "}" {
                at = if text(at) == "," { at + 1 } else { unfold(tokens, at, &path, found) };
            }
            return at + 1;
        }
        path.push(text(at).to_owned());
        at += 1;
        if text(at) != "::" {
            break;
        }
        at += 1;
    }
    found.push(path);
    // An `as` name in a group, and anything unforeseen, up to the next element.
    while !before.is_empty() && !["", ",", "}"].contains(&text(at)) {
        at += 1;
    }
    at
}

/// Marks the items that only tests see: from the attribute to the end of what it stands on.
fn mark_tests(lines: &mut [Line]) {
    let mut at = 0;
    while at < lines.len() {
        let code = lines[at].code.trim();
        if !code.starts_with("#[cfg(test)]") && !code.starts_with("#[test]") {
            at += 1;
            continue;
        }
        let mut depth = 0;
        let mut square = 0;
        'item: while at < lines.len() {
            lines[at].test = true;
            for c in lines[at].code.chars() {
                match c {
                    '[' | '(' => square += 1,
                    ']' | ')' => square -= 1,
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if square == 0 && depth == 0 && (c == '}' || c == ';') {
                    break 'item;
                }
            }
            at += 1;
        }
        at += 1;
    }
}

/// Blanks what is no code, character by character, so that lines and columns stay.
fn without_strings_and_comments(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_text(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the string, character or comment that begins at `at` ends; `at` when none does.
fn end_of_text(chars: &[char], at: usize) -> usize {
    let get = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let to_end_of = |mut at: usize, quote: char| {
        while at < chars.len() && chars[at] != quote {
            at += if chars[at] == '\\' { 2 } else { 1 };
        }
        (at + 1).min(chars.len())
    };
    let after_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match get(at) {
        '/' if get(at + 1) == '/' => {
            chars[at..].iter().position(|&c| c == '\n').map_or(chars.len(), |length| at + length)
        }
        '/' if get(at + 1) == '*' => {
            let (mut depth, mut at) = (1, at + 2);
            while depth > 0 && at < chars.len() {
                match (get(at), get(at + 1)) {
                    ('/', '*') => (depth, at) = (depth + 1, at + 2),
                    ('*', '/') => (depth, at) = (depth - 1, at + 2),
                    _ => at += 1,
                }
            }
            at.min(chars.len())
        }
        '"' => to_end_of(at + 1, '"'),
        'r' if !after_word || get(at - 1) == 'b' => {
            let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
            let mut end = at + 2 + hashes;
            if get(end - 1) != '"' {
                return at;
            }
            while end < chars.len()
                && !(chars[end] == '"' && (1..=hashes).all(|n| get(end + n) == '#'))
            {
                end += 1;
            }
            (end + 1 + hashes).min(chars.len())
        }
        // A character, not a lifetime.
        '\'' if get(at + 1) == '\\' => to_end_of(at + 1, '\''),
        '\'' if get(at + 2) == '\'' => at + 3,
        _ => at,
    }
}
