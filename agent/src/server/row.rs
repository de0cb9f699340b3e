//! One row of the list: what an [`AddressReport`] says, read where it stands.

use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::stamp::Stamp;
use crate::api::AddressReport;
use crate::condition::Conditions;
use crate::policy::Method;
use crate::reply::Arrays;
use crate::roster::Roster;
use crate::unit::{Blind, Mac, Verdict};
use crate::view::{Shown, View};

/// One address as the agent sees it now. The same fields in the same order as [`AddressReport`].
#[derive(Serialize)]
pub(super) struct Row<'a> {
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) project: &'a str,
    pub(super) network: &'a str,
    pub(super) address: IpAddr,
    #[serde(serialize_with = "as_text")]
    mac: Option<Mac>,
    pub(super) policy: &'a str,
    method: Method,
    pub(super) verdict: Verdict,
    pub(super) reason: Option<Blind>,
    since: &'a str,
    rtt_seconds: Option<f64>,
    misses: u32,
    conditions: Conditions,
}

/// What the rows are read from, at one moment.
pub(super) struct Source<'a> {
    pub(super) view: &'a View,
    pub(super) roster: &'a Roster,
    pub(super) arrays: &'a Arrays,
}

impl<'a> Source<'a> {
    /// The verdict of a record, before all else of it is read. `None` beyond the last record.
    pub(super) fn shown(&self, index: u32) -> Option<Shown> {
        let record = self.roster.table.record(index)?;
        Some(self.view.shown(self.roster.slot(index)?, self.roster.network(&record)))
    }

    /// The row of a record.
    pub(super) fn row<'b>(&self, index: u32, shown: Shown, stamp: &'b mut Stamp) -> Option<Row<'b>>
    where
        'a: 'b,
    {
        let table = &self.roster.table;
        let record = table.record(index)?;
        let slot = self.roster.slot(index)?;
        let host = table.host(record.host());
        let policy = &table.policies()[usize::from(record.policy())];
        let learned = || self.arrays.target(slot).map(|target| Mac(target.mac)).filter(|mac| mac.is_unicast());
        Some(Row {
            id: host.id(),
            name: host.name(),
            project: host.project(),
            network: table.network(record.network()),
            address: record.address(),
            mac: record.mac().or_else(learned),
            policy: &policy.name,
            method: policy.method,
            verdict: shown.verdict,
            reason: shown.blind,
            since: stamp.write(shown.since_ms),
            rtt_seconds: self.arrays.rtt(slot).map(|nanos| nanos as f64 / 1e9),
            misses: u32::from(shown.misses),
            conditions: self.view.marks.of(slot),
        })
    }
}

impl Row<'_> {
    /// As a value of its own.
    pub(super) fn report(&self) -> AddressReport {
        AddressReport {
            id: self.id.into(),
            name: self.name.into(),
            project: self.project.into(),
            network: self.network.into(),
            address: self.address,
            mac: self.mac.map(|mac| mac.to_string()),
            policy: self.policy.into(),
            method: self.method,
            verdict: self.verdict,
            reason: self.reason,
            since: self.since.into(),
            rtt_seconds: self.rtt_seconds,
            misses: self.misses,
            conditions: self.conditions,
        }
    }
}

/// As [`Mac`]'s `Display` writes it, without the formatter's machinery.
fn as_text<S: Serializer>(mac: &Option<Mac>, serializer: S) -> Result<S::Ok, S::Error> {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let Some(Mac(octets)) = mac else { return serializer.serialize_none() };
    let mut text = *b"..:..:..:..:..:..";
    for (pair, octet) in text.chunks_mut(3).zip(octets) {
        (pair[0], pair[1]) = (DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 0xf)]);
    }
    serializer.serialize_some(str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Condition;

    #[test]
    fn a_row_is_written_as_the_report_that_it_stands_for() {
        let macs = [None, Some(Mac([2, 0x52, 0xff, 0, 0xa, 9]))];
        for ((mac, reason), rtt_seconds) in macs.into_iter().zip([None, Some(Blind::NoMac)]).zip([None, Some(0.000_021_648)]) {
            let row = Row {
                id: "vm \"1\", é",
                name: "",
                project: "a,b",
                network: "lab",
                address: [10, 0, 0, 1].into(),
                mac,
                policy: "default",
                method: Method::Arp,
                verdict: Verdict::Unknown,
                reason,
                since: "2026-05-04T03:02:01.000Z",
                rtt_seconds,
                misses: 3,
                conditions: mac
                    .iter()
                    .fold(Conditions::default(), |none, _| none.with(Condition::Flapping, true).with(Condition::Conflict, true)),
            };
            assert_eq!(serde_json::to_string(&row).unwrap(), serde_json::to_string(&row.report()).unwrap());
            let csv = |value: &dyn Fn(&mut csv::Writer<Vec<u8>>)| {
                let mut writer = csv::WriterBuilder::new().from_writer(vec![]);
                value(&mut writer);
                String::from_utf8(writer.into_inner().unwrap()).unwrap()
            };
            let (row, report) = (csv(&|writer| writer.serialize(&row).unwrap()), csv(&|writer| writer.serialize(row.report()).unwrap()));
            assert_eq!(row, report);
        }
    }
}
