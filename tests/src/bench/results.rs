//! The results of all parts: measured one after the other, printed, and kept in a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::detect::{self, Detect};
use super::grow::{self, Grow, PLOT};
use super::load::{self, Load};
use super::machine::Machine;
use super::options::{Options, Part};
use super::page;
use super::peak::{self, Peak};
use super::peers::{self, Peers};
use super::rtt::{self, Rtt};
use super::sheet::Sheet;
use super::steady::{self, Steady};
use crate::voice::Voice;

/// Name of the file with the results.
const FILE: &str = "bench.json";
/// The page with the tables.
const PAGE: &str = "PERFORMANCE.md";

/// In this order: what is quick and wants a cool machine first.
const ORDER: [Part; 7] = [Part::Peak, Part::Peers, Part::Load, Part::Rtt, Part::Detect, Part::Steady, Part::Grow];

/// The figures of one part.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Figures {
    Peak(Peak),
    Peers(Peers),
    Load(Load),
    Rtt(Rtt),
    Detect(Detect),
    Steady(Box<Steady>),
    Grow(Grow),
}

/// What was measured, and on which machine: for each part, for they may be measured one by one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Results {
    parts: BTreeMap<Part, (Figures, Machine)>,
}

/// Measures what was asked for.
pub(super) async fn measure(options: &Options, voice: &Voice) -> Result<Results> {
    let machine = Machine::here();
    voice.step("machine", &machine.line(), None);
    let mut results = Results::default();
    for part in ORDER {
        if options.part == part || options.part == Part::All {
            let figures = Figures::measure(part, options, voice).await.with_context(|| format!("bench {}", part.name()))?;
            results.parts.insert(part, (figures, machine.clone()));
        }
    }
    Ok(results)
}

impl Results {
    /// Tables on standard output, and the JSON object as its last line.
    pub(super) fn print(&self, options: &Options) {
        let mut text = String::new();
        for (figures, machine) in self.parts.values() {
            for sheet in figures.sheets() {
                text += &format!("{}\n", sheet.text());
            }
            text += &format!("{}\n\n", machine.line());
        }
        if options.json {
            text += &format!("{}\n", self.json(options.part));
        }
        // `bench peak | head` is no failure, and nothing is left to be done.
        let _ = std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes());
    }

    /// Of one part its own object; of all, one with a member for each.
    fn json(&self, part: Part) -> Value {
        let object = |(figures, machine): &(Figures, Machine)| {
            let mut object = figures.json();
            object["machine"] = value(machine);
            object
        };
        match self.parts.get(&part) {
            Some(measured) => object(measured),
            None => self.parts.iter().map(|(part, measured)| (part.name().to_owned(), object(measured))).collect(),
        }
    }

    fn from_json(text: &str) -> Result<Self> {
        let mut members: BTreeMap<String, Value> = serde_json::from_str(text)?;
        let mut results = Self::default();
        for part in ORDER {
            if let Some(value) = members.remove(part.name()) {
                let machine = serde_json::from_value(value["machine"].clone()).with_context(|| format!("{}: machine", part.name()))?;
                let figures = Figures::from_json(part, value).with_context(|| part.name())?;
                results.parts.insert(part, (figures, machine));
            }
        }
        Ok(results)
    }

    /// The results that were kept.
    pub(super) fn read(options: &Options) -> Result<Self> {
        let path = options.out.join(FILE);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}; measure first: cargo xtask bench all --write", path.display()))?;
        Self::from_json(&text)
            .with_context(|| format!("{} is of another version; measure again: cargo xtask bench all --write", path.display()))
    }

    /// Keeps these results; those of other parts stay.
    pub(super) fn keep(&self, options: &Options, voice: &Voice) -> Result<Self> {
        let path = options.out.join(FILE);
        let mut all = if path.exists() { Self::read(options)? } else { Self::default() };
        all.parts.extend(self.parts.clone());
        let text = serde_json::to_string_pretty(&all.json(Part::All))? + "\n";
        write(&path, &text, voice)?;
        Ok(all)
    }

    /// Puts the tables into the page.
    pub(super) fn write_page(&self, options: &Options, voice: &Voice) -> Result<()> {
        let path = options.out.join(PAGE);
        let mut text = if path.exists() {
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?
        } else {
            "# rollcall: performance\n".to_owned()
        };
        for (part, (figures, machine)) in &self.parts {
            let picture = if *part == Part::Grow { format!("\n![Cost by number of hosts]({PLOT})\n") } else { String::new() };
            let block = page::block(&figures.sheets(), machine) + &picture;
            text = page::put(&text, part.name(), &block).with_context(|| path.display().to_string())?;
        }
        write(&path, &text, voice)
    }

    /// Writes the plot, where there is something to draw.
    pub(super) fn write_plot(&self, options: &Options, voice: &Voice) -> Result<()> {
        match self.parts.get(&Part::Grow) {
            Some((Figures::Grow(grow), _)) => write(&options.out.join(PLOT), &grow.plot(), voice),
            _ => Ok(()),
        }
    }
}

