//! What is kept of a batch, and what is said of the rest?

use super::super::framing::Delimited;
use super::super::lines::Lines;
use super::*;
use crate::record::{Epoch, RecordId, Sequence};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::future::{Ready, pending};
use std::rc::Rc;
use tokio::io::AsyncWriteExt as _;

const WAITING_BYTES: usize = 1_000;
const LIMITS: Limits =
    Limits { message: 10, batch: 1_000, waiting: WAITING_BYTES, time: Duration::from_secs(30) };

/// What became of the messages that were handed on: each is known by its text.
#[derive(Default)]
struct Spool {
    /// In their order.
    taken: RefCell<Vec<String>>,
    /// How many are not durable.
    waiting: Rc<Cell<usize>>,
    /// The most that were not durable at once.
    most: Cell<usize>,
}

impl Spool {
    fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// By its text: bad ones are refused for good, others for now; the rest are durable as soon as
    /// somebody waits, or never become so.
    fn append(
        &self,
        message: &[u8],
    ) -> Result<(impl Future<Output = Result<RecordId, AppendError>> + use<>, usize), Problem> {
        let text = String::from_utf8(message.to_vec()).unwrap();
        match text.as_str() {
            "bad" => return Err(Problem::new(Reason::Malformed, "it is bad")),
            "full" => return Err(Problem::new(Reason::Full, "the spool is full")),
            "stop" => return Err(Problem::new(Reason::Stopping, "it stops")),
            // Until this batch has nothing that waits.
            "crowd" if self.waiting() > 0 => return Err(Problem::new(Reason::Busy, "too much")),
            _ => {}
        }
        let lost = text == "lost";
        let waiting = Rc::clone(&self.waiting);
        waiting.set(waiting.get() + 1);
        let bytes = if text == "large" { WAITING_BYTES / 2 } else { message.len() };
        self.taken.borrow_mut().push(text);
        self.most.set(self.most.get().max(self.waiting()));
        let settled = async move {
            waiting.set(waiting.get() - 1);
            let id = RecordId { epoch: Epoch(1), sequence: Sequence(0) };
            if lost { Err(AppendError::Failed("an error of the disk".to_owned())) } else { Ok(id) }
        };
        Ok((settled, bytes))
    }
}

/// The bytes of a batch of these messages.
fn batch(messages: &[&str]) -> Vec<u8> {
    let mut all = Vec::new();
    for message in messages {
        prost::encoding::encode_varint(message.len() as u64, &mut all);
        all.extend_from_slice(message.as_bytes());
    }
    all
}

/// A batch of messages behind their lengths.
async fn keep<A: Future<Output = Result<T, AppendError>>, T>(
    body: impl AsyncRead,
    limits: Limits,
    given_up: impl Future<Output = Problem>,
    append: impl FnMut(&[u8]) -> Result<(A, usize), Problem>,
) -> Report {
    super::keep(body, Delimited::new(limits.message), limits, given_up, append).await
}

async fn kept(spool: &Spool, body: &[u8]) -> Report {
    keep(body, LIMITS, pending(), |message| spool.append(message)).await
}

fn members(report: Report) -> (Value, Option<Reason>) {
    match report.answer() {
        Ok(members) => (members.into(), None),
        Err(problem) => (problem.more.into(), Some(problem.reason)),
    }
}

#[tokio::test]
async fn all_of_a_good_batch_is_kept_in_its_order() {
    let spool = Spool::default();
    let report = kept(&spool, &batch(&["a", "b", "", "c"])).await;
    assert_eq!(members(report), (json!({"accepted": 4, "rejected": []}), None));
    assert_eq!(spool.taken.take(), ["a", "b", "", "c"]);
    let report = kept(&Spool::default(), b"").await;
    assert_eq!(members(report), (json!({"accepted": 0, "rejected": []}), None));
}

#[tokio::test]
async fn a_message_that_cannot_be_kept_is_named_and_its_neighbours_are_kept() {
    let report = kept(&Spool::default(), &batch(&["a", "bad", "01234567890", "b"])).await;
    let rejected = json!([
        {"index": 1, "reason": "malformed", "detail": "it is bad"},
        {"index": 2, "reason": "too_large", "detail": "a message may have 10 bytes; it has 11"},
    ]);
    assert_eq!(members(report), (json!({"accepted": 2, "rejected": rejected}), None));
}

