//! Which request gets which reply.
//!
//! Every reply is complete in itself, never cached, and small. `GET` and `HEAD` only: there is
//! nothing to change here. It does not know sockets; HEAD's body is left out by the connection.

use super::{Source, metrics, page};
use warp::http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use warp::http::{HeaderMap, Method, Response, StatusCode};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// The reply to one request.
pub(super) fn answer(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    source: &dyn Source,
) -> Response<String> {
    let known = matches!(path, "/" | "/status" | "/metrics" | "/livez" | "/readyz");
    if known && method != Method::GET && method != Method::HEAD {
        let mut reply = problem(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return reply;
    }
    match path {
        "/" => html(source),
        "/status" => status(source),
        "/metrics" => {
            let format = metrics::Format::accepted(headers.get_all(ACCEPT).iter());
            let text = metrics::render(format, &source.status(), &source.metrics());
            let mut reply = reply(StatusCode::OK, format.content_type(), text);
            reply.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
            reply
        }
        "/livez" => health(source.live()),
        "/readyz" => health(source.ready()),
        _ => problem(StatusCode::NOT_FOUND, "try /, /status, /metrics, /livez or /readyz"),
    }
}

fn status(source: &dyn Source) -> Response<String> {
    // Indented, so that curl and `status --json` show it as it stands.
    match serde_json::to_string_pretty(&source.status()) {
        Ok(mut text) => {
            text.push('\n');
            reply(StatusCode::OK, JSON, text)
        }
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn html(source: &dyn Source) -> Response<String> {
    let made = page::nonce().map_err(|error| error.to_string()).and_then(|nonce| {
        let body = page::render(&source.status(), &nonce, std::time::SystemTime::now())
            .map_err(|error| error.to_string())?;
        let policy = HeaderValue::from_str(&page::policy(&nonce)).map_err(|e| e.to_string())?;
        Ok((body, policy))
    });
    match made {
        Ok((body, policy)) => {
            let mut reply = reply(StatusCode::OK, "text/html; charset=utf-8", body);
            reply.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
            reply
        }
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

fn health(checked: Result<(), String>) -> Response<String> {
    match checked {
        Ok(()) => reply(StatusCode::OK, TEXT, "ok\n".to_owned()),
        Err(why) => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
    }
}

/// An error as RFC 9457 writes it; the type is left at its default, for the status says it all.
fn problem(status: StatusCode, detail: &str) -> Response<String> {
    let body = serde_json::json!({
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
    });
    reply(status, "application/problem+json", format!("{body}\n"))
}

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let fixed: [(HeaderName, &'static str); 6] = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in fixed {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    fn get(path: &str) -> Response<String> {
        answer(&Method::GET, path, &HeaderMap::new(), &Fake::default())
    }

    #[test]
    fn every_path_answers_with_its_type_and_is_never_cached() {
        let paths = [
            ("/", "text/html; charset=utf-8"),
            ("/status", "application/json"),
            ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
            ("/livez", "text/plain; charset=utf-8"),
            ("/readyz", "text/plain; charset=utf-8"),
        ];
        for (path, content_type) in paths {
            let reply = get(path);
            assert_eq!(reply.status(), StatusCode::OK, "{path}");
            assert_eq!(reply.headers()[CONTENT_TYPE], content_type, "{path}");
            assert_eq!(reply.headers()[CACHE_CONTROL], "no-store", "{path}");
            assert_eq!(reply.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        }
    }

    #[test]
    fn the_status_is_the_snapshot() {
        let found: crate::status::Snapshot = serde_json::from_str(get("/status").body()).unwrap();
        assert_eq!(found, Fake::default().status());
    }

    #[test]
    fn an_unknown_path_is_told_which_there_are() {
        let reply = get("/favicon.ico");
        assert_eq!(reply.status(), StatusCode::NOT_FOUND);
        assert_eq!(reply.headers()[CONTENT_TYPE], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(reply.body()).unwrap();
        assert_eq!(problem["status"], 404);
        assert!(problem["detail"].as_str().unwrap().contains("/readyz"));
    }

    #[test]
    fn nothing_can_be_posted_here() {
        let reply = answer(&Method::POST, "/status", &HeaderMap::new(), &Fake::default());
        assert_eq!(reply.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(reply.headers()[ALLOW], "GET, HEAD");
    }

    #[test]
    fn a_failed_health_check_says_why() {
        let fake =
            Fake { failing: Some("the commit thread stands still".to_owned()), ..Fake::default() };
        for path in ["/livez", "/readyz"] {
            let reply = answer(&Method::GET, path, &HeaderMap::new(), &fake);
            assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(reply.body(), "the commit thread stands still\n");
        }
    }

    #[test]
    fn the_page_allows_its_own_script_and_no_other() {
        let reply = get("/");
        let policy = reply.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        assert!(reply.body().contains(&format!("<script nonce=\"{nonce}\">")));
        assert!(reply.body().contains(&format!("<style nonce=\"{nonce}\">")));
        let again = get("/");
        assert_ne!(again.headers()[CONTENT_SECURITY_POLICY], policy, "a nonce is used once");
    }
}
