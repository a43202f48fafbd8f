"""Sends spans, log records and metrics with the OpenTelemetry SDK and prints what it sent.

The last line of the output is a JSON object: for each signal the export requests as the SDK's own
encoder and protobuf's own JSON mapping write them, so that a test can compare what it reads back
with something that Tercet had no part in.
"""

import argparse
import base64
import json
import logging
import time

from google.protobuf.json_format import MessageToDict
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.metrics import Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

# Longer than any export takes: nothing is sent but when this program says so.
NEVER_MS = 3_600_000

ATTRIBUTES = {
    "claimId": "C-2026-0815",
    "text": "Grüße, \"quoted\" \\ and\ttabbed",
    "text.empty": "",
    "flag": True,
    "count": -42,
    "count.large": 9_007_199_254_740_993,
    "ratio": 0.1,
    "ratio.whole": 3.0,
    "texts": ["a", "b"],
    "flags": [True, False],
    "counts": [1, 2, 3],
    "ratios": [0.5, 1.5],
}


def recording(exporter, encode, sent):
    """Makes an exporter keep what it encodes."""
    export = exporter.export

    def export_and_keep(batch, *args, **kwargs):
        sent.append(encode(batch))
        result = export(batch, *args, **kwargs)
        assert result.name == "SUCCESS", result
        return result

    exporter.export = export_and_keep
    return exporter


def exporters(protocol, endpoint):
    """The three exporters of a protocol, each as a function without arguments."""
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        made = {"endpoint": endpoint, "insecure": True}
        return (
            lambda: OTLPSpanExporter(**made),
            lambda: OTLPLogExporter(**made),
            lambda: OTLPMetricExporter(**made),
        )
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return (
        lambda: OTLPSpanExporter(f"{endpoint}/v1/traces", compression=Compression.Gzip),
        lambda: OTLPLogExporter(f"{endpoint}/v1/logs", compression=Compression.Gzip),
        lambda: OTLPMetricExporter(f"{endpoint}/v1/metrics", compression=Compression.Gzip),
    )


def resource(service):
    return Resource(
        {
            "service.name": service,
            "service.namespace": "market",
            "service.instance.id": f"{service}-1",
            "deployment.environment.name": "test",
            "host.name": "node-7",
            "process.pid": 4711,
        },
        "https://opentelemetry.io/schemas/1.30.0",
    )


def send_spans(shop, bank, log):
    """One trace over two services; a log record inside each of two spans."""
    front = shop.get_tracer("front", "1.2.3", "https://example.org/schema", {"layer": "edge"})
    money = bank.get_tracer("money")
    far = SpanContext(0xABCDEF, 0x123456, True, TraceFlags(1), TraceState([("vendor", "x")]))
    with front.start_as_current_span(
        "POST /order", kind=SpanKind.SERVER, attributes=ATTRIBUTES, links=[Link(far, {"why": "retry"})]
    ) as root:
        root.add_event("accepted", {"items": 3, "express": False})
        log("order accepted")
        with front.start_as_current_span("validate"):
            pass
        with front.start_as_current_span("publish", kind=SpanKind.PRODUCER) as publish:
            publish.set_status(Status(StatusCode.OK))
        with front.start_as_current_span("POST /charge", kind=SpanKind.CLIENT) as call:
            with money.start_as_current_span("charge", kind=SpanKind.SERVER) as charge:
                try:
                    raise ValueError("card refused")
                except ValueError as refused:
                    charge.record_exception(refused)
                charge.set_status(Status(StatusCode.ERROR, "card refused"))
                log("charge failed")
            call.set_attribute("http.response.status_code", 402)
        with money.start_as_current_span("notify", kind=SpanKind.CONSUMER, links=[Link(call.get_span_context())]):
            pass
    return root.get_span_context()


