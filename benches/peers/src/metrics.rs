//! Remote write 1.0 as Prometheus sends it: scrape by scrape, target by target, labels sorted.
//!
//! A thousand targets with a hundred series each, as a fleet of node exporters has: counters that
//! grow by jittered steps, gauges that wander, sizes that never change.

use model::wire::{put_bytes, put_fixed64, put_message, put_uint};

use crate::load::{Load, REMOTE_WRITE};
use crate::random::{Random, mix};
use crate::spans::trace_id;

/// Samples of one request, what Prometheus' queue sends by default.
const SAMPLES_PER_REQUEST: u64 = 2_000;
const SERIES_PER_TARGET: u64 = 100;
const SCRAPE_MS: i64 = 15_000;
/// Every so manieth series is a counter whose samples carry an exemplar, where they are wanted.
const EXEMPLAR_SERIES: u64 = 50;

const COUNTERS: [&str; 12] = [
    "node_cpu_seconds_total",
    "node_network_receive_bytes_total",
    "node_network_transmit_bytes_total",
    "node_network_receive_packets_total",
    "node_disk_read_bytes_total",
    "node_disk_written_bytes_total",
    "node_disk_io_time_seconds_total",
    "node_softnet_processed_total",
    "node_vmstat_pgfault",
    "node_context_switches_total",
    "node_interrupts_total",
    "process_cpu_seconds_total",
];
const GAUGES: [&str; 8] = [
    "node_load1",
    "node_memory_MemAvailable_bytes",
    "node_memory_Cached_bytes",
    "node_filesystem_avail_bytes",
    "node_sockstat_TCP_inuse",
    "node_hwmon_temp_celsius",
    "node_procs_running",
    "go_goroutines",
];
const CONSTANTS: [&str; 4] = [
    "node_memory_MemTotal_bytes",
    "node_filesystem_size_bytes",
    "node_cpu_scaling_frequency_max_hertz",
    "node_boot_time_seconds",
];
const MODES: [&str; 8] = ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"];
const REGIONS: [&str; 3] = ["eu-central-1", "eu-west-1", "us-east-1"];
const TEAMS: [&str; 5] = ["checkout", "platform", "payments", "search", "storage"];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Whole,
    Seconds,
    Gauge,
    Constant,
}

/// One series: its labels as they lie on the wire, and its last value.
#[derive(Debug)]
struct Series {
    labels: Vec<u8>,
    shape: Shape,
    value: f64,
    step: f64,
}

impl Series {
    fn new(target: u64, index: u64) -> Series {
        let mut random = Random::new(mix(target * SERIES_PER_TARGET + index + 1));
        let (name, shape) = match index % 100 {
            0..=69 => {
                let name = COUNTERS[(index % 12) as usize];
                let seconds = name.contains("seconds");
                (name, if seconds { Shape::Seconds } else { Shape::Whole })
            }
            70..=89 => (GAUGES[(index % 8) as usize], Shape::Gauge),
            _ => (CONSTANTS[(index % 4) as usize], Shape::Constant),
        };
        let region = REGIONS[(target % 3) as usize];
        let pairs = [
            ("__name__", name.to_owned()),
            (
                "availability_zone",
                format!("{region}{}", ["a", "b", "c"][(target / 3 % 3) as usize]),
            ),
            ("cluster", format!("prod-{region}")),
            ("cpu", (index / 12).to_string()),
            ("device", format!("dev{}", index % 12)),
            ("environment", "production".to_owned()),
            ("instance", format!("10.{}.{}.{}:9100", target % 7, target / 250, target % 250)),
            ("job", "node-exporter".to_owned()),
            ("mode", MODES[(index % 8) as usize].to_owned()),
            ("region", region.to_owned()),
            ("team", TEAMS[(target % 5) as usize].to_owned()),
        ];
        let mut labels = Vec::new();
        for (name, value) in &pairs {
            put_message(&mut labels, 1, |out| {
                put_bytes(out, 1, name.as_bytes());
                put_bytes(out, 2, value.as_bytes());
            });
        }
        let value = match shape {
            Shape::Constant | Shape::Gauge => (random.below(1 << 24) * 4096) as f64,
            _ => random.below(1_000_000_000) as f64,
        };
        let step = [0.0, 1.0, 20.0, 700.0, 40_000.0][random.below(5) as usize];
        Series { labels, shape, value, step }
    }

