//! The virtual machine: qemu, emulating a PC without disk or network.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::console::Console;
use super::package::Kernel;
use crate::{step, workspace};

/// How long a run may take.
const LIMIT: Duration = Duration::from_secs(25 * 60);
/// What the kernel is told. Mitigations cost an emulated machine most of its time and guard nothing in it.
const SETTINGS: &str = "console=ttyS0 loglevel=5 panic=-1 mitigations=off tsc=reliable random.trust_cpu=on";

/// Boots the kernel with the image, shows what the tests print, and says what came of them.
pub(crate) fn run(kernel: &Kernel, image: &File) -> Result<Console> {
    let log = workspace::target().join("kernels").join(format!("{}.log", kernel.release));
    let mut command = qemu();
    // Two processors, emulated in turn: where both run at once, one may go on with old code that the other has patched, for ever.
    command.args(["-accel", "tcg,thread=single", "-smp", "2", "-m", "2048"]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-no-reboot"]);
    command.arg("-kernel").arg(kernel.image()).args(["-append", SETTINGS]);
    // The image has no name any more; what we hold open can still be opened.
    command.arg("-initrd").arg(format!("/proc/{}/fd/{}", std::process::id(), image.as_raw_fd()));
    command.arg("-serial").arg(format!("file:{}", log.display())).args(["-serial", "stdio"]);
    eprintln!("xtask: {} (at most {} minutes; what the kernel says: {})", step::text(&command), LIMIT.as_secs() / 60, log.display());
    let began = Instant::now();
    let mut machine = Machine(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot run qemu")?);
    let stdout = machine.0.stdout.take().context("qemu has no standard output")?;
    let (lines, said) = channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            if lines.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
        }
    });
    let mut console = Console::default();
    let why = loop {
        match said.recv_timeout(LIMIT.saturating_sub(began.elapsed())) {
            Ok(line) => {
                println!("{line}");
                console.note(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) => break Some(format!("it did not end in {} minutes", LIMIT.as_secs() / 60)),
        }
    };
    console.close(why);
    drop(machine);
    let _ = reader.join();
    eprintln!("xtask: the virtual machine ran {:.0} s", began.elapsed().as_secs_f64());
    if !console.is_whole() {
        let text = fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        eprintln!("xtask: the last words of the kernel:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
    }
    Ok(console)
}

/// qemu, which ends with us even where we are killed: `setpriv` has the kernel see to that, and becomes qemu.
fn qemu() -> Command {
    const QEMU: &str = "qemu-system-x86_64";
    if !step::in_path("setpriv") {
        return Command::new(QEMU);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", QEMU]);
    command
}

/// A running machine, ended when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It has mostly ended by itself. Until it was waited for, its id is not given to another process.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
