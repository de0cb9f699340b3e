//! Which policy an address gets, and why.

use std::collections::HashSet;

use crate::compile::{Host, Roll};
use crate::hosts::{HostList, Row};
use crate::policies::{Condition, PolicyFile};

/// The policy of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Choice {
    /// A rule of the policy file, by position.
    Rule(u32),
    /// No rule fits: `[defaults]`.
    Fallback,
}

impl Choice {
    /// A number for arrays of all policies: rules first, `default` last.
    pub fn index(self, policies: &PolicyFile) -> usize {
        match self {
            Choice::Rule(rule) => rule as usize,
            Choice::Fallback => policies.rules.len(),
        }
    }
}

/// The conditions of a policy file, worked out once for each network, project and set of tags of a list.
pub struct Assigner<'a> {
    tests: Vec<Test<'a>>,
    fallback: bool,
}

struct Test<'a> {
    condition: &'a Condition,
    /// By number of the string; empty: all fit.
    networks: Vec<bool>,
    projects: Vec<bool>,
    /// By number of the set; empty: all fit.
    tags: Vec<bool>,
    ids: HashSet<&'a str>,
}

fn fits(answers: &[bool], at: u32) -> bool {
    answers.is_empty() || answers.get(at as usize).copied().unwrap_or_default()
}

impl<'a> Assigner<'a> {
    /// Works out the conditions for a list, to which no string and no set of tags is added later.
    pub fn new(list: &HostList, policies: &'a PolicyFile) -> Self {
        let strings = |wanted: &[String]| match wanted {
            [] => Vec::new(),
            wanted => list.strings.iter().map(|text| wanted.iter().any(|want| want == text)).collect(),
        };
        let tests = policies.rules.iter().map(|rule| {
            let condition = &rule.condition;
            let tags = match &condition.tags[..] {
                [] => Vec::new(),
                wanted => (0..list.tag_sets() as u32).map(|set| list.tags(set).any(|tag| wanted.iter().any(|want| want == tag))).collect(),
            };
            Test {
                condition,
                networks: strings(&condition.network),
                projects: strings(&condition.project),
                tags,
                ids: condition.id.iter().map(String::as_str).collect(),
            }
        });
        Assigner { tests: tests.collect(), fallback: policies.fallback.is_some() }
    }

    /// The first rule that fits, else `default` if there is one.
    pub fn choose(&self, roll: &Roll, host: &Host, row: &Row) -> Option<Choice> {
        match self.fitting(roll, host, row).next() {
            Some(rule) => Some(Choice::Rule(rule)),
            None => self.fallback.then_some(Choice::Fallback),
        }
    }

    /// All rules that fit, in order.
    pub fn fitting<'b>(&'b self, roll: &'b Roll, host: &'b Host, row: &'b Row) -> impl Iterator<Item = u32> + 'b {
        (0..self.tests.len() as u32).filter(move |&at| {
            let test = &self.tests[at as usize];
            fits(&test.networks, row.network)
                && fits(&test.projects, host.project)
                && fits(&test.tags, host.tags)
                && (test.ids.is_empty() || test.ids.contains(roll.id(host)))
                && (test.condition.name.is_empty() || test.condition.name.iter().any(|pattern| pattern.fits(roll.name(host))))
        })
    }
}

/// Why an address has its policy: what of the condition fits.
pub fn reason(roll: &Roll, host: &Host, row: &Row, choice: Choice) -> String {
    let Choice::Rule(rule) = choice else { return "no policy matches: [defaults]".to_owned() };
    let condition = &roll.policies.rules[rule as usize].condition;
    if condition.is_open() {
        return "matches every host".to_owned();
    }
    let mut clauses = Vec::new();
    let mut clause = |key: &str, value: Option<&str>| clauses.extend(value.map(|value| format!("{key} = {value:?}")));
    let one_of = |wanted: &'_ [String], text: &str| wanted.iter().any(|want| want == text);
    let network = roll.list.strings.text(row.network);
    clause("network", one_of(&condition.network, network).then_some(network));
    let project = roll.list.strings.text(host.project);
    clause("project", one_of(&condition.project, project).then_some(project));
    clause("tags", roll.list.tags(host.tags).find(|tag| one_of(&condition.tags, tag)));
    let name = roll.name(host);
    clause("name", condition.name.iter().find(|pattern| pattern.fits(name)).map(|pattern| pattern.text.as_str()));
    clause("id", one_of(&condition.id, roll.id(host)).then_some(roll.id(host)));
    clauses.join(", ")
}
