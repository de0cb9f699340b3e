//! What the simulated fleet costs a frame, by PROG_TEST_RUN: `cargo bench -p rollcall-tests --bench fleet`, as root.
//!
//! A run repeats on one frame, which an answer would change; so these stations read all of it, decide, and drop it: what
//! is not in the figure is the storing of the answer. The kernel's own loop is: the first line, a frame that is passed on
//! after one look, is almost nothing else.

use anyhow::Result;
use rollcall_agent::packet::{LEN_MAX, Sender, Templates};
use rollcall_agent::unit::Mac;
use rollcall_agent_ebpf::fleet::{AGENT, Behaviour, Cloud, GATEWAY, mac};
use rollcall_agent_ebpf::target::{self, Target};
use rollcall_tests::fleet::Program;
use rollcall_tests::population;

const REPEAT: u32 = 1_000_000;
const ROUNDS: usize = 5;
const CLOUD: Cloud = Cloud { on_link: 300, routed: 20 };
const HOST: [u8; 4] = [10, 128, 1, 44];
const ROUTED: [u8; 4] = [10, 64, 1, 5];

fn main() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: loading an XDP program needs root");
        return Ok(());
    }
    let mut program = Program::load(CLOUD)?;
    let fleet = program.fleet()?;
    let change = |address: [u8; 4], flag: u64| -> Result<()> {
        let station = population::station(CLOUD, &std::net::Ipv4Addr::from(address).to_string())?;
        fleet.change(station, |_| Behaviour::default().with(flag, true));
        Ok(())
    };
    let templates = Templates::new(Sender { v4: Some(AGENT.into()), ..Sender::new(Mac(mac(AGENT))) }, 0x1234);
    let probe = |address: [u8; 4], hop: [u8; 4], flags: u8| {
        let target = Target { address: target::mapped(address), mac: mac(hop), network: 0, nonce: 77, timeout_ms: 300, flags };
        let mut frame = [0; LEN_MAX];
        let length = templates.write(&mut frame, &target, 9, 7);
        frame[..length].to_vec()
    };
    let cases = [
        ("ARP request", HOST, HOST, target::ARP, Behaviour::DEAD),
        ("echo request, on-link", HOST, HOST, 0, Behaviour::ICMP_FILTERED),
        ("echo request, routed", ROUTED, GATEWAY, 0, Behaviour::ICMP_FILTERED),
    ];
    let line = |what: &str, frame: &[u8]| -> Result<()> {
        let runs = (0..ROUNDS).map(|_| program.time(frame, REPEAT)).collect::<Result<Vec<_>>>()?;
        println!("{what:<24} {:>9}", runs.into_iter().min().unwrap_or_default().as_nanos());
        Ok(())
    };
    println!("{:<24} {:>9} (best of {ROUNDS} runs of {REPEAT} frames)", "frame", "ns");
    let mut stranger = [0; 60];
    stranger[12..14].copy_from_slice(&[0x88, 0xb5]);
    line("no request", &stranger)?;
    for (what, address, hop, flags, behaviour) in cases {
        change(address, behaviour)?;
        let frame = probe(address, hop, target::LIVE | flags);
        line(what, &frame)?;
    }
    Ok(())
}
