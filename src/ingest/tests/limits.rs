//! What does a client cost that wants too much?

use super::*;

/// The counter of a reason to close connections.
fn closed(running: &Running, why: &str) -> u64 {
    running.stats.closed().find(|(name, _)| *name == why).unwrap().1
}

/// The connection's request is in the server's hands and has no end yet.
async fn under_way(running: &Running) -> (Client, Vec<u8>) {
    let mut client = running.connect().await;
    let body = message(|_| ());
    let whole = request("POST /endpoint", &["expect: 100-continue"], &body);
    client.send(&whole[..whole.len() - body.len()]).await;
    let mut line = String::new();
    client.0.read_line(&mut line).await.unwrap();
    client.0.read_line(&mut String::new()).await.unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    (client, body)
}

/// Fails where connections that do nothing, or whose bodies do not come, keep others out.
#[tokio::test]
async fn where_all_connections_are_taken_the_one_that_is_waited_for_longest_makes_room() {
    let running = start(|config, _| config.max_connections = 3);
    let mut idle = running.connect().await;
    assert_eq!(idle.exchange(post(&message(|_| ()))).await.status, 200);
    let mut slow = running.connect().await;
    slow.send("POST /endpoint HTTP/1.1\r\nhost:").await;
    let (unfinished, _body) = under_way(&running).await;
    let mut held = Vec::new();
    for (leaves, count) in [(idle, 1), (slow, 2), (unfinished, 3)] {
        let mut another = running.connect().await;
        assert_eq!(another.exchange(post(&message(|_| ()))).await.status, 200);
        assert_eq!(leaves.0.into_inner().read(&mut [0]).await.unwrap_or(0), 0);
        assert_eq!(closed(&running, "made_room"), count);
        held.push(another);
    }
    assert_eq!(running.stats.connections(), 3);
    running.stop().await;
}

/// Fails where one whose request is here is closed for another.
#[tokio::test]
async fn where_the_request_of_every_connection_is_here_others_wait() {
    let running = start(|config, spool| {
        config.max_connections = 1;
        spool.commit_delay = Duration::from_millis(600);
    });
    let mut busy = running.connect().await;
    busy.send(post(&message(|_| ()))).await;
    let mut second = running.connect().await;
    second.send(post(&message(|_| ()))).await;
    // Longer than an idle one would be left in peace.
    let early = tokio::time::timeout(Duration::from_millis(250), second.0.fill_buf()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!((busy.receive(true).await.status, second.receive(true).await.status), (200, 200));
    assert_eq!(running.accepted(), 2);
    running.stop().await;
}

/// Fails without the bound on what unfinished bodies hold together.
#[tokio::test]
async fn bodies_that_are_nearly_whole_do_not_fill_the_memory() {
    const BODY: usize = 1 << 20;
    let running = start(|config, _| config.max_message = BODY);
    let may = UNFINISHED.max(4 * BODY) / BODY;
    let piece =
        [b"POST /endpoint HTTP/1.1\r\nhost: x\r\ncontent-length: ", &b"1048576\r\n\r\n"[..]];
    let piece = [&piece.concat()[..], &vec![7; BODY - 1]].concat();
    let mut clients = Vec::new();
    for _ in 0..may + 3 {
        let mut client = running.connect().await;
        client.send(&piece).await;
        clients.push(client);
    }
    while closed(&running, "made_room") < 3 {
        tokio::task::yield_now().await;
    }
    // Those that began first.
    for client in clients.drain(..3) {
        assert_eq!(client.0.into_inner().read(&mut [0]).await.unwrap_or(0), 0);
    }
    let last = clients.last_mut().unwrap();
    assert_eq!(last.exchange([7]).await.status, 400, "no message, but all of it was read");
    running.stop().await;
}

/// Fails where a client that never reads keeps its connection.
#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_cut_off() {
    let running = start(|config, _| config.body_timeout = SHORT);
    let mut client = running.connect().await;
    let piece = request("GET /nowhere", &[], b"").repeat(100);
    let sending =
        tokio::spawn(async move { while client.0.get_mut().write_all(&piece).await.is_ok() {} });
    sending.await.unwrap();
    while closed(&running, "unread") == 0 {
        tokio::task::yield_now().await;
    }
    running.stop().await;
}

#[tokio::test]
async fn headers_beyond_their_limits_are_a_431() {
    let running = start(|_, _| ());
    let many: Vec<_> = (0..101).map(|number| format!("x-{number}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = format!("x: {}", "y".repeat(17_000));
    for headers in [&many[..], &[&long]] {
        let mut client = running.connect().await;
        client.send(request("POST /endpoint", headers, b"")).await;
        let answer = client.closed().await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    // Counted when the connection is done with.
    while closed(&running, "headers_too_large") < 2 {
        tokio::task::yield_now().await;
    }
    running.stop().await;
}

/// Fails where only the first line is looked at.
#[tokio::test]
async fn what_is_compressed_twice_is_refused_however_its_header_is_written() {
    let running = start(|_, _| ());
    let twice = ["content-encoding: identity", "content-encoding: br"];
    let answer =
        running.connect().await.exchange(request("POST /endpoint", &twice, &message(|_| ()))).await;
    assert_problem(&answer, 415, "unsupported-encoding");
    running.stop().await;
}

/// Fails where requests that came together are answered together.
#[tokio::test]
async fn others_have_their_turn_between_requests_that_are_refused() {
    const REQUESTS: usize = 300;
    let running = start(|_, _| ());
    let mut client = running.connect().await;
    let turns = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&turns);
    let others = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    // All of them in one buffer.
    client.send(request("GET /nowhere", &[], b"").repeat(REQUESTS)).await;
    let before = turns.load(std::sync::atomic::Ordering::Relaxed);
    while running.rejected(Reason::NotFound) < REQUESTS as u64 {
        tokio::task::yield_now().await;
    }
    let had = turns.load(std::sync::atomic::Ordering::Relaxed) - before;
    others.abort();
    assert!(had >= REQUESTS, "{had} turns during {REQUESTS} requests");
    drop(client);
    running.stop().await;
}
