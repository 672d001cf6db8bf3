//! Regular expressions of topics, in the syntax of RE2 as Kafka takes it.
//!
//! One is translated to the syntax of `regex-automata` and becomes a deterministic automaton of bounded size:
//! to look at a name costs one step per character, whatever the expression. One that would become too large is
//! refused like one that is not valid.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;
use std::sync::Arc;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::start;
use regex_automata::util::syntax;
use regex_automata::{Anchored, MatchKind};
use tidewheel_config::limits;

use crate::error::GroupError;
use crate::topics::Topics;

/// RE2 repeats at most so often.
const REPEAT_MAX: u32 = 1_000;
/// Classes of an expression that ignores case and needs more than ASCII, which names of topics do not: each takes some ms,
/// and a coordinator's other groups wait for it.
const FOLDED_CLASSES_MAX: usize = 2;
/// Parentheses in each other.
const NEST_MAX: u32 = 50;

/// The names of all topics that the expression fits as a whole.
pub(crate) fn resolve(regex: &str, topics: &dyn Topics) -> Result<BTreeSet<Arc<str>>, GroupError> {
    let automaton = compile(regex).ok_or(GroupError::InvalidRegularExpression)?;
    let fits = |name: &&Arc<str>| automaton.fits(name);
    Ok(topics.names().filter(fits).map(Arc::clone).collect())
}

/// An expression in the syntax of RE2, of bounded size: to look at a name costs one step per byte.
#[derive(Debug)]
pub struct NamePattern(Compiled);

impl NamePattern {
    /// One that fits names which contain what `regex` describes; `^` and `$` stand for their ends. `None` where it is
    /// not valid or too large.
    #[must_use]
    pub fn new(regex: &str) -> Option<Self> {
        // For itself first: its parentheses must not close those around it. What it quotes to its end ends there.
        compile(regex)?;
        compile(&format!("(?s:.*)(?:{regex}\\E)(?s:.*)")).map(Self)
    }

    /// Whether a name is one of these.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        self.0.fits(name)
    }
}

#[derive(Debug)]
struct Compiled(dense::DFA<Vec<u32>>);

impl Compiled {
    fn fits(&self, name: &str) -> bool {
        let anchored = start::Config::new().anchored(Anchored::Yes);
        let Ok(mut state) = self.0.start_state(&anchored) else {
            return false;
        };
        for &byte in name.as_bytes() {
            state = self.0.next_state(state, byte);
            if self.0.is_dead_state(state) || self.0.is_quit_state(state) {
                return false;
            }
        }
        self.0.is_match_state(self.0.next_eoi_state(state))
    }
}

fn compile(regex: &str) -> Option<Compiled> {
    if regex.len() > limits::GROUP_REGEX_LEN_MAX {
        return None;
    }
    let regex = Translator::new(regex).translate()?;
    // Names of topics are ASCII. What needs more, such as classes of Unicode, is read that way then.
    build(&regex, false).or_else(|| match folded_classes(&regex) <= FOLDED_CLASSES_MAX {
        true => build(&regex, true),
        false => None,
    })
}

/// How many classes an expression has whose letters fit in either case: where that means all of Unicode, each
/// takes a walk over a million code points before any bound on the automaton holds.
fn folded_classes(regex: &str) -> usize {
    let mut groups = regex.match_indices("(?");
    let ignores_case = groups.any(|(at, opening)| {
        let flags = &regex[at + opening.len()..];
        let end = flags.find([')', ':', '-']).unwrap_or(flags.len());
        flags[..end].contains('i')
    });
    match ignores_case {
        true => ["[", "\\p", "\\P"]
            .map(|class| regex.matches(class).count())
            .iter()
            .sum(),
        false => 0,
    }
}