#[tokio::test]
async fn of_a_batch_of_lines_each_is_kept_or_named_and_blank_ones_have_no_place() {
    let spool = Spool::default();
    let body = b"\na\n\nbad\n01234567890\n \nb";
    let report =
        super::keep(&body[..], Lines::new(LIMITS.message), LIMITS, pending(), |m| spool.append(m));
    let rejected = json!([
        {"index": 1, "reason": "malformed", "detail": "it is bad"},
        {"index": 2, "reason": "too_large", "detail": "a message may have 10 bytes; it has 11"},
    ]);
    let expected = json!({"accepted": 2, "rejected": rejected});
    assert_eq!(members(report.await), (expected, None));
    assert_eq!(spool.taken.take(), ["a", "b"]);
}

/// Fails where an error is taken for the end: a line that was cut may look whole.
#[tokio::test]
async fn a_last_line_counts_only_where_the_body_ended_as_it_should() {
    let broken = cut_in_a_line();
    let spool = Spool::default();
    let report =
        super::keep(broken, Lines::new(LIMITS.message), LIMITS, pending(), |m| spool.append(m));
    let (members, why) = members(report.await);
    let expected = json!({"accepted": 1, "rejected": [], "next": 1});
    assert_eq!((members, why), (expected, Some(Reason::Incomplete)));
}

/// Two lines, the second one cut.
fn cut_in_a_line() -> impl AsyncRead {
    let pieces = [Ok(Bytes::from_static(b"a\nb")), Err("reset")];
    let limits = body::Limits { size: 100, what: "a batch", time: LIMITS.time };
    tokio_util::io::StreamReader::new(body::stream(futures_util::stream::iter(pieces), limits))
}

#[tokio::test]
async fn a_batch_of_which_nothing_is_kept_is_a_problem_of_its_own() {
    let (members, reason) = members(kept(&Spool::default(), &batch(&["bad", "bad"])).await);
    assert_eq!((reason, &members["accepted"]), (Some(Reason::NoneKept), &json!(0)));
    assert_eq!(members["rejected"].as_array().unwrap().len(), 2);
}

/// Fails where what came before is given up, and where the answer does not wait for it.
#[tokio::test]
async fn where_it_breaks_off_what_came_before_is_durable_and_the_next_is_named() {
    let whole = batch(&["a", "b", "c"]);
    let no_length = [&batch(&["a", "b"])[..], &[0xff; 10]].concat();
    // A byte beyond the limit.
    let too_much = batch(&["0123456789"; 91]);
    for (body, accepted, next, reason) in [
        (&whole[..5], 2, 2, Reason::Incomplete),
        (&no_length, 2, 2, Reason::Malformed),
        (&too_much, 91, 91, Reason::TooLarge),
        (&batch(&["a", "full", "b"]), 1, 1, Reason::Full),
        (&batch(&["stop", "b"]), 0, 0, Reason::Stopping),
    ] {
        let spool = Spool::default();
        let (members, why) = members(kept(&spool, body).await);
        assert_eq!(spool.waiting(), 0, "{reason:?}");
        let expected = json!({"accepted": accepted, "rejected": [], "next": next});
        assert_eq!((members, why), (expected, Some(reason)));
    }
}

#[tokio::test]
async fn what_the_disk_did_not_take_is_the_next_to_be_sent() {
    let messages = ["a", "lost", "b", "0123"];
    let body = &batch(&messages);
    let (members, why) = members(kept(&Spool::default(), &body[..body.len() - 1]).await);
    // Not the one at which the body ended.
    let expected = json!({"accepted": 2, "rejected": [], "next": 1});
    assert_eq!((members, why), (expected, Some(Reason::Failed)));
}

#[tokio::test]
async fn it_waits_for_its_own_records_before_it_is_told_that_too_much_waits() {
    let report = kept(&Spool::default(), &batch(&["a", "b", "crowd", "c"])).await;
    assert_eq!(members(report), (json!({"accepted": 4, "rejected": []}), None));
}

/// Fails where a batch waits only at its end.
#[tokio::test]
async fn only_a_part_of_it_waits_at_a_time_by_count_and_by_bytes() {
    let limits = Limits { batch: 1 << 20, waiting: 1 << 20, ..LIMITS };
    let spool = Spool::default();
    let body = batch(&vec!["a"; 5_000]);
    let report = keep(&body[..], limits, pending(), |message| spool.append(message)).await;
    assert_eq!(report.accepted, 5_000);
    assert_eq!(spool.most.get(), WAITING + 1);
    let spool = Spool::default();
    let body = batch(&["large"; 20]);
    let report = keep(&body[..], LIMITS, pending(), |message| spool.append(message)).await;
    assert_eq!((report.accepted, spool.most.get()), (20, 3));
}

