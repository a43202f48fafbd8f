//! `labels`, `label/{name}/values`, `series`, `metadata`, `query_exemplars`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::Request;
use model::{Labels, Limits, Signal};
use storage::{Budget, Matcher, MsRange, Notices, Snapshot};

use super::super::Query;
use super::super::params::{Params, unescape_name};
use super::super::respond::{
    push_float, push_labels, push_string, push_strings, push_time_ms, run,
};
use super::{Failure, Notes, respond, success, time_param};
use crate::limits::ParseLimits;
use crate::promql::{Expr, Kind, labels_order, parse, parse_selector};

/// What all these endpoints read of a request.
struct Ask {
    params: Params,
    range: MsRange,
    limit: Option<usize>,
}

impl Ask {
    async fn read(request: Request<Body>) -> Result<Ask, Failure> {
        let params = Params::read(request).await?;
        let start_ms = time_param(&params, "start")?.unwrap_or(i64::MIN);
        let end_ms = time_param(&params, "end")?.unwrap_or(i64::MAX);
        if end_ms < start_ms {
            return Err(Failure::parameter("end", "end timestamp must not be before start time"));
        }
        let limit = params.count("limit")?.filter(|&limit| limit > 0);
        Ok(Ask { params, range: MsRange { start_ms, end_ms }, limit })
    }

    fn selectors(&self, limits: &Limits) -> Result<Vec<Vec<Matcher>>, Failure> {
        self.params
            .all("match[]")
            .map(|text| {
                parse_selector(text, ParseLimits::of(limits))
                    .map_err(|error| Failure::parameter("match[]", error.render(text)))
            })
            .collect()
    }
}

/// Runs `work` on the tenant's snapshot and wraps its JSON.
async fn answer(
    query: &Arc<Query>,
    ask: Ask,
    work: impl FnOnce(&Ask, &Limits, &Snapshot, &Budget) -> Result<(String, Notes), Failure>
    + Send
    + 'static,
) -> Result<Response, Failure> {
    let budget = query.source.budget(&ask.params.tenant);
    let outcome = run(query, &budget, move |source, budget| {
        let snapshot = source.snapshot(&ask.params.tenant);
        let (data, mut notes) = work(&ask, &source.limits(&ask.params.tenant), &snapshot, budget)?;
        notes.add(snapshot.notices(Signal::Metrics));
        Ok::<_, Failure>((data, notes))
    });
    let (data, notes) = outcome.await??;
    Ok(success(&data, &notes))
}

fn strings((mut texts, notices): (Vec<String>, Notices), limit: Option<usize>) -> (String, Notes) {
    let mut notes = Notes::default();
    notes.add(&notices);
    cut(&mut texts, limit, &mut notes);
    let mut data = String::new();
    push_strings(&mut data, &texts);
    (data, notes)
}

fn cut<T>(items: &mut Vec<T>, limit: Option<usize>, notes: &mut Notes) {
    if let Some(limit) = limit.filter(|&limit| items.len() > limit) {
        items.truncate(limit);
        notes.truncated();
    }
}

pub(super) async fn labels(State(query): State<Arc<Query>>, request: Request<Body>) -> Response {
    let outcome = async {
        let ask = Ask::read(request).await?;
        answer(&query, ask, |ask, limits, snapshot, budget| {
            let selectors = ask.selectors(limits)?;
            let found = snapshot.metrics().label_names(&selectors, ask.range, budget)?;
            Ok(strings(found, ask.limit))
        })
        .await
    };
    respond(outcome.await)
}

pub(super) async fn label_values(
    query: &Arc<Query>,
    name: &str,
    request: Request<Body>,
) -> Response {
    let name = unescape_name(name);
    let outcome = async {
        if name.is_empty() {
            return Err(Failure::bad_data(format!("invalid label name: {name:?}")));
        }
        let ask = Ask::read(request).await?;
        answer(query, ask, move |ask, limits, snapshot, budget| {
            let selectors = ask.selectors(limits)?;
            let found = snapshot.metrics().label_values(&name, &selectors, ask.range, budget)?;
            Ok(strings(found, ask.limit))
        })
        .await
    };
    respond(outcome.await)
}

