//! Go's text templates, as `line_format` and `label_format` use them.
//!
//! Everything of the language but template definitions: pipelines, variables, `if`, `with`, `range`,
//! comparison, and Loki's functions. A template is parsed once and executed for each record.
//! Source: Go `text/template`, Loki 3.7 `pkg/logql/log/fmt.go`.

mod eval;
mod functions;
mod parse;
mod printf;
mod time;
mod value;

use storage::RegexLimits;

use super::labels::LabelSet;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<Node>,
    /// Of the patterns that its functions are given.
    regex: RegexLimits,
}

#[derive(Debug)]
enum Node {
    Text(String),
    Action(Pipeline),
    /// Condition, body, otherwise.
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
}

/// Commands, each handing its value to the next, and the variables that take the outcome.
#[derive(Debug)]
struct Pipeline {
    variables: Vec<String>,
    /// `:=`; else `=`.
    declares: bool,
    commands: Vec<Vec<Operand>>,
}

#[derive(Debug)]
enum Operand {
    Dot,
    /// `.a.b`.
    Field(Vec<String>),
    /// `$x.a`.
    Variable(String, Vec<String>),
    Function(String),
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Nil,
    /// `(..)`, with the fields that follow it.
    Pipeline(Box<Pipeline>, Vec<String>),
}

impl Template {
    /// Reads a template.
    ///
    /// Errors: what is wrong with it, unknown functions too.
    pub(crate) fn parse(text: &str, regex: RegexLimits) -> Result<Template, String> {
        Ok(Template { nodes: parse::parse(text)?, regex })
    }

    /// Writes the text that the template makes of a record.
    ///
    /// Errors: what a function or a field could not do.
    pub(crate) fn execute(
        &self,
        line: &str,
        time_ns: i64,
        labels: &LabelSet,
        out: &mut String,
    ) -> Result<(), String> {
        let record = eval::Record { line, time_ns, labels, regex: self.regex };
        eval::execute(&self.nodes, &record, out)
    }

    /// Adds the labels that the template reads.
    pub(crate) fn required_labels(&self, names: &mut Vec<String>) {
        nodes_labels(&self.nodes, names);
    }
}

fn nodes_labels(nodes: &[Node], names: &mut Vec<String>) {
    for node in nodes {
        match node {
            Node::Text(_) => {}
            Node::Action(pipeline) => pipeline_labels(pipeline, names),
            Node::If(condition, body, otherwise)
            | Node::With(condition, body, otherwise)
            | Node::Range(condition, body, otherwise) => {
                pipeline_labels(condition, names);
                nodes_labels(body, names);
                nodes_labels(otherwise, names);
            }
        }
    }
}

fn pipeline_labels(pipeline: &Pipeline, names: &mut Vec<String>) {
    for operand in pipeline.commands.iter().flatten() {
        match operand {
            Operand::Field(path) => names.extend(path.first().cloned()),
            Operand::Variable(_, path) => names.extend(path.first().cloned()),
            Operand::Pipeline(inner, _) => pipeline_labels(inner, names),
            _ => {}
        }
    }
}
