//! What questions go through: two languages, numbers and times, and HTTP around it all.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use http::Request;
use model::{Limits, Signal, TenantId};
use query::{BuildInfo, Query, QueryOptions, Source};
use storage::fuzzing::segment;
use storage::{Budget, Pool, Snapshot};
use tercet::SystemClock;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::{MIB, size, texts, way};
use crate::Target;
use crate::mutate::Shape;

const PROMQL: Shape = Shape::Text(&[
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "=~",
    "!=",
    "\"",
    "`",
    ",",
    "+",
    "-",
    "^",
    "%",
    "==",
    "bool",
    "and",
    "unless",
    "on",
    "ignoring",
    "group_left",
    "by",
    "without",
    "offset",
    "@",
    "start()",
    "end()",
    ":",
    "[5m:1m]",
    "rate(",
    "sum(",
    "histogram_quantile(",
    "quantile_over_time(",
    "label_replace(",
    "topk(",
    "count_values(",
    "absent(",
    "m",
    "h",
    "NaN",
    "Inf",
    "0x1f",
    "1e308",
    "5m",
    "100y",
    "1ms",
    "__name__",
    "job",
    "#",
    "\\x",
    "\\u",
    "sort_by_label(",
    "info(",
    "(-",
    "!",
    "smoothed",
    "anchored",
    "step()",
]);
const LOGQL: Shape = Shape::Text(&[
    "{",
    "}",
    "|=",
    "!=",
    "|~",
    "!~",
    "|>",
    "!>",
    "|",
    "json",
    "logfmt",
    "regexp",
    "pattern",
    "unpack",
    "line_format",
    "label_format",
    "decolorize",
    "drop",
    "keep",
    "unwrap",
    "rate(",
    "sum by (",
    "count_over_time(",
    "quantile_over_time(",
    "[5m]",
    "offset",
    "\"",
    "`",
    "(",
    ")",
    "ip(",
    "duration(",
    "bytes(",
    "or",
    "and",
    "<_>",
    "<a>",
    "{{",
    "}}",
    ".a",
    "=",
    "==",
    ">",
    "1KB",
    "5s",
    "vector(",
    "label_replace(",
    "topk(",
    "approx_topk(",
    "__error__",
    "app",
    "--strict",
    "--keep-empty",
    "#",
]);
const LINES: Shape = Shape::Text(&[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "=",
    " ",
    "\\",
    "\\u0000",
    "\\ud800",
    "null",
    "1e99",
    "\u{1b}[31m",
    "\u{1b}[",
    "a",
    "_entry",
    "127.0.0.1",
    "::1/128",
]);
const TEMPLATE: Shape = Shape::Text(&[
    "{{",
    "}}",
    "-}}",
    "{{-",
    "|",
    ".",
    "$",
    ":=",
    "=",
    "if",
    "else",
    "end",
    "range",
    "with",
    "(",
    ")",
    "\"",
    "`",
    "printf",
    "repeat",
    "trunc",
    "substr",
    "alignLeft",
    "indent",
    "replace",
    "regexReplaceAll",
    "date",
    "toDate",
    "unixEpoch",
    "div",
    "mod",
    "mulf",
    "int",
    "fromJson",
    "b64dec",
    "default",
    "count",
    "bytes",
    "duration",
    "1000000000",
    "-1",
    "%999999999d",
    "%*d",
    "len",
    "index",
    "slice",
    "or",
    "and",
]);
const NUMBER: Shape = Shape::Text(&[
    "-",
    "+",
    ".",
    "e",
    "E",
    "0x",
    "ns",
    "µs",
    "ms",
    "s",
    "m",
    "h",
    "d",
    "w",
    "y",
    "KiB",
    "GB",
    "EiB",
    "T",
    "Z",
    "+23:59",
    "NaN",
    "Inf",
    "now",
    "U__",
    "_2e_",
    "%2",
    "%",
    "99999999999999999999",
]);
const HTTP: Shape = Shape::Text(&[
    "/",
    "?",
    "&",
    "=",
    "%",
    "query=",
    "start=",
    "end=",
    "step=",
    "limit=",
    "time=",
    "match[]=",
    "since=",
    "direction=",
    "interval=",
    "-1",
    "NaN",
    "1e400",
    "9223372036854775807",
    "2147483648",
    "1ns",
    "100y",
    "%2F..%2F",
    "%00",
    "%ff",
    "minDuration=",
    "tags=",
    "lookback=",
    "U__a_2e_b",
    "{}",
    "%7B",
    "%7D",
    "loki",
    "api",
    "v1",
    "label",
    "values",
    "traces",
    "services",
    "operations",
    "rows_per_trace",
]);

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "promql",
        shape: PROMQL,
        heap_bytes: 256 * MIB,
        seeds: promql_seeds,
        run: try_promql,
    },
    Target {
        name: "logql",
        shape: LOGQL,
        heap_bytes: 256 * MIB,
        seeds: logql_seeds,
        run: try_logql,
    },
    Target {
        name: "log-stages",
        shape: LINES,
        heap_bytes: 32 * MIB,
        seeds: stage_seeds,
        run: try_stages,
    },
    Target {
        name: "templates",
        shape: TEMPLATE,
        heap_bytes: 64 * MIB,
        seeds: template_seeds,
        run: try_template,
    },
    Target {
        name: "numbers",
        shape: NUMBER,
        heap_bytes: 8 * MIB,
        seeds: number_seeds,
        run: try_numbers,
    },
    Target {
        name: "query-http",
        shape: HTTP,
        heap_bytes: 256 * MIB,
        seeds: http_seeds,
        run: try_http,
    },
];