fn write(path: &PathBuf, text: &str, voice: &Voice) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    voice.line(&format!("wrote {}", path.display()));
    Ok(())
}

impl Figures {
    async fn measure(part: Part, options: &Options, voice: &Voice) -> Result<Self> {
        Ok(match part {
            Part::Peak => Self::Peak(peak::run(options, voice).await?),
            Part::Peers => Self::Peers(peers::run(options, voice).await?),
            Part::Load => Self::Load(load::run(options, voice).await?),
            Part::Rtt => Self::Rtt(rtt::run(options, voice).await?),
            Part::Detect => Self::Detect(detect::run(options, voice).await?),
            Part::Steady => Self::Steady(Box::new(steady::run(options, voice).await?)),
            Part::Grow => Self::Grow(grow::run(options, voice).await?),
            Part::All | Part::Report => bail!("{} is no part of its own", part.name()),
        })
    }

    fn from_json(part: Part, value: Value) -> Result<Self> {
        fn read<T: DeserializeOwned>(value: Value) -> Result<T> {
            Ok(serde_json::from_value(value)?)
        }
        Ok(match part {
            Part::Peak => Self::Peak(read(value)?),
            Part::Peers => Self::Peers(read(value)?),
            Part::Load => Self::Load(read(value)?),
            Part::Rtt => Self::Rtt(read(value)?),
            Part::Detect => Self::Detect(read(value)?),
            Part::Steady => Self::Steady(read(value)?),
            Part::Grow => Self::Grow(read(value)?),
            Part::All | Part::Report => bail!("{} is no part of its own", part.name()),
        })
    }

    fn json(&self) -> Value {
        match self {
            Self::Peak(figures) => value(figures),
            Self::Peers(figures) => value(figures),
            Self::Load(figures) => value(figures),
            Self::Rtt(figures) => value(figures),
            Self::Detect(figures) => value(figures),
            Self::Steady(figures) => value(figures),
            Self::Grow(figures) => value(figures),
        }
    }

    fn sheets(&self) -> Vec<Sheet> {
        match self {
            Self::Peak(figures) => figures.sheets(),
            Self::Peers(figures) => figures.sheets(),
            Self::Load(figures) => figures.sheets(),
            Self::Rtt(figures) => figures.sheets(),
            Self::Detect(figures) => figures.sheets(),
            Self::Steady(figures) => figures.sheets(),
            Self::Grow(figures) => figures.sheets(),
        }
    }
}

/// Figures are numbers, texts and lists of them: nothing that JSON could not say.
fn value(figures: &impl Serialize) -> Value {
    serde_json::to_value(figures).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_that_were_kept_are_read_again() {
        let mut results = Results::default();
        let machine = Machine { cpu: "one".into(), ..Machine::default() };
        results.parts.insert(Part::Peak, (Figures::Peak(Peak::default()), machine.clone()));
        results.parts.insert(Part::Steady, (Figures::Steady(Box::new(Steady { hosts: 7, ..Steady::default() })), machine));
        let text = results.json(Part::All).to_string();
        assert_eq!(Results::from_json(&text).unwrap(), results);
        let one = results.json(Part::Steady);
        assert_eq!((&one["hosts"], &one["machine"]["cpu"]), (&7.into(), &"one".into()));
        assert!(Results::from_json("{\"peak\": {}}").is_err());
    }
}
