//! NetBox: `/api/ipam/ip-addresses/`. Addresses of one device or virtual machine are one host, an address of nobody is a host itself.

use serde::Deserialize;
use serde_json::Value;

use super::super::{Entry, Listing, SourceError};
use super::document::{Shape, documents};
use super::gather::{Address, Gather};
use super::{Options, labels};
use crate::hosts::Monitor;

const ADDRESSES: Shape = Shape {
    list: "results",
    single: "",
    expected: "{\"count\": ..., \"next\": ..., \"results\": [...]} as /api/ipam/ip-addresses/ answers",
};

#[derive(Deserialize)]
struct IpAddress {
    id: u64,
    address: String,
    #[serde(default)]
    vrf: Option<Named>,
    #[serde(default)]
    tenant: Option<Named>,
    #[serde(default)]
    status: Option<Choice>,
    #[serde(default)]
    dns_name: String,
    #[serde(default)]
    assigned_object: Option<Interface>,
    #[serde(default)]
    tags: Vec<Named>,
    #[serde(default)]
    custom_fields: Value,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    id: u64,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    slug: Option<String>,
}

impl Named {
    fn text(self) -> String {
        self.name.or(self.slug).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Choice {
    value: String,
}

/// An interface of a device or of a virtual machine. Since NetBox 4.2 its MAC is an object of its own.
#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    device: Option<Named>,
    #[serde(default)]
    virtual_machine: Option<Named>,
    #[serde(default)]
    mac_address: Option<String>,
    #[serde(default)]
    primary_mac_address: Option<MacAddress>,
}

#[derive(Deserialize)]
struct MacAddress {
    #[serde(default)]
    mac_address: Option<String>,
}

/// How an address is watched: by what its status says of its use. Statuses of the user's own making are expected to be silent.
fn monitor(status: Option<&str>) -> Monitor {
    match status {
        None | Some("active" | "dhcp" | "slaac") => Monitor::On,
        Some("reserved" | "deprecated") => Monitor::Off,
        Some(_) => Monitor::Silent,
    }
}

/// One page, or several behind each other.
pub(super) fn read(what: &str, text: &str, options: &Options) -> Result<Listing, SourceError> {
    let mut gather = Gather::new(what, text.len(), &options.networks);
    let found = documents(what, text, &ADDRESSES)?;
    for document in &found {
        for record in document.records(text, &ADDRESSES) {
            gather.record();
            match record.read::<IpAddress>() {
                Ok(address) => take(&mut gather, &record, address),
                Err(why) => gather.warn(&record, &why),
            }
        }
    }
    if found.last().and_then(|document| document.beside::<String>("next")).is_some() {
        gather.unfinished(what, options)?;
    }
    gather.finish("at least one address")
}

fn take(gather: &mut Gather<'_>, place: &dyn std::fmt::Display, found: IpAddress) {
    let interface = found.assigned_object;
    let mac = interface.as_ref().and_then(|interface| {
        let primary = interface.primary_mac_address.as_ref().and_then(|mac| mac.mac_address.clone());
        interface.mac_address.clone().or(primary)
    });
    let (device, machine) = interface.map_or((None, None), |interface| (interface.device, interface.virtual_machine));
    let (id, name) = match (machine, device) {
        (Some(machine), _) => (format!("vm-{}", machine.id), machine.text()),
        (None, Some(device)) => (format!("device-{}", device.id), device.text()),
        (None, None) => (format!("address-{}", found.id), found.dns_name),
    };
    let mut tags: Vec<String> = found.tags.into_iter().map(Named::text).collect();
    tags.extend(labels::tags(&found.custom_fields));
    let entry = Entry {
        id,
        name,
        project: found.tenant.map(Named::text).unwrap_or_default(),
        tags,
        monitor: monitor(found.status.as_ref().map(|status| status.value.as_str())),
        ..Entry::default()
    };
    let vrf = found.vrf.map(Named::text);
    let address = found.address.split('/').next().unwrap_or_default();
    gather.take(place, entry, [Address { address, mac: mac.as_deref(), own: vrf.as_deref(), said: &[] }]);
}

/// Where the list goes on.
pub(super) fn next_page(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Page {
        next: Option<String>,
    }
    serde_json::from_slice::<Page>(bytes).ok()?.next
}
