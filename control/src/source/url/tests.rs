use std::os::unix::fs::PermissionsExt;

use axum::Router;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode as Code, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;

use super::*;

async fn served(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

fn settings(url: &str, format: &str) -> UrlSettings {
    let text = format!("name = \"lab\"\nurl = \"{url}\"\nformat = \"{format}\"\nnetwork = \"blue\"\ntimeout = \"2s\"");
    toml::from_str(&text).unwrap()
}

fn source(settings: UrlSettings) -> Url {
    Url::new(settings, Duration::from_secs(45)).unwrap()
}

async fn error(settings: UrlSettings) -> SourceError {
    source(settings).list(&mut |_| {}).await.unwrap_err()
}

/// A file with a header that only its owner may read.
fn secret(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    file
}

fn page(id: u32, next: &str) -> String {
    format!(r#"{{"next":{next},"results":[{{"id":{id},"address":"10.0.0.{id}/24","status":{{"value":"active"}}}}]}}"#)
}

#[tokio::test]
async fn who_is_asked_hears_how_often_and_by_what_right() {
    let hears = |headers: HeaderMap| async move {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        assert_eq!(text("authorization"), "Token hunter2");
        format!("[{{\"targets\":[\"10.0.0.1:9100\"],\"labels\":{{\"every\":\"{}\"}}}}]", text("x-prometheus-refresh-interval-seconds"))
    };
    let url = served(Router::new().route("/sd", get(hears))).await;
    let file = secret("Authorization: Token hunter2\n");
    let mut settings = settings(&format!("{url}/sd"), "prometheus");
    settings.header_file = Some(file.path().to_owned());
    let mut source = source(settings);
    let listing = source.list(&mut |_| {}).await.unwrap();
    assert_eq!(listing.hosts[0].tags, ["every=45"]);
    assert_eq!(source.known(), Some(listing));
    assert!(!format!("{source:?}").contains("hunter2"));
}

#[tokio::test]
async fn pages_are_followed_on_the_same_host_only_and_not_in_a_circle() {
    let next = |Query(query): Query<BTreeMap<String, String>>, headers: HeaderMap| async move {
        let host = headers[header::HOST].to_str().unwrap().to_owned();
        let (case, at) = (query["case"].clone(), query.get("at").cloned().unwrap_or_default());
        match (case.as_str(), at.as_str()) {
            // The scheme is wrong, as behind a proxy that ends TLS.
            ("good", "") => page(1, &format!("\"https://{}/api?case=good&at=2\"", host.split(':').next().unwrap())),
            ("good", "2") => page(2, "\"/api?case=good&at=3\""),
            ("good", _) => page(3, "null"),
            ("other", _) => page(1, "\"http://192.0.2.1/api?case=good\""),
            (_, "") => page(1, "\"/api?case=circle&at=2\""),
            _ => page(2, "\"/api?case=circle\""),
        }
    };
    let url = served(Router::new().route("/api", get(next))).await;
    let listing = source(settings(&format!("{url}/api?case=good"), "netbox")).list(&mut |_| {}).await.unwrap();
    assert_eq!(listing.hosts.len(), 3);
    assert!(listing.warnings.is_empty(), "{:?}", listing.warnings);
    let error = |case: &str| error(settings(&format!("{url}/api?case={case}"), "netbox"));
    assert!(error("other").await.to_string().contains("a next page that is no URL of the same host"));
    assert!(error("circle").await.to_string().contains("pages that go round in a circle"));
}

#[tokio::test]
async fn refusals_say_what_to_do_and_never_the_secret() {
    let echo = |headers: HeaderMap| async move {
        let said = headers["x-auth-token"].to_str().unwrap().to_owned();
        (Code::INTERNAL_SERVER_ERROR, format!("no such thing:\n{said}\u{1b}[31m {}", "x".repeat(5000)))
    };
    let router = Router::new().route("/500", get(echo)).route("/401", get(|| async { Code::UNAUTHORIZED }));
    let url = served(router).await;
    let file = secret("X-Auth-Token: hunter2");
    let with = |path: &str| {
        let mut settings = settings(&format!("{url}/{path}?token=in-the-query"), "prometheus");
        settings.header_file = Some(file.path().to_owned());
        settings
    };
    let text = error(with("500")).await.to_string();
    assert!(text.contains("answers 500: Internal Server Error: no such thing: (secret) [31m xxx"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("in-the-query") && text.len() < 400, "{text}");
    let refused = error(with("401")).await;
    assert!(matches!(&refused, SourceError::Refused { .. }), "{refused}");
    assert!(refused.to_string().contains("is the header file's content still valid?"), "{refused}");
    let refused = error(settings(&format!("{url}/401"), "prometheus")).await;
    assert!(refused.to_string().contains("give a header by --header-file"), "{refused}");
}

#[tokio::test]
async fn a_redirect_to_elsewhere_is_not_followed_with_the_secret() {
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let notes = asked.clone();
    let note = move || async move { notes.store(true, std::sync::atomic::Ordering::Relaxed) };
    let elsewhere = served(Router::new().route("/", get(note))).await;
    let list = || async { "[{\"targets\":[\"10.0.0.1\"]}]" };
    let router = Router::new()
        .route("/away", get(move || async move { Redirect::temporary(&elsewhere) }))
        .route("/near", get(|| async { Redirect::permanent("/list") }))
        .route("/list", get(list));
    let url = served(router).await;
    let error = error(settings(&format!("{url}/away"), "prometheus")).await.to_string();
    assert!(error.contains("answers 307: it sends us to another place"), "{error}");
    assert!(!asked.load(std::sync::atomic::Ordering::Relaxed), "somebody else was asked");
    assert!(source(settings(&format!("{url}/near"), "prometheus")).list(&mut |_| {}).await.is_ok());
}

#[tokio::test]
async fn answers_without_end_or_without_haste_are_ended() {
    let flood = || async {
        let piece = axum::body::Bytes::from(vec![b' '; 1 << 16]);
        axum::body::Body::from_stream(futures::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()))).into_response()
    };
    let drip = || async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        "[]"
    };
    let url = served(Router::new().route("/flood", get(flood)).route("/drip", get(drip))).await;
    let mut large = settings(&format!("{url}/flood"), "prometheus");
    large.max_bytes = 1 << 20;
    let text = error(large).await.to_string();
    assert!(text.contains("more than 1048576 bytes"), "{text}");
    let mut slow = settings(&format!("{url}/drip"), "prometheus");
    slow.timeout = Duration::from_millis(200);
    let slow = error(slow).await;
    assert!(matches!(&slow, SourceError::Unreachable { why, .. } if why == "timed out"), "{slow}");
}

#[test]
fn a_url_with_a_secret_in_it_or_of_another_kind_is_refused_without_showing_it() {
    for url in ["http://me:hunter2@127.0.0.1/", "http://hunter2@127.0.0.1/", "file:///hunter2", "hunter2", "http://x:hunter2/"] {
        let error = Url::new(settings(url, "netbox"), Duration::from_secs(1)).unwrap_err().to_string();
        assert!(error.starts_with("url: ") && error.contains("allowed: "), "{error}");
        assert!(!error.contains("hunter2") || url.starts_with("file"), "{error}");
    }
}
