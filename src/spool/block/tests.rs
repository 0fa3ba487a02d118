//! Tests of the block: what goes in comes out, and any bytes are borne.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Owned {
    route: usize,
    key: Option<Vec<u8>>,
    timestamp: i64,
    received: i64,
    synchronised: bool,
    headers: Vec<(String, Vec<u8>)>,
    value: Vec<u8>,
    origin: Option<(u64, u64)>,
}

fn any_record() -> impl Strategy<Value = Owned> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let headers = prop::collection::vec(("[a-z-]{0,10}", bytes()), 0..3);
    (
        0_usize..3,
        prop::option::of(bytes()),
        any::<i64>(),
        any::<i64>(),
        any::<bool>(),
        headers,
        bytes(),
        prop::option::of((any::<u64>(), any::<u64>())),
    )
        .prop_map(|(route, key, timestamp, received, synchronised, headers, value, origin)| {
            Owned { route, key, timestamp, received, synchronised, headers, value, origin }
        })
}

fn routes() -> Vec<Arc<Route>> {
    let route = |i| Route { path: format!("/{i}"), topic: format!("t{i}") };
    (0..3).map(|i| Arc::new(route(i))).collect()
}

fn id((epoch, sequence): (u64, u64)) -> RecordId {
    RecordId { epoch: Epoch(epoch), sequence: Sequence(sequence) }
}

fn encode(records: &[Owned]) -> Vec<u8> {
    let routes = routes();
    let mut draft = Draft::default();
    for r in records {
        draft.push(&NewRecord {
            route: &routes[r.route],
            key: r.key.as_deref(),
            timestamp: Millis(r.timestamp),
            received: Reception { at: Millis(r.received), clock_synchronised: r.synchronised },
            headers: &r.headers,
            value: &r.value,
            origin: r.origin.map(id),
        });
    }
    let mut encoder = Encoder::new().unwrap();
    encoder.encode(Epoch(9), Sequence(100), &mut draft).unwrap().to_vec()
}

proptest! {
    #[test]
    fn a_block_gives_back_every_record_as_it_was(records in prop::collection::vec(any_record(), 1..20)) {
        let routes = routes();
        let block = Block::decode(&encode(&records)).unwrap();
        prop_assert_eq!(block.first(), Sequence(100));
        prop_assert_eq!(block.end().since(block.first()), records.len() as u64);
        for (place, (got, want)) in block.records().zip(&records).enumerate() {
            let here = 100 + place as u64;
            prop_assert_eq!(got.sequence, Sequence(here));
            prop_assert_eq!(got.id, id(want.origin.unwrap_or((9, here))));
            prop_assert_eq!(got.route, &routes[want.route]);
            prop_assert_eq!(got.key, want.key.as_deref());
            prop_assert_eq!(got.timestamp, Millis(want.timestamp));
            prop_assert_eq!(got.received, Reception { at: Millis(want.received), clock_synchronised: want.synchronised });
            let headers: Vec<_> = want.headers.iter().map(|(n, v)| (&n[..], &v[..])).collect();
            prop_assert_eq!(got.headers, headers);
            prop_assert_eq!(got.value, &want.value[..]);
        }
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_without_a_panic(
        records in prop::collection::vec(any_record(), 1..5), at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode(&records);
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(block) = Block::decode(&bytes) {
            prop_assert_eq!(block.records().count() as u64, block.end().since(block.first()));
        }
        let cut = cut.index(bytes.len());
        let _ = Block::decode(&bytes[..cut]);
    }
}

#[test]
fn a_block_can_be_read_from_its_middle() {
    let record = Owned {
        route: 0,
        key: None,
        timestamp: 1,
        received: 1,
        synchronised: true,
        headers: vec![],
        value: vec![1],
        origin: None,
    };
    let block = Block::decode(&encode(&[record.clone(), record.clone(), record])).unwrap();
    let block = block.between(Sequence(101), Sequence(900));
    let sequences: Vec<_> = block.records().map(|r| r.sequence.0).collect();
    assert_eq!(sequences, [101, 102]);
    assert!(block.record(Sequence(100)).is_none());
    assert!(block.record(Sequence(103)).is_none());
}

#[test]
fn a_length_that_cannot_be_is_not_believed() {
    let mut bytes = encode(&[Owned {
        route: 0,
        key: None,
        timestamp: 1,
        received: 1,
        synchronised: true,
        headers: vec![],
        value: vec![1],
        origin: None,
    }]);
    bytes[28..32].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(read_header(&bytes), Err(Malformed));
}

/// The longest that a record's numbers get.
fn long<'a>(
    route: &'a Arc<Route>,
    headers: &'a [(String, Vec<u8>)],
    value: &'a [u8],
) -> NewRecord<'a> {
    NewRecord {
        route,
        key: None,
        timestamp: Millis(i64::MIN),
        received: Reception { at: Millis(i64::MAX), clock_synchronised: true },
        origin: Some(RecordId { epoch: Epoch(1), sequence: Sequence(u64::MAX) }),
        headers,
        value,
    }
}

fn end(draft: &mut Draft) -> Sequence {
    let mut encoder = Encoder::new().unwrap();
    Block::decode(encoder.encode(Epoch(9), Sequence(0), draft).unwrap()).unwrap().end()
}

/// Guard: `MAX_ROUTES` in `Draft::is_full`, without which a block is written that is not read.
#[test]
fn a_draft_is_full_at_as_many_routes_as_are_read_back() {
    let mut draft = Draft::default();
    let mut topic = 0;
    while !draft.is_full() {
        topic += 1;
        let route = Arc::new(Route { path: String::new(), topic: topic.to_string() });
        draft.push(&long(&route, &[], b""));
    }
    assert_eq!(end(&mut draft), Sequence(topic));
}

/// Guard: the headers in `weight`, without which a record is taken that is not read back.
#[test]
fn the_heaviest_records_that_are_taken_are_read_back() {
    let route = &routes()[0];
    let most = vec![(String::new(), vec![]); MAX_WEIGHT / HEADER_WEIGHT];
    assert!(weight(&long(route, &most, b"1")) > MAX_WEIGHT);
    let mut draft = Draft::default();
    for record in [long(route, &most, b""), long(route, &[], &vec![0; MAX_WEIGHT])] {
        assert_eq!(weight(&record), MAX_WEIGHT);
        draft.push(&record);
    }
    assert_eq!(end(&mut draft), Sequence(2));
}
