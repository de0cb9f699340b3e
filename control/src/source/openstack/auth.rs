//! Tokens of Keystone (Identity API v3): asked for, and renewed before they end.

use std::time::{Duration, Instant, SystemTime};

use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::super::SourceError;
use super::credential::Credential;

/// The header that a token comes in.
const SUBJECT: &str = "X-Subject-Token";
/// A token is renewed so long before it ends, or when a tenth of its life is left.
const EARLY: Duration = Duration::from_secs(60);

/// A token, and where it is good for.
pub(super) struct Token {
    /// Sent along with every request.
    pub(super) value: HeaderValue,
    /// Until then.
    until: Instant,
    catalog: Vec<Entry>,
}

/// An entry of the catalog: a service.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    interface: String,
    #[serde(default)]
    region_id: Option<String>,
    #[serde(default)]
    region: Option<String>,
    url: String,
}

#[derive(Deserialize)]
struct Body {
    token: Inner,
}

#[derive(Deserialize)]
struct Inner {
    expires_at: String,
    issued_at: String,
    #[serde(default)]
    catalog: Vec<Entry>,
}

impl Token {
    /// Reads Keystone's answer. How long it is good for is counted from now on: the clocks of both may differ.
    pub(super) fn read(headers: &reqwest::header::HeaderMap, body: &[u8], what: &str, now: Instant) -> Result<Token, SourceError> {
        let broken = |found: &str| SourceError::Broken {
            what: what.to_owned(),
            found: found.to_owned(),
            expected: "a token of Keystone v3".to_owned(),
        };
        let mut value = headers.get(SUBJECT).cloned().ok_or_else(|| broken("an answer without a token"))?;
        value.set_sensitive(true);
        let Body { token } = serde_json::from_slice(body).map_err(|_| broken("an answer that is no token"))?;
        let time = |text: &str| humantime::parse_rfc3339(text).map_err(|_| broken("a token whose times cannot be read"));
        let (begin, end): (SystemTime, SystemTime) = (time(&token.issued_at)?, time(&token.expires_at)?);
        let life = end.duration_since(begin).unwrap_or_default();
        let until = now + life.saturating_sub(EARLY.min(life / 10));
        Ok(Token { value, until, catalog: token.catalog })
    }

    pub(super) fn is_good(&self, now: Instant) -> bool {
        now < self.until
    }

