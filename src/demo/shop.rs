//! The shop: what happens in a checkout, and how long it takes.

use super::telemetry::{Log, Metrics, Span, Tick};

/// One checkout in this many fails at the card gateway.
const FAULT_EVERY: u64 = 8;
/// How long the gateway keeps the payment waiting before it gives up. Units: us.
const GATEWAY_TIMEOUT_US: u64 = 1_200_000;
const MS: u64 = 1_000;

/// The shop's state between ticks.
#[derive(Debug)]
pub(super) struct Shop {
    state: u64,
    checkouts: u64,
    metrics: Metrics,
}

/// Where a checkout's records go, and what they share.
struct Checkout<'a> {
    tick: &'a mut Tick,
    trace_id: u128,
    correlation_id: String,
    order: u64,
}

impl Shop {
    pub(super) fn new(seed: u64, started_ns: i64) -> Shop {
        Shop { state: seed | 1, checkouts: 0, metrics: Metrics::new(started_ns) }
    }

    /// xorshift64*: good enough for a shop.
    fn random(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn between(&mut self, min: u64, max: u64) -> u64 {
        min + self.random() % (max - min + 1)
    }

    /// Everything that happened up to `now_ns` with `checkouts` checkouts.
    pub(super) fn tick(&mut self, now_ns: i64, checkouts: u32) -> Tick {
        let mut tick = Tick::default();
        for _ in 0..checkouts {
            self.checkout(now_ns, &mut tick);
        }
        self.metrics.write(now_ns, &mut tick);
        tick
    }

    fn checkout(&mut self, now_ns: i64, tick: &mut Tick) {
        self.checkouts += 1;
        let fault = self.checkouts.is_multiple_of(FAULT_EVERY);
        let trace_id = u128::from(self.random()) << 64 | u128::from(self.random());
        let correlation_id = format!("ord-{:08x}", self.random() as u32);
        let order = 880 + self.checkouts;
        let charge_us = if fault { GATEWAY_TIMEOUT_US } else { self.between(35 * MS, 140 * MS) };
        let ledger_calls = self.between(2, 6);
        let total_us = charge_us + ledger_calls * 8 * MS + self.between(20 * MS, 60 * MS);
        // It has just ended.
        let start_ns = now_ns - i64::try_from(total_us * 1_000).unwrap_or(0);
        let at = |us: u64| start_ns + i64::try_from(us * 1_000).unwrap_or(0);
        let mut checkout = Checkout { tick, trace_id, correlation_id, order };

        let root = self.random();
        let web =
            checkout.span("web", "POST /checkout", root, 0, (at(0), at(total_us)), "server", fault);
        web.attributes.push(("http.request.method", "POST".into()));
        web.attributes.push(("url.path", "/checkout".into()));
        let code = if fault { 502 } else { 200 };
        web.attributes.push(("http.response.status_code", code.into()));
        let pay = self.random();
        let pay_end = at(total_us - 5 * MS);
        checkout.span("checkout", "PlaceOrder", pay, root, (at(4 * MS), pay_end), "server", fault);
        checkout.log("checkout", at(6 * MS), pay, 9, format!("start pay order={order}"));
        self.fraud(&mut checkout, pay, at(8 * MS));
        let charge = self.random();
        let charge_end = at(18 * MS + charge_us);
        let span = checkout.span(
            "payments",
            "Charge",
            charge,
            pay,
            (at(18 * MS), charge_end),
            "client",
            fault,
        );
        span.attributes.push(("payment.amount", (self.state % 20_000).into()));
        span.attributes.push(("payment.currency", "EUR".into()));
        let gateway = self.random();
        let gateway_span = (at(20 * MS), at(16 * MS + charge_us));
        checkout.span(
            "payments",
            "POST card-gateway",
            gateway,
            charge,
            gateway_span,
            "client",
            fault,
        );
        if fault {
            let text = format!("card gateway timeout after 1200ms order={order}");
            checkout.log("payments", charge_end, charge, 17, text);
            checkout.log(
                "checkout",
                pay_end,
                pay,
                17,
                format!("order={order} failed: payment refused"),
            );
            checkout.log(
                "web",
                at(total_us),
                root,
                13,
                format!("POST /checkout 502 order={order}"),
            );
            checkout.tick.failed = Some(format!("{trace_id:032x}"));
        } else {
            checkout.log("payments", charge_end, charge, 9, format!("charged order={order}"));
            for call in 0..ledger_calls {
                let begin = 22 * MS + charge_us + call * 8 * MS;
                let span = self.random();
                let times = (at(begin), at(begin + self.between(2 * MS, 7 * MS)));
                let query =
                    checkout.span("ledger", "SELECT ledger", span, pay, times, "client", false);
                query.attributes.push(("db.system.name", "postgresql".into()));
            }
            checkout.log("checkout", pay_end, pay, 9, format!("order={order} placed"));
        }
        self.metrics.checkout(total_us, fault, trace_id, root, at(total_us));
    }

    fn fraud(&mut self, checkout: &mut Checkout<'_>, parent: u64, start_ns: i64) {
        let span = self.random();
        let score = self.between(0, 99);
        let end_ns = start_ns + i64::try_from(self.between(3 * MS, 9 * MS) * 1_000).unwrap_or(0);
        let check =
            checkout.span("fraud", "Score", span, parent, (start_ns, end_ns), "server", false);
        check.attributes.push(("fraud.score", score.into()));
        let text = format!("{{\"msg\":\"scored\",\"order\":{},\"score\":{score}}}", checkout.order);
        checkout.log("fraud", end_ns, span, 5, text);
    }
}

impl Checkout<'_> {
    #[expect(
        clippy::too_many_arguments,
        reason = "a span has this many parts, each named at the call"
    )]
    fn span(
        &mut self,
        service: &'static str,
        name: &'static str,
        span_id: u64,
        parent_id: u64,
        (start_ns, end_ns): (i64, i64),
        kind: &'static str,
        error: bool,
    ) -> &mut Span {
        self.tick.spans.push(Span {
            service,
            name,
            trace_id: self.trace_id,
            span_id,
            parent_id,
            start_ns,
            end_ns,
            kind,
            error,
            attributes: vec![("x-correlation-id", self.correlation_id.clone().into())],
        });
        let last = self.tick.spans.len() - 1;
        &mut self.tick.spans[last]
    }

    fn log(
        &mut self,
        service: &'static str,
        time_ns: i64,
        span_id: u64,
        severity: u8,
        text: String,
    ) {
        self.tick.logs.push(Log {
            service,
            time_ns,
            trace_id: self.trace_id,
            span_id,
            severity,
            text,
            correlation_id: self.correlation_id.clone(),
        });
    }
}
