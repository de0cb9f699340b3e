//! Lists that come in pages. Neutron and Nova page also where nobody asked for it, so every link is followed.

use std::collections::HashSet;

use reqwest::{StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::super::SourceError;
use super::client::{Answer, Client, shown};

/// So many pages are no list any more.
const MOST: usize = 100_000;
/// Nor are so many records.
const MOST_RECORDS: usize = 10_000_000;
/// How often a list is begun anew because the last record of a page was deleted before the next page was asked for.
const ANEW: usize = 5;

/// A link of a page.
#[derive(serde::Deserialize)]
struct Link {
    rel: String,
    href: String,
}

/// All records of a list.
pub(super) async fn pages<T: DeserializeOwned>(
    client: &mut Client,
    service: &str,
    path: &str,
    key: &str,
    size: u32,
) -> Result<Vec<T>, SourceError> {
    let base = client.endpoint(service).await?;
    let mut first: Url = format!("{}{path}", base.as_str().trim_end_matches('/'))
        .parse()
        .map_err(|_| SourceError::Configuration(format!("the endpoint of service {service:?} is no URL")))?;
    first.query_pairs_mut().append_pair("limit", &size.to_string());
    for _ in 0..ANEW {
        if let Some(all) = walk(client, &first, key).await? {
            return Ok(all);
        }
    }
    let (what, found) = (shown(&first), format!("a list that changed under each of {ANEW} walks through its pages"));
    Err(SourceError::Broken { what, found, expected: "one that can be read to its end (a larger page_size helps)".to_owned() })
}

/// One walk; `None`: the record that the next page begins behind is gone.
async fn walk<T: DeserializeOwned>(client: &mut Client, first: &Url, key: &str) -> Result<Option<Vec<T>>, SourceError> {
    let what = shown(first);
    let broken = |found: String, expected: &str| SourceError::Broken { what: what.clone(), found, expected: expected.to_owned() };
    let (mut all, mut markers, mut url) = (Vec::new(), HashSet::new(), first.clone());
    for page in 1..=MOST {
        let Answer { status, body, .. } = client.get(&url).await?;
        match status {
            StatusCode::OK => {}
            // Neutron says 404 of a marker that is gone, Nova 400.
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST if page > 1 => return Ok(None),
            status => return Err(SourceError::Status { what: what.clone(), status: status.as_u16(), why: client.said(&body) }),
        }
        let place = |error: serde_json::Error| format!("page {page}: {error}");
        let expected = format!("{{\"{key}\": [...]}}");
        let mut parts: std::collections::HashMap<String, &RawValue> =
            serde_json::from_slice(&body).map_err(|error| broken(client.hide(place(error)), &expected))?;
        let records = parts.remove(key).ok_or_else(|| broken(format!("page {page}: no \"{key}\""), &expected))?;
        let records: Vec<T> = serde_json::from_str(records.get()).map_err(|error| broken(client.hide(place(error)), &expected))?;
        let links = parts.remove(format!("{key}_links").as_str()).map(|links| serde_json::from_str(links.get()));
        let links: Vec<Link> =
            links.transpose().map_err(|error| broken(client.hide(place(error)), "links to other pages"))?.unwrap_or_default();
        all.extend(records);
        if all.len() > MOST_RECORDS {
            return Err(broken(format!("more than {MOST_RECORDS} records"), "a list that ends"));
        }
        let Some(next) = links.into_iter().find(|link| link.rel == "next") else { return Ok(Some(all)) };
        // Only where it goes on is taken from a link: those behind a proxy often name a host that is not for us.
        let marker = first
            .join(&next.href)
            .ok()
            .and_then(|link| link.query_pairs().find(|(name, _)| name == "marker").map(|(_, marker)| marker.into_owned()));
        let marker = marker.ok_or_else(|| broken(format!("page {page}: a link to the next page without a marker"), "marker=ID"))?;
        url = first.clone();
        url.query_pairs_mut().append_pair("marker", &marker);
        if !markers.insert(marker) {
            return Err(broken(format!("page {page}: pages that go round in a circle"), "pages that end"));
        }
    }
    Err(broken(format!("more than {MOST} pages"), "a list that ends"))
}
