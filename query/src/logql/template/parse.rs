//! A template's text into nodes.

use super::super::lex::unescape;
use super::functions::exists;
use super::{Node, Operand, Pipeline};

/// Levels of `if`, `with`, `range` and parentheses.
const DEPTH_MAX: usize = 50;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    /// `.a`, with the dot taken off; empty for the dot itself.
    Field(String),
    Variable(String),
    Text(String),
    Int(i64),
    Float(f64),
    Pipe,
    Open,
    Close,
    Declare,
    Assign,
    Comma,
}

/// Tokens, each with whether a blank stands before it.
type Tokens = Vec<(Token, bool)>;

/// A piece of the template: text between actions, or an action's tokens.
enum Piece {
    Text(String),
    Action(Tokens),
}

pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut parser = Parser { pieces: split(text)?.into_iter(), depth: 0 };
    let (nodes, end) = parser.nodes()?;
    match end {
        Ending::Text => Ok(nodes),
        Ending::Keyword => Err("unexpected {{end}}".to_owned()),
        Ending::Else(_) => Err("unexpected {{else}}".to_owned()),
    }
}

fn split(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trims_left = false;
    loop {
        let start = rest.find("{{");
        let mut plain = &rest[..start.unwrap_or(rest.len())];
        if trims_left {
            plain = plain.trim_start();
        }
        let Some(start) = start else {
            pieces.push(Piece::Text(plain.to_owned()));
            return Ok(pieces);
        };
        let mut action = &rest[start + 2..];
        if action.starts_with('-') && action[1..].starts_with(char::is_whitespace) {
            plain = plain.trim_end();
            action = &action[1..];
        }
        pieces.push(Piece::Text(plain.to_owned()));
        if action.trim_start().starts_with("/*") {
            let end = action.find("*/").ok_or("unclosed comment")?;
            let after = &action[end + 2..];
            let close = after.find("}}").ok_or("comment ends before closing delimiter")?;
            trims_left = after[..close].trim_start().starts_with('-');
            rest = &after[close + 2..];
            continue;
        }
        let (tokens, after) = tokenize(action)?;
        trims_left = action[..action.len() - after.len()].ends_with(" -}}");
        pieces.push(Piece::Action(tokens));
        rest = after;
    }
}

/// The tokens of an action up to its `}}`, each with whether a blank stands before it.
fn tokenize(action: &str) -> Result<(Tokens, &str), String> {
    let mut tokens = Vec::new();
    let mut rest = action;
    loop {
        let trimmed = rest.trim_start();
        let spaced = trimmed.len() < rest.len();
        rest = trimmed;
        if let Some(after) = rest.strip_prefix("}}") {
            return Ok((tokens, after));
        }
        if spaced && rest.starts_with("-}}") {
            return Ok((tokens, &rest[3..]));
        }
        let Some(c) = rest.chars().next() else { return Err("unclosed action".to_owned()) };
        let (token, length) = token(rest, c)?;
        tokens.push((token, spaced));
        rest = &rest[length..];
    }
}

fn name_length(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len())
}

fn token(rest: &str, c: char) -> Result<(Token, usize), String> {
    let simple = match c {
        '|' => Some((Token::Pipe, 1)),
        '(' => Some((Token::Open, 1)),
        ')' => Some((Token::Close, 1)),
        ',' => Some((Token::Comma, 1)),
        ':' if rest.starts_with(":=") => Some((Token::Declare, 2)),
        '=' => Some((Token::Assign, 1)),
        _ => None,
    };
    if let Some(simple) = simple {
        return Ok(simple);
    }
    match c {
        '"' => {
            let mut escaped = false;
            for (at, c) in rest.char_indices().skip(1) {
                match c {
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    '"' => {
                        let text = unescape(&rest[1..at]).ok_or("invalid syntax")?;
                        return Ok((Token::Text(text), at + 1));
                    }
                    _ => {}
                }
            }
            Err("unterminated quoted string".to_owned())
        }
        '`' => {
            let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
            Ok((Token::Text(rest[1..=end].to_owned()), end + 2))
        }
        '\'' => {
            let end = rest[1..].find('\'').ok_or("unterminated character constant")?;
            let text = unescape(&rest[1..=end]).ok_or("malformed character constant")?;
            let code = text.chars().next().map_or(0, |c| i64::from(u32::from(c)));
            Ok((Token::Int(code), end + 2))
        }
        '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
            let length = name_length(&rest[1..]);
            Ok((Token::Field(rest[1..=length].to_owned()), length + 1))
        }
        '$' => {
            let length = name_length(&rest[1..]);
            Ok((Token::Variable(rest[1..=length].to_owned()), length + 1))
        }
        c if c.is_ascii_digit() || matches!(c, '.' | '-' | '+') => number(rest),
        c if c.is_alphabetic() || c == '_' => {
            let length = name_length(rest);
            Ok((Token::Word(rest[..length].to_owned()), length))
        }
        c => Err(format!("unexpected {c:?} in command")),
    }
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let body = rest.trim_start_matches(['-', '+']);
    let sign = rest.len() - body.len();
    let length = sign
        + body
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_')))
            .unwrap_or(body.len());
    let text = &rest[..length];
    if let Ok(int) = text.parse::<i64>() {
        return Ok((Token::Int(int), length));
    }
    if let Some(hex) = text.strip_prefix("0x")
        && let Ok(int) = i64::from_str_radix(hex, 16)
    {
        return Ok((Token::Int(int), length));
    }
    text.parse()
        .map(|float| (Token::Float(float), length))
        .map_err(|_error| format!("bad number syntax: {text:?}"))
}

