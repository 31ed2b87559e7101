//! Logs on standard error, and the metrics with their names, help and buckets. Must not know what is counted
//! where. Whatever the filter says, two targets stay shut that would write secrets into the log.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use metrics::Unit;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// From event received to SMTP accepted, in seconds: the promise is a mail within a second, retries make hours.
const ACCEPT_BUCKETS: [f64; 15] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];

/// What a metric is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric.
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, labels, help }
}

/// Every metric there is.
pub const METRICS: [Metric; 14] = [
    metric("signalpost_events_total", Kind::Counter, &["type", "outcome"], "Events by what became of them"),
    metric(
        "signalpost_dispatches_total",
        Kind::Counter,
        &["template", "state"],
        "Dispatches by where they ended",
    ),
    metric(
        "signalpost_attempts_total",
        Kind::Counter,
        &["class"],
        "Tries to send, by the class of the reply",
    ),
    metric(
        "signalpost_event_to_accept_seconds",
        Kind::Histogram,
        &[],
        "From event received to SMTP accepted",
    ),
    metric(
        "signalpost_smtp_uncertain_total",
        Kind::Counter,
        &[],
        "Mails whose acceptance was not heard, so that they may come twice",
    ),
    metric(
        "signalpost_integration_open",
        Kind::Gauge,
        &["integration"],
        "1 while the circuit is open and nothing is sent through the integration",
    ),
    metric(
        "signalpost_tokens_total",
        Kind::Counter,
        &["purpose", "event"],
        "Tokens by what happened to them",
    ),
    metric("signalpost_broker_connected", Kind::Gauge, &[], "1 while the worker consumes from the broker"),
    metric("signalpost_build_info", Kind::Gauge, &["version"], "1, with the version of the program"),
    metric(
        "signalpost_dispatches_due",
        Kind::Gauge,
        &[],
        "Dispatches due in the database; the same on every replica, so use max()",
    ),
    metric(
        "signalpost_oldest_due_seconds",
        Kind::Gauge,
        &[],
        "How long the oldest has been due that is neither paused nor behind an open circuit; use max()",
    ),
    metric(
        "signalpost_dispatches_waiting",
        Kind::Gauge,
        &["why"],
        "Dispatches that wait, and for what; use max()",
    ),
    metric("signalpost_dead_letters", Kind::Gauge, &["kind", "reason"], "Dead letters; use max()"),
    metric(
        "signalpost_oldest_dead_letter_seconds",
        Kind::Gauge,
        &[],
        "Age of the oldest dead letter; use max()",
    ),
];

/// The built-in event types.
const TYPES: [&str; 12] = [
    "account.signed-in",
    "account.created",
    "account.updated",
    "account.deleted",
    "account.password-reset-requested",
    "account.password-changed",
    "account.email-change-requested",
    "account.email-changed",
    "account.administrator-granted",
    "account.out-of-office-detected",
    "account.out-of-office-warned",
    "account.on-vacation",
];
/// What becomes of events whose type is known, the last three being why they are refused.
const OUTCOMES: [&str; 10] = [
    "dispatched",
    "applied",
    "no-automation",
    "condition-false",
    "throttled",
    "stale",
    "duplicate",
    "unknown-member",
    "email-in-use",
    "id-reused",
];
/// Why events are refused whose type may be anything.
const REFUSALS: [&str; 4] = ["invalid", "unknown-type", "unknown-project", "poison"];
const TEMPLATES: [&str; 6] = [
    "reset-password-confirm",
    "change-password",
    "change-email-confirm",
    "change-email",
    "out-of-office-warning",
    "out-of-office-change",
];
const ENDS: [&str; 3] = ["sent", "dead", "cancelled"];
const CLASSES: [&str; 4] = ["accepted", "transient", "permanent", "integration"];
const PURPOSES: [&str; 4] = ["reset-password", "change-email", "undo-email-change", "notifications"];
const TOKEN_EVENTS: [&str; 2] = ["issued", "used"];

/// Starts the log. JSON lines when standard output is no terminal: then nobody is reading along.
pub fn start(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).context("the log filter could not be read")?;
    let layer = fmt::layer().with_writer(io::stderr);
    let layer = if io::stdout().is_terminal() {
        layer.with_ansi(io::stderr().is_terminal()).boxed()
    } else {
        layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    };
    Registry::default().with(gate(filter)).with(layer).try_init().context("the log could not be started")
}

/// What may pass, in front of all layers. As a filter of one layer it loses lines: the library keeps such a
/// filter's last answer for the thread, sqlx asks (as a user of `log`) whether it may log a statement without
/// then logging anything, and that no is taken for the next line or span that comes.
fn gate<S: Subscriber>(filter: EnvFilter) -> impl Layer<S> {
    filter.and_then(filter_fn(may_be_logged))
}

/// lapin writes the body of a returned message; sqlx writes each statement, below warnings for nothing but
/// its being run. Both for any filter that somebody sets while looking for a fault.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    match metadata.target() {
        target if target.starts_with("lapin::returned_messages") => false,
        // And PostgreSQL's notices: `if not exists` tells each partition that is there already.
        target if target.starts_with("sqlx::query") || target.starts_with("sqlx::postgres::notice") => {
            *metadata.level() <= Level::WARN
        }
        _ => true,
    }
}

/// Starts counting. The handle renders what `/metrics` answers; `run_upkeep` on it is to be called every few
/// seconds, for without a scrape the histograms would grow.
pub fn metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = recorder()?.install_recorder().context("the metrics could not be started")?;
    describe();
    initialise();
    Ok(handle)
}

