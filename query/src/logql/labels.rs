//! The labels of the record in hand while it goes through a pipeline.
//!
//! Three kinds are told apart to the end, because Grafana shows them apart: labels of the stream,
//! structured metadata of the record, and what was parsed out of its line. Nothing is allocated per
//! label: names and values lie in one text that keeps its memory from record to record.
//! Source: Loki 3.7, `pkg/logql/log/labels.go`.

use std::sync::Arc;

use model::Labels;

/// Where a label comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Category {
    Stream,
    Metadata,
    Parsed,
}

pub(crate) const ERROR: &str = "__error__";
pub(crate) const ERROR_DETAILS: &str = "__error_details__";
/// Marks series that keep their error although they are part of a metric query.
pub(crate) const PRESERVE_ERROR: &str = "__preserve_error__";
/// What a parsed label is called when the stream has one of its name.
pub(crate) const DUPLICATE_SUFFIX: &str = "_extracted";

/// The labels of one stream, shared by its records.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Base {
    /// Sorted by name.
    labels: Vec<(Box<str>, Box<str>)>,
}

impl Base {
    pub(crate) fn new(labels: &Labels) -> Arc<Base> {
        let labels = labels.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Arc::new(Base { labels })
    }

    fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.labels.iter().find(|(label, _)| **label == *name)?;
        Some(value)
    }
}

/// What of the labels a query needs, so that parsers may stop early.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hints {
    /// Empty: every label is wanted.
    pub(crate) required: Vec<String>,
    /// No label is wanted at all.
    pub(crate) no_labels: bool,
    /// The query asks about errors, so they do not fail it.
    pub(crate) preserve_error: bool,
}

impl Hints {
    /// Whether metadata of this name can matter to the answer.
    pub(crate) fn wants(&self, name: &str) -> bool {
        if self.no_labels {
            return false;
        }
        self.required.is_empty() || self.required.iter().any(|wanted| wanted == name)
    }
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Debug, Clone, Copy)]
struct Added {
    name: Span,
    value: Span,
    category: Category,
}

/// The working set. See the module's text.
#[derive(Debug, Default)]
pub(crate) struct LabelSet {
    base: Arc<Base>,
    text: String,
    added: Vec<Added>,
    deleted: Vec<Span>,
    error: Option<&'static str>,
    details: Option<String>,
    hints: Hints,
    /// Names of `hints.required` that a parser has found in this record.
    extracted: Vec<Span>,
    /// Scratch for parsers that build names.
    pub(crate) scratch: String,
    order: Vec<Item>,
    key: Vec<u8>,
}

/// One label of the result, by where it lies.
#[derive(Debug, Clone, Copy)]
enum Item {
    Base(u32),
    Added(u32),
    Error,
    Details,
    Preserve,
}

impl LabelSet {
    pub(crate) fn new(hints: Hints) -> LabelSet {
        LabelSet { hints, ..LabelSet::default() }
    }

    /// Starts a record of the stream with these labels.
    pub(crate) fn reset(&mut self, base: &Arc<Base>) {
        if !Arc::ptr_eq(&self.base, base) {
            self.base = Arc::clone(base);
        }
        self.text.clear();
        self.added.clear();
        self.deleted.clear();
        self.extracted.clear();
        self.error = None;
        self.details = None;
    }

    fn span(&mut self, text: &str) -> Span {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        Span { start, end: self.text.len() as u32 }
    }

    fn text(&self, span: Span) -> &str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    pub(crate) fn base_has(&self, name: &str) -> bool {
        self.base.get(name).is_some()
    }

    /// Whether the stream or the record's metadata have a label of this name, so that a parsed one
    /// needs another.
    pub(crate) fn has_source(&self, name: &str) -> bool {
        self.base_has(name) || self.has_added(Category::Metadata, name)
    }

    fn find(&self, category: Category, name: &str) -> Option<usize> {
        self.added
            .iter()
            .position(|added| added.category == category && self.text(added.name) == name)
    }