pub(super) async fn series(State(query): State<Arc<Query>>, request: Request<Body>) -> Response {
    let outcome = async {
        let ask = Ask::read(request).await?;
        if ask.params.all("match[]").next().is_none() {
            return Err(Failure::bad_data("no match[] parameter provided"));
        }
        answer(&query, ask, |ask, limits, snapshot, budget| {
            let mut notes = Notes::default();
            let mut found: Vec<Labels> = Vec::new();
            for matchers in ask.selectors(limits)? {
                let selection = snapshot.metrics().select(&matchers, ask.range, budget)?;
                notes.add(&selection.notices);
                found.extend(selection.series().iter().cloned());
            }
            found.sort_by(labels_order);
            found.dedup();
            cut(&mut found, ask.limit, &mut notes);
            Ok((list_of(&found, push_labels), notes))
        })
        .await
    };
    respond(outcome.await)
}

fn list_of<T>(items: &[T], push: impl Fn(&mut String, &T)) -> String {
    let mut out = String::from("[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push(&mut out, item);
    }
    out.push(']');
    out
}

pub(super) async fn metadata(State(query): State<Arc<Query>>, request: Request<Body>) -> Response {
    let outcome = async {
        let ask = Ask::read(request).await?;
        let per_metric = ask.params.count("limit_per_metric")?.filter(|&limit| limit > 0);
        answer(&query, ask, move |ask, _, snapshot, budget| {
            let family = ask.params.get("metric");
            let (entries, notices) = snapshot.metrics().metadata(family, budget)?;
            let mut notes = Notes::default();
            notes.add(&notices);
            let mut data = String::from("{");
            let (mut families, mut of_family) = (0usize, 0usize);
            let mut current: Option<&str> = None;
            for entry in &entries {
                if current == Some(entry.family.as_str()) {
                    if per_metric.is_some_and(|limit| of_family >= limit) {
                        continue;
                    }
                    data.push(',');
                } else {
                    if ask.limit.is_some_and(|limit| families >= limit) {
                        break;
                    }
                    if current.is_some() {
                        data.push_str("],");
                    }
                    push_string(&mut data, &entry.family);
                    data.push_str(":[");
                    current = Some(&entry.family);
                    families += 1;
                    of_family = 0;
                }
                of_family += 1;
                data.push_str(&format!("{{\"type\":\"{}\",\"help\":", entry.kind.as_str()));
                push_string(&mut data, &entry.help);
                data.push_str(",\"unit\":");
                push_string(&mut data, &entry.unit);
                data.push('}');
            }
            data.push_str(if current.is_some() { "]}" } else { "}" });
            Ok((data, notes))
        })
        .await
    };
    respond(outcome.await)
}

pub(super) async fn exemplars(State(query): State<Arc<Query>>, request: Request<Body>) -> Response {
    let outcome = async {
        let ask = Ask::read(request).await?;
        answer(&query, ask, |ask, limits, snapshot, budget| {
            let text = ask.params.get("query").unwrap_or("");
            let expr = parse(text, ParseLimits::of(limits))
                .map_err(|error| Failure::parameter("query", error.render(text)))?;
            let mut selectors = Vec::new();
            collect_selectors(&expr, &mut selectors);
            let mut notes = Notes::default();
            let mut hits = Vec::new();
            for matchers in selectors {
                let (found, notices) = snapshot.metrics().exemplars(matchers, ask.range, budget)?;
                notes.add(&notices);
                hits.extend(found);
            }
            hits.sort_by(|a, b| labels_order(&a.series, &b.series).then(a.time_ms.cmp(&b.time_ms)));
            hits.dedup();
            let groups: Vec<_> = hits.chunk_by(|a, b| a.series == b.series).collect();
            let data = list_of(&groups, |out, group| {
                let Some(first) = group.first() else { return };
                out.push_str("{\"seriesLabels\":");
                push_labels(out, &first.series);
                out.push_str(",\"exemplars\":");
                out.push_str(&list_of(group, |out, hit| {
                    out.push_str("{\"labels\":");
                    push_labels(out, &hit.labels);
                    out.push_str(",\"value\":\"");
                    push_float(out, hit.value);
                    out.push_str("\",\"timestamp\":");
                    push_time_ms(out, hit.time_ms);
                    out.push('}');
                }));
                out.push('}');
            });
            Ok((data, notes))
        })
        .await
    };
    respond(outcome.await)
}

fn collect_selectors<'e>(expr: &'e Expr, out: &mut Vec<&'e [Matcher]>) {
    if let Kind::Selector(selector) = &expr.kind {
        out.push(&selector.matchers);
    }
    expr.parts(&mut |part| collect_selectors(part, out));
}
