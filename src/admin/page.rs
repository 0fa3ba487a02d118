//! The status page: the snapshot written into `page.html`, so that the first paint already holds
//! the numbers and the page is useful without its script.
//!
//! Invariant: nothing from the snapshot reaches the page unescaped, and the page runs no script
//! but its own (a nonce a page). The template names what it shows in `{{form path}}`; the script
//! then keeps exactly those places up to date. What a field means is not known here.

use crate::record::Millis;
use crate::status::{Snapshot, rates, words};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

const TEMPLATE: &str = include_str!("page.html");
/// Shown where there is no value.
const NONE: &str = "–";

/// The names in the snapshot, as the page says them; the script uses the same table.
const WORDS: [(&str, &str); 24] = [
    ("ok", "OK"),
    ("attention", "Needs attention"),
    ("critical", "Critical"),
    ("unknown", "Unknown: the box does not answer"),
    ("clean", "in order"),
    ("crash", "by a crash"),
    ("power", "by a power cut"),
    ("watchdog", "by the watchdog"),
    ("accepting", "accepted"),
    ("refusing", "refused"),
    ("unconfigured", "Not configured"),
    ("connecting", "Connecting"),
    ("connected", "Connected"),
    ("catching_up", "Catching up"),
    ("outage", "Away"),
    ("paused", "Paused"),
    ("stopping", "Stopping"),
    ("dns", "names do not resolve"),
    ("network", "no broker answers"),
    ("tls", "TLS fails"),
    ("login", "the login is refused"),
    ("authorization", "the rights are refused"),
    ("topic", "a topic is missing"),
    ("clock", "the clock is wrong"),
];

#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    #[error("the snapshot cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the page's template has a place for {0:?}, which nothing fills")]
    Place(String),
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// A number used once, for the page's own script and style: 128 random bits in hexadecimal.
pub(super) fn nonce() -> Result<String, PageError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(PageError::Random)?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}

/// What the browser may do with the page.
pub(super) fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

/// The page with the snapshot's numbers; `now` is what ages are counted from.
pub(super) fn render(
    snapshot: &Snapshot,
    nonce: &str,
    now: SystemTime,
) -> Result<String, PageError> {
    let mut facts = serde_json::to_value(snapshot)?;
    facts["derived"] = derived(snapshot);
    let mut page = String::with_capacity(TEMPLATE.len() + 8 * 1024);
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once("{{") {
        let wrong = || PageError::Place(after.chars().take(40).collect());
        let (place, after) = after.split_once("}}").ok_or_else(wrong)?;
        page.push_str(before);
        let (form, path) = place.split_once(' ').unwrap_or((place, ""));
        let fact = || find(&facts, path).ok_or_else(wrong);
        let text = |form| shown(form, fact()?, now).ok_or_else(wrong);
        let filled = match form {
            "nonce" => nonce.to_owned(),
            "words" => serde_json::to_string(&BTreeMap::from(WORDS))?,
            "rows" => rows(snapshot),
            "attr" => escaped(&text("text")?),
            "if" => {
                let hidden = if fact()?.is_null() { " hidden" } else { "" };
                format!("data-if=\"{path}\"{hidden}")
            }
            "alarm" => {
                let alarmed = if fact()?.as_u64() == Some(0) { "" } else { " data-alarmed" };
                format!("data-alarm=\"{path}\"{alarmed}")
            }
            form => {
                let text = escaped(&text(form)?);
                format!("<span data-v=\"{path}\" data-as=\"{form}\">{text}</span>")
            }
        };
        page.push_str(&filled);
        rest = after;
    }
    page.push_str(rest);
    Ok(page)
}

/// What follows from the snapshot; the script derives the same.
fn derived(snapshot: &Snapshot) -> Value {
    let ledger = &snapshot.ledger;
    let sum = [
        ledger.delivered,
        ledger.spooled,
        ledger.dead,
        ledger.dropped,
        ledger.exported,
        ledger.lost,
    ]
    .into_iter()
    .fold(0, u64::saturating_add);
    let difference = sum.abs_diff(ledger.accepted);
    let balance = if difference == 0 { "Sum, as accepted" } else { "Sum, not as accepted" };
    let percent = words::percent(snapshot.spool.disk_bytes, snapshot.spool.max_bytes);
    let rejected = snapshot.ingest.rejected_in_words();
    json!({
        "sum": sum, "difference": difference, "balance": balance,
        "percent": format!("{percent:.1}"), "rejected": rejected,
    })
}

fn find<'a>(facts: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(facts, |value, key| value.get(key))
}

/// The value in one of the page's forms; nothing when the form does not fit it.
fn shown(form: &str, value: &Value, now: SystemTime) -> Option<String> {
    if value.is_null() {
        return Some(NONE.to_owned());
    }
    match form {
        "count" => value.as_u64().map(words::thousands),
        "bytes" => value.as_u64().map(words::bytes),
        "rate" => value.as_f64().map(words::rate),
        "duration" => value.as_f64().map(words::duration),
        "about" => value.as_f64().map(words::about),
        "text" => value.as_str().map(str::to_owned),
        "sentence" => value.as_str().map(kept_together),
        "word" => value.as_str().map(|name| {
            let known = WORDS.iter().find(|(word, _)| *word == name);
            known.map_or(name, |(_, text)| text).to_owned()
        }),
        // A time that cannot be read is shown as it stands.
        "ago" => value.as_str().map(|text| {
            humantime::parse_rfc3339(text).map_or_else(
                |_| text.to_owned(),
                |then| {
                    let age = rates::age_seconds(millis(now), millis(then));
                    format!("{} ago", words::duration(age))
                },
            )
        }),
        _ => None,
    }
}

/// A number and its unit stay on one line.
fn kept_together(text: &str) -> String {
    const UNITS: [&str; 12] =
        ["d", "h", "min", "s", "%", "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut kept = String::with_capacity(text.len() + 16);
    for word in text.split(' ') {
        let unit = word.trim_end_matches([';', '.', ')', ',']);
        if kept.ends_with(|c: char| c.is_ascii_digit()) && UNITS.contains(&unit) {
            kept.push('\u{a0}');
        } else if !kept.is_empty() {
            kept.push(' ');
        }
        kept.push_str(word);
    }
    kept
}

fn millis(time: SystemTime) -> Millis {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn rows(snapshot: &Snapshot) -> String {
    let row = |route: &crate::status::Route| {
        let notes = route.notes();
        let notes = notes.iter().map(|note| format!("<small>{}</small>", escaped(note)));
        let notes: String = notes.collect();
        format!(
            "<tr role=\"row\"><th role=\"rowheader\">{}<small>→ {}</small>{notes}</th>\
             <td role=\"cell\">{}</td><td role=\"cell\">{}</td><td role=\"cell\">{}</td></tr>",
            escaped(&route.path),
            escaped(&route.topic),
            words::thousands(route.accepted),
            words::thousands(route.delivered),
            words::thousands(route.held),
        )
    };
    snapshot.routes.iter().map(row).collect()
}

/// Text for an element's content or a quoted attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests;
