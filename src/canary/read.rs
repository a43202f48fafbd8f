//! What is stored, asked through the public APIs: LogQL, PromQL, traces by ID, Jaeger's search.

use std::time::Duration;

use futures::StreamExt as _;
use model::{Signal, TenantId};
use serde_json::Value as Json;

use super::record::{Found, METRIC, Run, SERVICE};

/// Longer than any query may take.
const TIMEOUT: Duration = Duration::from_secs(70);
/// Entries that one query asks for at most; ranges are halved until they fit.
pub(super) const ENTRIES_MAX: u64 = 4000;
/// Traces that one search asks for at most.
const TRACES_MAX: usize = 1000;
/// Traces that are asked for at once.
const TRACES_AT_ONCE: usize = 8;
/// Answers 404 where nothing carries the ID.
const LOOKUP: &str = "/tercet/api/v1/lookup/";
/// Kept of an answer in a message. Units: characters.
const SHOWN: usize = 300;

/// Who asks, or sends.
#[derive(Debug, Clone, Default)]
pub enum Access {
    #[default]
    Open,
    Token(String),
    User(String, String),
}

impl Access {
    pub(crate) fn apply(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match self {
            Access::Open => request,
            Access::Token(token) => request.bearer_auth(token),
            Access::User(name, password) => request.basic_auth(name, Some(password)),
        }
    }
}

/// What an answer held.
#[derive(Debug, Default)]
pub struct Answer {
    pub found: Vec<Found>,
    /// Records that are not what was sent, in words.
    pub corrupt: Vec<String>,
    /// What the answer said it could not read.
    pub partial: Vec<String>,
}

/// A range of time, half-open. Units: ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub from_ms: i64,
    pub to_ms: i64,
}

impl Range {
    pub(super) fn halves(self) -> [Range; 2] {
        let middle = self.from_ms + (self.to_ms - self.from_ms) / 2;
        [
            Range { from_ms: self.from_ms, to_ms: middle },
            Range { from_ms: middle, to_ms: self.to_ms },
        ]
    }
}

/// Reads one run's records.
#[derive(Debug, Clone)]
pub struct Reader {
    pub client: reqwest::Client,
    /// Base address of the query APIs.
    pub base: String,
    pub access: Access,
    pub run: Run,
}

