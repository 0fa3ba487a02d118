//! Whom do tokens and limits let in, and what are the others told?

use super::*;
use std::fs;
use std::path::Path;

/// A request with these headers and a message, or a batch of it.
fn knock(path: &str, authorization: Option<&str>) -> Vec<u8> {
    let mut body = message(|_| ());
    if path.ends_with("/batch") {
        body.insert(0, u8::try_from(body.len()).unwrap());
    }
    let header = authorization.map(|value| format!("authorization: {value}"));
    let headers: Vec<_> = header.iter().map(String::as_str).collect();
    request(&format!("POST {path}"), &headers, &body)
}

fn bearer(token: &NewToken) -> String {
    format!("Bearer {}", token.secret)
}

fn write(file: &Path, tokens: &[&NewToken]) {
    let lines: Vec<_> = tokens.iter().map(|token| token.line.as_str()).collect();
    fs::write(file, lines.join("\n")).unwrap();
}

/// Ingest with two routes and these tokens.
fn guarded(tokens: &[&NewToken], change: fn(&mut Config)) -> (Running, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    write(&file, tokens);
    let running = start(|config, _| {
        config.routes.push(route("/vans", "vans", None));
        config.tokens = Some(file);
        change(config);
    });
    (running, dir)
}

#[tokio::test]
async fn without_a_known_token_nothing_is_told_and_nothing_is_read() {
    let token = new_token("depot-7", &[]).unwrap();
    let (running, _dir) = guarded(&[&token], |_| ());
    let wrong = bearer(&new_token("depot-7", &[]).unwrap());
    let basic = format!("Basic {}", token.secret);
    for authorization in [None, Some(wrong.as_str()), Some(&basic), Some("Bearer"), Some("\u{e9}")]
    {
        for path in ["/endpoint", "/endpoint/batch", "/nowhere"] {
            let answer = running.connect().await.exchange(knock(path, authorization)).await;
            assert_problem(&answer, 401, "unauthorized");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
    // Nor by a header that is no text, nor by one of several.
    let codings = "text/plain\r\ncontent-encoding: gzip\r\ncontent-encoding: \u{e9}";
    for kind in ["text/plain", "\u{e9}", codings] {
        let mut client = running.connect().await;
        client
            .send(&format!("POST /endpoint HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n"))
            .await;
        client.send("content-length: 99999\r\n\r\n").await;
        assert_problem(&client.receive(true).await, 401, "unauthorized");
    }
    assert_eq!((running.rejected(Reason::Unauthorized), running.accepted()), (18, 0));

    for path in ["/endpoint", "/vans", "/vans/batch"] {
        let answer = running.connect().await.exchange(knock(path, Some(&bearer(&token)))).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    let answer = running.connect().await.exchange(knock("/nowhere", Some(&bearer(&token)))).await;
    assert_problem(&answer, 404, "not-found");
    running.stop().await;
}

#[tokio::test]
async fn a_token_for_one_route_is_forbidden_at_the_others() {
    let token = new_token("vans", &["/vans".to_owned()]).unwrap();
    let (running, _dir) = guarded(&[&token], |_| ());
    let authorization = bearer(&token);
    let ask =
        async |path| running.connect().await.exchange(knock(path, Some(&authorization))).await;
    for path in ["/vans", "/vans/batch"] {
        assert_eq!(ask(path).await.status, 200, "{path}");
    }
    for path in ["/endpoint", "/endpoint/batch"] {
        let answer = ask(path).await;
        let detail = assert_problem(&answer, 403, "forbidden")["detail"].to_string();
        assert_eq!(detail, "\"the token vans may not be used for /endpoint\"");
    }
    let headers = format!("authorization: {authorization}");
    let request = request("GET /endpoint", &[&headers], b"");
    assert_problem(&running.connect().await.exchange(request).await, 405, "method-not-allowed");
    assert_eq!(running.rejected(Reason::Forbidden), 2);
    running.stop().await;
}

#[tokio::test]
async fn tokens_are_read_again_when_their_file_changes() {
    let [old, new] = ["old", "new"].map(|name| new_token(name, &[]).unwrap());
    let (running, dir) = guarded(&[&old], |_| ());
    let file = dir.path().join("tokens");
    let mut client = running.connect().await;
    let mut status =
        async |token| client.exchange(knock("/endpoint", Some(&bearer(token)))).await.status;
    assert_eq!((status(&old).await, status(&new).await), (200, 401));
    write(&file, &[&old, &new]);
    in_time(async { while status(&new).await != 200 {} }).await;
    assert_eq!(status(&old).await, 200);
    write(&file, &[&new]);
    in_time(async { while status(&old).await != 401 {} }).await;
    assert_eq!(status(&new).await, 200);
    running.stop().await;
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_told_when_to_come_back_and_is_taken_then() {
    let running = start(|config, _| config.max_requests_per_address = NonZeroU32::new(3));
    let mut statuses = Vec::new();
    // Each by a connection of its own; a refusal counts as well.
    for path in ["/endpoint", "/nowhere", "/endpoint/batch"] {
        statuses.push(running.connect().await.exchange(knock(path, None)).await.status);
    }
    assert_eq!(statuses, [200, 404, 200]);
    let mut client = running.connect().await;
    let refused = async {
        loop {
            let answer = client.exchange(knock("/endpoint", None)).await;
            if answer.status != 200 {
                break answer;
            }
        }
    };
    let answer = in_time(refused).await;
    assert_problem(&answer, 429, "too-many-requests");
    let seconds: u64 = answer.headers["retry-after"].parse().unwrap();
    assert!((1..=3).contains(&seconds), "{seconds}");
    assert_eq!(running.rejected(Reason::TooManyRequests), 1);
    in_time(async {
        while running.connect().await.exchange(knock("/endpoint", None)).await.status != 200 {}
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn each_token_has_a_rate_of_its_own_and_guesses_count_by_address() {
    let [one, other] = ["one", "other"].map(|name| new_token(name, &[]).unwrap());
    let (running, _dir) = guarded(&[&one, &other], |config| {
        config.max_requests_per_token = NonZeroU32::new(1);
    });
    let mut client = running.connect().await;
    let mut refused = async |token| {
        let answer = client.exchange(knock("/endpoint", Some(&bearer(token)))).await;
        assert!([200, 429].contains(&answer.status), "{answer:?}");
        answer.status == 429
    };
    in_time(async { while !refused(&one).await {} }).await;
    assert!(!refused(&other).await);
    running.stop().await;

    let (running, _dir) = guarded(&[&one], |config| {
        config.max_requests_per_address = NonZeroU32::new(1);
    });
    let mut client = running.connect().await;
    let wrong = Some("Bearer guessed");
    in_time(async { while client.exchange(knock("/endpoint", wrong)).await.status != 429 {} })
        .await;
    assert!(running.rejected(Reason::Unauthorized) > 0);
    running.stop().await;
}
