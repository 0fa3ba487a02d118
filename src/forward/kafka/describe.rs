//! What does Kafka say about topics: are they there, who leads them, may this user write to them?
//!
//! librdkafka can ask that (`DescribeTopics`), and the rdkafka crate has no safe way to it: this is
//! the one file with `unsafe` beside those of `app`. The question creates no topic, whatever
//! the brokers' settings. Brokers before 2.3 do not tell of rights.
//!
//! It deliberately does not know what follows from an answer.
#![expect(unsafe_code, reason = "the rdkafka crate wraps neither this question nor its answer")]

use super::Client;
use super::codes::failure_of;
use crate::forward::verdict::Failure;
use rdkafka::bindings as c;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer as _;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;
use std::slice;
use std::time::{Duration, Instant};

/// How long the client is served between two looks for the answer.
const SLICE: Duration = Duration::from_millis(50);

/// A broker as the cluster calls it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    pub id: i32,
    /// `host:port`.
    pub address: String,
}

/// A topic that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub partitions: usize,
    /// Partitions that take nothing for now.
    pub without_leader: usize,
    /// Each once.
    pub leaders: BTreeSet<Node>,
    /// Whether this user may write to it; `None` where the brokers do not tell.
    pub may_write: Option<bool>,
    /// The same of reading it.
    pub may_read: Option<bool>,
}

/// Something of librdkafka's that is to be given back to it.
struct Owned<T> {
    it: NonNull<T>,
    give_back: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// `None` where librdkafka gave nothing.
    fn new(it: *mut T, give_back: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        Some(Self { it: NonNull::new(it)?, give_back })
    }

    fn get(&self) -> *mut T {
        self.it.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: librdkafka gave it for this function, and nobody else has it.
        unsafe { (self.give_back)(self.it.as_ptr()) }
    }
}

/// Asks about all of them at once; the answers are in the order of the topics, which must differ.
pub fn describe(
    client: &Client,
    topics: &[&str],
    until: Instant,
) -> Result<Vec<Result<Topic, Failure>>, Failure> {
    let answer = ask(client, topics, until)?;
    // SAFETY: the event is of the kind that is asked for, and the descriptions live as long as it.
    let descriptions = unsafe {
        let result = c::rd_kafka_event_DescribeTopics_result(answer.get());
        list(|count| c::rd_kafka_DescribeTopics_result_topics(result, count))
    };
    Ok(descriptions.iter().map(|description| topic(*description)).collect())
}

/// The event that holds the answer.
fn ask(
    client: &Client,
    topics: &[&str],
    until: Instant,
) -> Result<Owned<c::rd_kafka_event_t>, Failure> {
    let failed = |what: &str| Failure::Other(format!("librdkafka gives no {what}"));
    let names: Result<Vec<_>, _> = topics.iter().map(|name| CString::new(*name)).collect();
    let names = names.map_err(|_| failed("topic with a zero in its name"))?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let native = client.client().native_ptr();
    let left = until.saturating_duration_since(Instant::now()).as_millis();
    let left = i32::try_from(left.max(1)).unwrap_or(i32::MAX);
    // SAFETY: `native` lives as long as `client`, which is borrowed. librdkafka copies the names, of
    // which it is told how many there are, and the options. What it gives is given back by `Owned`,
    // before the client.
    let queue = unsafe {
        let topics = c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), names.len());
        let topics =
            Owned::new(topics, c::rd_kafka_TopicCollection_destroy).ok_or(failed("list"))?;
        let kind = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = c::rd_kafka_AdminOptions_new(native, kind);
        let options =
            Owned::new(options, c::rd_kafka_AdminOptions_destroy).ok_or(failed("options"))?;
        // Both errors are of options that this question does not have.
        let refused = c::rd_kafka_AdminOptions_set_include_authorized_operations(options.get(), 1);
        drop(Owned::new(refused, c::rd_kafka_error_destroy));
        let (nowhere, none) = (std::ptr::null_mut(), 0);
        c::rd_kafka_AdminOptions_set_request_timeout(options.get(), left, nowhere, none);
        let queue = c::rd_kafka_queue_new(native);
        let queue = Owned::new(queue, c::rd_kafka_queue_destroy).ok_or(failed("queue"))?;
        c::rd_kafka_DescribeTopics(native, topics.get(), options.get(), queue.get());
        queue
    };
    loop {
        // SAFETY: the queue lives.
        let event = unsafe { c::rd_kafka_queue_poll(queue.get(), 0) };
        if let Some(event) = Owned::new(event, c::rd_kafka_event_destroy) {
            // SAFETY: the event lives.
            let (kind, error) = unsafe {
                (c::rd_kafka_event_type(event.get()), c::rd_kafka_event_error(event.get()))
            };
            let code = RDKafkaErrorCode::from(error);
            if code != RDKafkaErrorCode::NoError {
                return Err(failure_of(code));
            }
            if kind == c::RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT {
                return Ok(event);
            }
        }
        if Instant::now() >= until {
            return Err(Failure::TimedOut);
        }
        client.poll(SLICE);
    }
}

