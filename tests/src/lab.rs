//! The lab: two namespaces, a veth pair between them, and the fleet at its far end.
//!
//! ```text
//!  rollcall-NAME                                    rollcall-NAME-fleet
//!  10.128.0.1/9, default via 10.128.0.2
//!  fd52:0:0:1::a80:1/64, fe80::a80:1/64,
//!  default via fe80::a80:2               rc-agent === rc-fleet  XDP: every host of the cloud
//! ```
//! The fleet is pinned in a bpffs at `/run/rollcall-NAME/bpf`, so it outlives the process that made it. (`ip netns
//! exec` gives its program a fresh `/sys`, without what is mounted below it; a place under `/run` is seen by all.)

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rollcall_agent::offload;
use rollcall_agent::unit::Mac;
use rollcall_agent_ebpf::fleet::{AGENT, Cloud, GATEWAY, PREFIX_LENGTH, V6_LINK_LOCAL, V6_ON_LINK, mac, v6};

use crate::caretaker::Caretaker;
use crate::fleet::{Fleet, LINK, Mode, Program};
use crate::netns::{self, Namespace};

/// How long the kernel may take to take a program off.
const UNPLUGGED: Duration = Duration::from_secs(30);

/// The agent's interface.
pub const AGENT_INTERFACE: &str = "rc-agent";
/// The fleet's interface.
pub const FLEET_INTERFACE: &str = "rc-fleet";

/// A lab that is up.
pub struct Lab {
    name: Name,
    fleet: Fleet,
    /// Where there is one, the lab is removed when this is dropped.
    caretaker: Option<Caretaker>,
}

impl Lab {
    /// Brings a lab up. It stays until [`Lab::down`].
    ///
    /// # Errors
    /// When we are not root, a lab of that name is there already, or the kernel refuses; nothing is left behind then.
    pub fn up(name: &str, cloud: Cloud, mode: Mode) -> Result<Self> {
        Self::up_with(name, cloud, 0, mode, false)
    }

    /// Brings up a lab that lasts no longer than this process: it is removed when dropped, and by its caretaker, with the
    /// processes in it, where this process ends before that.
    ///
    /// # Errors
    /// As [`Lab::up`], or where the caretaker's program is not built.
    pub fn owned(name: &str, cloud: Cloud, mode: Mode) -> Result<Self> {
        Self::up_with(name, cloud, 0, mode, true)
    }

    fn up_with(name: &str, cloud: Cloud, vlans: u32, mode: Mode, owned: bool) -> Result<Self> {
        netns::need_root("the lab")?;
        let name = Name::parse(name)?;
        ensure!(
            !name.anything_left(),
            "the lab {0} is up already, or was left half removed; first: cargo xtask lab down --name {0}",
            name.0
        );
        // Not before, for somebody else's lab is not to be removed; not later, for nothing is to be there without one.
        let caretaker = owned.then(|| Caretaker::hire(&name.0)).transpose()?;
        match Self::build(&name, cloud, vlans, mode) {
            Ok(fleet) => Ok(Self { name, fleet, caretaker }),
            Err(error) => {
                name.remove().context("after a failure the lab could not be removed")?;
                Err(error).with_context(|| format!("the lab {} could not be brought up", name.0))
            }
        }
    }

    /// Brings up a lab as [`Lab::owned`] does, named after this process. What a caretaker could not remove, the next
    /// scratch lab of the same name does.
    pub fn scratch(name: &str, cloud: Cloud, mode: Mode) -> Result<Self> {
        Self::scratch_with(name, cloud, 0, mode)
    }

    /// The same, with all its stations again in each of so many VLANs (`rollcall_agent_ebpf::fleet`).
    pub fn scratch_with(name: &str, cloud: Cloud, vlans: u32, mode: Mode) -> Result<Self> {
        netns::need_root("the lab")?;
        for orphan in Name::orphans(name)? {
            // Its caretaker may be at the same work just now: what one finds gone, or busy, is no failure of the other.
            orphan.remove().or_else(|_| {
                std::thread::sleep(Duration::from_millis(500));
                orphan.remove()
            })?;
        }
        Self::up_with(&format!("{name}-{}", std::process::id()), cloud, vlans, mode, true)
    }

