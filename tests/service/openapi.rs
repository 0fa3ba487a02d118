//! Does the listener answer as `docs/openapi.yaml` says, and is that all it answers?
//!
//! To add an answer: describe it there, and provoke it in [`provoked`]. An answer that is described and that
//! nothing provokes fails, and so does one that is provoked and not described.

mod yaml;

use crate::preload;
use crate::support::raw::{Answer, Raw, request};
use crate::support::service::Site;
use crate::support::{
    self,
    fleet::{large_message, message},
};
use prost::Message as _;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use waystation::convert::RealtimeGps;

const PREFIX: &str = "urn:waystation:problem:";
const POST: &str = "POST /endpoint";
const BATCH: &str = "POST /endpoint/batch";

/// A place in the description: an operation, a status, and the end of the type of problem (or "").
type Place = (String, u16, String);

// --------------------------------------------------------------------------- what is described

/// What is described of one answer.
#[derive(Debug, Clone, Default)]
struct Described {
    content_type: Option<String>,
    headers: BTreeSet<String>,
    required: BTreeSet<String>,
}

struct Document(Value);

impl Document {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.yaml");
        Self(yaml::read(&fs::read_to_string(path).unwrap()))
    }

    /// The value, or what it refers to.
    fn at<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(reference) = value["$ref"].as_str() else { return value };
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        self.at(self.0.pointer(pointer).unwrap_or_else(|| panic!("{reference} is nowhere")))
    }

    /// Every schema of which this one consists.
    fn parts<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.at(schema);
        let parts = schema["allOf"].as_array().into_iter().flatten();
        std::iter::once(schema).chain(parts.flat_map(|part| self.parts(part))).collect()
    }

    /// Every answer.
    fn answers(&self) -> BTreeMap<Place, Described> {
        let mut all = BTreeMap::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let operation_name = format!("{} {path}", method.to_uppercase());
                for (status, answer) in operation["responses"].as_object().unwrap() {
                    let status: u16 = status.parse().unwrap();
                    let place = |kind: &str| (operation_name.clone(), status, kind.to_owned());
                    let answer = self.at(answer);
                    if answer["x-also-bare"] == "true" || answer["content"].is_null() {
                        all.insert(place(""), Described::default());
                    }
                    for (content_type, content) in
                        answer["content"].as_object().into_iter().flatten()
                    {
                        let (kinds, required) = self.kinds(&content["schema"]);
                        for kind in kinds {
                            let headers = self.headers(answer, &kind);
                            let content_type = Some(content_type.clone());
                            let described =
                                Described { content_type, headers, required: required.clone() };
                            all.insert(place(&kind), described);
                        }
                    }
                }
            }
        }
        all
    }

    /// The types of problem that a schema has (one that is "" where it is none), and its members.
    fn kinds(&self, schema: &Value) -> (Vec<String>, BTreeSet<String>) {
        let parts = self.parts(schema);
        let types = parts.iter().map(|part| &part["properties"]["type"]);
        let names = types.flat_map(|kind| {
            kind["enum"].as_array().into_iter().flatten().chain(Some(&kind["const"]))
        });
        let mut kinds: Vec<_> = names
            .filter_map(Value::as_str)
            .map(|name| name.strip_prefix(PREFIX).expect(name).to_owned())
            .collect();
        if kinds.is_empty() {
            kinds.push(String::new());
        }
        let required = parts.iter().filter_map(|part| part["required"].as_array()).flatten();
        (kinds, required.map(|name| name.as_str().unwrap().to_owned()).collect())
    }

    fn headers(&self, answer: &Value, kind: &str) -> BTreeSet<String> {
        let headers = answer["headers"].as_object().into_iter().flatten();
        let is_with = |header: &Value| {
            self.at(header)["x-with"].as_array().is_none_or(|with| with.contains(&kind.into()))
        };
        headers.filter(|(_, header)| is_with(header)).map(|(name, _)| name.to_lowercase()).collect()
    }
}

// --------------------------------------------------------------------------- what is provoked

fn good() -> Vec<u8> {
    message(0, 1).encode_to_vec()
}

fn nobody() -> RealtimeGps {
    RealtimeGps { device_id: String::new(), ..message(0, 1) }
}

fn batch(messages: &[RealtimeGps]) -> Vec<u8> {
    messages.iter().flat_map(prost::Message::encode_length_delimited_to_vec).collect()
}

