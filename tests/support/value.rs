//! Whether two texts of JSON say the same.
//!
//! `serde_json`'s own values would not do: it reads some numbers as their neighbours, and of two members of
//! one name it keeps one.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt::{self, Formatter};

/// Whether both say the same: in any order of the members, with numbers in any spelling. A text that is
/// not JSON, or has two members of one name in one object, says nothing.
pub fn same_value(one: &str, other: &str) -> bool {
    match (one.bytes().next(), other.bytes().next()) {
        (Some(b'{'), Some(b'{')) => match (members(one), members(other)) {
            (Some(one), Some(other)) => {
                let same = |((name, one), (other_name, other)): (&Member, &Member)| {
                    name == other_name && same_value(one.get(), other.get())
                };
                one.len() == other.len() && one.iter().zip(&other).all(same)
            }
            _ => false,
        },
        (Some(b'['), Some(b'[')) => {
            let elements = serde_json::from_str::<Vec<&RawValue>>;
            let (Ok(one), Ok(other)) = (elements(one), elements(other)) else { return false };
            let same = |(one, other): (&&RawValue, &&RawValue)| same_value(one.get(), other.get());
            one.len() == other.len() && one.iter().zip(&other).all(same)
        }
        (Some(b'"'), Some(b'"')) => {
            let text = serde_json::from_str::<String>;
            matches!((text(one), text(other)), (Ok(one), Ok(other)) if one == other)
        }
        _ => match (one.parse::<f64>(), other.parse::<f64>()) {
            (Ok(one), Ok(other)) => one.to_bits() == other.to_bits(),
            _ => one == other,
        },
    }
}

type Member<'a> = (String, &'a RawValue);

/// An object's members in the order of their names, which are all different.
fn members(object: &str) -> Option<Vec<Member<'_>>> {
    let Members(mut members) = serde_json::from_str(object).ok()?;
    members.sort_by(|(one, _), (other, _)| one.cmp(other));
    members.windows(2).all(|pair| pair[0].0 != pair[1].0).then_some(members)
}

struct Members<'a>(Vec<Member<'a>>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}
