//! How does a producer begin and commit transactions without anybody waiting for it?
//!
//! librdkafka's calls for that block for as long as Kafka does not answer. They are made on a thread
//! of their own, in slices: between two it is seen whether the producer was retired meanwhile, which
//! ends it. What came of a job lands in the producer's mailbox. An error that librdkafka calls
//! retriable is no outcome: that very call is made again, and no other one, since it goes on in the
//! background. Any other error is the end of the transaction and of the producer.
//!
//! While records are under way nothing tells of a transaction that cannot be committed any more:
//! librdkafka keeps the records and says so at the next call. So the offset is sent early and now and
//! then again.
//!
//! It deliberately does not know what an offset means, nor when a transaction ends.

use super::codes::{failure_of, is_of_records, of_transaction};
use super::describe::describe;
use super::group::consumer;
use super::{Client, CreateError, check, create};
use crate::forward::exactly::Mark;
use crate::forward::mailbox::{Mailbox, Refused, Signal};
use crate::forward::verdict::Failure;
use crate::record::Sequence;
use rdkafka::consumer::{Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long one call may wait: less than a retired producer may take to be gone.
const SLICE: Duration = Duration::from_secs(1);
/// The same of a call that begins anew each time, once shorter ones had no answer: over a slow link.
const LONGEST: Duration = Duration::from_secs(16);
/// At what a consumer was told, after each question.
const LOOKS: usize = 200;
/// Between two calls that end at once.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a producer that is given up may take to abort what is open: otherwise everybody who reads
/// committed records waits until the next one begins.
const ABORT: Duration = Duration::from_secs(1);
/// The partition that the offset belongs to; see `exactly.rs`.
const PARTITION: i32 = 0;

#[derive(Debug)]
enum Job {
    Open,
    Mark(Mark),
    Commit,
}

/// The thread and how to reach it.
#[derive(Debug)]
pub struct Transactions {
    jobs: Sender<Job>,
    retired: Arc<AtomicBool>,
}

impl Transactions {
    /// Starts the thread, if a producer with these properties has transactions.
    pub(super) fn start(
        client: &Arc<Client>,
        mailbox: &Arc<Mailbox>,
        properties: &BTreeMap<String, String>,
        topic: &str,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = channel();
        let retired = Arc::new(AtomicBool::new(false));
        let work = Work {
            client: Arc::clone(client),
            properties: properties.clone(),
            topic: topic.to_owned(),
            group: None,
            mark: None,
            marked: false,
            retired: Arc::clone(&retired),
            until: None,
        };
        let mailbox = Arc::clone(mailbox);
        let thread = std::thread::Builder::new().name("transactions".to_owned());
        thread.spawn(move || work.run(&inbox, &mailbox))?;
        Ok(Self { jobs, retired })
    }

    /// Ends what an earlier producer of the same id left open and asks for the offset;
    /// [`Signal::Opened`] is the answer, and a transaction has begun.
    pub fn open(&self) {
        self.submit(Job::Open);
    }

    /// The transaction commits this offset; only a failure is answered.
    pub fn mark(&self, mark: Mark) {
        self.submit(Job::Mark(mark));
    }

    /// Commits; [`Signal::Committed`] is the answer, and the next transaction has begun.
    pub fn commit(&self) {
        self.submit(Job::Commit);
    }

    fn submit(&self, job: Job) {
        // A thread that has ended has told of a failure before, or panicked: the silence is noticed.
        let _ = self.jobs.send(job);
    }
}

impl Drop for Transactions {
    fn drop(&mut self) {
        self.retired.store(true, SeqCst);
    }
}

struct Work {
    client: Arc<Client>,
    properties: BTreeMap<String, String>,
    topic: String,
    group: Option<ConsumerGroupMetadata>,
    /// The offset of the transaction that is open.
    mark: Option<TopicPartitionList>,
    /// The transaction has it: without it nothing may be committed.
    marked: bool,
    retired: Arc<AtomicBool>,
    /// When nobody waits for an answer any more.
    until: Option<Instant>,
}

/// A transaction that is only tried, and aborted with this.
pub struct Trial(Work);

impl std::fmt::Debug for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trial").finish_non_exhaustive()
    }
}

