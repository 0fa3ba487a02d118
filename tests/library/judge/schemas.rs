//! The schemas of which messages are judged, and the judgement: what prost-reflect makes of the bytes beside what
//! the conversion by tables does. For `judge.rs`, for `tests/corpus.rs` and for fuzzing.

use super::excuse::excuse;
use crate::value::same_value;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use std::fmt::{self, Debug, Formatter};
use std::path::Path;
use std::sync::LazyLock;
use waystation::convert::{ConvertError, Converter, Fields, MESSAGE, Source};

pub struct Schema {
    message: &'static str,
    pub descriptor: MessageDescriptor,
    converter: Converter,
}

pub static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(|| {
    vec![
        Schema::read("proto", "realtime_gps.proto", MESSAGE),
        Schema::read("tests/fixtures/proto", "every3.proto", "every3.Everything"),
        Schema::read("tests/fixtures/proto", "every2.proto", "every2.Everything"),
        Schema::read("tests/fixtures/proto", "known.proto", "known.Types"),
        Schema::read("tests/fixtures/proto", "names.proto", "names.Odd"),
        Schema::read("tests/fixtures/proto", "fleet/trip.proto", "fleet.Trip"),
    ]
});

/// For a failure's text: which schema it was.
impl Debug for Schema {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message)
    }
}

impl Schema {
    fn read(include: &str, file: &str, message: &'static str) -> Self {
        // The package for fuzzing lies in the project's.
        let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let root = above.find(|root| root.join("proto/realtime_gps.proto").is_file());
        let include = root.expect("the project").join(include);
        let set = protox::compile([file], [&include]).unwrap();
        let pool = DescriptorPool::from_file_descriptor_set(set).unwrap();
        let descriptor = pool.get_message_by_name(message).unwrap();
        let source = Source::Proto { files: vec![include.join(file)], include: vec![include] };
        let converter = Converter::new(&source, message, Fields::default()).unwrap();
        Self { message, descriptor, converter }
    }

    /// What the conversion makes of it. Panics where that is no JSON.
    fn ours(&self, bytes: &[u8]) -> Result<String, ConvertError> {
        let mut json = Vec::new();
        self.converter.convert(bytes, &mut json)?;
        let json = String::from_utf8(json).expect("JSON in UTF-8");
        // Each value is the same as itself, unless it is no JSON.
        assert!(same_value(&json, &json), "{json}");
        Ok(json)
    }

    /// Whether our answer is the judge's; else what both say.
    pub fn judge(&self, bytes: &[u8]) -> Result<(), String> {
        let ours = self.ours(bytes);
        let theirs = match DynamicMessage::decode(self.descriptor.clone(), bytes) {
            Ok(message) if excuse(&message, bytes).is_some() => return Ok(()),
            Ok(message) => serde_json::to_string(&message).map_err(|error| error.to_string()),
            Err(_) if matches!(ours, Err(ConvertError::Malformed { .. })) => return Ok(()),
            Err(error) => Err(error.to_string()),
        };
        let agreed = match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => same_value(ours, theirs),
            (Err(ConvertError::Invalid { .. }), Err(_)) => true,
            // prost-reflect does not count the entry of a map as a level; prost, and so we, do.
            (Err(ConvertError::Malformed { why, .. }), Ok(_)) => why.contains("nested more than"),
            _ => false,
        };
        agreed.then_some(()).ok_or_else(|| format!("{}: {ours:?}, but {theirs:?}", self.message))
    }
}

/// For fuzzing: the first byte says the schema, the rest is its message. It is converted by what `measure` runs,
/// and then judged.
#[allow(dead_code, reason = "the property tests choose the schema by themselves")]
pub fn any(data: &[u8], measure: impl FnOnce(&dyn Fn(&[u8]), &[u8])) {
    let Some((schema, message)) = data.split_first() else { return };
    let schema = &SCHEMAS[usize::from(*schema) % SCHEMAS.len()];
    // The verdict is judged below.
    measure(&|message| drop(schema.converter.convert(message, &mut Vec::new())), message);
    if let Err(differ) = schema.judge(message) {
        panic!("{differ}");
    }
}
