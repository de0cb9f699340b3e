//! Proxmox: what the guest agent of one machine says, as the API, `pvesh` and `qm guest cmd` give it.

use serde::Deserialize;
use serde_json::Value;

use super::super::{Listing, SourceError};
use super::document::{broken, keys};
use super::gather::Gather;
use super::{Options, guest};
use crate::mistake::quoted;

const EXPECTED: &str = "an array of interfaces, {\"result\": [...]} or {\"data\": {\"result\": [...]}} as network-get-interfaces answers";

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Interface {
    name: String,
    #[serde(default)]
    hardware_address: String,
    #[serde(default)]
    ip_addresses: Vec<IpAddress>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct IpAddress {
    ip_address: String,
}

/// The interfaces of one machine.
pub(super) fn read(what: &str, text: &str, options: &Options) -> Result<Listing, SourceError> {
    let value: Value = serde_json::from_str(text).map_err(|error| broken(what, quoted(&error.to_string()), EXPECTED))?;
    let inner = value.get("data").unwrap_or(&value);
    let inner = inner.get("result").unwrap_or(inner);
    let Value::Array(interfaces) = inner else {
        return Err(broken(what, refusal(inner), EXPECTED));
    };
    let host = guest::host(what, options, "the number that `qm list` tells")?;
    let mut gather = Gather::new(what, text.len(), &options.networks);
    for (at, interface) in interfaces.iter().enumerate() {
        gather.record();
        let place = format!("interface {}", at + 1);
        match serde_path_to_error::deserialize::<_, Interface>(interface) {
            Err(error) => gather.warn(&place, &quoted(&error.to_string())),
            Ok(interface) => {
                for address in &interface.ip_addresses {
                    guest::take(&mut gather, &place, &host, &interface.name, &interface.hardware_address, &address.ip_address);
                }
            }
        }
    }
    gather.finish("at least one address that others can reach")
}

/// What stands where interfaces should: mostly an error of the guest agent.
fn refusal(value: &Value) -> String {
    let text = ["/error/desc", "/error/class", "/message"].iter().find_map(|path| value.pointer(path)?.as_str());
    match (text, value) {
        (Some(text), _) => format!("the guest agent's error {}", quoted(text)),
        (None, Value::Null) => "null (is the guest agent running?)".to_owned(),
        (None, Value::Object(object)) => keys(object.keys().map(String::as_str)),
        (None, other) => quoted(&other.to_string()),
    }
}