impl Trial {
    /// Begins to connect; every answer is there by then, or there is none.
    pub fn new(
        properties: &BTreeMap<String, String>,
        topic: &str,
        until: Instant,
    ) -> Result<Self, CreateError> {
        check(properties)?;
        Ok(Self(Work {
            client: Arc::new(create(properties, Arc::default())?),
            properties: properties.clone(),
            topic: topic.to_owned(),
            group: None,
            mark: None,
            marked: false,
            retired: Arc::default(),
            until: Some(until),
        }))
    }

    /// Whether the topic is there and may be read.
    pub fn topic(&self) -> Result<(), Refused> {
        self.0.find_topic()
    }

    /// Whether a transaction begins.
    pub fn transactions(&self) -> Result<(), Refused> {
        self.0.until_done(|client| client.init_transactions(SLICE))?;
        self.0.until_done(Client::begin_transaction)
    }

    /// Whether it may commit an offset.
    pub fn offsets(&mut self) -> Result<(), Refused> {
        self.0.offset()?;
        self.0.mark(&Mark { next: Sequence(0), metadata: String::new() })
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // What was never begun, or is refused, needs no end.
        let _ = self.0.client.abort_transaction(ABORT);
    }
}

impl Work {
    fn run(mut self, jobs: &Receiver<Job>, mailbox: &Mailbox) {
        loop {
            // Only what is under way is to be looked after.
            let job = match &self.mark {
                Some(_) => jobs.recv_timeout(SLICE),
                None => jobs.recv().map_err(RecvTimeoutError::from),
            };
            let job = match job {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if self.retired.load(SeqCst) {
                break;
            }
            let signal = match job {
                Some(Job::Open) => Some(Signal::Opened(self.open())),
                Some(Job::Mark(mark)) => self.mark(&mark).err().map(failed),
                Some(Job::Commit) => Some(Signal::Committed(self.commit())),
                None => self.send_mark().err().map(failed),
            };
            if let Some(signal) = signal {
                mailbox.put(|mail| mail.signals.push(signal));
            }
        }
        // Where it cannot be aborted, the next producer's beginning does it, or its time-out.
        if let Err(error) = self.client.abort_transaction(ABORT) {
            tracing::debug!("the transaction was not aborted: {error}");
        }
    }

    fn open(&mut self) -> Result<Option<(i64, String)>, Refused> {
        self.until_done(|client| client.init_transactions(SLICE))?;
        self.find_topic()?;
        let found = self.offset()?;
        self.until_done(Client::begin_transaction)?;
        Ok(found)
    }

    fn mark(&mut self, mark: &Mark) -> Result<(), Refused> {
        let mut list = TopicPartitionList::new();
        let wrong = |error: KafkaError| (None, Failure::Other(error.to_string()));
        let mut place = list.add_partition(&self.topic, PARTITION);
        place.set_offset(Offset::Offset(mark.next.0.cast_signed())).map_err(wrong)?;
        place.set_metadata(&mark.metadata);
        (self.mark, self.marked) = (Some(list), false);
        self.send_mark()
    }

    fn send_mark(&mut self) -> Result<(), Refused> {
        let (Some(list), Some(group)) = (&self.mark, &self.group) else { return Ok(()) };
        let of_records = Cell::new(false);
        let sent = self.until_answered(|client, slice| {
            let sent = client.send_offsets_to_transaction(list, group, slice);
            if let Err(KafkaError::Transaction(error)) = &sent {
                of_records.set(is_of_records(error));
            }
            sent
        });
        let ours = || Some(self.topic.clone());
        let sent = sent.map_err(|refused| match refused {
            // A topic of the records, whichever: it was not to be added to the transaction.
            refused if of_records.get() => refused,
            (None, Failure::UnknownTopic) => (ours(), Failure::UnknownTopic),
            (None, Failure::TopicDenied) => (ours(), Failure::ProgressDenied),
            other => other,
        });
        self.marked |= sent.is_ok();
        sent
    }

    fn commit(&mut self) -> Result<(), Refused> {
        self.mark = None;
        if !std::mem::take(&mut self.marked) {
            // The mark was given up half-way, and librdkafka does not know that it was wanted.
            return Err((None, Failure::Purged));
        }
        self.until_done(|client| client.commit_transaction(SLICE))?;
        self.until_done(Client::begin_transaction)
    }

    /// [`Work::until_done`] with a call that does not go on in the background: it is given more time
    /// each time that it had too little.
    fn until_answered(
        &self,
        call: impl Fn(&Client, Duration) -> KafkaResult<()>,
    ) -> Result<(), Refused> {
        let slice = Cell::new(SLICE);
        self.until_done(|client| call(client, slice.replace(longer(slice.get()))))
    }

    /// Makes one call until it has an outcome.
    fn until_done(&self, call: impl Fn(&Client) -> KafkaResult<()>) -> Result<(), Refused> {
        loop {
            let again = match call(&self.client) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if has_outcome(&error) => {
                    return Err(of_transaction(&error));
                }
                Err(error @ (KafkaError::Transaction(_) | KafkaError::Flush(_))) => error,
                Err(other) => return Err((None, Failure::Other(other.to_string()))),
            };
            tracing::debug!("again: {again}");
            self.pause()?;
        }
    }