    /// The URL of a service, without a slash at its end.
    pub(super) fn endpoint(&self, kind: &str, credential: &Credential) -> Result<reqwest::Url, SourceError> {
        let (region, interface) = (credential.region.as_deref(), credential.interface.as_str());
        let of_service: Vec<&Endpoint> =
            self.catalog.iter().filter(|entry| entry.kind == kind).flat_map(|entry| &entry.endpoints).collect();
        let fits = |endpoint: &&&Endpoint| {
            let here = endpoint.region_id.as_deref().or(endpoint.region.as_deref());
            endpoint.interface == interface && region.is_none_or(|region| here == Some(region))
        };
        let wrong = |why: String| SourceError::Configuration(format!("{}: {why}", credential.from));
        let Some(found) = of_service.iter().find(fits) else {
            let there: Vec<String> = of_service
                .iter()
                .map(|endpoint| format!("{} in {}", endpoint.interface, endpoint.region_id.as_deref().unwrap_or("no region")))
                .collect();
            let there =
                if there.is_empty() { "none at all (is the token of a project or of the system?)".to_owned() } else { there.join(", ") };
            let region = region.map_or_else(String::new, |region| format!(" in region {region:?}"));
            return Err(wrong(format!("the catalog has no {interface} endpoint of service {kind:?}{region}, only {there}")));
        };
        let text = found.url.trim_end_matches('/');
        // Neutron's is mostly named without a version, and sometimes with one.
        let text = if kind == "network" { text.trim_end_matches("/v2.0") } else { text };
        let url: reqwest::Url = text.parse().map_err(|_| wrong(format!("the catalog's endpoint of service {kind:?} is no URL")))?;
        match ["http", "https"].contains(&url.scheme()) && url.has_host() {
            true => Ok(url),
            false => Err(wrong(format!("the catalog's endpoint of service {kind:?} is no http(s) URL"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a real Keystone 30 answers, but for the names.
    const ANSWER: &str = r#"{"token": {"methods": ["password"], "user": {"name": "monitor"}, "expires_at": "2026-11-22T18:37:30.000000Z",
        "issued_at": "2026-11-22T17:37:30.000000Z", "catalog": [
        {"type": "network", "name": "neutron", "endpoints": [
            {"id": "a", "interface": "public", "region_id": "RegionOne", "region": "RegionOne", "url": "http://127.0.0.1:9696/"},
            {"id": "b", "interface": "internal", "region_id": "Two", "region": "Two", "url": "http://10.0.0.9/network/v2.0"}]},
        {"type": "compute", "name": "nova", "endpoints": [{"interface": "public", "region_id": "RegionOne", "url": "http://127.0.0.1:8774/v2.1"}]}]}}"#;

    fn token(now: Instant) -> Token {
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert(SUBJECT, HeaderValue::from_static("gAAAA-secret"));
        Token::read(&headers, ANSWER.as_bytes(), "Keystone", now).unwrap()
    }

    fn credential(region: Option<&str>, interface: &str) -> Credential {
        Credential {
            from: "cloud \"lab\"".to_owned(),
            auth_url: "http://127.0.0.1:5000/v3/".parse().unwrap(),
            region: region.map(str::to_owned),
            interface: interface.to_owned(),
            cacert: None,
            request: serde_json::Value::Null,
        }
    }

    #[test]
    fn token_is_renewed_a_minute_before_it_ends_by_our_own_clock() {
        let now = Instant::now();
        let token = token(now);
        assert!(token.is_good(now + Duration::from_secs(3_539)) && !token.is_good(now + Duration::from_secs(3_540)));
        assert!(!format!("{:?}", token.value).contains("secret"));
    }

    #[test]
    fn endpoint_is_that_of_the_region_and_interface() {
        let token = token(Instant::now());
        let url = |kind, region, interface| {
            token.endpoint(kind, &credential(region, interface)).map(String::from).map_err(|error| error.to_string())
        };
        assert_eq!(url("network", None, "public").unwrap(), "http://127.0.0.1:9696/");
        assert_eq!(url("network", Some("Two"), "internal").unwrap(), "http://10.0.0.9/network");
        assert_eq!(url("compute", Some("RegionOne"), "public").unwrap(), "http://127.0.0.1:8774/v2.1");
        let error = url("compute", Some("Two"), "public").unwrap_err();
        assert!(error.contains("no public endpoint of service \"compute\" in region \"Two\", only public in RegionOne"), "{error}");
    }

    #[test]
    fn real_tokens_of_the_samples_are_read_with_their_headers_and_catalogs() {
        let sample = include_str!("../../../tests/samples/keystone-token-headers.txt");
        let pairs = sample.lines().filter_map(|line| line.split_once(": "));
        let headers: reqwest::header::HeaderMap = pairs.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let now = Instant::now();
        for body in [
            include_str!("../../../tests/samples/keystone-token-password.json"),
            include_str!("../../../tests/samples/keystone-token-appcred.json"),
        ] {
            let token = Token::read(&headers, body.as_bytes(), "Keystone", now).unwrap();
            assert!(token.value.to_str().unwrap().starts_with("gAAAAABrAyha") && token.value.is_sensitive());
            assert!(token.is_good(now + Duration::from_secs(3_539)) && !token.is_good(now + Duration::from_secs(3_540)));
            let url = |kind| token.endpoint(kind, &credential(Some("RegionOne"), "public")).unwrap().to_string();
            assert_eq!([url("network"), url("compute")], ["http://127.0.0.1:9696/", "http://127.0.0.1:8774/v2.1"]);
        }
    }

    #[test]
    fn what_is_no_token_is_an_error() {
        let (now, headers) = (Instant::now(), reqwest::header::HeaderMap::new());
        assert!(Token::read(&headers, ANSWER.as_bytes(), "Keystone", now).is_err());
        let mut headers = headers;
        headers.insert(SUBJECT, HeaderValue::from_static("x"));
        for body in ["", "{}", "[]", &ANSWER.replace("T18:37", "T99:37"), &ANSWER[..200]] {
            assert!(Token::read(&headers, body.as_bytes(), "Keystone", now).is_err(), "{body}");
        }
    }
}
