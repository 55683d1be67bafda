//! What was measured, as a table in Markdown: medians of the rounds, and ours by etcd's.
use std::collections::BTreeMap;
use std::time::Duration;

use super::histogram::Histogram;
use super::load::Measured;
use super::peer::Product;

/// Gathers and prints.
#[derive(Default)]
pub(crate) struct Report {
    rounds: BTreeMap<String, BTreeMap<&'static str, Vec<Measured>>>,
    notes: Vec<(String, &'static str, String)>,
}

fn name(product: Product) -> &'static str {
    match product {
        Product::Etcd => "etcd",
        Product::Mainstay => "mainstay",
    }
}

impl Report {
    /// Prints the head.
    pub(crate) fn begin() -> Self {
        println!("| what | server | ops/s | CPU µs/op | p50 ms | p99 ms | |");
        println!("|---|---|---|---|---|---|---|");
        Self::default()
    }

    /// Takes a round.
    pub(crate) fn add(&mut self, what: &str, product: Product, measured: Measured) {
        let of_what = self.rounds.entry(what.to_owned()).or_default();
        of_what.entry(name(product)).or_default().push(measured);
    }

    /// Takes a figure that is not a rate.
    pub(crate) fn note(&mut self, product: Product, what: &str, figure: &str) {
        println!("| {what} | {} | {figure} | | | | |", name(product));
        self.notes.push((what.to_owned(), name(product), figure.to_owned()));
    }

    /// Prints what both gave.
    pub(crate) fn line(&self, what: &str) {
        let Some(rounds) = self.rounds.get(what) else { return };
        let summaries: Vec<(&str, Summary)> = ["etcd", "mainstay"]
            .into_iter()
            .filter_map(|name| Some((name, Summary::of(rounds.get(name)?))))
            .collect();
        for (name, summary) in &summaries {
            println!(
                "| {what} | {name} | {:.0} | {:.1} | {:.2} | {:.2} | {} |",
                summary.rate, summary.cpu_micros, summary.p50, summary.p99, summary.note
            );
        }
        if let [(_, etcd), (_, ours)] = &summaries[..] {
            println!(
                "| | **ratio** | **{:.2}** | **{:.2}** | **{:.2}** | **{:.2}** | |",
                ours.rate / etcd.rate,
                ours.cpu_micros / etcd.cpu_micros,
                ours.p50 / etcd.p50,
                ours.p99 / etcd.p99
            );
        }
    }

    /// Prints the end.
    pub(crate) fn end(self) {
        println!("\n{} loads, {} figures; medians of the rounds", self.rounds.len(), self.notes.len());
    }
}

struct Summary {
    rate: f64,
    cpu_micros: f64,
    p50: f64,
    p99: f64,
    note: String,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn millis(latency: Duration) -> f64 {
    latency.as_secs_f64() * 1000.0
}

impl Summary {
    fn of(rounds: &[Measured]) -> Self {
        let each = |figure: fn(&Measured) -> f64| median(rounds.iter().map(figure).collect());
        let mut all = Histogram::default();
        for round in rounds {
            all.merge(&round.latency);
        }
        Self {
            rate: each(|round| round.ops as f64 / round.took.as_secs_f64()),
            cpu_micros: each(|round| round.cpu.as_secs_f64() * 1e6 / round.ops.max(1) as f64),
            p50: millis(all.percentile(0.5)),
            p99: millis(all.percentile(0.99)),
            note: rounds.last().map(|round| round.note.clone()).unwrap_or_default(),
        }
    }
}