    fn has_added(&self, category: Category, name: &str) -> bool {
        self.find(category, name).is_some()
    }

    fn is_deleted(&self, name: &str) -> bool {
        self.deleted.iter().any(|&span| self.text(span) == name)
    }

    /// The value of a label and where it comes from.
    pub(crate) fn get(&self, name: &str) -> Option<(&str, Category)> {
        for category in [Category::Stream, Category::Metadata, Category::Parsed] {
            if let Some(at) = self.find(category, name) {
                return Some((self.text(self.added[at].value), category));
            }
        }
        if self.is_deleted(name) {
            return None;
        }
        self.base.get(name).map(|value| (value, Category::Stream))
    }

    /// The value of a label, of the error labels too; empty where it is absent.
    pub(crate) fn value(&self, name: &str) -> &str {
        match name {
            ERROR => self.error.unwrap_or(""),
            ERROR_DETAILS => self.details.as_deref().unwrap_or(""),
            name => self.get(name).map_or("", |(value, _)| value),
        }
    }

    /// Sets a label. Parsed labels replace metadata, which replace those of the stream.
    pub(crate) fn set(&mut self, category: Category, name: &str, value: &str) {
        match category {
            Category::Parsed => {
                self.remove_added(Category::Metadata, name);
                self.remove_added(Category::Stream, name);
            }
            Category::Metadata => {
                self.remove_added(Category::Stream, name);
                if self.has_added(Category::Parsed, name) {
                    return;
                }
            }
            Category::Stream => {
                if self.has_added(Category::Metadata, name)
                    || self.has_added(Category::Parsed, name)
                {
                    return;
                }
            }
        }
        let value = self.span(value);
        if let Some(at) = self.find(category, name) {
            self.added[at].value = value;
            return;
        }
        let name_span = self.span(name);
        self.added.push(Added { name: name_span, value, category });
        if self.hints.required.iter().any(|wanted| wanted == name) {
            self.extracted.push(name_span);
        }
    }

    /// Sets a label of the record's metadata, renamed where the stream has one of its name.
    pub(crate) fn add_metadata(&mut self, name: &str, value: &str) {
        if self.base_has(name) {
            let renamed = format!("{name}{DUPLICATE_SUFFIX}");
            self.set(Category::Metadata, &renamed, value);
        } else {
            self.set(Category::Metadata, name, value);
        }
    }

