//! The yardstick: a warp server that reads the body and answers 200, and nothing else.
//!
//! Prints its address, then serves until standard input is closed. `http.sh` measures the
//! service against it.

use bytes::Bytes;
use std::io::Read;
use warp::Filter;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let read_and_answer =
        warp::path("endpoint").and(warp::post()).and(warp::body::bytes()).map(|body: Bytes| {
            std::hint::black_box(body);
            warp::reply::reply()
        });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("it is bound"));
    let (closed, until) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || closed.send(std::io::stdin().read_to_end(&mut Vec::new())));
    tokio::select! {
        () = warp::serve(read_and_answer).incoming(listener).run() => {}
        _ = until => {}
    }
}