/// How a list of nodes ended.
enum Ending {
    Text,
    Keyword,
    /// The tokens behind `else`, for `else if`.
    Else(Vec<(Token, bool)>),
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, Ending), String> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    if !text.is_empty() {
                        nodes.push(Node::Text(text));
                    }
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let keyword = match tokens.first() {
                Some((Token::Word(word), _)) => word.clone(),
                Some(_) => String::new(),
                None => return Err("missing value for command".to_owned()),
            };
            match keyword.as_str() {
                "end" => return Ok((nodes, Ending::Keyword)),
                "else" => return Ok((nodes, Ending::Else(tokens[1..].to_vec()))),
                "if" | "with" | "range" => nodes.push(self.block(&keyword, &tokens[1..])?),
                "define" | "template" | "block" | "break" | "continue" => {
                    return Err(format!("{keyword} is not supported"));
                }
                _ => nodes.push(Node::Action(pipeline(&tokens)?)),
            }
        }
        Ok((nodes, Ending::Text))
    }

    fn block(&mut self, keyword: &str, tokens: &[(Token, bool)]) -> Result<Node, String> {
        if self.depth >= DEPTH_MAX {
            return Err(format!("template nests deeper than {DEPTH_MAX} levels"));
        }
        self.depth += 1;
        let condition = pipeline(tokens)?;
        let (body, end) = self.nodes()?;
        let otherwise = match end {
            Ending::Text => return Err("unexpected EOF".to_owned()),
            Ending::Keyword => Vec::new(),
            Ending::Else(tokens) => match tokens.first() {
                Some((Token::Word(word), _)) if word == "if" || word == "with" => {
                    let word = word.clone();
                    vec![self.block(&word, &tokens[1..])?]
                }
                Some(_) => return Err("unexpected token in {{else}}".to_owned()),
                None => {
                    let (otherwise, end) = self.nodes()?;
                    if !matches!(end, Ending::Keyword) {
                        return Err("expected end; found else".to_owned());
                    }
                    otherwise
                }
            },
        };
        self.depth -= 1;
        Ok(match keyword {
            "if" => Node::If(condition, body, otherwise),
            "with" => Node::With(condition, body, otherwise),
            _ => Node::Range(condition, body, otherwise),
        })
    }
}

fn pipeline(tokens: &[(Token, bool)]) -> Result<Pipeline, String> {
    let mut rest = tokens;
    let (pipeline, after) = pipeline_until(&mut rest, 0)?;
    if after { Err("unexpected right paren".to_owned()) } else { Ok(pipeline) }
}

/// Reads a pipeline; answers whether a closing parenthesis ended it.
fn pipeline_until(rest: &mut &[(Token, bool)], depth: usize) -> Result<(Pipeline, bool), String> {
    if depth > DEPTH_MAX {
        return Err(format!("template nests deeper than {DEPTH_MAX} levels"));
    }
    let (variables, declares) = declarations(rest);
    let mut commands = vec![Vec::new()];
    let mut closed = false;
    while let Some(((token, spaced), after)) = rest.split_first() {
        *rest = after;
        let command = commands.last_mut().ok_or("missing value for command")?;
        match token {
            Token::Pipe => {
                if command.is_empty() {
                    return Err("missing value for command".to_owned());
                }
                commands.push(Vec::new());
            }
            Token::Close => {
                closed = true;
                break;
            }
            Token::Open => {
                let (inner, inner_closed) = pipeline_until(rest, depth + 1)?;
                if !inner_closed {
                    return Err("unclosed left paren".to_owned());
                }
                command.push(Operand::Pipeline(Box::new(inner), Vec::new()));
            }
            Token::Field(name) if !spaced && !command.is_empty() => match command.last_mut() {
                Some(
                    Operand::Field(path) | Operand::Variable(_, path) | Operand::Pipeline(_, path),
                ) => {
                    path.push(name.clone());
                }
                _ => return Err(format!("unexpected .{name}")),
            },
            Token::Field(name) if name.is_empty() => command.push(Operand::Dot),
            Token::Field(name) => command.push(Operand::Field(vec![name.clone()])),
            Token::Variable(name) => command.push(Operand::Variable(name.clone(), Vec::new())),
            Token::Text(text) => command.push(Operand::Text(text.clone())),
            Token::Int(int) => command.push(Operand::Int(*int)),
            Token::Float(float) => command.push(Operand::Float(*float)),
            Token::Word(word) => command.push(word_operand(word)?),
            Token::Declare | Token::Assign | Token::Comma => {
                return Err("unexpected token in command".to_owned());
            }
        }
    }
    if commands.last().is_none_or(Vec::is_empty) {
        return Err("missing value for command".to_owned());
    }
    Ok((Pipeline { variables, declares, commands }, closed))
}

fn word_operand(word: &str) -> Result<Operand, String> {
    Ok(match word {
        "true" => Operand::Bool(true),
        "false" => Operand::Bool(false),
        "nil" => Operand::Nil,
        name if exists(name) => Operand::Function(name.to_owned()),
        name => return Err(format!("function {name:?} not defined")),
    })
}

/// `$a, $b :=` or `$a =` at the front.
fn declarations(rest: &mut &[(Token, bool)]) -> (Vec<String>, bool) {
    let mut variables = Vec::new();
    let mut at = 0;
    while let Some((Token::Variable(name), _)) = rest.get(at) {
        variables.push(name.clone());
        match rest.get(at + 1) {
            Some((Token::Comma, _)) => at += 2,
            Some((sign @ (Token::Declare | Token::Assign), _)) => {
                let declares = *sign == Token::Declare;
                *rest = rest.get(at + 2..).unwrap_or_default();
                return (variables, declares);
            }
            _ => break,
        }
    }
    (Vec::new(), false)
}