impl Reader {
    async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Json, String> {
        let request = self
            .client
            .get(format!("{}{path}", self.base))
            .query(query)
            .timeout(TIMEOUT)
            .header("accept", "application/json")
            .header(TenantId::HEADER, &self.run.tenant);
        let answer = self.access.apply(request).send().await;
        let answer = answer.map_err(|error| format!("{path}: {error}"))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| format!("{path}: {error}"))?;
        if status == reqwest::StatusCode::NOT_FOUND && path.starts_with(LOOKUP) {
            return Ok(Json::Null);
        }
        let shown = || text.chars().take(SHOWN).collect::<String>();
        if !status.is_success() {
            return Err(format!("{path} answered {status}: {}", shown()));
        }
        serde_json::from_str(&text).map_err(|error| format!("{path}: {error}: {}", shown()))
    }

    /// How many records a range holds, as the server counts them.
    ///
    /// Errors: the question could not be asked or was not answered.
    pub async fn count(&self, signal: Signal, range: Range) -> Result<(u64, Vec<String>), String> {
        let run = self.run.label();
        let span = range.to_ms - range.from_ms;
        match signal {
            Signal::Logs => {
                let query = format!(
                    "sum(count_over_time({{service_name=\"{SERVICE}\"}} | run=\"{run}\" [{span}ms]))"
                );
                self.logql_number(query, range).await
            }
            Signal::Metrics => {
                let query = format!("sum(count_over_time({METRIC}{{run=\"{run}\"}}[{span}ms]))");
                let (number, partial) = self.promql_number(query, range).await?;
                Ok((number as u64, partial))
            }
            Signal::Traces => {
                let (ids, partial) = self.all_trace_ids(range).await?;
                Ok((ids.len() as u64 * u64::from(self.run.records), partial))
            }
        }
    }

    /// The sum of the samples' values in a range.
    ///
    /// Errors: the question could not be asked or was not answered.
    pub async fn sum(&self, range: Range) -> Result<f64, String> {
        let span = range.to_ms - range.from_ms;
        let run = self.run.label();
        let query = format!("sum(sum_over_time({METRIC}{{run=\"{run}\"}}[{span}ms]))");
        self.promql_number(query, range).await.map(|(number, _)| number)
    }

    /// Records of the canary in this tenant that say they belong to another.
    ///
    /// Errors: the question could not be asked or was not answered.
    pub async fn foreign(&self, range: Range) -> Result<u64, String> {
        let (tenant, span) = (&self.run.tenant, range.to_ms - range.from_ms);
        let query = format!(
            "sum(count_over_time({{service_name=\"{SERVICE}\"}} | tenant!=\"{tenant}\" [{span}ms]))"
        );
        let (logs, _) = self.logql_number(query, range).await?;
        let query = format!("sum(count_over_time({METRIC}{{tenant!=\"{tenant}\"}}[{span}ms]))");
        let (samples, _) = self.promql_number(query, range).await?;
        Ok(logs + samples as u64)
    }

    async fn logql_number(
        &self,
        query: String,
        range: Range,
    ) -> Result<(u64, Vec<String>), String> {
        // Loki's windows leave their begin out and hold their end.
        let time = range.to_ms.saturating_mul(1_000_000) - 1;
        let query = [("query", query), ("time", time.to_string())];
        let answer = self.get("/loki/api/v1/query", &query).await?;
        Ok((number(&answer)? as u64, warnings(&answer)))
    }

    async fn promql_number(
        &self,
        query: String,
        range: Range,
    ) -> Result<(f64, Vec<String>), String> {
        let query = [("query", query), ("time", seconds(range.to_ms - 1))];
        let answer = self.get("/api/v1/query", &query).await?;
        Ok((number(&answer)?, warnings(&answer)))
    }

    /// Every record of a range, which holds at most [`ENTRIES_MAX`].
    ///
    /// Errors: a question could not be asked or was not answered.
    pub async fn records(&self, signal: Signal, range: Range) -> Result<Answer, String> {
        match signal {
            Signal::Logs => self.logs(range).await,
            Signal::Metrics => self.samples(range).await,
            Signal::Traces => {
                let (ids, partial) = self.all_trace_ids(range).await?;
                let mut answer = self.traces(&ids).await?;
                answer.partial.extend(partial);
                Ok(answer)
            }
        }
    }

    async fn logs(&self, range: Range) -> Result<Answer, String> {
        let run = self.run.label();
        let query = [
            ("query", format!("{{service_name=\"{SERVICE}\"}} | run=\"{run}\"")),
            ("start", range.from_ms.saturating_mul(1_000_000).to_string()),
            ("end", range.to_ms.saturating_mul(1_000_000).to_string()),
            ("limit", (ENTRIES_MAX + 1000).to_string()),
            ("direction", "forward".to_owned()),
        ];
        let json = self.get("/loki/api/v1/query_range", &query).await?;
        let mut answer = Answer { partial: warnings(&json), ..Answer::default() };
        for value in list(&json["data"]["result"]).flat_map(|stream| list(&stream["values"])) {
            let line = value[1].as_str().unwrap_or_default();
            let time_ns = value[0].as_str().and_then(|time| time.parse::<i64>().ok());
            answer.take(self.run.parse(Signal::Logs, line), time_ns);
        }
        Ok(answer)
    }

    async fn samples(&self, range: Range) -> Result<Answer, String> {
        let span = range.to_ms - range.from_ms;
        let query = [
            ("query", format!("{METRIC}{{run=\"{}\"}}[{span}ms]", self.run.label())),
            ("time", seconds(range.to_ms - 1)),
        ];
        let json = self.get("/api/v1/query", &query).await?;
        let mut answer = Answer { partial: warnings(&json), ..Answer::default() };
        for series in list(&json["data"]["result"]) {
            let label = |name: &str| series["metric"][name].as_str().unwrap_or_default();
            let (Ok(writer), Ok(index)) = (label("writer").parse(), label("index").parse()) else {
                answer.corrupt.push(format!("a series of no writer: {}", series["metric"]));
                continue;
            };
            for sample in list(&series["values"]) {
                let time_ms = (sample[0].as_f64().unwrap_or(0.0) * 1000.0).round() as i64;
                let value = sample[1].as_str().and_then(|text| text.parse().ok());
                let value = value.unwrap_or(f64::NAN);
                answer.take(self.run.parse_value((writer, index), time_ms, value), None);
            }
        }
        Ok(answer)
    }

    /// Traces that begin in a range, by as many searches as their number takes.
    pub(super) async fn all_trace_ids(
        &self,
        range: Range,
    ) -> Result<(Vec<u128>, Vec<String>), String> {
        let (mut ids, mut partial) = (Vec::new(), Vec::new());
        let mut ranges = vec![range];
        while let Some(range) = ranges.pop() {
            let (found, told) = self.trace_ids(range).await?;
            if found.len() >= TRACES_MAX && range.to_ms - range.from_ms > 1 {
                ranges.extend(range.halves());
                continue;
            }
            ids.extend(found);
            partial.extend(told);
        }
        Ok((ids, partial))
    }

    /// Traces that begin in a range, by Jaeger's search.
    async fn trace_ids(&self, range: Range) -> Result<(Vec<u128>, Vec<String>), String> {
        let query = [
            ("service", SERVICE.to_owned()),
            ("tags", format!("{{\"run\":\"{}\"}}", self.run.label())),
            ("start", (range.from_ms * 1000).to_string()),
            ("end", (range.to_ms * 1000 - 1).to_string()),
            ("limit", TRACES_MAX.to_string()),
        ];
        let json = self.get("/api/traces", &query).await?;
        let mut ids = Vec::new();
        for trace in list(&json["data"]) {
            let text = trace["traceID"].as_str().unwrap_or_default();
            ids.push(u128::from_str_radix(text, 16).map_err(|_| format!("trace ID {text:?}"))?);
        }
        let partial = list(&json["errors"]).map(|error| error["msg"].to_string()).collect();
        Ok((ids, partial))
    }

    /// The spans of traces, by ID: in turn through Tempo's endpoint and through the lookup.
    pub(super) async fn traces(&self, ids: &[u128]) -> Result<Answer, String> {
        let asked: Vec<_> =
            ids.iter().enumerate().map(|(turn, id)| self.spans(*id, turn % 2 == 0)).collect();
        let mut answers = futures::stream::iter(asked).buffered(TRACES_AT_ONCE);
        let mut all = Answer::default();
        while let Some(answer) = answers.next().await {
            let answer = answer?;
            all.found.extend(answer.found);
            all.corrupt.extend(answer.corrupt);
            all.partial.extend(answer.partial);
        }
        Ok(all)
    }

    async fn spans(&self, id: u128, as_trace: bool) -> Result<Answer, String> {
        if as_trace { self.trace(id).await } else { self.lookup(id).await }
    }

    async fn trace(&self, id: u128) -> Result<Answer, String> {
        let mut answer = Answer::default();
        let json = self.get(&format!("/api/v2/traces/{id:032x}"), &[]).await?;
        if json["status"] == "PARTIAL" {
            answer.partial.push(json["message"].to_string());
        }
        let groups = list(&json["trace"]["resourceSpans"]);
        let scopes = groups.flat_map(|group| list(&group["scopeSpans"]));
        for span in scopes.flat_map(|scope| list(&scope["spans"])) {
            let mut attributes = list(&span["attributes"]);
            let text = attributes.find(|attribute| attribute["key"] == "canary");
            let text = text.and_then(|attribute| attribute["value"]["stringValue"].as_str());
            answer.take_span(&self.run, id, text, &span["startTimeUnixNano"]);
        }
        Ok(answer)
    }

    async fn lookup(&self, id: u128) -> Result<Answer, String> {
        let mut answer = Answer::default();
        let json = self.get(&format!("{LOOKUP}{id:032x}"), &[]).await?;
        for part in list(&json["notices"]["unread"]) {
            answer.partial.push(part.to_string());
        }
        for span in list(&json["spans"]) {
            let text = list(&span["attributes"]).find(|pair| pair[0] == "canary");
            let text = text.and_then(|pair| pair[1].as_str());
            answer.take_span(&self.run, id, text, &span["startNs"]);
        }
        Ok(answer)
    }
}

