use rollcall_agent::{
    clock,
    link::Links,
    packet::Sender,
    reply::{Program, Receive},
    wire::{Kernel, Socket, Transmitter},
};
use rollcall_agent_ebpf::{
    fleet::{AGENT, Cloud, mac},
    reason::Reason,
    target::{ARP, LIVE, Target, mapped},
};
use rollcall_tests::{
    fleet::Mode,
    lab::{AGENT_INTERFACE, Lab},
};
use std::time::Instant;
fn main() -> anyhow::Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let n: u32 = a[1].parse()?;
    let how = a[2].as_str();
    let arp = a[3] == "arp";
    let batch: usize = a[4].parse()?;
    let secs: u64 = a[5].parse()?;
    let mut set = nix::sched::CpuSet::new();
    set.set(1)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?;
    let cloud = Cloud { on_link: n, routed: 0 };
    let lab = Lab::scratch("peak", cloud, Mode::Native)?;
    lab.agent().enter()?;
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let interface = rt.block_on(async {
        let (links, _news) = Links::connect()?;
        Ok::<_, anyhow::Error>(links.interface(AGENT_INTERFACE).await?)
    })?;
    let mut program = Program::load(n)?;
    program.attach(0, &interface, Receive::Native)?;
    let arrays = program.arrays().clone();
    arrays.set_ids(7, 7);
    for s in 0..n {
        let v4 = cloud.address(s + 1).unwrap();
        arrays
            .occupy(
                s,
                &Target {
                    address: mapped(v4),
                    mac: mac(v4),
                    network: 0,
                    nonce: s ^ 0x5555,
                    timeout_ms: 300,
                    flags: LIVE | if arp { ARP } else { 0 },
                },
                5,
            )
            .unwrap();
    }
    let sender = Sender { mac: interface.mac, address: AGENT.into() };
    let mut t: Box<dyn Transmitter> = if how == "kernel" {
        Box::new(Kernel::open(&mut program, &interface, sender)?)
    } else {
        Box::new(Socket::open(interface.index, sender)?)
    };
    let slots: Vec<u32> = (0..n).collect();
    let c0 = program.counters();
    let start = Instant::now();
    let (mut sent, mut dropped) = (0u64, 0u64);
    'o: loop {
        for b in slots.chunks(batch) {
            let d = t.transmit(&program, b, 7, &clock::now);
            sent += d.sent as u64;
            dropped += d.dropped as u64;
            if let Some(e) = d.error {
                println!("error {e}");
                break 'o;
            }
            if start.elapsed().as_secs() >= secs {
                break 'o;
            }
        }
    }
    let took = start.elapsed();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let c1 = program.counters();
    let ans = c1[Reason::Answer as usize] - c0[Reason::Answer as usize];
    println!(
        "{how} arp={arp} n={n} batch={batch}: {:.0} kpps sent, {:.1} ns each, answered {ans} lost {} dropped {dropped}",
        sent as f64 / took.as_secs_f64() / 1e3,
        took.as_nanos() as f64 / sent as f64,
        sent as i64 - ans as i64
    );
    for r in Reason::ALL {
        let d = c1[*r as usize] - c0[*r as usize];
        if d > 0 {
            print!("{} {d}  ", r.label());
        }
    }
    println!();
    Ok(())
}
