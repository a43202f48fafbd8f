//! `|= "a" or "b"`, `!=`, `|~`, `!~`, `|>`, `!>`, with `ip("..")` for the first two.

use memchr::memmem::Finder;
use regex_automata::meta::Regex;
use storage::RegexLimits;

use super::super::ast::{LineFilter, LineOp, Needle};
use super::super::labels::LabelSet;
use super::super::regex::unanchored;
use super::ip::IpMatcher;
use super::pattern::Pattern;
use super::{Line, Stage};

#[derive(Debug)]
struct LineFilterStage {
    needles: Vec<Needles>,
    negative: bool,
}

#[derive(Debug)]
enum Needles {
    Text(Box<Finder<'static>>),
    Regex(Box<Regex>),
    Pattern(Pattern),
    Ip(IpMatcher),
}

pub(super) fn build(filter: &LineFilter, limits: RegexLimits) -> Result<Box<dyn Stage>, String> {
    let mut needles = Vec::with_capacity(filter.needles.len());
    for needle in &filter.needles {
        needles.push(match (needle, filter.op) {
            (Needle::Ip(addresses), LineOp::Contains | LineOp::NotContains) => {
                Needles::Ip(IpMatcher::parse(addresses)?)
            }
            (Needle::Ip(_), _) => return Err("ip: invalid operation".to_owned()),
            (Needle::Text(text), LineOp::Contains | LineOp::NotContains) => {
                Needles::Text(Box::new(Finder::new(text.as_bytes()).into_owned()))
            }
            (Needle::Text(text), LineOp::Regex | LineOp::NotRegex) => {
                Needles::Regex(Box::new(unanchored(text, limits)?))
            }
            (Needle::Text(text), LineOp::Pattern | LineOp::NotPattern) => {
                Needles::Pattern(Pattern::parse_filter(text)?)
            }
        });
    }
    Ok(Box::new(LineFilterStage { needles, negative: filter.op.is_negative() }))
}

impl Stage for LineFilterStage {
    fn process(&self, line: &mut Line<'_>, _labels: &mut LabelSet) -> bool {
        let found = self.needles.iter().any(|needle| match needle {
            Needles::Text(finder) => finder.find(line.text.as_bytes()).is_some(),
            Needles::Regex(regex) => regex.is_match(line.text.as_bytes()),
            Needles::Pattern(pattern) => pattern.matches_line(&line.text),
            Needles::Ip(matcher) => matcher.occurs_in(&line.text),
        });
        found != self.negative
    }
}