impl Answer {
    fn take(&mut self, parsed: Result<Found, String>, time_ns: Option<i64>) {
        match parsed {
            Ok(found) => {
                let wanted = found.time_ms * 1_000_000 + i64::from(found.index);
                if time_ns.is_some_and(|time_ns| time_ns != wanted) {
                    self.corrupt.push(format!("at {time_ns:?} ns and not {wanted}: {found:?}"));
                }
                self.found.push(found);
            }
            Err(what) => self.corrupt.push(what),
        }
    }

    fn take_span(&mut self, run: &Run, id: u128, text: Option<&str>, start: &Json) {
        let parsed = run.parse(Signal::Traces, text.unwrap_or_default()).and_then(|found| {
            let right = run.trace_id(found.writer, found.seq) == id;
            if right { Ok(found) } else { Err(format!("in trace {id:032x}: {found:?}")) }
        });
        let start_ns = start.as_str().and_then(|text| text.parse().ok());
        self.take(parsed, Some(start_ns.unwrap_or(-1)));
    }
}

fn list(json: &Json) -> impl Iterator<Item = &Json> {
    json.as_array().into_iter().flatten()
}

/// The value of a vector of one element or none.
fn number(answer: &Json) -> Result<f64, String> {
    let Some(first) = list(&answer["data"]["result"]).next() else { return Ok(0.0) };
    let value = first["value"][1].as_str().and_then(|text| text.parse().ok());
    value.ok_or_else(|| format!("no number: {first}"))
}

fn warnings(answer: &Json) -> Vec<String> {
    let texts = list(&answer["warnings"]).filter_map(|text| text.as_str());
    texts.filter(|text| text.contains("partial")).map(str::to_owned).collect()
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}