/// A query is given up after this, as `limits.query.timeout` has it in a server. Units: ns.
const QUERY_TIMEOUT_NS: u64 = 300_000_000;
const SAMPLES_MAX: u64 = 1_000_000;

fn golden(name: &str) -> bytes::Bytes {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../storage/testdata/v1/");
    std::fs::read(format!("{folder}{name}")).unwrap_or_default().into()
}

/// The data of `storage/testdata`, a snapshot for each signal.
fn snapshot(signal: Signal) -> &'static Snapshot {
    static ALL: OnceLock<[Snapshot; 3]> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let traces = ["traces.parquet", "traces.traces.parquet", "traces.index"].map(golden);
        [
            segment(Signal::Metrics, vec![golden("sample.metrics")]),
            segment(Signal::Logs, vec![golden("logs.parquet"), golden("logs.index")]),
            segment(Signal::Traces, traces.to_vec()),
        ]
    });
    &all[signal as usize]
}

fn budget() -> Budget {
    Budget::new(Arc::new(SystemClock::new()), QUERY_TIMEOUT_NS, SAMPLES_MAX)
}

fn came(outcome: Result<usize, String>) -> u64 {
    outcome.map_or_else(|refused| way(&refused), size)
}

fn try_promql(case: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(case);
    came(query::fuzzing::promql(&text, snapshot(Signal::Metrics), &budget()))
}

fn try_logql(case: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(case);
    came(query::fuzzing::logql(&text, snapshot(Signal::Logs), &budget()))
}

const STAGES: [&str; 12] = [
    r#"{a="b"} | json"#,
    r#"{a="b"} | json x="a.b[0][\"c\"]", y="a""#,
    r#"{a="b"} | logfmt"#,
    r#"{a="b"} | logfmt --strict --keep-empty a, b="c""#,
    r#"{a="b"} | unpack | decolorize"#,
    r#"{a="b"} | pattern "<ip> - <_> [<at>] \"<rest>""#,
    r#"{a="b"} | regexp "(?P<a>[^ ]+) (?P<b>.*)" | a != "x""#,
    r#"{a="b"} |= "a" |~ "(?i)b+" | json | a > 5 or b >= 1KB and c < 5s"#,
    r#"{a="b"} |> "<_>a<_>b" | label_format x=a, y="{{.x}}-{{.y}}""#,
    r#"{a="b"} |= ip("127.0.0.0/8") | json | a = ip("::1")"#,
    r#"{a="b"} | json | line_format "{{.a | upper | trunc 5}}{{__line__}}""#,
    r#"{a="b"} | json | keep a, b=~"x.*" | drop c"#,
];

/// The first byte chooses the stages, the rest is the line.
fn try_stages(case: &[u8]) -> u64 {
    let Some((&first, line)) = case.split_first() else { return 0 };
    let index = usize::from(first) % STAGES.len();
    let line = String::from_utf8_lossy(line);
    let passed = query::fuzzing::pipeline(STAGES[index], &line).expect("the stages are sound");
    (index as u64) << 8 | u64::from(passed) << 7 | size(line.len())
}

fn try_template(case: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(case);
    let line = r#"{"a": [1, {"b": "c"}], "n": 5}"#;
    came(query::fuzzing::template(&text, line))
}

fn try_numbers(case: &[u8]) -> u64 {
    query::fuzzing::numbers(&String::from_utf8_lossy(case))
}

#[derive(Debug)]
struct Golden {
    limits: Arc<Limits>,
    pool: Pool,
    turn: std::sync::atomic::AtomicUsize,
}

impl Source for Golden {
    fn snapshot(&self, _: &TenantId) -> Snapshot {
        let turn = self.turn.load(std::sync::atomic::Ordering::Relaxed);
        snapshot(Signal::ALL[turn % 3]).clone()
    }

    fn budget(&self, _: &TenantId) -> Budget {
        budget()
    }

