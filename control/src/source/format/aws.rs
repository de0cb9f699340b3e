//! AWS: what `aws ec2 describe-network-interfaces` writes, and the API's answer as JSON.
//!
//! Interfaces that belong to no instance (load balancers, NAT, functions) are left out: hardly any of them answers.

use serde::Deserialize;

use super::super::{Entry, Listing, SourceError};
use super::Options;
use super::document::{Shape, documents};
use super::gather::{Address, Gather};
use crate::hosts::Monitor;

const INTERFACES: Shape = Shape {
    list: "NetworkInterfaces",
    single: "",
    expected: "{\"NetworkInterfaces\": [...]} as `aws ec2 describe-network-interfaces --output json` writes it",
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Interface {
    #[serde(default)]
    mac_address: Option<String>,
    vpc_id: String,
    #[serde(default)]
    subnet_id: String,
    #[serde(default)]
    owner_id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    attachment: Option<Attachment>,
    #[serde(default)]
    private_ip_address: Option<String>,
    #[serde(default)]
    private_ip_addresses: Vec<V4>,
    #[serde(default)]
    ipv6_addresses: Vec<V6>,
    #[serde(default)]
    tag_set: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attachment {
    #[serde(default)]
    instance_id: Option<String>,
    #[serde(default)]
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct V4 {
    private_ip_address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct V6 {
    ipv6_address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

impl Interface {
    fn addresses(&self) -> Vec<&str> {
        let all = self.private_ip_addresses.iter().map(|v4| v4.private_ip_address.as_str());
        let mut all: Vec<&str> = all.chain(self.ipv6_addresses.iter().map(|v6| v6.ipv6_address.as_str())).collect();
        if self.private_ip_addresses.is_empty() {
            all.extend(self.private_ip_address.as_deref());
        }
        all
    }

    /// In use, and not just being brought to or taken from its instance.
    fn monitor(&self, attachment: &Attachment) -> Monitor {
        match (self.status.as_str(), attachment.status.as_deref()) {
            ("in-use" | "", None | Some("attached")) => Monitor::On,
            ("available", _) => Monitor::Off,
            _ => Monitor::Silent,
        }
    }
}

/// Network interfaces; those of one instance are one host.
pub(super) fn read(what: &str, text: &str, options: &Options) -> Result<Listing, SourceError> {
    let mut gather = Gather::new(what, text.len(), &options.networks);
    let found = documents(what, text, &INTERFACES)?;
    for document in &found {
        for record in document.records(text, &INTERFACES) {
            gather.record();
            let interface: Interface = match record.read() {
                Ok(interface) => interface,
                Err(why) => {
                    gather.warn(&record, &why);
                    continue;
                }
            };
            let attached = interface.attachment.as_ref().and_then(|attachment| Some((attachment, attachment.instance_id.clone()?)));
            let Some((attachment, id)) = attached else {
                gather.leave_out(&record, "that belong to no instance");
                continue;
            };
            let name = interface.tag_set.iter().find(|tag| tag.key == "Name").map(|tag| tag.value.clone());
            let tags = interface.tag_set.iter().filter(|tag| tag.key != "Name").map(|tag| format!("{}={}", tag.key, tag.value));
            let entry = Entry {
                id,
                name: name.unwrap_or_default(),
                project: interface.owner_id.clone(),
                tags: tags.collect(),
                monitor: interface.monitor(attachment),
                ..Entry::default()
            };
            let said = [interface.subnet_id.as_str()];
            let addresses = interface.addresses().into_iter().map(|address| Address {
                address,
                mac: interface.mac_address.as_deref(),
                own: Some(&interface.vpc_id),
                said: &said,
            });
            gather.take(&record, entry, addresses.collect::<Vec<_>>());
        }
    }
    if found.last().and_then(|document| document.beside::<String>("NextToken")).is_some() {
        gather.unfinished(what, options)?;
    }
    gather.finish("at least one network interface of an instance")
}
