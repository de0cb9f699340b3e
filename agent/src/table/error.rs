//! Why a table or a delta is refused.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use super::Digest;
use crate::policy::PolicyMistake;

/// Why bytes are no table or no delta: what was found, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing like it.
    #[error("not a {wanted}: it begins with {found}: give a file that `rollcall compile` wrote")]
    Magic {
        /// What was asked for.
        wanted: &'static str,
        /// The first bytes.
        found: String,
    },
    /// A delta in place of a table, or the other way round.
    #[error("this is a {found}, not a {wanted}: give the {wanted}")]
    OtherKind {
        /// What was asked for.
        wanted: &'static str,
        /// What came.
        found: &'static str,
    },
    /// Written by a later release.
    #[error("version {found} is newer than this program understands ({known}): upgrade this program, or compile again with this release")]
    Newer {
        /// The file's version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Written by an earlier release.
    #[error("version {found} is older than this program reads ({known}): compile the host list again")]
    Older {
        /// The file's version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Shorter than it says.
    #[error("truncated: it should have {expected} bytes and has {found}: copy it again")]
    Truncated {
        /// Bytes that there should be.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// Longer than it says.
    #[error("{extra} bytes follow the end of the {kind}: copy it again")]
    Trailing {
        /// What it is.
        kind: &'static str,
        /// How many there are too many.
        extra: u64,
    },
    /// The checksum says that bytes changed.
    #[error("corrupted: the checksum of the {part} is {found}, it says {expected}: copy it again, or compile again")]
    Checksum {
        /// Which part.
        part: &'static str,
        /// The checksum that was written.
        expected: String,
        /// The checksum of what is there.
        found: String,
    },
    /// The checksum is right and the content is not: whoever wrote it is at fault.
    #[error("malformed: {what}: compile it again, and report this if `rollcall compile` wrote it")]
    Malformed {
        /// What is wrong, and where.
        what: String,
    },
    /// A policy breaks a rule.
    #[error("policy {policy:?}: {mistake}: compile it again, and report this if `rollcall compile` wrote it")]
    Policy {
        /// Its name.
        policy: String,
        /// The first rule that it breaks.
        mistake: PolicyMistake,
    },
    /// A delta for another base.
    #[error("the delta is against table {expected}, the table here is {found}: push the whole table")]
    WrongBase {
        /// The digest that the delta names.
        expected: Digest,
        /// The digest of the table at hand.
        found: Digest,
    },
    /// Applied, the delta gives something else than it promised.
    #[error("the delta promises table {expected} and gives {found}: push the whole table")]
    WrongResult {
        /// The digest that the delta names.
        expected: Digest,
        /// The digest that came out.
        found: Digest,
    },
    /// Applied, the delta gives no table.
    #[error("the delta does not apply: {0}: push the whole table")]
    Write(#[from] WriteError),
}

/// Why no table can be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// One address twice.
    #[error("{address} in network {network:?} is there twice: for host {first:?} and for host {second:?}")]
    DuplicateAddress {
        /// The network.
        network: String,
        /// The address.
        address: IpAddr,
        /// Id of one host.
        first: String,
        /// Id of the other host, which may be the same.
        second: String,
    },
    /// One id for two hosts.
    #[error("host {id:?} is there twice with different name, project or tags")]
    HostConflict {
        /// The id.
        id: String,
    },
    /// One name for two policies.
    #[error("policy {name:?} is there twice")]
    PolicyConflict {
        /// The name.
        name: String,
    },
    /// A policy breaks a rule.
    #[error("policy {policy:?}: {mistake}")]
    Policy {
        /// Its name.
        policy: String,
        /// The first rule that it breaks.
        mistake: PolicyMistake,
    },
    /// A text that tables do not hold.
    #[error("{field} {found:?}: allowed: {allowed}")]
    Text {
        /// What it is: id, name, network, project, tag, policy, route.
        field: &'static str,
        /// The text, shortened.
        found: String,
        /// What is right.
        allowed: String,
    },
    /// A MAC that no station has.
    #[error("{address} in network {network:?}: MAC {mac} is no unicast address")]
    Mac {
        /// The network.
        network: String,
        /// The address.
        address: IpAddr,
        /// The MAC.
        mac: crate::unit::Mac,
    },
    /// More than the layout holds.
    #[error("too many {what}: found {found}, allowed {allowed}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many.
        found: u64,
        /// How many there may be.
        allowed: u64,
    },
}
