//! The file of tokens: which lines there can be, and whom they let in.

use super::*;
use std::collections::HashSet;
use std::fs;

fn routes() -> Vec<String> {
    ["/a", "/a/b"].map(str::to_owned).into()
}

fn load(text: impl AsRef<[u8]>) -> Result<Tokens, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    fs::write(&file, text).unwrap();
    let folder = format!("{}/", dir.path().display());
    Tokens::load(&file, &routes()).map_err(|fault| fault.to_string().replace(&folder, ""))
}

/// SHA-256 of `abc`, as FIPS 180-2 gives it.
const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn presented(token: &str) -> Hashed {
    match Presented::read(format!("Bearer {token}").as_bytes()) {
        Presented::Bearer(hash) => hash,
        Presented::Other => panic!("{token}"),
    }
}

#[test]
fn a_token_is_found_by_what_is_presented_and_by_nothing_else() {
    let others: String =
        (0..5).map(|n| new_token(&format!("n{n}"), &[]).unwrap().line + "\n").collect();
    for text in [format!("abc {ABC}\n{others}"), format!("{others}abc {ABC}\n")] {
        let tokens = load(text).unwrap();
        assert_eq!(tokens.find(&presented("abc")).unwrap().name, "abc");
        for wrong in ["", "ab", "abcd", "Abc", ABC, "abc\0"] {
            assert_eq!(tokens.find(&presented(wrong)), None, "{wrong}");
        }
    }
}

#[test]
fn what_was_made_is_taken_and_no_two_are_alike() {
    let mut secrets = HashSet::new();
    for paths in [&[][..], &["/a".to_owned()], &["/a".to_owned(), "/a/b".to_owned()]] {
        let NewToken { secret, line } = new_token("depot-7", paths).unwrap();
        assert_eq!(secret.len(), 43);
        let tokens = load(&line).unwrap();
        let token = tokens.find(&presented(&secret)).unwrap();
        let open = routes().into_iter().filter(|path| token.opens(path)).count();
        assert_eq!(open, if paths.is_empty() { 2 } else { paths.len() }, "{line}");
        assert!(!line.contains(&secret) && secrets.insert(secret));
    }
    for (name, path) in [("a b", "/a"), ("", "/a"), ("a", "a"), ("a", "/a b"), ("a", "")] {
        assert!(new_token(name, &[path.to_owned()]).is_err(), "{name} {path}");
    }
}

#[test]
fn only_the_scheme_bearer_presents_a_token() {
    for right in ["Bearer abc", "bearer abc", "BEARER  abc "] {
        assert_eq!(
            Presented::read(right.as_bytes()),
            Presented::Bearer(presented("abc")),
            "{right}"
        );
    }
    for other in [
        &b"Basic abc"[..],
        b"abc",
        b"Bearerabc",
        b"Bearer",
        b"",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert_eq!(Presented::read(other), Presented::Other, "{other:?}");
    }
}

#[test]
fn comments_empty_lines_and_the_line_ends_of_windows_are_no_tokens() {
    let tokens = load(format!("# who\r\n\r\n  abc\t{}   /a/b\r\n", ABC.to_lowercase())).unwrap();
    let token = tokens.find(&presented("abc")).unwrap();
    assert!(token.opens("/a/b") && !token.opens("/a"));
    let upper = ABC.to_uppercase().replace("SHA256:", "sha256:");
    assert!(load(format!("abc {upper}")).unwrap().find(&presented("abc")).is_some());
}

#[test]
fn a_line_that_is_wrong_is_named_with_what_would_be_right() {
    let digits = ABC.strip_prefix("sha256:").unwrap();
    let hash = "tokens:2: the hash of abc is none; it takes sha256: and 64 hexadecimal digits";
    for line in [
        "abc".to_owned(),
        format!("abc {digits}"),
        format!("abc sha1:{digits}"),
        format!("abc {}", &ABC[..70]),
        format!("abc {ABC}0"),
        format!("abc {}", ABC.replace('b', "g")),
        format!("abc sha256:{}", "é".repeat(32)),
        format!("abc /a {ABC}"),
    ] {
        let says = load(format!("# first\n{line}\n")).unwrap_err();
        assert!(says.starts_with(hash), "{line}: {says}");
    }
    let says = |text: String| load(text).unwrap_err();
    let path = "tokens:1: abc names \"/b\", which is no route's path; those are /a, /a/b";
    assert_eq!(says(format!("abc {ABC} /a /b")), path);
    assert!(says(format!("a:c {ABC}")).starts_with("tokens:1: \"a:c\"... is no name; it takes"));
    let secret = new_token("a", &[]).unwrap().secret;
    assert!(!says(format!("+{secret}")).contains(&secret));
    let other = ABC.replace("ba78", "0000");
    assert_eq!(says(format!("a {ABC}\na {other}")), "tokens:2: there is another token a");
    assert_eq!(says(format!("a {ABC}\nb {ABC}")), "tokens:2: b is the same token as a");
    assert_eq!(load(b"# ok\n\xff\n").unwrap_err(), "tokens:2: has bytes that are not UTF-8");
    for text in ["", "\n", "# nobody yet\n"] {
        assert!(says(text.to_owned()).starts_with("tokens: has no token, so that nobody could"));
    }
}