    /// The lab of this name, which is up.
    pub fn open(name: &str) -> Result<Self> {
        netns::need_root("the lab")?;
        let name = Name::parse(name)?;
        ensure!(
            name.pins().join("CLOUD").exists() && name.agent().exists(),
            "there is no lab {0}; bring it up: cargo xtask lab up --hosts 1000 --name {0}",
            name.0
        );
        let fleet = Fleet::open(&name.pins())?;
        Ok(Self { name, fleet, caretaker: None })
    }

    /// Waits for the end of `life`, and removes then what is still there of a lab, with the processes in it. This thread is
    /// in a network namespace of its own from then on.
    pub fn outlive(mut life: impl Read, name: &str) -> Result<()> {
        // Whoever hired us may have been in a lab: there we would keep it alive, or be ended with it.
        unshare(CloneFlags::CLONE_NEWNET).context("cannot leave the owner's network namespace")?;
        io::copy(&mut life, &mut io::sink()).context("cannot wait for the owner of the lab")?;
        if Name::parse(name)?.anything_left() {
            for pid in Self::processes(name)? {
                // One that has ended by itself meanwhile needs no signal.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            let removed = Self::down(name);
            removed.with_context(|| {
                format!(
                    "whoever made the lab {name} has ended, and what it left is not wholly removed; run: cargo xtask lab down --name {name}"
                )
            })?;
        }
        Ok(())
    }

    /// Removes a lab, whatever is left of it, and says what that was.
    pub fn down(name: &str) -> Result<Vec<String>> {
        netns::need_root("the lab")?;
        Name::parse(name)?.remove()
    }

    /// The scratch labs of this base name whose process is gone.
    pub fn orphans(name: &str) -> Result<Vec<String>> {
        Ok(Name::orphans(name)?.into_iter().map(|name| name.0).collect())
    }

    /// The processes in a lab's namespaces, by id.
    pub fn processes(name: &str) -> Result<Vec<i32>> {
        let name = Name::parse(name)?;
        let mut pids = Vec::new();
        for namespace in [name.agent(), name.fleet()].iter().filter(|namespace| namespace.exists()) {
            pids.extend(netns::ip(["netns", "pids", namespace.name()])?.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
        Ok(pids)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name.0
    }

    /// The namespace for the agent.
    pub fn agent(&self) -> Namespace {
        self.name.agent()
    }

    /// The namespace of the fleet.
    pub fn fleet_side(&self) -> Namespace {
        self.name.fleet()
    }

    /// The fleet, to be silenced and revived.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Removes it now.
    pub fn demolish(&mut self) -> Result<()> {
        self.name.remove().map(drop)
    }

    /// Takes the fleet's program off its interface; it stays loaded, and nobody answers any more.
    pub fn unplug_fleet(&self) -> Result<()> {
        let pin = self.name.pins().join(LINK);
        fs::remove_file(&pin).with_context(|| format!("cannot remove {}", pin.display()))?;
        // The kernel takes it off when it comes to it (bpf_link_put in kernel/bpf/syscall.c).
        let began = Instant::now();
        while Self::xdp_mode(&self.fleet_side(), FLEET_INTERFACE)?.is_some() {
            ensure!(began.elapsed() < UNPLUGGED, "the fleet's program is still on {FLEET_INTERFACE}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// In which mode an XDP program runs on one of the lab's interfaces, if one does.
    pub fn xdp_mode(namespace: &Namespace, interface: &str) -> Result<Option<&'static str>> {
        let text = namespace.ip(["-j", "link", "show", "dev", interface])?;
        let links: serde_json::Value = serde_json::from_str(&text).context("`ip -j link` printed no JSON")?;
        // 1 to 4: XDP_ATTACHED_DRV, _SKB, _HW, _MULTI of linux/if_link.h.
        Ok(match links[0]["xdp"]["mode"].as_u64() {
            None | Some(0) => None,
            Some(1) => Some("native"),
            Some(2) => Some("generic"),
            Some(3) => Some("offloaded"),
            Some(_) => Some("several"),
        })
    }

    /// The number of the XDP program that runs on one of the lab's interfaces, if one does.
    pub fn xdp_program(namespace: &Namespace, interface: &str) -> Result<Option<u32>> {
        let text = namespace.ip(["-j", "link", "show", "dev", interface])?;
        let links: serde_json::Value = serde_json::from_str(&text).context("`ip -j link` printed no JSON")?;
        Ok(links[0]["xdp"]["prog"]["id"].as_u64().and_then(|id| u32::try_from(id).ok()))
    }

    fn build(name: &Name, cloud: Cloud, vlans: u32, mode: Mode) -> Result<Fleet> {
        let program = Program::load_with(cloud, vlans)?;
        let (agent, fleet) = (name.agent(), name.fleet());
        agent.create()?;
        fleet.create()?;
        agent.ip(["link", "add", AGENT_INTERFACE, "type", "veth", "peer", "name", FLEET_INTERFACE, "netns", fleet.name()])?;
        let own_mac = Mac(mac(AGENT)).to_string();
        agent.ip(["link", "set", AGENT_INTERFACE, "address", &own_mac])?;
        for (side, interface) in [(&agent, AGENT_INTERFACE), (&fleet, FLEET_INTERFACE)] {
            // No link-local IPv6 address by chance: the agent's side gets one that is known.
            side.ip(["link", "set", interface, "addrgenmode", "none", "up"])?;
        }
        if vlans > 0 {
            // No tag is taken out here, but the driver says that it would.
            agent.within(|| Ok(offload::keep_vlan_tags(AGENT_INTERFACE)?))?;
        }
        let address = format!("{}/{PREFIX_LENGTH}", Ipv4Addr::from(AGENT));
        agent.ip(["address", "add", &address, "dev", AGENT_INTERFACE])?;
        agent.ip(["route", "add", "default", "via", &Ipv4Addr::from(GATEWAY).to_string()])?;
        // No router tells of itself here, and nobody else has these addresses: no questions of the kernel's own on the wire.
        agent.within(|| Ok(fs::write(format!("/proc/sys/net/ipv6/conf/{AGENT_INTERFACE}/accept_ra"), "0")?))?;
        for prefix in [V6_LINK_LOCAL, V6_ON_LINK] {
            let address = format!("{}/64", Ipv6Addr::from(v6(prefix, AGENT)));
            agent.ip(["address", "add", &address, "dev", AGENT_INTERFACE, "nodad"])?;
        }
        let gateway = Ipv6Addr::from(v6(V6_LINK_LOCAL, GATEWAY)).to_string();
        agent.ip(["-6", "route", "add", "default", "via", &gateway, "dev", AGENT_INTERFACE])?;

        let pins = name.pins();
        fs::create_dir_all(&pins).with_context(|| format!("cannot make {}", pins.display()))?;
        mount(Some("bpf"), &pins, Some("bpf"), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount a bpffs at {}", pins.display()))?;
        // Interface names are resolved in the namespace of the thread that attaches.
        fleet.within(|| program.attach_and_pin(FLEET_INTERFACE, mode, &pins))?;
        Fleet::open(&pins)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.caretaker.is_some()
            && let Err(error) = self.name.remove()
        {
            eprintln!("warning: the lab {0} is not wholly removed: {error:#}; run: cargo xtask lab down --name {0}", self.name.0);
        }
    }
}

/// The name of a lab, and what is called after it.
struct Name(String);

impl Name {
    fn parse(name: &str) -> Result<Self> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            (1..=40).contains(&name.len()) && name.chars().all(good) && !name.ends_with("-fleet"),
            "name of the lab: found {name:?}, allowed: 1 to 40 of a-z, 0-9 and '-', not ending in -fleet"
        );
        Ok(Self(name.into()))
    }

    fn agent(&self) -> Namespace {
        Namespace::named(format!("rollcall-{}", self.0))
    }

    fn fleet(&self) -> Namespace {
        Namespace::named(format!("rollcall-{}-fleet", self.0))
    }

    fn folder(&self) -> PathBuf {
        Path::new("/run").join(format!("rollcall-{}", self.0))
    }

    fn pins(&self) -> PathBuf {
        self.folder().join("bpf")
    }

    fn anything_left(&self) -> bool {
        self.agent().exists() || self.fleet().exists() || self.folder().exists()
    }

    /// Scratch labs of this base name whose process is gone.
    fn orphans(base: &str) -> Result<Vec<Self>> {
        let mut orphans = Vec::new();
        for folder in ["/run", "/run/netns"] {
            let entries = match fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot list {folder}")),
            };
            for entry in entries {
                let entry = entry?.file_name();
                let Some(name) = entry.to_str().and_then(|entry| entry.strip_prefix("rollcall-")) else {
                    continue;
                };
                let name = name.strip_suffix("-fleet").unwrap_or(name);
                let pid = name.strip_prefix(base).and_then(|rest| rest.strip_prefix('-'));
                let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else {
                    continue;
                };
                if !Path::new("/proc").join(pid.to_string()).exists() {
                    orphans.push(name.to_owned());
                }
            }
        }
        // The same lab has two namespaces and a folder.
        orphans.sort_unstable();
        orphans.dedup();
        orphans.iter().map(|name| Self::parse(name)).collect()
    }

    /// Removes all there is, in the order that lets each be removed; goes on after a failure and tells the first.
    fn remove(&self) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        let mut first_error = None;
        let mut note = |what: String, outcome: Result<bool>| match outcome {
            Ok(true) => removed.push(what),
            Ok(false) => {}
            Err(error) => {
                first_error.get_or_insert_with(|| error.context(format!("cannot remove {what}")));
            }
        };
        let (agent, fleet, pins) = (self.agent(), self.fleet(), self.pins());
        // The bpffs first: the last pin detaches the fleet. More than one can be mounted over one another.
        while pins.exists() && is_mount_point(&pins) {
            let outcome = umount2(&pins, MntFlags::MNT_DETACH).map(|()| true).map_err(Into::into);
            let failed = outcome.is_err();
            note(format!("bpffs {}", pins.display()), outcome);
            if failed {
                break;
            }
        }
        // The pair before its namespaces: those live on while a process is in them, and the pair would with them.
        if agent.exists() {
            let there = agent.ip(["link", "show", "dev", AGENT_INTERFACE]).is_ok();
            let outcome = if there { agent.ip(["link", "del", AGENT_INTERFACE]).map(|_| true) } else { Ok(false) };
            note(format!("veth pair {AGENT_INTERFACE} = {FLEET_INTERFACE}"), outcome);
        }
        for namespace in [&agent, &fleet] {
            let outcome = if namespace.exists() { namespace.delete().map(|()| true) } else { Ok(false) };
            note(format!("namespace {}", namespace.name()), outcome);
        }
        for folder in [pins, self.folder()] {
            let outcome = match fs::remove_dir(&folder) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
                Err(error) => Err(error.into()),
            };
            note(format!("folder {}", folder.display()), outcome);
        }
        match first_error {
            None => Ok(removed),
            Some(error) => bail!(error),
        }
    }
}

/// Whether something is mounted there: it is on another device than the folder that it is in.
fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    path.parent().is_some_and(|parent| device(path) != device(parent))
}
