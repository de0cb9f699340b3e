//! The simulated fleet: its XDP program, loaded, attached and pinned; and its behaviour, set and read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{Array, Map, MapData, PerCpuArray};
use aya::programs::links::FdLink;
use aya::programs::xdp::XdpLinkId;
use aya::programs::{TestRun, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use rollcall_agent_ebpf::fleet::{Behaviour, Cloud, HOSTS_MAX, Outcome};

use crate::mapping::Words;

const PROGRAM: &str = "fleet";
const MAPS: [&str; 4] = ["CLOUD", "VLANS", "BEHAVIOUR", "COUNTERS"];
/// Name of the pin that holds the attachment.
pub(crate) const LINK: &str = "link";

/// How the XDP program runs on its interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// In the driver. On a veth pair it answers only while the other end has an XDP program too.
    #[default]
    Native,
    /// In the network stack: slower, but answers in any case.
    Generic,
}

impl Mode {
    /// The name that people see.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Native => "native",
            Mode::Generic => "generic",
        }
    }
}

/// The program, loaded.
pub struct Program {
    ebpf: Ebpf,
}

impl Program {
    /// Where `cargo xtask build-ebpf` puts the object.
    pub fn object() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/ebpf/fleet-xdp")
    }

    /// Loads it for a cloud of this size, everybody alive.
    pub fn load(cloud: Cloud) -> Result<Self> {
        Self::load_with(cloud, 0)
    }

    /// The same, with all its stations again in each of so many VLANs.
    pub fn load_with(cloud: Cloud, vlans: u32) -> Result<Self> {
        for (kind, count) in [("on-link", cloud.on_link), ("routed", cloud.routed)] {
            ensure!(count <= HOSTS_MAX, "{kind} hosts: found {count}, allowed: 0 to {HOSTS_MAX}");
        }
        let path = Self::object();
        let object =
            fs::read(&path).with_context(|| format!("cannot read the fleet's program {}; run: cargo xtask build-ebpf", path.display()))?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("BEHAVIOUR", cloud.stations() * (1 + vlans))
            .load(&object)
            .context("the kernel refused the fleet's maps")?;
        let map = ebpf.map_mut("CLOUD").context("the fleet's program has no map CLOUD")?;
        Array::<_, [u32; 2]>::try_from(map)?.set(0, [cloud.on_link, cloud.routed], 0)?;
        let map = ebpf.map_mut("VLANS").context("the fleet's program has no map VLANS")?;
        Array::<_, u32>::try_from(map)?.set(0, vlans, 0)?;
        let program: &mut Xdp = ebpf.program_mut(PROGRAM).context("the object has no program `fleet`")?.try_into()?;
        program.load().context("the kernel's verifier refused the fleet's program")?;
        Ok(Self { ebpf })
    }

    /// Attaches it to an interface of the calling thread's namespace, for as long as it is loaded.
    pub fn attach(&mut self, interface: &str, mode: Mode) -> Result<()> {
        self.link(interface, mode).map(drop)
    }

    /// Attaches it to an interface of the calling thread's namespace, and pins it and its maps in a folder of a bpffs:
    /// they then outlive this process.
    pub fn attach_and_pin(mut self, interface: &str, mode: Mode, folder: &Path) -> Result<()> {
        let id = self.link(interface, mode)?;
        let program = self.program()?;
        let link = FdLink::try_from(program.take_link(id)?).context("this kernel has no XDP links (Linux 5.9 has)")?;
        let pin = |name: &str| format!("cannot pin {name} in {}", folder.display());
        link.pin(folder.join(LINK)).with_context(|| pin(LINK))?;
        for name in MAPS {
            self.ebpf.map(name).with_context(|| format!("no map {name}"))?.pin(folder.join(name)).with_context(|| pin(name))?;
        }
        Ok(())
    }

    fn link(&mut self, interface: &str, mode: Mode) -> Result<XdpLinkId> {
        let xdp_mode = match mode {
            Mode::Native => XdpMode::Driver,
            Mode::Generic => XdpMode::Skb,
        };
        self.program()?
            .attach(interface, xdp_mode)
            .with_context(|| format!("cannot attach the fleet to {interface} ({} mode)", mode.name()))
    }

    fn program(&mut self) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(PROGRAM).context("the object has no program `fleet`")?;
        Ok(program.try_into()?)
    }

    /// Runs it on one frame, as if it had come in: the XDP action, and the frame as the program left it.
    pub fn test(&self, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        let program: &Xdp = self.ebpf.program(PROGRAM).context("the object has no program `fleet`")?.try_into()?;
        let mut out = vec![0; frame.len() + 256];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
        let result = program.test_run(options)?;
        out.truncate(usize::try_from(result.data_size_out)?);
        Ok((result.return_value, out))
    }

    /// Runs it on one frame again and again: the mean time of a run, to the nanosecond. A frame that it answers is no
    /// request any more when its turn comes again.
    pub fn time(&self, frame: &[u8], repeat: u32) -> Result<Duration> {
        let program: &Xdp = self.ebpf.program(PROGRAM).context("the object has no program `fleet`")?.try_into()?;
        Ok(program.test_run(TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() })?.duration)
    }

    /// A handle on its maps, which stay alive with it.
    pub fn fleet(&mut self) -> Result<Fleet> {
        let mut take = |name: &str| self.ebpf.take_map(name).with_context(|| format!("map {name} is not there, or taken"));
        Fleet::over(take("CLOUD")?, take("VLANS")?, take("BEHAVIOUR")?, take("COUNTERS")?)
    }
}

