//! Executes a parsed template.

use storage::RegexLimits;

use super::super::labels::LabelSet;
use super::functions::call;
use super::value::Value;
use super::{Node, Operand, Pipeline};

/// What one execution may write. Units: bytes.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// What the arguments of all calls of one execution may weigh, so that ranges inside ranges end though
/// they write nothing. Units: bytes.
const WORK_BYTES_MAX: usize = 64 << 20;
/// What a call costs beside its arguments. Units: bytes.
const CALL_BYTES: usize = 64;

/// The record that a template sees.
pub(super) struct Record<'a> {
    pub(super) line: &'a str,
    pub(super) time_ns: i64,
    pub(super) labels: &'a LabelSet,
    pub(super) regex: RegexLimits,
}

struct Scope<'a> {
    record: &'a Record<'a>,
    variables: Vec<(String, Value)>,
    work_bytes: usize,
}

pub(super) fn execute(nodes: &[Node], record: &Record<'_>, out: &mut String) -> Result<(), String> {
    let mut scope = Scope { record, variables: Vec::new(), work_bytes: 0 };
    scope.nodes(nodes, &Value::Labels, out)
}

impl Scope<'_> {
    /// Notes what a step costs.
    ///
    /// Errors: the template has worked enough.
    fn work(&mut self, bytes: usize) -> Result<(), String> {
        self.work_bytes = self.work_bytes.saturating_add(CALL_BYTES).saturating_add(bytes);
        if self.work_bytes > WORK_BYTES_MAX {
            return Err(format!("template works on more than {WORK_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value, out: &mut String) -> Result<(), String> {
        for node in nodes {
            if out.len() > OUTPUT_BYTES_MAX {
                return Err(format!("template writes more than {OUTPUT_BYTES_MAX} bytes"));
            }
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Action(pipeline) => self.action(pipeline, dot, out)?,
                Node::If(condition, body, otherwise) => {
                    let mark = self.variables.len();
                    let branch =
                        if self.pipeline(condition, dot)?.is_true() { body } else { otherwise };
                    self.nodes(branch, dot, out)?;
                    self.variables.truncate(mark);
                }
                Node::With(condition, body, otherwise) => {
                    let mark = self.variables.len();
                    let value = self.pipeline(condition, dot)?;
                    if value.is_true() {
                        self.nodes(body, &value, out)?;
                    } else {
                        self.nodes(otherwise, dot, out)?;
                    }
                    self.variables.truncate(mark);
                }
                Node::Range(source, body, otherwise) => {
                    self.range(source, body, otherwise, dot, out)?;
                }
            }
        }
        Ok(())
    }

    /// The most frequent action, a label alone, is written without a copy.
    fn action(&mut self, pipeline: &Pipeline, dot: &Value, out: &mut String) -> Result<(), String> {
        if let ([command], true) = (pipeline.commands.as_slice(), pipeline.variables.is_empty())
            && let ([Operand::Field(path)], Value::Labels) = (command.as_slice(), dot)
            && let [name] = path.as_slice()
        {
            out.push_str(self.record.labels.value(name));
            return Ok(());
        }
        let value = self.pipeline(pipeline, dot)?;
        if pipeline.variables.is_empty() {
            out.push_str(&value.print());
        }
        Ok(())
    }

    fn range(
        &mut self,
        source: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
        out: &mut String,
    ) -> Result<(), String> {
        let mark = self.variables.len();
        let items: Vec<(Value, Value)> = match self.commands(source, dot)? {
            Value::List(items) => items
                .into_iter()
                .enumerate()
                .map(|(at, item)| (Value::Int(at as i64), item))
                .collect(),
            Value::Map(entries) => {
                entries.into_iter().map(|(key, item)| (Value::Text(key), item)).collect()
            }
            Value::Int(count) => {
                (0..count.clamp(0, 10_000)).map(|i| (Value::Int(i), Value::Int(i))).collect()
            }
            Value::Nil | Value::Missing => Vec::new(),
            other => return Err(format!("range can't iterate over {}", other.print())),
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot, out);
        }
        for (key, item) in items {
            self.work(item.weight())?;
            match source.variables.as_slice() {
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
                _ => {}
            }
            self.nodes(body, &item, out)?;
            self.variables.truncate(mark);
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
            match known {
                Some((_, slot)) if !pipeline.declares => *slot = value.clone(),
                None if !pipeline.declares => return Err(format!("undefined variable: ${name}")),
                _ => self.variables.push((name.clone(), value.clone())),
            }
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, dot, last)?);
        }
        last.ok_or_else(|| "missing value for command".to_owned())
    }

    fn command(
        &mut self,
        command: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, String> {
        let Some((first, rest)) = command.split_first() else {
            return Err("missing value for command".to_owned());
        };
        let Operand::Function(name) = first else {
            if !rest.is_empty() || piped.is_some() {
                return Err("can't give argument to non-function".to_owned());
            }
            let value = self.operand(first, dot)?;
            self.work(value.weight())?;
            return Ok(value);
        };
        // These two stop at the first value that decides.
        if name == "and" || name == "or" {
            let mut value = Value::Nil;
            for operand in rest {
                value = self.operand(operand, dot)?;
                if value.is_true() != (name == "and") {
                    return Ok(value);
                }
            }
            return Ok(piped.unwrap_or(value));
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        self.work(arguments.iter().map(Value::weight).sum())?;
        call(name, &arguments, self.record)
            .map_err(|why| format!("template: error calling {name}: {why}"))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        Ok(match operand {
            Operand::Dot => dot.clone(),
            Operand::Field(path) => self.field(dot.clone(), path)?,
            Operand::Variable(name, path) => {
                let value = if name.is_empty() {
                    Value::Labels
                } else {
                    let known = self.variables.iter().rev().find(|(known, _)| known == name);
                    known
                        .map(|(_, value)| value.clone())
                        .ok_or_else(|| format!("undefined variable: ${name}"))?
                };
                self.field(value, path)?
            }
            Operand::Function(name) => call(name, &[], self.record)
                .map_err(|why| format!("template: error calling {name}: {why}"))?,
            Operand::Text(text) => Value::Text(text.clone()),
            Operand::Int(int) => Value::Int(*int),
            Operand::Float(float) => Value::Float(*float),
            Operand::Bool(flag) => Value::Bool(*flag),
            Operand::Nil => Value::Nil,
            Operand::Pipeline(pipeline, path) => {
                let value = self.pipeline(pipeline, dot)?;
                self.field(value, path)?
            }
        })
    }

    fn field(&self, value: Value, path: &[String]) -> Result<Value, String> {
        let mut value = value;
        for name in path {
            value = match value {
                Value::Labels => match self.record.labels.get(name) {
                    Some((text, _)) => Value::Text(text.to_owned()),
                    None => {
                        let text = self.record.labels.value(name);
                        if text.is_empty() { Value::Missing } else { Value::Text(text.to_owned()) }
                    }
                },
                Value::Map(mut entries) => entries.remove(name).unwrap_or(Value::Nil),
                Value::Nil | Value::Missing => Value::Missing,
                other => {
                    return Err(format!("can't evaluate field {name} in type {}", other.kind()));
                }
            };
        }
        Ok(value)
    }
}