/// Fails where it does not yield: all of it is there from the beginning.
#[tokio::test]
async fn others_go_on_while_a_large_batch_is_read() {
    let others = tokio::spawn(async {
        for turn in 0_u32.. {
            tokio::task::yield_now().await;
            if turn == 1_000 {
                return;
            }
        }
    });
    let limits = Limits { batch: 10 << 20, message: 1 << 20, ..LIMITS };
    // One that is passed over, and many that are kept.
    let mut body = vec![0xff, 0xff, 0xff, 0x03];
    body.resize(5 << 20, 0);
    let skipped = keep(&body[..], limits, pending(), |_| -> Result<(Ready<Result<(), _>>, _), _> {
        unreachable!()
    });
    assert!(skipped.await.broken.is_some());
    let spool = Spool::default();
    let body = batch(&vec!["a"; 100_000]);
    assert_eq!(
        keep(&body[..], limits, pending(), |message| spool.append(message)).await.accepted,
        100_000
    );
    assert!(others.is_finished(), "nobody else had a turn");
}

/// Fails where the answer is given while the client is still sending.
#[tokio::test]
async fn what_still_comes_of_a_batch_that_is_given_up_is_read() {
    let (mut client, body) = tokio::io::duplex(100);
    let sending = tokio::spawn(async move {
        let all = [&batch(&["full"])[..], &[0; 900]].concat();
        client.write_all(&all).await.unwrap();
    });
    let spool = Spool::default();
    let report = keep(body, LIMITS, pending(), |message| spool.append(message)).await;
    assert_eq!(report.broken.unwrap().1.reason, Reason::Full);
    sending.await.unwrap();
}

#[tokio::test]
async fn a_batch_of_nothing_but_refusals_is_given_up() {
    let limits = Limits { batch: 1 << 20, ..LIMITS };
    let body = batch(&vec!["bad"; LISTED + 500]);
    let spool = Spool::default();
    let report = keep(&body[..], limits, pending(), |message| spool.append(message)).await;
    let (members, why) = members(report);
    assert_eq!((why, &members["next"]), (Some(Reason::NoneKept), &json!(LISTED)));
    assert_eq!(members["rejected"].as_array().unwrap().len(), LISTED);
}

/// Fails where the time is that of the whole batch, which may come over a slow link.
#[tokio::test]
async fn a_message_that_does_not_come_whole_is_given_up_and_each_one_has_its_time() {
    let limits = Limits { time: Duration::from_secs(3), ..LIMITS };
    let (mut client, body) = tokio::io::duplex(1_000);
    let sending = tokio::spawn(async move {
        for message in ["a", "b", "c"] {
            client.write_all(&batch(&[message])).await.unwrap();
            tokio::time::sleep(limits.time * 6 / 10).await;
        }
        client.write_all(b"\x05half").await.unwrap();
        pending::<()>().await;
    });
    let spool = Spool::default();
    let (members, why) =
        members(keep(body, limits, pending(), |message| spool.append(message)).await);
    let expected = json!({"accepted": 3, "rejected": [], "next": 3});
    assert_eq!((members, why), (expected, Some(Reason::TooSlow)));
    sending.abort();
}

/// Fails where the stop waits for the rest of the batch, and where what came is given up for it.
#[tokio::test]
async fn a_batch_that_is_given_up_in_its_middle_says_how_far_it_came() {
    let (mut client, body) = tokio::io::duplex(1_000);
    client.write_all(&batch(&["a", "b", "half"])[..6]).await.unwrap();
    let spool = Spool::default();
    let taken = &spool.taken;
    let given_up = async move {
        while taken.borrow().len() < 2 {
            tokio::task::yield_now().await;
        }
        // It sends no more, but only from here on.
        drop(client);
        Problem::new(Reason::Stopping, "it stops")
    };
    let report = keep(body, LIMITS, given_up, |message| spool.append(message)).await;
    let expected = json!({"accepted": 2, "rejected": [], "next": 2});
    assert_eq!(members(report), (expected, Some(Reason::Stopping)));
}

/// Fails where a batch that waits for the disk does not hear of the stop.
#[tokio::test]
async fn a_batch_that_waits_for_the_disk_is_given_up_too() {
    let body = batch(&["a"]);
    let tried = Cell::new(false);
    let given_up = async {
        while !tried.get() {
            tokio::task::yield_now().await;
        }
        Problem::new(Reason::Stopping, "it stops")
    };
    let busy = |_: &[u8]| -> Result<(Ready<Result<(), _>>, _), _> {
        tried.set(true);
        Err(Problem::new(Reason::Busy, "too much"))
    };
    let report = keep(&body[..], LIMITS, given_up, busy).await;
    assert_eq!(report.broken.unwrap().1.reason, Reason::Stopping);
}