    fn remove_added(&mut self, category: Category, name: &str) {
        if let Some(at) = self.find(category, name) {
            self.added.remove(at);
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        for category in [Category::Stream, Category::Metadata, Category::Parsed] {
            self.remove_added(category, name);
        }
        let span = self.span(name);
        self.deleted.push(span);
    }

    /// Sets a parsed label unless the query has no use for it or a parser has set it before.
    /// Answers whether parsing may stop.
    pub(crate) fn extract(&mut self, name: &str, value: &str) -> bool {
        if self.should_extract(name) && !self.has_added(Category::Parsed, name) {
            self.set(Category::Parsed, name, value);
        }
        self.all_extracted()
    }

    /// Whether a parser need hand over this name: it is wanted, and no parser has found it before.
    pub(crate) fn should_extract(&self, name: &str) -> bool {
        if self.extracted.iter().any(|&span| self.text(span) == name) {
            return false;
        }
        self.hints.required.is_empty() || self.hints.required.iter().any(|wanted| wanted == name)
    }

    /// Whether names that start with `prefix` can be wanted.
    pub(crate) fn should_extract_prefix(&self, prefix: &str) -> bool {
        self.hints.required.is_empty()
            || self.hints.required.iter().any(|wanted| wanted.starts_with(prefix))
    }

    fn all_extracted(&self) -> bool {
        !self.hints.required.is_empty() && self.extracted.len() >= self.hints.required.len()
    }

    /// Whether parsing is of no use.
    pub(crate) fn needs_no_parsing(&self) -> bool {
        self.hints.no_labels || self.all_extracted()
    }

    pub(crate) fn hints(&self) -> &Hints {
        &self.hints
    }

    pub(crate) fn has_error(&self) -> bool {
        self.error.is_some()
    }

    pub(crate) fn set_error(&mut self, error: &'static str, details: impl Into<String>) {
        self.error = Some(error);
        let details = details.into();
        self.details = (!details.is_empty()).then_some(details);
    }

    pub(crate) fn reset_error(&mut self) {
        self.error = None;
    }

    pub(crate) fn reset_error_details(&mut self) {
        self.details = None;
    }

    fn collect(&mut self) {
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        for (at, (name, _)) in self.base.labels.iter().enumerate() {
            let replaced = self.added.iter().any(|added| self.text(added.name) == &**name);
            if !replaced && !self.is_deleted(name) {
                order.push(Item::Base(at as u32));
            }
        }
        for (at, added) in self.added.iter().enumerate() {
            let name = self.text(added.name);
            let hidden =
                added.category != Category::Parsed && self.has_added(Category::Parsed, name);
            if !hidden {
                order.push(Item::Added(at as u32));
            }
        }
        if self.error.is_some() {
            order.push(Item::Error);
        }
        if self.details.is_some() {
            order.push(Item::Details);
        }
        if self.error.is_some() && self.hints.preserve_error {
            order.push(Item::Preserve);
        }
        order.sort_unstable_by(|&a, &b| self.item(a).0.cmp(self.item(b).0));
        self.order = order;
    }

    fn item(&self, item: Item) -> (&str, &str, Category) {
        match item {
            Item::Base(at) => {
                let (name, value) = &self.base.labels[at as usize];
                (name, value, Category::Stream)
            }
            Item::Added(at) => {
                let added = self.added[at as usize];
                (self.text(added.name), self.text(added.value), added.category)
            }
            Item::Error => (ERROR, self.error.unwrap_or(""), Category::Parsed),
            Item::Details => {
                (ERROR_DETAILS, self.details.as_deref().unwrap_or(""), Category::Parsed)
            }
            Item::Preserve => (PRESERVE_ERROR, "true", Category::Parsed),
        }
    }

    /// All labels in order of name.
    pub(crate) fn labels(&mut self) -> impl Iterator<Item = (&str, &str, Category)> {
        self.collect();
        self.order.iter().map(|&item| self.item(item))
    }

    /// The labels for which `keep` holds as one byte string that is the same for the same labels:
    /// `len name len value` with lengths of four bytes, in order of name.
    pub(crate) fn key(&mut self, keep: impl Fn(&str, Category) -> bool) -> &[u8] {
        self.collect();
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        for &item in &self.order {
            let (name, value, category) = self.item(item);
            if keep(name, category) {
                put(&mut key, name);
                put(&mut key, value);
            }
        }
        self.key = key;
        &self.key
    }

    /// The labels of these names (sorted) as [`LabelSet::key`] writes them.
    pub(crate) fn key_of(&mut self, names: &[String]) -> &[u8] {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        for name in names {
            if let Some((value, _)) = self.get(name) {
                put(&mut key, name);
                put(&mut key, value);
            }
        }
        self.key = key;
        &self.key
    }
}

fn put(key: &mut Vec<u8>, text: &str) {
    key.extend_from_slice(&(text.len() as u32).to_le_bytes());
    key.extend_from_slice(text.as_bytes());
}

/// Names and values of a key, in order of name.
pub(crate) fn key_labels(mut key: &[u8]) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    let mut part = || -> Option<String> {
        let (length, rest) = key.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        key = rest;
        String::from_utf8(text.to_vec()).ok()
    };
    while let (Some(name), Some(value)) = (part(), part()) {
        labels.push((name, value));
    }
    labels
}

/// A key of JSON or logfmt as a label's name: letters, digits and `_`, and no digit in front.
pub(crate) fn sanitize_into(key: &str, is_first: bool, out: &mut String) {
    let key = key.trim();
    if is_first && key.starts_with(|c: char| c.is_ascii_digit()) {
        out.push('_');
    }
    for c in key.chars() {
        out.push(if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' });
    }
}