    fn advance(&mut self, random: &mut Random) -> f64 {
        let jitter = random.below(1_000) as f64 / 1_000.0 + 0.5;
        match self.shape {
            Shape::Constant => {}
            Shape::Whole => self.value += (self.step * jitter).round(),
            // Processor times have two decimals.
            Shape::Seconds => {
                let grown = self.value + 15.0 * jitter * (self.step.min(20.0) / 20.0);
                self.value = (grown * 100.0).round() / 100.0;
            }
            Shape::Gauge => {
                let change = random.below(2_001) as f64 - 1_000.0;
                self.value = (self.value + change * 4096.0).max(0.0);
            }
        }
        self.value
    }
}

/// What to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) series: u64,
    pub(crate) scrapes: i64,
    pub(crate) end_ms: i64,
    /// Traces that exemplars point at; 0 for no exemplars.
    pub(crate) traces: u64,
}

/// One connection's bodies-to-be.
#[derive(Debug, Default)]
struct Request {
    plain: Vec<u8>,
    samples: u64,
}

pub(crate) fn generate(wanted: Wanted) -> Load {
    let mut load = Load::new(REMOTE_WRITE);
    let mut random = Random::new(7);
    let targets = wanted.series / SERIES_PER_TARGET;
    let mut fleet: Vec<Vec<Series>> = (0..targets)
        .map(|target| (0..SERIES_PER_TARGET).map(|index| Series::new(target, index)).collect())
        .collect();
    let mut requests: [Request; crate::load::CONNECTIONS] = Default::default();
    for scrape in 0..wanted.scrapes {
        for (target, series) in fleet.iter_mut().enumerate() {
            let offset = mix(target as u64) as i64 & 0x1fff;
            let at_ms = wanted.end_ms - (wanted.scrapes - scrape) * SCRAPE_MS + offset;
            // All of a target goes over one connection, as Prometheus' shards keep the order.
            let connection = target % requests.len();
            let request = &mut requests[connection];
            for (index, series) in series.iter_mut().enumerate() {
                let value = series.advance(&mut random);
                let exemplar = (wanted.traces > 0
                    && (index as u64).is_multiple_of(EXEMPLAR_SERIES))
                .then(|| trace_id(random.below(wanted.traces)));
                put_series(&mut request.plain, series, value, at_ms, exemplar);
                request.samples += 1;
            }
            if request.samples >= SAMPLES_PER_REQUEST {
                load.push(connection, request.samples, &request.plain);
                *request = Request::default();
            }
        }
    }
    for (connection, request) in requests.iter().enumerate() {
        if request.samples > 0 {
            load.push(connection, request.samples, &request.plain);
        }
    }
    load
}

fn put_series(out: &mut Vec<u8>, series: &Series, value: f64, at_ms: i64, trace: Option<[u8; 16]>) {
    put_message(out, 1, |out| {
        out.extend_from_slice(&series.labels);
        put_sample(out, value, at_ms);
        let Some(trace) = trace else { return };
        put_message(out, 3, |out| {
            put_message(out, 1, |out| {
                put_bytes(out, 1, b"trace_id");
                put_bytes(out, 2, crate::spans::hex(&trace).as_bytes());
            });
            put_fixed64(out, 2, value.to_bits());
            put_uint(out, 3, at_ms as u64);
        });
    });
}

pub(crate) fn put_sample(out: &mut Vec<u8>, value: f64, at_ms: i64) {
    put_message(out, 2, |out| {
        put_fixed64(out, 1, value.to_bits());
        put_uint(out, 2, at_ms as u64);
    });
}