    fn limits(&self, _: &TenantId) -> Arc<Limits> {
        Arc::clone(&self.limits)
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn now_ns(&self) -> i64 {
        1_790_000_000_000_000_000
    }
}

struct Door {
    runtime: Runtime,
    router: Router,
    source: Arc<Golden>,
}

fn door() -> &'static Door {
    static DOOR: OnceLock<Door> = OnceLock::new();
    DOOR.get_or_init(|| {
        let text = || "x".to_owned();
        let build =
            BuildInfo { version: text(), revision: text(), branch: text(), build_date: text() };
        let options = QueryOptions { build, lookback_ms: 300_000, started_ns: 0, places: 2 };
        let source = Arc::new(Golden {
            limits: Arc::default(),
            pool: Pool::new(1),
            turn: Default::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Door {
            runtime: runtime.expect("a runtime"),
            router: Query::new(options, Arc::clone(&source) as Arc<dyn Source>).router(),
            source,
        }
    })
}

/// Path and query string of a GET.
fn try_http(case: &[u8]) -> u64 {
    let mut path = String::with_capacity(case.len() + 1);
    for &byte in case {
        let plain = byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'`');
        if plain && byte != b'#' {
            path.push(byte as char);
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    let Ok(request) = Request::get(path).body(Body::empty()) else { return 1 };
    let door = door();
    let mut ways = 0u64;
    for turn in 0..3 {
        door.source.turn.store(turn, std::sync::atomic::Ordering::Relaxed);
        let mut again = Request::new(Body::empty());
        *again.uri_mut() = request.uri().clone();
        let (status, is_json, body) = door.runtime.block_on(async {
            let answer = door.router.clone().oneshot(again).await.expect("it never fails");
            let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok());
            let is_json = kind.is_some_and(|kind| kind.starts_with("application/json"));
            let status = answer.status().as_u16();
            (status, is_json, to_bytes(answer.into_body(), 64 * MIB).await.unwrap_or_default())
        });
        assert_ne!(status, 500, "{}", String::from_utf8_lossy(&body));
        if is_json && !body.is_empty() {
            let valid = serde_json::from_slice::<serde_json::Value>(&body);
            assert!(valid.is_ok(), "no JSON: {}", String::from_utf8_lossy(&body));
        }
        let words = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        let came = if status < 400 { size(body.len()) } else { way(&words) };
        ways = ways.rotate_left(7) ^ came ^ u64::from(status) << 32;
    }
    ways
}

fn promql_seeds() -> Vec<Vec<u8>> {
    texts(&[
        r#"m{job="j"}"#,
        "sum by (job) (rate(m[5m])) / on(job) group_left(a, b) m offset -5m",
        "histogram_quantile(0.9, h) + histogram_sum(rate(h[10m:1m] @ end()))",
        r#"label_replace(m, "dst", "$1", "job", "(.*)") and ignoring(job) m unless m"#,
        r#"topk(3, m) or count_values("v", m) or quantile(0.5, m) or absent(nothing{a="b"})"#,
        "-m ^ 2 % 5 == bool 1e3 atan2 0x1F",
        "max_over_time(m[30m]) - min_over_time(m[1h:]) + predict_linear(m[5m], 3600)",
        r#"{__name__=~"m|h", job!~".+x"}[5m]"#,
        r#"sort_by_label(m, "job") + scalar(m) + vector(time()) + day_of_week()"#,
        r#"{"m", 'job'="j"} # comment"#,
        "histogram_fraction(0, 1, h) * histogram_avg(h) + histogram_stddev(h)",
        r#""\u00e9\x41\n" "#,
    ])
}

fn logql_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = texts(&[
        r#"{service_name=~"svc.*"} |= "user" | json | status >= 200"#,
        r#"sum by (level) (rate({service_name=~".+"} |~ "a|b" [5m] offset 1m))"#,
        r#"quantile_over_time(0.9, {service_name!=""} | unwrap duration(status) | __error__="" [1m]) by (x)"#,
        r#"topk(2, count_over_time({a=~".+"}[1h])) or vector(1) / 2"#,
        r#"label_replace(rate({a="b"}[1m]), "x", "$1", "a", "(.*)")"#,
        r#"bytes_rate({service_name=~".+"} | logfmt [30s]) > bool 5"#,
        r#"{service_name=~".+"} | line_format `{{ .request_id }} {{ __timestamp__ | date "2006" }}`"#,
        r#"absent_over_time({a="b"}[5m]) unless on (a) sum(rate({b="c"}[1s]))"#,
    ]);
    seeds.extend(STAGES.iter().map(|stage| stage.as_bytes().to_vec()));
    seeds
}

fn stage_seeds() -> Vec<Vec<u8>> {
    let lines = [
        r#"{"a": {"b": [{"c": "d"}, 1.5e3, null, true]}, "b": "1KB", "c": "4s", "_entry": "x"}"#,
        r#"a=b c="quoted \"text\" é" d= e f="unclosed level=info dur=1.5s"#,
        "127.0.0.1 - frank [10/Oct/2000:13:55:36] \"GET / HTTP/1.0\" 200",
        "\u{1b}[31mred\u{1b}[0m a b",
    ];
    let mut seeds = Vec::new();
    for stage in 0..STAGES.len() as u8 {
        seeds.extend(lines.iter().map(|line| [&[stage][..], line.as_bytes()].concat()));
    }
    seeds
}

fn template_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "{{.app}} {{ .n | int | add 5 | printf \"%05d\" }}",
        "{{ if eq .app \"fuzz\" }}yes{{ else if gt 1 2 }}b{{ else }}no{{ end }}",
        "{{ range $i, $x := fromJson __line__ }}{{ $i }}={{ $x }}{{ else }}empty{{ end }}",
        "{{ with $y := .n }}{{ $y | repeat 3 | trunc 5 | upper | alignRight 10 }}{{ end }}",
        r#"{{ regexReplaceAll "(a)(b)" .app "${2}$1" | replace "a" "b" | substr 0 3 | indent 2 }}"#,
        r#"{{ date "2006-01-02T15:04:05.000Z07:00" (toDate "2006-01-02" "2026-01-02") | unixEpoch }}"#,
        r#"{{ div 7 .n | mod 2 | mulf 1.5 | round 2 | floor }} {{ b64enc .app | b64dec | urlencode }}"#,
        r#"{{ default "x" .none | title | trimSuffix "X" | nindent 3 }}{{ bytes "5KB" }}{{ duration "5s" }}"#,
    ])
}