/// What one description says. It must live.
fn topic(description: *const c::rd_kafka_TopicDescription_t) -> Result<Topic, Failure> {
    // SAFETY: the description lives, and with it all that is reached from it. An error that is not
    // there has the code of none.
    let (code, partitions, rights) = unsafe {
        let error = c::rd_kafka_TopicDescription_error(description);
        let partitions = list(|count| c::rd_kafka_TopicDescription_partitions(description, count));
        let mut count = 0;
        let rights =
            c::rd_kafka_TopicDescription_authorized_operations(description, &raw mut count);
        // Without rights, librdkafka's list is one byte that is not to be read.
        let rights = (!rights.is_null()).then(|| match count {
            0 => &[],
            count => slice::from_raw_parts(rights, count),
        });
        (c::rd_kafka_error_code(error), partitions, rights)
    };
    let code = RDKafkaErrorCode::from(code);
    if code != RDKafkaErrorCode::NoError {
        return Err(failure_of(code));
    }
    let leaders: Vec<Option<Node>> =
        partitions.iter().map(|partition| leader(*partition)).collect();
    let write = c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE;
    let read = c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ;
    Ok(Topic {
        partitions: leaders.len(),
        without_leader: leaders.iter().filter(|leader| leader.is_none()).count(),
        leaders: leaders.into_iter().flatten().collect(),
        may_write: rights.map(|rights| rights.contains(&write)),
        may_read: rights.map(|rights| rights.contains(&read)),
    })
}

/// The leader of one partition, which must live.
fn leader(partition: *const c::rd_kafka_TopicPartitionInfo_t) -> Option<Node> {
    // SAFETY: the partition lives, and with it its leader and the leader's name.
    unsafe {
        let node = c::rd_kafka_TopicPartitionInfo_leader(partition);
        if node.is_null() {
            return None;
        }
        let host = c::rd_kafka_Node_host(node);
        if host.is_null() {
            return None;
        }
        let host = CStr::from_ptr(host).to_string_lossy();
        let host = if host.contains(':') { format!("[{host}]") } else { host.into_owned() };
        let (id, port) = (c::rd_kafka_Node_id(node), c::rd_kafka_Node_port(node));
        Some(Node { id, address: format!("{host}:{port}") })
    }
}

/// A list of librdkafka's and its length.
///
/// # Safety
///
/// `of` must tell how many pointers stand where its own points to, and they must live for `'a`.
unsafe fn list<'a, T>(of: impl FnOnce(*mut usize) -> *mut *const T) -> &'a [*const T] {
    let mut count = 0;
    let first = of(&raw mut count);
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: as above.
    unsafe { slice::from_raw_parts(first, count) }
}