    /// Before the same is asked again; an error when nobody waits for the answer any more.
    fn pause(&self) -> Result<(), Refused> {
        std::thread::sleep(AGAIN);
        if self.retired.load(SeqCst) {
            Err((None, Failure::Purged))
        } else if self.until.is_some_and(|until| Instant::now() >= until) {
            Err((None, Failure::TimedOut))
        } else {
            Ok(())
        }
    }

    /// Without its topic the first transaction would only fail after all of it was sent.
    fn find_topic(&self) -> Result<(), Refused> {
        let mut slice = SLICE;
        loop {
            let until = Instant::now() + slice;
            slice = longer(slice);
            let answer = describe(&self.client, &[self.topic.as_str()], until);
            match answer.map(|mut answers| answers.pop()) {
                Ok(Some(Ok(topic))) if topic.may_read == Some(false) => {
                    return Err((Some(self.topic.clone()), Failure::ProgressDenied));
                }
                Ok(Some(Err(Failure::TopicDenied))) => {
                    return Err((Some(self.topic.clone()), Failure::ProgressDenied));
                }
                Ok(Some(Err(Failure::UnknownTopic))) => {
                    return Err((Some(self.topic.clone()), Failure::UnknownTopic));
                }
                Ok(Some(Ok(_))) => return Ok(()),
                Ok(_) | Err(_) => self.pause()?,
            }
        }
    }

    /// The offset of this group, if there is one. Only a consumer can ask for it.
    fn offset(&mut self) -> Result<Option<(i64, String)>, Refused> {
        let wrong = |error: KafkaError| (None, Failure::Other(error.to_string()));
        let consumer = consumer(&self.properties).map_err(wrong)?;
        self.group = consumer.group_metadata();
        let mut slice = SLICE;
        loop {
            let mut list = TopicPartitionList::new();
            list.add_partition(&self.topic, PARTITION);
            let asked = consumer.committed_offsets(list, slice);
            slice = longer(slice);
            let error = match asked {
                Ok(found) => match found.elements().first() {
                    Some(place) => match (place.error(), place.offset()) {
                        (Ok(()), Offset::Offset(at)) => {
                            return Ok(Some((at, place.metadata().to_owned())));
                        }
                        (Ok(()), _) => return Ok(None),
                        (Err(error), _) => Some(error),
                    },
                    None => None,
                },
                Err(error) => Some(error),
            };
            // That the group may not even be looked for is told beside, and not as the answer: among
            // what is logged, of which each look takes one.
            let looks = std::iter::repeat_with(|| consumer.poll(Duration::ZERO)).take(LOOKS);
            let told = looks.flatten().filter_map(Result::err);
            for error in error.into_iter().chain(told) {
                match error.rdkafka_error_code().map(failure_of) {
                    Some(failure @ Failure::GroupDenied) => return Err((None, failure)),
                    Some(Failure::TopicDenied) => {
                        return Err((Some(self.topic.clone()), Failure::ProgressDenied));
                    }
                    _ => tracing::debug!("the offset is asked for again: {error}"),
                }
            }
            self.pause()?;
        }
    }
}

/// How long the next question may take, after one that took this long in vain.
fn longer(slice: Duration) -> Duration {
    (2 * slice).min(LONGEST)
}

fn failed(refused: Refused) -> Signal {
    Signal::Committed(Err(refused))
}

/// Whether the call is over. Otherwise it is to be made again.
fn has_outcome(error: &RDKafkaError) -> bool {
    let passing = error.is_retriable() || error.code() == RDKafkaErrorCode::OperationTimedOut;
    error.is_fatal() || error.txn_requires_abort() || !passing
}