def send_logs(logger):
    """Records with every kind of body and attribute, without a trace."""
    at = time.time_ns()
    logger.emit(
        LogRecord(
            timestamp=at,
            observed_timestamp=at + 1_500,
            severity_number=SeverityNumber.WARN,
            severity_text="WARNING",
            body="stock is low: Äpfel\nsecond line",
            attributes={**ATTRIBUTES, "nested": {"left": 3, "shelf": {"row": "b"}}},
        )
    )
    logger.emit(
        LogRecord(
            timestamp=at + 1,
            observed_timestamp=at + 1,
            severity_number=SeverityNumber.DEBUG2,
            body={"user": "ann", "roles": ["admin", "ops"], "age": 41},
            event_name="user.login",
        )
    )
    logger.emit(LogRecord(observed_timestamp=at + 2, body="no time of its own, no severity"))


def send_metrics(meter, root):
    """Every kind of instrument; what is measured while the trace's root is current has exemplars."""
    orders = meter.create_counter("shop.orders", "{order}", "orders placed")
    orders.add(3, {"kind": "express"})
    orders.add(4, {"kind": "express"})
    orders.add(5, {"kind": "standard", "vip": True})
    meter.create_counter("shop.revenue", "By").add(12.25)
    queue = meter.create_up_down_counter("shop.queue.length", "1", "orders that wait")
    queue.add(10)
    queue.add(-13)
    meter.create_gauge("shop.temperature", "Cel").set(-21.5, {"room": "cold store"})
    meter.create_gauge("shop.fill", "1").set(0.75)
    meter.create_observable_gauge("shop.uptime", [observed], "s")
    latency = meter.create_histogram("shop.latency", "s", "time to answer")
    spread = meter.create_histogram("shop.spread", "ms")
    with trace.use_span(trace.NonRecordingSpan(root)):
        for value in (0.003, 0.02, 0.3, 7.0, 1e6):
            latency.record(value, {"route": "/order"})
            spread.record(value * 10, {"route": "/order"})
        spread.record(0, {"route": "/order"})


def observed(_options):
    return [Observation(99, {"process": "main"})]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--protocol", choices=["grpc", "http"], required=True)
    parser.add_argument("--endpoint", required=True)
    args = parser.parse_args()
    new_spans, new_logs, new_metrics = exporters(args.protocol, args.endpoint)
    spans, logs, metrics = [], [], []

    tracers = []
    for service in ("shop", "bank"):
        provider = TracerProvider(resource=resource(service), shutdown_on_exit=False)
        exporter = recording(new_spans(), encode_spans, spans)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=NEVER_MS))
        tracers.append(provider)
    loggers = LoggerProvider(resource("shop"), shutdown_on_exit=False)
    loggers.add_log_record_processor(
        BatchLogRecordProcessor(recording(new_logs(), encode_logs, logs), schedule_delay_millis=NEVER_MS)
    )
    logger = loggers.get_logger("stock", "0.9", attributes={"aisle": 4})
    reader = PeriodicExportingMetricReader(
        recording(new_metrics(), encode_metrics, metrics), export_interval_millis=NEVER_MS
    )
    exponential = View(instrument_name="shop.spread", aggregation=ExponentialBucketHistogramAggregation())
    meters = MeterProvider([reader], resource("shop"), shutdown_on_exit=False, views=[exponential])

    def log(text):
        logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                severity_number=SeverityNumber.INFO,
                severity_text="INFO",
                body=text,
                attributes={"thread": 1},
            )
        )

    root = send_spans(*tracers, log)
    send_logs(logger)
    send_metrics(meters.get_meter("gauges", "2.0"), root)
    for provider in (*tracers, loggers, meters):
        assert provider.force_flush(), f"{provider} did not flush"

    def both(requests):
        return {
            "json": [MessageToDict(request) for request in requests],
            "protobuf": [base64.b64encode(request.SerializeToString()).decode() for request in requests],
        }

    print(
        json.dumps(
            {
                "traceId": trace.format_trace_id(root.trace_id),
                "spanId": trace.format_span_id(root.span_id),
                "traces": both(spans),
                "logs": both(logs),
                "metrics": both(metrics),
            }
        )
    )


if __name__ == "__main__":
    logging.basicConfig()
    main()