/// Answers, each with the operation that it is one of.
#[derive(Default)]
struct Provoked(Vec<(&'static str, Answer)>);

impl Provoked {
    fn add(&mut self, operation: &'static str, answer: Answer) {
        self.0.push((operation, answer));
    }

    /// Answers to whole requests to one service.
    fn by_requests(&mut self, site: &Site) {
        let text = ["content-type: text/plain"];
        let coding = ["content-encoding: br"];
        let many: Vec<_> = (0..101).map(|number| format!("x-{number}: 1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let two = batch(&[message(0, 1), nobody()]);
        let no_length = [0xff; 10];
        for (operation, request) in [
            (POST, request(POST, &[], &good())),
            (POST, request(POST, &[], b"{}")),
            (POST, request(POST, &["content-type: application/json"], b"{\"deviceId\": \"t\"}")),
            (POST, request(POST, &["content-type: application/x-ndjson"], b"{}")),
            (POST, request(POST, &[], &nobody().encode_to_vec())),
            (POST, request(POST, &[], &vec![0; (64 << 10) + 1])),
            (POST, request(POST, &text, &good())),
            (POST, request(POST, &coding, &good())),
            (POST, request(POST, &many, &good())),
            (POST, b"what is this\r\n\r\n".to_vec()),
            ("GET /endpoint", request("GET /endpoint", &[], b"")),
            (BATCH, request(BATCH, &[], &two)),
            (BATCH, request(BATCH, &[], &two[..two.len() - 1])),
            (
                BATCH,
                request(BATCH, &["content-type: application/x-ndjson"], b"{\"deviceId\": \"t\"}\n"),
            ),
            (BATCH, request(BATCH, &[], &no_length)),
            (BATCH, request(BATCH, &[], &batch(&[nobody()]))),
            (BATCH, request(BATCH, &text, &two)),
            (BATCH, request(BATCH, &coding, &two)),
            (
                BATCH,
                format!("{BATCH} HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n").into(),
            ),
            ("GET /endpoint/batch", request("GET /endpoint/batch", &[], b"")),
            ("POST /{other}", request("POST /nowhere", &[], &good())),
        ] {
            self.add(operation, Raw::connect(site.ingest).ask(&request));
        }
        // A body that ends before its length.
        let mut client = Raw::connect(site.ingest);
        client.begin("/endpoint");
        client.send(b"no chunk\r\n");
        self.add(POST, client.answer());
    }

    /// Answers to what comes too slowly: the service waits for half a second.
    fn by_waiting(&mut self, site: &Site) {
        let mut slow = Raw::connect(site.ingest);
        slow.begin("/endpoint");
        self.add(POST, slow.answer());
        let mut slow = Raw::connect(site.ingest);
        slow.begin("/endpoint/batch");
        self.add(BATCH, slow.answer());
        // More than are read at once: one of those in front gives up its turn.
        let mut many = [(); 9].map(|()| Raw::connect(site.ingest));
        for client in &mut many {
            client.begin("/endpoint/batch");
        }
        for mut client in many {
            self.add(BATCH, client.answer());
        }
    }

    /// Answers of both operations while nothing can be kept.
    fn by_both(&mut self, site: &Site) {
        self.add(POST, Raw::connect(site.ingest).ask(&request(POST, &[], &good())));
        let whole = batch(&[message(0, 1), message(0, 2)]);
        self.add(BATCH, Raw::connect(site.ingest).ask(&request(BATCH, &[], &whole)));
    }
}

/// Answers to clients that may not ask, or not so often.
fn by_strangers(all: &mut Provoked) {
    let mut site = Site::new(None);
    site.set_routes(&[("/endpoint", "test"), ("/other", "test")]);
    let made = site.command("token").args(["elsewhere", "--route", "/other"]).output().unwrap();
    let made = String::from_utf8(made.stdout).unwrap();
    let (token, line) = made.split_once('\n').expect(&made);
    let file = site.root().join("tokens");
    fs::write(&file, line).unwrap();
    site.set("ingest.tokens", file.to_str().unwrap());
    let service = site.start();
    let known = format!("authorization: Bearer {token}");
    for operation in [POST, BATCH] {
        for headers in [&[][..], &[known.as_str()]] {
            let request = request(operation, headers, &good());
            all.add(operation, Raw::connect(site.ingest).ask(&request));
        }
    }
    service.stop();

    let mut site = Site::new(None);
    site.set_number("ingest.max_requests_per_address", 1);
    let service = site.start();
    for (operation, body) in [(POST, good()), (BATCH, batch(&[message(0, 1)]))] {
        support::until("a request is one too many", || {
            let answer = Raw::connect(site.ingest).ask(&request(operation, &[], &body));
            let status = answer.status;
            all.add(operation, answer);
            status == 429
        });
    }
    service.stop();
}

/// Every answer that the documentation describes.
fn provoked() -> Provoked {
    let mut all = Provoked::default();
    by_strangers(&mut all);

    let mut site = Site::new(None);
    site.set("ingest.body_timeout", "500ms");
    let service = site.start();
    all.by_requests(&site);
    all.by_waiting(&site);
    let before = service.status().ledger.accepted;
    let mut begun = Raw::connect(site.ingest);
    begun.begin("/endpoint/batch");
    begun.chunk(&batch(&[message(0, 1)]));
    service.until_status("the batch is under way", |status| status.ledger.accepted > before);
    service.signal(Signal::TERM);
    all.add(BATCH, begun.answer());
    assert!(service.ended(support::PATIENCE).success());

    // Full: a terabyte is to stay free.
    let mut site = Site::new(None);
    site.set("spool.min_free", "1TiB");
    let service = site.launch();
    support::until("it listens", || std::net::TcpStream::connect(site.ingest).is_ok());
    all.by_both(&site);
    drop(service);

    // Busy: a commit takes a second, and two messages have room until then.
    let mut site = Site::new(None);
    site.set("ingest.max_message", "32KiB");
    site.set("spool.max_pending", "64KiB");
    site.set("spool.commit_delay", "1s");
    let service = site.start();
    let large = request(POST, &[], &large_message(0, 1, 30_000).encode_to_vec());
    let mut clients = [(); 3].map(|()| Raw::connect(site.ingest));
    for client in &mut clients {
        client.send(&large);
    }
    for mut client in clients {
        all.add(POST, client.answer());
    }
    service.stop();

    // Failed: each sync is an error.
    let mut site = Site::new(None);
    let faults = site.root().join("faults");
    fs::create_dir(&faults).unwrap();
    site.environment("LD_PRELOAD", preload::library("disk", site.root()));
    site.environment("DISK_FAULTS", faults.clone());
    let service = site.start();
    File::create(faults.join("FAIL")).unwrap().flush().unwrap();
    all.by_both(&site);
    drop(service);
    all
}

#[test]
fn each_answer_is_one_that_is_described_and_each_that_is_described_is_given() {
    let described = Document::read().answers();
    let mut given = BTreeSet::new();
    for (operation, answer) in provoked().0 {
        let problem: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let kind = problem["type"].as_str().unwrap_or_default();
        let kind = kind.strip_prefix(PREFIX).unwrap_or(kind);
        let place: Place = (operation.to_owned(), answer.status, kind.to_owned());
        let known =
            described.get(&place).unwrap_or_else(|| panic!("not described: {place:?} {answer:?}"));
        assert_eq!(answer.headers.get("content-type"), known.content_type.as_ref(), "{answer:?}");
        if known.content_type.as_deref() == Some("application/problem+json") {
            assert_eq!(problem["status"], answer.status, "{answer:?}");
        }
        for member in &known.required {
            assert!(problem.get(member).is_some(), "no {member}: {answer:?}");
        }
        // Those that HTTP itself has are nobody's to describe.
        let of_http = ["content-type", "content-length", "date", "connection"];
        let headers = answer.headers.keys().filter(|name| !of_http.contains(&name.as_str()));
        assert_eq!(headers.cloned().collect::<BTreeSet<_>>(), known.headers, "{answer:?}");
        given.insert(place);
    }
    let never: Vec<_> = described.keys().filter(|place| !given.contains(*place)).collect();
    assert!(never.is_empty(), "described, and never given: {never:#?}");
}

/// Fails where a type of problem is left out of the description.
#[test]
fn every_type_of_problem_is_described() {
    let described: BTreeSet<_> =
        Document::read().answers().into_keys().map(|(_, _, kind)| kind).collect();
    let explained = include_str!("../../docs/problems.md");
    for line in explained.lines().filter_map(|line| line.strip_prefix("## `")) {
        let kind = line.trim_end_matches('`').strip_prefix(PREFIX).unwrap();
        assert!(described.contains(kind), "{kind} is not in docs/openapi.yaml");
    }
}
