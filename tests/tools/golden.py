"""Makes the golden data folder of the present format version, once, when a version is released.

    python3 tests/tools/golden.py target/release/tercet storage/testdata/v1

writes FOLDER/folder (segments, catalog, and entries that are in the log alone: the server is killed) and
FOLDER/answers.json, the answers that row I1 of tests/chaos holds every later program against.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

# A time long ago: retention is off where the folder is opened.
START_S = 1_790_000_000
PAGE = 4096
TRACE = "0af7651916cd43dd8448eb211c80319c"


def text(value):
    return {"stringValue": value}


def attributes(**pairs):
    return [{"key": key.replace("__", "."), "value": value} for key, value in pairs.items()]


def resource(service):
    return {"attributes": attributes(service__name=text(service), region=text("eu-west"))}


def logs(service, first, count):
    records = [
        {
            "timeUnixNano": str((START_S + first + index) * 10**9),
            "severityText": "INFO" if index % 3 else "ERROR",
            "body": text(f"order {first + index} of user_{index % 5}: disk full, 50 % left"),
            "attributes": attributes(
                request_id=text(f"req-{first + index}"),
                status={"intValue": str(200 + index)},
                ratio={"doubleValue": 0.5},
                nested={"kvlistValue": {"values": attributes(a={"arrayValue": {"values": [text("b")]}})}},
            ),
            "traceId": TRACE if index == 0 else "",
            "spanId": "b7ad6b7169203331" if index == 0 else "",
        }
        for index in range(count)
    ]
    scope = {"scope": {"name": "lib", "version": "1"}, "logRecords": records}
    return {"resourceLogs": [{"resource": resource(service), "scopeLogs": [scope]}]}


def traces(first, count):
    spans = [
        {
            "traceId": TRACE,
            "spanId": f"{first + index + 1:016x}",
            "parentSpanId": "" if first + index == 0 else f"{1:016x}",
            "name": f"GET /{index % 3}",
            "kind": 2,
            "startTimeUnixNano": str((START_S + first + index) * 10**9),
            "endTimeUnixNano": str((START_S + first + index) * 10**9 + 5_000_000),
            "attributes": attributes(http__method=text("GET"), n={"intValue": str(index)}),
            "events": [{"name": "event", "timeUnixNano": str((START_S + first) * 10**9)}],
            "status": {"code": 2 if index == 1 else 1, "message": "bad" if index == 1 else ""},
        }
        for index in range(count)
    ]
    return {"resourceSpans": [{"resource": resource("web"), "scopeSpans": [{"spans": spans}]}]}


def metrics(first, count):
    def points(value):
        return [
            {"timeUnixNano": str((START_S + first + 15 * index) * 10**9, ), **value(index)}
            for index in range(count)
        ]

    gauge = {"name": "temperature", "unit": "Cel", "gauge": {"dataPoints": points(lambda i: {"asDouble": i / 10})}}
    total = {
        "name": "orders",
        "sum": {
            "aggregationTemporality": 2,
            "isMonotonic": True,
            "dataPoints": points(lambda i: {"asInt": str(i * 3), "attributes": attributes(zone=text(f"z{i % 2}"))}),
        },
    }
    native = {
        "name": "took",
        "unit": "s",
        "exponentialHistogram": {
            "aggregationTemporality": 2,
            "dataPoints": points(
                lambda i: {"count": str(3 + i), "sum": 4.5, "scale": 2, "zeroCount": "1",
                           "positive": {"offset": -1, "bucketCounts": ["1", str(1 + i)]}}
            ),
        },
    }
    scope = {"scope": {"name": "lib"}, "metrics": [gauge, total, native]}
    return {"resourceMetrics": [{"resource": resource("web"), "scopeMetrics": [scope]}]}


def start(binary, data):
    free = ["--http", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0"]
    command = [binary, "serve", "--data", data, "--retention", "0", *free]
    command += ["--storage-wal-segment-bytes", "64KiB"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in server.stdout:
        if found := re.match(r"page\s+(http\S+)", line):
            return server, found[1]
    raise SystemExit("the server did not start")


def send(base, path, body):
    request = urllib.request.Request(base + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        assert "partialSuccess" not in json.loads(answer.read() or b"{}"), "something was refused"


def get(base, path):
    with urllib.request.urlopen(base + path) as answer:
        found = json.loads(answer.read())
    if isinstance(found, dict) and isinstance(found.get("data"), dict):
        found["data"].pop("stats", None)
    return found


def paths():
    span = f"start={START_S - 60}&end={START_S + 3600}"
    quote = urllib.parse.quote
    everything = quote('{service_name=~".+"}')
    words = quote('{service_name=~".+"} |= "user_3" | status > 202')
    rate = quote("sum by (service_name) (count_over_time({service_name=~\".+\"}[5m]))")
    return [
        f"/loki/api/v1/query_range?query={everything}&{span}&limit=5000&direction=forward",
        f"/loki/api/v1/query_range?query={words}&{span}&limit=5000",
        f"/loki/api/v1/query_range?query={rate}&{span}&step=300",
        f"/loki/api/v1/series?match[]={everything}&{span}",
        f"/api/v1/query_range?query={quote('sum by (zone) (orders_total)')}&{span}&step=60",
        f"/api/v1/query_range?query=temperature_celsius&{span}&step=60",
        f"/api/v1/query?query={quote('histogram_quantile(0.9, took_seconds)')}&time={START_S + 300}",
        f"/api/v1/label/__name__/values?{span}",
        f"/api/traces/{TRACE}",
        f"/ds/zipkin/api/v2/trace/{TRACE}",
    ]


def main(binary, target):
    work = tempfile.mkdtemp()
    data = os.path.join(work, "folder")
    server, base = start(binary, data)
    for first in (0, 100):
        send(base, "/v1/logs", logs("web", first, 40))
        send(base, "/v1/logs", logs("worker", first + 50, 10))
        send(base, "/v1/traces", traces(first, 12))
        send(base, "/v1/metrics", metrics(first * 15, 40))
        request = urllib.request.Request(base + "/-/flush", b"", method="POST")
        urllib.request.urlopen(request).read()
    # What comes now is in the log alone.
    send(base, "/v1/logs", logs("late", 300, 5))
    send(base, "/v1/traces", traces(300, 3))
    send(base, "/v1/metrics", metrics(4500, 4))
    time.sleep(0.2)
    server.send_signal(signal.SIGKILL)
    server.wait()
    os.makedirs(target, exist_ok=True)
    folder = os.path.join(target, "folder")
    shutil.copytree(data, folder)
    for place, _, names in os.walk(os.path.join(folder, "wal")):
        for name in (one for one in names if one.endswith(".log")):
            # Zeros or nothing follow the last frame: whole pages of them are left out.
            with open(os.path.join(place, name), "rb+") as log:
                log.truncate(-(-len(log.read().rstrip(b"\0")) // PAGE) * PAGE)
    server, base = start(binary, data)
    while True:
        try:
            urllib.request.urlopen(base + "/-/ready").read()
            break
        except OSError:
            time.sleep(0.05)
    try:
        answers = {path: get(base, path) for path in paths()}
    finally:
        server.terminate()
        server.wait()
    with open(os.path.join(target, "answers.json"), "w") as out:
        json.dump(answers, out, indent=0, sort_keys=True)
        out.write("\n")
    shutil.rmtree(work)


main(*sys.argv[1:])