fn recorder() -> anyhow::Result<PrometheusBuilder> {
    let accept = Matcher::Full("signalpost_event_to_accept_seconds".to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(accept, &ACCEPT_BUCKETS).context("the buckets are wrong")
}

fn describe() {
    for metric in &METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, Unit::Seconds, metric.help),
        }
    }
}

/// Every series whose labels are known is there from the start, or the first of a kind would be no increase.
fn initialise() {
    metrics::gauge!("signalpost_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics::gauge!("signalpost_broker_connected").set(0.0);
    metrics::counter!("signalpost_smtp_uncertain_total").absolute(0);
    drop(metrics::histogram!("signalpost_event_to_accept_seconds"));
    for class in CLASSES {
        metrics::counter!("signalpost_attempts_total", "class" => class).absolute(0);
    }
    let of_types = TYPES.iter().flat_map(|kind| OUTCOMES.map(|outcome| (*kind, outcome)));
    for (kind, outcome) in of_types.chain(REFUSALS.map(|reason| ("other", reason))) {
        metrics::counter!("signalpost_events_total", "type" => kind, "outcome" => outcome).absolute(0);
    }
    for (template, end) in TEMPLATES.iter().flat_map(|template| ENDS.map(|end| (*template, end))) {
        metrics::counter!("signalpost_dispatches_total", "template" => template, "state" => end).absolute(0);
    }
    for (purpose, event) in PURPOSES.iter().flat_map(|purpose| TOKEN_EVENTS.map(|event| (*purpose, event))) {
        metrics::counter!("signalpost_tokens_total", "purpose" => purpose, "event" => event).absolute(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::BUILT_IN;
    use crate::domain::change::Change;
    use crate::domain::dispatch::Class;
    use crate::domain::event::{Outcome, Reason};
    use crate::domain::token::Purpose;
    use tracing::subscriber::with_default;

    #[derive(Clone, Default)]
    struct Written(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_filter_opens_the_targets_that_write_secrets() {
        let written = Written::default();
        let writer = written.clone();
        let filter = EnvFilter::try_new("trace,lapin::returned_messages=trace,sqlx::query=trace").unwrap();
        let layer = fmt::layer().with_writer(move || writer.clone());
        with_default(Registry::default().with(gate(filter)).with(layer), || {
            tracing::error!(target: "lapin::returned_messages", "hunter2");
            tracing::info!(target: "sqlx::query", "hunter2");
            tracing::warn!(target: "sqlx::query", "slow statement");
            tracing::trace!("shown");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(
            text.contains("shown") && text.contains("slow statement") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn counters_are_there_before_anything_happened() {
        let recorder = recorder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            initialise();
        });
        let text = handle.render();
        for metric in METRICS.iter().filter(|metric| metric.kind != Kind::Gauge) {
            let has_series = |line: &str| line.starts_with(metric.name) && line.ends_with(" 0");
            assert!(text.lines().any(has_series), "{} in {text}", metric.name);
        }
        for series in [
            "signalpost_events_total{type=\"account.signed-in\",outcome=\"applied\"} 0",
            "signalpost_dispatches_total{template=\"change-email\",state=\"dead\"} 0",
            "signalpost_tokens_total{purpose=\"notifications\",event=\"used\"} 0",
            "signalpost_attempts_total{class=\"transient\"} 0",
            "signalpost_smtp_uncertain_total 0",
            "signalpost_event_to_accept_seconds_count 0",
            "signalpost_broker_connected 0",
        ] {
            assert!(text.contains(series), "{series} in {text}");
        }
    }

    #[test]
    fn the_known_labels_are_those_of_the_domain() {
        for kind in TYPES {
            let read = Change::read(kind, &serde_json::json!({}));
            assert!(!read.is_err_and(|refusal| refusal.reason == Reason::UnknownType), "{kind}");
        }
        for built_in in &BUILT_IN {
            assert!(TYPES.contains(&built_in.event_type) && TEMPLATES.contains(&built_in.template));
        }
        let classes = [Class::Accepted, Class::Transient, Class::Permanent, Class::Integration];
        assert_eq!(classes.map(Class::name), CLASSES);
        assert_eq!(Purpose::ALL.map(Purpose::name), PURPOSES);
        let outcomes = [
            Outcome::Dispatched,
            Outcome::Applied,
            Outcome::NoAutomation,
            Outcome::ConditionFalse,
            Outcome::Throttled,
            Outcome::Stale,
        ];
        assert_eq!(outcomes.map(Outcome::name), OUTCOMES[..6]);
        let known = [Reason::UnknownMember, Reason::EmailInUse, Reason::IdReused];
        assert_eq!(known.map(Reason::name), OUTCOMES[7..]);
        let other = [Reason::Invalid, Reason::UnknownType, Reason::UnknownProject, Reason::Poison];
        assert_eq!(other.map(Reason::name), REFUSALS);
    }

    #[test]
    fn every_metric_is_described_and_the_histogram_has_buckets() {
        let recorder = recorder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            for metric in &METRICS {
                match metric.kind {
                    Kind::Counter => metrics::counter!(metric.name).increment(1),
                    Kind::Gauge => metrics::gauge!(metric.name).set(1.0),
                    Kind::Histogram => metrics::histogram!(metric.name).record(0.2),
                }
            }
        });
        let text = handle.render();
        for metric in &METRICS {
            assert!(text.contains(&format!("# HELP {} ", metric.name)), "{}", metric.name);
        }
        assert!(text.contains("signalpost_event_to_accept_seconds_bucket{le=\"0.25\"} 1"), "{text}");
    }
}
