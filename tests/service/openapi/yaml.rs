//! YAML as a value: maps, lists and scalars, of which each is a text. An alias is what it stands for.

use saphyr_parser::{Event, Parser};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Reads one document. Panics where it is none.
pub fn read(text: &str) -> Value {
    let events = Parser::new_from_str(text).map(|event| event.unwrap().0);
    let mut events = events.filter(|event| {
        !matches!(event, Event::StreamStart | Event::DocumentStart(_) | Event::Nothing)
    });
    let first = events.next().expect("a document");
    Reader { events, anchors: HashMap::new() }.value(first)
}

struct Reader<I> {
    events: I,
    anchors: HashMap<usize, Value>,
}

impl<'a, I: Iterator<Item = Event<'a>>> Reader<I> {
    fn next(&mut self) -> Event<'a> {
        self.events.next().expect("an end")
    }

    fn value(&mut self, event: Event<'a>) -> Value {
        let (value, anchor) = match event {
            Event::Alias(anchor) => (self.anchors[&anchor].clone(), anchor),
            Event::Scalar(text, _, anchor, _) => (Value::from(text), anchor),
            Event::SequenceStart(anchor, _) => {
                let mut list = Vec::new();
                loop {
                    match self.next() {
                        Event::SequenceEnd => break,
                        event => list.push(self.value(event)),
                    }
                }
                (Value::from(list), anchor)
            }
            Event::MappingStart(anchor, _) => {
                let mut map = Map::new();
                loop {
                    match self.next() {
                        Event::MappingEnd => break,
                        Event::Scalar(key, ..) => {
                            let event = self.next();
                            let value = self.value(event);
                            assert!(map.insert(key.to_string(), value).is_none(), "{key} twice");
                        }
                        other => panic!("a key that is no text: {other:?}"),
                    }
                }
                (Value::from(map), anchor)
            }
            other => panic!("unexpected: {other:?}"),
        };
        self.anchors.insert(anchor, value.clone());
        value
    }
}
