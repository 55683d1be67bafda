//! How long one pod takes through each codec. Run with `cargo bench -p mainstay-apiserver-machinery`; medians of
//! many short runs, since machines are noisy.

use mainstay_apiserver_machinery::json::{self, Strictness};
use mainstay_apiserver_machinery::object::MetaMut;
use mainstay_apiserver_machinery::ownership::{self, Application, FieldSet, Shape, Writing};
use mainstay_apiserver_machinery::protobuf::{self, Identity};
use mainstay_apiserver_machinery::schema::{self, Type};
use mainstay_apiserver_machinery::value::Value;
use mainstay_apiserver_machinery::{defaults, patch};
use std::hint::black_box;
use std::time::{Duration, Instant};

const POD: &[u8] = include_bytes!("pod.json");
const RUNS: usize = 51;
const PER_RUN: u32 = 400;

/// The median time of one call.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn median(mut call: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..PER_RUN {
                call();
            }
            start.elapsed() / PER_RUN
        })
        .collect();
    times.sort_unstable();
    times.get(RUNS / 2).copied().unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "a bench prints what it found")]
#[expect(clippy::cast_precision_loss, reason = "sizes are small")]
fn report(what: &str, bytes: usize, time: Duration) {
    let rate = bytes as f64 / time.as_secs_f64() / 1e6;
    println!("{what:<32} {:>9.2} µs  {rate:>8.0} MB/s", time.as_secs_f64() * 1e6);
}

fn run(ty: &'static Type) -> Result<(), Box<dyn std::error::Error>> {
    let pod = json::decode(POD, Some(ty), Strictness::Strict)?.value;
    let mut stored = Vec::new();
    protobuf::encode(&pod, ty, &mut stored)?;
    let identity = Identity { api_version: "v1", kind: "Pod", resource_version: "4711" };
    let mut out = Vec::with_capacity(64 * 1024);

    report(
        "json decode (typed, strict)",
        POD.len(),
        median(|| {
            black_box(json::decode(POD, Some(ty), Strictness::Strict).is_ok());
        }),
    );
    report(
        "json decode (free)",
        POD.len(),
        median(|| {
            black_box(json::decode_free(POD).is_ok());
        }),
    );
    report(
        "json encode",
        POD.len(),
        median(|| {
            out.clear();
            json::encode(black_box(&pod), &mut out);
        }),
    );
    report(
        "protobuf encode",
        stored.len(),
        median(|| {
            out.clear();
            black_box(protobuf::encode(&pod, ty, &mut out).is_ok());
        }),
    );
    report(
        "protobuf decode",
        stored.len(),
        median(|| {
            black_box(protobuf::decode(&stored, ty).is_ok());
        }),
    );
    report(
        "protobuf to json, direct",
        stored.len(),
        median(|| {
            out.clear();
            black_box(protobuf::transcode_json(&stored, ty, identity, &mut out).is_ok());
        }),
    );
    report(
        "defaults",
        POD.len(),
        median(|| {
            defaults::apply(&mut black_box(pod.clone()), ty);
        }),
    );
    let change = json::decode_free(br#"{"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#)?;
    report(
        "strategic merge",
        POD.len(),
        median(|| {
            black_box(patch::strategic_merge(&pod, &change, ty).is_ok());
        }),
    );
    owners(ty, &pod)
}

/// What following field owners costs a write.
fn owners(ty: &'static Type, pod: &Value) -> Result<(), Box<dyn std::error::Error>> {
    let shape = Shape::of(ty);
    let reset = FieldSet::of_names(&[&["status"]]);
    let none = FieldSet::new();
    let writing = |subresource, reset| Writing {
        manager: "bench",
        api_version: "v1",
        subresource,
        now: "2026-11-26T12:00:00Z",
        reset,
    };
    let mut labelled = pod.clone();
    labelled.set_path(&["metadata", "labels", "bench"], "x");
    let mut reported = pod.clone();
    reported.set_path(&["status", "phase"], "Failed");
    for (what, new, reset, subresource) in [
        ("owners: nothing changes", pod, &reset, ""),
        ("owners: a label changes", &labelled, &reset, ""),
        ("owners: a status changes", &reported, &none, "status"),
    ] {
        let mut target = new.clone();
        report(
            what,
            POD.len(),
            median(|| {
                drop(MetaMut::new(&mut target).remove("managedFields"));
                ownership::track_update(shape, black_box(pod), &mut target, &writing(subresource, reset));
            }),
        );
    }
    let config = json::decode_free(
        br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":"b"}},"spec":{"containers":[{"name":"web","image":"i"}]}}"#,
    )?;
    let application =
        Application { shape, live: pod, config: &config, writing: writing("", &reset), force: true };
    report(
        "owners: an apply",
        POD.len(),
        median(|| {
            black_box(ownership::apply(application).is_ok());
        }),
    );
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    black_box(schema::all().len());
    report("reading the schema table, once", schema::TABLE_BYTES, start.elapsed());
    let ty = schema::lookup("core/v1.Pod").ok_or("core/v1.Pod is not in the schema")?;
    run(ty)
}
