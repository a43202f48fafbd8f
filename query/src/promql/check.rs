//! Types and the rules that the grammar cannot say.
//! Source: Prometheus `promql/parser/parse.go`, `checkAST` (3.14).

use super::ast::{Aggregate, Binary, Cardinality, Expr, Kind, Selector, Type};
use super::error::ParseError;
use super::functions::Function;

/// Checks a whole tree.
///
/// Errors: the first rule that is broken, from the leaves up.
pub(crate) fn check(expr: &Expr) -> Result<(), ParseError> {
    if let Kind::Call { function, args } = &expr.kind
        && function.name == "info"
    {
        return check_info(expr, function, args);
    }
    let mut outcome = Ok(());
    expr.parts(&mut |part| {
        if outcome.is_ok() {
            outcome = check(part);
        }
    });
    outcome?;
    let fail = |message: String| Err(ParseError::new(expr.start, message));
    match &expr.kind {
        Kind::Selector(selector) => check_selector(expr, selector),
        Kind::Subquery { expr: inner, .. } => match inner.kind_of_value() {
            Type::Vector => Ok(()),
            other => fail(format!(
                "subquery is only allowed on instant vector, got {} instead",
                short_name(other)
            )),
        },
        Kind::Negate { expr: inner, .. } => match inner.kind_of_value() {
            Type::Scalar | Type::Vector => Ok(()),
            other => fail(format!(
                "unary expression only allowed on expressions of type scalar or instant vector, \
                 got {:?}",
                other.describe()
            )),
        },
        Kind::Binary(binary) => check_binary(expr, binary),
        Kind::Call { function, args } => check_call(expr, function, args),
        Kind::Aggregate(aggregate) => check_aggregate(aggregate),
        Kind::Number { .. } | Kind::Text(_) | Kind::Matrix { .. } | Kind::Paren(_) => Ok(()),
    }
}

fn short_name(kind: Type) -> &'static str {
    match kind {
        Type::Scalar => "scalar",
        Type::Vector => "vector",
        Type::Matrix => "matrix",
        Type::Text => "string",
    }
}

fn check_selector(expr: &Expr, selector: &Selector) -> Result<(), ParseError> {
    if selector.matchers.iter().all(storage::Matcher::matches_empty) {
        let message = "vector selector must contain at least one non-empty matcher";
        return Err(ParseError::new(expr.start, message));
    }
    Ok(())
}

fn check_info(expr: &Expr, function: &Function, args: &[Expr]) -> Result<(), ParseError> {
    if let Some(first) = args.first() {
        check(first)?;
    }
    check_call(expr, function, args)?;
    let Some(labels) = args.get(1) else { return Ok(()) };
    let Kind::Selector(selector) = &labels.kind else {
        return Err(ParseError::new(labels.start, "expected label selectors only"));
    };
    if selector.name.is_some() {
        let message = "expected label selectors only, got vector selector instead";
        return Err(ParseError::new(labels.start, message));
    }
    Ok(())
}

fn check_binary(expr: &Expr, binary: &Binary) -> Result<(), ParseError> {
    let fail = |message: String| Err(ParseError::new(expr.start, message));
    let (lhs, rhs) = (binary.lhs.kind_of_value(), binary.rhs.kind_of_value());
    let matching = &binary.matching;
    for (side, kind) in [(&binary.lhs, lhs), (&binary.rhs, rhs)] {
        if !matches!(kind, Type::Scalar | Type::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(ParseError::new(side.start, message));
        }
    }
    if binary.op.is_comparison()
        && !binary.returns_bool
        && lhs == Type::Scalar
        && rhs == Type::Scalar
    {
        let at = binary.lhs.end + 1;
        return Err(ParseError::new(at, "comparisons between scalars must use BOOL modifier"));
    }
    if matching.on
        && let Some(label) = matching.include.iter().find(|name| matching.labels.contains(name))
    {
        return fail(format!("label {label:?} must not occur in ON and GROUP clause at once"));
    }
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    if lhs != Type::Vector || rhs != Type::Vector {
        if !matching.labels.is_empty() {
            return fail("vector matching only allowed between instant vectors".to_owned());
        }
        if fills {
            return fail(
                "filling in missing series only allowed between instant vectors".to_owned(),
            );
        }
        if binary.op.is_set() {
            return fail(format!(
                "set operator {:?} not allowed in binary scalar expression",
                binary.op.as_str()
            ));
        }
        return Ok(());
    }
    if binary.op.is_set() {
        if matching.cardinality != Cardinality::ManyToMany {
            return fail(format!("no grouping allowed for {:?} operation", binary.op.as_str()));
        }
        if fills {
            return fail("filling in missing series not allowed for set operators".to_owned());
        }
    }
    Ok(())
}

fn check_call(expr: &Expr, function: &Function, args: &[Expr]) -> Result<(), ParseError> {
    let (least, most) = function.arg_counts();
    let count = args.len();
    let problem = if least == most && count != least {
        Some(format!("expected {least} argument(s) in call to {:?}, got {count}", function.name))
    } else if count < least {
        Some(format!(
            "expected at least {least} argument(s) in call to {:?}, got {count}",
            function.name
        ))
    } else if count > most {
        Some(format!(
            "expected at most {most} argument(s) in call to {:?}, got {count}",
            function.name
        ))
    } else {
        None
    };
    if let Some(message) = problem {
        return Err(ParseError::new(expr.start, message));
    }
    for (index, arg) in args.iter().enumerate() {
        let Some(&wanted) = function.args.get(index).or(function.args.last()) else { break };
        let got = arg.kind_of_value();
        if got != wanted {
            let message = format!(
                "expected type {} in call to function {:?}, got {}",
                wanted.describe(),
                function.name,
                got.describe()
            );
            return Err(ParseError::new(arg.start, message));
        }
    }
    Ok(())
}

fn check_aggregate(aggregate: &Aggregate) -> Result<(), ParseError> {
    let expected = |expr: &Expr, wanted: Type, place: &str| {
        let got = expr.kind_of_value();
        if got == wanted {
            return Ok(());
        }
        let message =
            format!("expected type {} in {place}, got {}", wanted.describe(), got.describe());
        Err(ParseError::new(expr.start, message))
    };
    expected(&aggregate.expr, Type::Vector, "aggregation expression")?;
    if let (Some(param), Some(wanted)) = (&aggregate.param, aggregate.op.param()) {
        expected(param, wanted, "aggregation parameter")?;
    }
    Ok(())
}
