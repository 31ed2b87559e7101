//! Drains a full queue, one member an event, through a real RabbitMQ, a real PostgreSQL and the sink: the whole
//! application, in turn with a bare loop that takes, inserts and sends without any product logic. The ratio of
//! the two is the figure; docs/performance.md tells how to run it and what it showed.

#![expect(clippy::print_stdout, reason = "a benchmark tells its figures")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark stands outside: it publishes, spawns, reads the time"
)]

#[path = "drain/bare.rs"]
mod bare;
#[path = "drain/place.rs"]
mod place;
#[path = "drain/processor.rs"]
mod processor;
#[path = "drain/product.rs"]
mod product;
#[path = "../tests/support/sink/mod.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "made for tests, which use all of it"
)]
mod sink;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};

use place::{Database, Vhost};
use processor::Usage;

/// Messages in flight from the broker, as the product's default.
const PREFETCH: u16 = 2048;
/// A round that takes longer has failed.
const LIMIT: Duration = Duration::from_mins(5);

#[derive(Parser)]
struct Arguments {
    /// Members, and events: one each.
    #[arg(long, default_value_t = 20_000)]
    members: usize,
    /// Rounds of each; the first of each warms up and does not count.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// SMTP connections.
    #[arg(long, default_value_t = 10)]
    connections: u16,
    #[arg(long)]
    only: Option<Which>,
    /// Tells how much processor time each process took.
    #[arg(long)]
    processor: bool,
    /// Has the server log the plan of every statement (`auto_explain`), which slows it down.
    #[arg(long)]
    plans: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Product,
    Bare,
}

/// What a round works with.
struct Round<'a> {
    vhost: &'a Vhost,
    database: &'a Database,
    sink: &'a sink::Sink,
    count: usize,
    connections: u16,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&arguments))
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let metrics = signalpost::telemetry::metrics()?;
    let vhost = Vhost::new()?;
    let chosen = [Which::Bare, Which::Product].into_iter();
    let chosen: Vec<Which> =
        chosen.filter(|which| arguments.only.is_none_or(|only| only == *which)).collect();
    let (mut bare, mut product) = (Vec::new(), Vec::new());
    for round in 0..=arguments.rounds {
        for which in &chosen {
            // Ends with this turn, so that the next starts from nothing.
            let database = Database::new(arguments.plans).await?;
            let sink = sink::Sink::builder().usual().keep_bodies(false).start_on_own_thread();
            let work = Round {
                vhost: &vhost,
                database: &database,
                sink: &sink,
                count: arguments.members,
                connections: arguments.connections,
            };
            let done = match which {
                Which::Bare => bare::run(&work).await,
                Which::Product => product::run(&work, metrics.clone()).await,
            };
            database.drop().await?;
            let (before, taken) = done?;
            let rate = rate(arguments.members, taken);
            let name = if *which == Which::Bare { "bare loop" } else { "product" };
            println!("round {round}: {name:9} {rate:6.0} events/s, {:.2} s", taken.as_secs_f64());
            if arguments.processor {
                println!("    processor time: {}", Usage::now()?.since(&before));
            }
            ensure!(sink.count() == arguments.members, "{} mails were sent", sink.count());
            let rates = if *which == Which::Bare { &mut bare } else { &mut product };
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    println!(
        "median: bare loop {:.0} events/s, product {:.0} events/s",
        median(&mut bare),
        median(&mut product)
    );
    if arguments.only.is_none() {
        println!("ratio: {:.2}", median(&mut product) / median(&mut bare));
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn rate(count: usize, taken: Duration) -> f64 {
    count as f64 / taken.as_secs_f64()
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    match rates {
        [] => f64::NAN,
        [.., _] if rates.len() % 2 == 1 => rates[rates.len() / 2],
        _ => f64::midpoint(rates[rates.len() / 2 - 1], rates[rates.len() / 2]),
    }
}
