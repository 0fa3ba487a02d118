//! Which of the two text formats a scraper asked for.
//!
//! Whoever does not clearly prefer `OpenMetrics` gets the older format, which everything reads.

use warp::http::HeaderValue;

/// How the metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// The one to answer with, from the request's `Accept` headers (RFC 9110, section 12.5.1).
    #[must_use]
    pub fn accepted<'a>(headers: impl Iterator<Item = &'a HeaderValue>) -> Self {
        let mut open = 0.0;
        let mut text: f32 = 0.0;
        for range in headers.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(weight).unwrap_or(1.0);
            match media.as_str() {
                "application/openmetrics-text" => open = weight.max(open),
                "text/plain" => text = weight.max(text),
                _ => {}
            }
        }
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// The reply's `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The weight in `q=0.5`; nothing in any other parameter.
fn weight(parameter: &str) -> Option<f32> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    // A weight that cannot be read is not one to act on.
    Some(value.trim().parse().ok().filter(|q: &f32| q.is_finite()).unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(header: &'static str) -> Format {
        Format::accepted([HeaderValue::from_static(header)].iter())
    }

    #[test]
    fn a_scraper_that_prefers_openmetrics_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for header in
            [prometheus, "application/openmetrics-text", "Application/OpenMetrics-Text; Q=0.1"]
        {
            assert_eq!(accepted(header), Format::OpenMetrics, "{header}");
        }
    }

    #[test]
    fn everybody_else_gets_the_text_format() {
        let headers = [
            "*/*",
            "text/html,application/xhtml+xml",
            "text/plain, application/openmetrics-text;q=0.5",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=NaN",
            "",
        ];
        for header in headers {
            assert_eq!(accepted(header), Format::Text, "{header}");
        }
        assert_eq!(Format::accepted(std::iter::empty()), Format::Text);
    }
}