fn build(regex: &str, unicode: bool) -> Option<Compiled> {
    let size = limits::GROUP_REGEX_AUTOMATON_BYTES_MAX;
    let automaton = dense::Builder::new()
        .configure(
            dense::Config::new()
                .start_kind(StartKind::Anchored)
                .match_kind(MatchKind::All)
                .unicode_word_boundary(true)
                .dfa_size_limit(Some(size))
                .determinize_size_limit(Some(size / 16)),
        )
        .syntax(
            syntax::Config::new()
                .unicode(unicode)
                .utf8(false)
                .octal(true)
                .nest_limit(NEST_MAX),
        )
        .thompson(
            thompson::Config::new()
                .utf8(false)
                .which_captures(WhichCaptures::None)
                .nfa_size_limit(Some(size)),
        )
        .build(regex)
        .ok()?;
    Some(Compiled(automaton))
}

/// Writes an expression of RE2 as `regex-automata` understands it, as far as the two differ.
struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    /// Whether what was read last may be repeated, and whether it is a repetition.
    last: Last,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Nothing that could be repeated.
    Nothing,
    /// Something that could be repeated.
    Something,
    /// A repetition: it may become lazy, but not be repeated.
    Repetition,
}

impl<'a> Translator<'a> {
    fn new(regex: &'a str) -> Translator<'a> {
        Translator {
            rest: regex.chars().peekable(),
            out: String::with_capacity(regex.len() + 8),
            last: Last::Nothing,
        }
    }

    fn translate(mut self) -> Option<String> {
        while let Some(next) = self.rest.next() {
            match next {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '|' => self.push('|', Last::Nothing),
                '*' | '+' | '?' => self.repeat(next)?,
                '{' => self.braces()?,
                other => self.push(other, Last::Something),
            }
        }
        Some(self.out)
    }

    fn push(&mut self, next: char, last: Last) {
        self.out.push(next);
        self.last = last;
    }

    /// A character that stands for itself.
    fn literal(&mut self, next: char) {
        if next.is_ascii_punctuation() {
            self.out.push('\\');
        }
        self.push(next, Last::Something);
    }

    /// What RE2 knows after a backslash; what only the other syntax knows is refused.
    fn escape(&mut self) -> Option<()> {
        let next = self.rest.next()?;
        match next {
            'Q' => {
                let mut quoted = Vec::new();
                loop {
                    match self.rest.next() {
                        None => break,
                        Some('\\') if self.rest.peek() == Some(&'E') => {
                            self.rest.next();
                            break;
                        }
                        Some(other) => quoted.push(other),
                    }
                }
                quoted.into_iter().for_each(|quoted| self.literal(quoted));
            }
            'E' => {}
            _ => {
                self.escaped(next)?;
                self.last = Last::Something;
            }
        }
        Some(())
    }

    fn escaped(&mut self, next: char) -> Option<()> {
        let is_octal = |next: char| ('0'..='7').contains(&next);
        let is_known = match next {
            '<' | '>' => false,
            '0' => true,
            // One digit alone would be a reference back.
            '1'..='7' => self.rest.peek().copied().is_some_and(is_octal),
            next => next.is_ascii_punctuation() || "AbBzdDsSwWpPafnrtvx".contains(next),
        };
        if !is_known {
            return None;
        }
        if self.rest.peek() == Some(&'{') && matches!(next, 'p' | 'P' | 'x') {
            return self.named(next);
        }
        self.out.extend(['\\', next]);
        let is_boundary = next == 'b' && self.rest.peek() == Some(&'{');
        // `\b{start}` means something else here than in RE2.
        (!is_boundary).then_some(())
    }

    /// `\p{Greek}`, `\P{L}` and `\x{e4}`; `\p{^L}` is how RE2 may say `\P{L}`.
    fn named(&mut self, kind: char) -> Option<()> {
        self.rest.next();
        let is_other = kind != 'x' && self.rest.next_if_eq(&'^').is_some();
        let kind = match (kind, is_other) {
            ('p', true) => 'P',
            ('P', true) => 'p',
            _ => kind,
        };
        self.out.extend(['\\', kind, '{']);
        loop {
            let next = self.rest.next()?;
            self.out.push(next);
            match next {
                '}' => return Some(()),
                next if next.is_ascii_alphanumeric() || next == '_' => {}
                _ => return None,
            }
        }
    }

    fn group(&mut self) -> Option<()> {
        self.push('(', Last::Nothing);
        if self.rest.peek() != Some(&'?') {
            return Some(());
        }
        self.out.extend(self.rest.next());
        if matches!(self.rest.peek(), Some('P' | '<')) {
            return Some(());
        }
        // Flags: RE2 has no `x`, and others mean something else.
        loop {
            let next = self.rest.next()?;
            self.out.push(next);
            match next {
                ':' | ')' => return Some(()),
                'i' | 'm' | 's' | 'U' | '-' => {}
                _ => return None,
            }
        }
    }

    fn repeat(&mut self, next: char) -> Option<()> {
        let last = match (self.last, next) {
            (Last::Something, _) => Last::Repetition,
            // `a*?` is lazy; nothing may follow it.
            (Last::Repetition, '?') => Last::Nothing,
            _ => return None,
        };
        self.push(next, last);
        Some(())
    }

    /// `{2,3}`, or a brace that stands for itself.
    fn braces(&mut self) -> Option<()> {
        let rest: String = self
            .rest
            .clone()
            .take_while(|&c| c != '}')
            .take(12)
            .collect();
        let is_closed = self.rest.clone().nth(rest.chars().count()) == Some('}');
        let (least, most) = rest.split_once(',').unwrap_or((&rest, &rest));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_closed || !is_number(least) || !(most.is_empty() || is_number(most)) {
            self.literal('{');
            return Some(());
        }
        for number in [least, most] {
            if !number.is_empty() && number.parse::<u32>().ok()? > REPEAT_MAX {
                return None;
            }
        }
        if self.last != Last::Something {
            return None;
        }
        self.out.push('{');
        for next in self.rest.by_ref() {
            self.out.push(next);
            if next == '}' {
                break;
            }
        }
        self.last = Last::Repetition;
        Some(())
    }

    /// A class: within it RE2 knows escapes, ranges and `[:alpha:]`, but no classes in each other and no
    /// operators between them.
    fn class(&mut self) -> Option<()> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            let next = self.rest.next()?;
            match next {
                ']' if !is_first => break,
                '\\' => {
                    let next = self.rest.next()?;
                    self.escaped(next)?;
                }
                '[' if self.rest.peek() == Some(&':') => {
                    self.out.push('[');
                    for next in self.rest.by_ref() {
                        self.out.push(next);
                        if next == ']' {
                            break;
                        }
                    }
                }
                '-' => self.dash(is_first),
                '[' | ']' | '&' | '~' | '^' => self.out.extend(['\\', next]),
                other => self.out.push(other),
            }
            is_first = false;
        }
        self.push(']', Last::Something);
        Some(())
    }

    /// A dash is a range unless it is first or last.
    fn dash(&mut self, is_first: bool) {
        if is_first || self.rest.peek() == Some(&']') {
            self.out.push('\\');
        }
        self.out.push('-');
        // The end of a range that is a dash itself.
        if !is_first && self.rest.next_if_eq(&'-').is_some() {
            self.out.push_str("\\-");
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::topics::NoTopics;

    fn fits(regex: &str, name: &str) -> bool {
        compile(regex).unwrap().fits(name)
    }

    #[test]
    fn an_expression_fits_whole_names() {
        for (regex, yes, no) in [
            ("orders", "orders", "orders2"),
            ("orders.*", "orders-eu", "my-orders"),
            ("a|bc", "bc", "abc"),
            ("(?i)Orders", "oRDERS", "order"),
            ("^orders$", "orders", "xorders"),
            ("^a|b$", "b", "ab"),
            (r"t\d{2,3}", "t123", "t1"),
            (r"[[:alpha:]]+-\w+", "ab-c_9", "a1-c"),
            (r"\Qa.b\E+", "a.bbb", "axb"),
            (r"\Qa.b", "a.b", "axb"),
            ("[a&&b]", "b", "c"),
            ("[a[b]", "b", "c"),
            ("[]a]", "a", "b"),
            ("[^-a]+", "xyz", "x-y"),
            ("[+--]", "-", "a"),
            ("a-{1}b", "a-b", "ab"),
            ("(?P<x>a)(?:b)", "ab", "a"),
            (r"a\.b\x41\101", "a.bAA", "aXbAA"),
            (r"\pL+", "abc", "a1"),
            (r"\p{L}+", "abc", "a1"),
            (r"\p{Greek}+|a", "a", "b"),
            (r"\P{L}\p{^Lu}[\p{Nd}x]", "-a7", "-A7"),
            (r"a\x{62}{2}\x2d", "abb-", "ab-"),
            (r"[\x{61}-\x{63}]+", "abc", "abd"),
            ("a??b", "ab", "aab"),
            (r"\btopic\b", "topic", "topics"),
            ("", "", "a"),
            ("(a*)*b", "aaab", "aaa"),
        ] {
            assert!(fits(regex, yes), "{regex} on {yes}");
            assert!(!fits(regex, no), "{regex} on {no}");
        }
    }

    #[test]
    fn what_re2_does_not_know_is_refused() {
        for regex in [
            "(",
            ")",
            "[a",
            "a**",
            "a*+",
            "*a",
            "a{1001}",
            "(?=a)",
            "(?<!a)b",
            r"(a)\1",
            r"\8",
            r"\Z",
            r"\C",
            "{2}",
            "(*)",
            r"[a-\d]",
            r"\h",
            "(?x)a",
            r"\u{61}",
            r"\p{sc=Greek}",
            r"\p{L",
            r"\p{}",
            r"\p{NoSuchScript}",
            r"\x{zz}",
            r"\x{110000}",
            r"\b{start}a",
            "[z-a]",
            r"a\",
            "(?P<x>a)(?P<x>b)",
            "a|*",
            "(?<n",
            r"\<a",
            "a{2}{3}",
        ] {
            assert!(compile(regex).is_none(), "{regex}");
        }
        assert!(compile(&"a".repeat(limits::GROUP_REGEX_LEN_MAX + 1)).is_none());
        assert!(compile(&"(".repeat(200)).is_none());
    }

    /// Names that a consumer lists with `|` are no reason to refuse it.
    #[test]
    fn long_lists_of_names_are_taken() {
        let names: Vec<String> = (0..120).map(|n| format!("team-{n}\\.orders-{n}")).collect();
        assert!(fits(&names.join("|"), "team-7.orders-7"));
    }

    /// Whatever it says, an expression takes a bounded automaton or none at all.
    #[test]
    fn hostile_expressions_are_refused_or_cheap() {
        // A walk over all of Unicode for each class.
        let folded = |count| format!("(?s-m:a)(?i){}", "[ -\u{10FFFF}]".repeat(count));
        assert!(compile(&folded(2)).is_some());
        assert!(compile(&folded(3)).is_none());
        assert!(fits("(?i)[ä-ü]*Orders", "oRDERS"));
        for (regex, is_refused) in [
            ("(a|a)*b", false),
            ("(a*)*b", false),
            ("(.*)*x(.*)*y(.*)*z", false),
            ("(a|b)*a(a|b){40}", true),
            ("((a{0,100}){0,100}){0,100}", true),
            ("(((((a{0,9}){0,9}){0,9}){0,9}){0,9}){0,9}", true),
            (&"(a?){500}a".repeat(10), true),
            (&".*a".repeat(500), true),
            (&"[^a].{0,1000}".repeat(100), true),
            (&r"\pL{1,50}".repeat(50), true),
            (&"(x+x+)+y|".repeat(200), false),
        ] {
            let shown = &regex[..regex.len().min(40)];
            let compiled = compile(regex);
            assert_eq!(compiled.is_none(), is_refused, "{shown}");
            let bytes = compiled.map_or(0, |compiled| compiled.0.memory_usage());
            assert!(
                bytes <= limits::GROUP_REGEX_AUTOMATON_BYTES_MAX,
                "{shown}: {bytes}"
            );
            assert_eq!(resolve(regex, &NoTopics).is_err(), is_refused, "{shown}");
        }
    }
}