/// A running fleet: who behaves how, and what it did.
pub struct Fleet {
    cloud: Cloud,
    behaviour: Words,
    counters: PerCpuArray<MapData, u64>,
}

impl Fleet {
    /// The fleet that is pinned in this folder.
    pub fn open(folder: &Path) -> Result<Self> {
        let open = |name: &str| -> Result<Map> {
            let path = folder.join(name);
            let data = MapData::from_pin(&path).with_context(|| format!("cannot open the pinned map {}", path.display()))?;
            Ok(Map::from_map_data(data)?)
        };
        Self::over(open("CLOUD")?, open("VLANS")?, open("BEHAVIOUR")?, open("COUNTERS")?)
    }

    fn over(cloud: Map, vlans: Map, behaviour: Map, counters: Map) -> Result<Self> {
        let [on_link, routed] = Array::<_, [u32; 2]>::try_from(cloud)?.get(&0, 0)?;
        let cloud = Cloud { on_link, routed };
        let stations = cloud.stations() * (1 + Array::<_, u32>::try_from(vlans)?.get(&0, 0)?);
        let Map::Array(behaviour) = behaviour else { bail!("BEHAVIOUR is not an array map") };
        let behaviour =
            Words::map(std::os::fd::AsFd::as_fd(behaviour.fd()), usize::try_from(stations)?).context("cannot map BEHAVIOUR into memory")?;
        Ok(Self { cloud, behaviour, counters: PerCpuArray::try_from(counters)? })
    }

    /// How many hosts there are.
    pub fn cloud(&self) -> Cloud {
        self.cloud
    }

    /// How a station behaves.
    ///
    /// # Panics
    /// When there is no such station.
    pub fn behaviour(&self, station: u32) -> Behaviour {
        Behaviour(self.word(station).load(Relaxed))
    }

    /// Changes how a station behaves, from the next frame on.
    ///
    /// # Panics
    /// When there is no such station.
    pub fn change(&self, station: u32, change: impl Fn(Behaviour) -> Behaviour) {
        // Another `lab` command may change another property of the same station at this moment.
        let changed = self.word(station).fetch_update(Relaxed, Relaxed, |word| Some(change(Behaviour(word)).0));
        debug_assert!(changed.is_ok(), "the update never declines");
    }

    /// The number of a station in a VLAN, which is counted from 1.
    pub fn in_vlan(&self, vlan: u32, station: u32) -> u32 {
        vlan * self.cloud.stations() + station
    }

    /// Silences a station.
    pub fn kill(&self, station: u32) {
        self.change(station, |behaviour| behaviour.with(Behaviour::DEAD, true));
    }

    /// Lets a station answer again, with the loss and filters it had.
    pub fn revive(&self, station: u32) {
        self.change(station, |behaviour| behaviour.with(Behaviour::DEAD, false));
    }

    /// The stations that do not behave like a host that is alive and well.
    pub fn unwell(&self) -> impl Iterator<Item = (u32, Behaviour)> + '_ {
        (0..self.cloud.stations())
            .map(|station| (station, self.behaviour(station)))
            .filter(|(_, behaviour)| *behaviour != Behaviour::default())
    }

    /// What it did with the frames so far, summed over all CPUs.
    pub fn counters(&self) -> Result<BTreeMap<&'static str, u64>> {
        Outcome::ALL.into_iter().map(|outcome| Ok((outcome.label(), self.counters.get(&(outcome as u32), 0)?.iter().sum()))).collect()
    }

    fn word(&self, station: u32) -> &std::sync::atomic::AtomicU64 {
        let index = usize::try_from(station).unwrap_or(usize::MAX);
        match self.behaviour.word(index) {
            Some(word) => word,
            None => panic!("no station {station}: this cloud has {}", self.behaviour.len()),
        }
    }
}