fn number_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "1.5h",
        "-3d4h",
        "1KiB",
        "2.5GB",
        "1790000000",
        "1790000000.123",
        "2026-11-21T17:00:00.5+01:00",
        "1e18",
        "0af7651916cd43dd8448eb211c80319c",
        "U__http_2e_method__x",
        "a%20b+c%zz",
        "1y2w3d4h5m6s7ms",
        "0x1p-2",
        "-0",
        "µs",
        "1_000",
    ])
}

fn http_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "/api/v1/query?query=m&time=1200",
        "/api/v1/query_range?query=rate(m%5B5m%5D)&start=0&end=1500&step=60&limit=5",
        "/api/v1/query_exemplars?query=m&start=0&end=9",
        "/api/v1/labels?match[]=%7Bjob%3D%22j%22%7D&start=-1&end=99999999999",
        "/api/v1/label/U__job/values?limit=2",
        "/api/v1/series?match[]=m&start=1970-01-01T00:00:00Z",
        "/api/v1/metadata?metric=m&limit=1&limit_per_metric=0",
        "/api/v1/format_query?query=a%2Bb",
        "/loki/api/v1/query_range?query=%7Bservice_name%3D~%22.%2B%22%7D&start=0&end=100&limit=10&direction=forward",
        "/loki/api/v1/query?query=sum(rate(%7Ba%3D%22b%22%7D%5B1m%5D))&time=5",
        "/loki/api/v1/index/volume?query=%7Bservice_name%3D~%22.%2B%22%7D&start=0&end=100&aggregateBy=labels",
        "/loki/api/v1/index/volume_range?query=%7B%7D&step=1s",
        "/loki/api/v1/detected_fields?query=%7Bservice_name%3D~%22.%2B%22%7D&start=0&end=100&line_limit=5",
        "/loki/api/v1/detected_field/status/values?query=%7Bservice_name%3D~%22.%2B%22%7D&since=5m",
        "/loki/api/v1/label/service_name/values?since=1h",
        "/loki/api/v1/series?match[]=%7Ba%3D%22b%22%7D",
        "/loki/api/v1/index/stats?query=%7Ba%3D%22b%22%7D&start=1&end=2",
        "/api/traces/33333333333333333333333333333333?start=1&end=2",
        "/api/v2/traces/3333",
        "/ds/jaeger/api/traces?service=svc-1&operation=op&minDuration=1ms&maxDuration=5s&limit=20&lookback=1h&tags=%7B%22a%22%3A%22b%22%7D",
        "/api/services/svc-1/operations",
        "/api/operations?service=svc-1&spanKind=server",
        "/api/dependencies?endTs=1&lookback=99999999",
        "/ds/zipkin/api/v2/traces?serviceName=svc-1&spanName=x&annotationQuery=a%20and%20b%3Dc&minDuration=1&limit=5&endTs=9&lookback=9",
        "/ds/zipkin/api/v2/traceMany?traceIds=33,44",
        "/ds/zipkin/api/v2/trace/33",
        "/tercet/api/v1/lookup/req-11?limit=5",
        "/tercet/api/v1/lookup/%F0%9F%98%80/x",
        "/api/v2/silence/%00",
        "/ds/tempo/api/echo",
    ])
}
