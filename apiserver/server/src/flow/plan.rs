//! [`Plan`]: the schemas in their order, each with its level.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::Value;
use prometheus::{IntCounter, IntGauge};
use smol_str::SmolStr;

use super::lending::lend;
use super::level::{Kind, Level};
use super::metrics::FlowMetrics;
use super::queues::Layout;
use super::schema::Schema;
use crate::types::{Attributes, UserInfo};

/// Upstream's defaults of a level.
const SHARES: i64 = 30;
const LAYOUT: Layout = Layout { queues: 64, hand: 8, length_max: 50 };
/// The schema, and the level, of what nothing else matches.
const CATCH_ALL: &str = "catch-all";

/// What a level's object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LevelSpec {
    pub(super) uid: SmolStr,
    pub(super) kind: Kind,
    pub(super) shares: u64,
    /// How much of its seats others may use, in percent.
    lendable: u64,
    /// How much more than its seats it may use, in percent; without a bound where it is none.
    borrowing: Option<u64>,
}

/// The seats of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) nominal: u64,
    pub(super) least: u64,
    pub(super) most: u64,
}

/// A level and what it was made of.
#[derive(Debug)]
pub(super) struct Standing {
    spec: LevelSpec,
    pub(super) bounds: Bounds,
    pub(super) level: Arc<Level>,
}

impl LevelSpec {
    /// Reads a PriorityLevelConfiguration.
    pub(super) fn read(object: &Value) -> Self {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let number = |path: &[&str]| match spec.path(path) {
            Some(Value::Int(number)) => Some(*number),
            _ => None,
        };
        let uid = Meta(object).uid().into();
        let whole = |number: i64| u64::try_from(number).unwrap_or(0);
        if spec.path_str(&["type"]) == Some("Exempt") {
            let of = |field| whole(number(&["exempt", field]).unwrap_or(0));
            let (shares, lendable) = (of("nominalConcurrencyShares"), of("lendablePercent"));
            return Self { uid, kind: Kind::Exempt, shares, lendable, borrowing: None };
        }
        let shares = whole(number(&["limited", "nominalConcurrencyShares"]).unwrap_or(SHARES));
        let lendable = whole(number(&["limited", "lendablePercent"]).unwrap_or(0));
        let borrowing = number(&["limited", "borrowingLimitPercent"]).map(whole);
        let response = spec.path_str(&["limited", "limitResponse", "type"]);
        let queuing = |name: &str, usual: usize| {
            let number = number(&["limited", "limitResponse", "queuing", name]);
            number
                .and_then(|number| usize::try_from(number).ok())
                .filter(|number| *number > 0)
                .unwrap_or(usual)
        };
        let kind = if response == Some("Queue") {
            Kind::Queue(Layout {
                queues: queuing("queues", LAYOUT.queues),
                hand: queuing("handSize", LAYOUT.hand),
                length_max: queuing("queueLengthLimit", LAYOUT.length_max),
            })
        } else {
            Kind::Reject
        };
        Self { uid, kind, shares, lendable, borrowing }
    }

    /// A level that is there whatever became of its object.
    fn always(kind: Kind, shares: u64) -> Self {
        Self { uid: SmolStr::default(), kind, shares, lendable: 0, borrowing: None }
    }

    fn bounds(&self, seats: u64, all_shares: u64) -> Bounds {
        let nominal = (seats * self.shares).div_ceil(all_shares.max(1));
        let percent = |of: u64| (nominal * of + 50) / 100;
        let least = nominal.saturating_sub(percent(self.lendable));
        Bounds { nominal, least, most: nominal + self.borrowing.map_or(seats, percent) }
    }

    /// The most seats that one request may take, as upstream has it.
    fn seats_max(&self, nominal: u64) -> u32 {
        let Kind::Queue(layout) = self.kind else { return u32::MAX };
        let by_hand = nominal / (layout.hand as u64).max(1);
        (nominal * 15).div_ceil(100).min(by_hand).max(1) as u32
    }
}

/// A flow as a request sees it; everything a request needs is looked up already.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(super) schema: Schema,
    pub(super) level: Arc<Level>,
    pub(super) level_name: SmolStr,
    /// The values of the headers that name schema and level.
    pub(super) schema_uid: Option<HeaderValue>,
    pub(super) level_uid: Option<HeaderValue>,
    pub(super) dispatched: IntCounter,
    pub(super) executing: IntGauge,
    pub(super) executing_seats: IntGauge,
    pub(super) waiting: IntGauge,
    /// The most seats that one request may take.
    pub(super) seats_max: u32,
}

/// Names of the headers that say how a request was classified.
const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

impl Flow {
    /// Names the flow in the answer. Names of the objects are not told to clients, as upstream.
    pub(crate) fn name_in(&self, headers: &mut HeaderMap) {
        if let (Some(schema), Some(level)) = (&self.schema_uid, &self.level_uid) {
            headers.insert(SCHEMA_UID, schema.clone());
            headers.insert(LEVEL_UID, level.clone());
        }
    }

    /// Counts a request that is turned away at `now` (seconds of Unix time); the seconds it is told to stay away.
    pub(crate) fn turned_away(&self, now: u64) -> u64 {
        self.level.turned_away(now)
    }
}

/// The schemas in the order in which they are matched.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) flows: Vec<Arc<Flow>>,
    pub(super) levels: BTreeMap<SmolStr, Standing>,
    /// Where a request goes that nothing else matches.
    rest: Option<Arc<Flow>>,
}

impl Plan {
    /// A plan of these objects with `seats` in all. Levels of `before` whose kind stays keep who runs and waits there.
    pub(super) fn of(
        schemas: &[Value],
        levels: &[Value],
        seats: u64,
        before: &Plan,
        metrics: &FlowMetrics,
    ) -> Self {
        let levels = standings(levels, seats, before, metrics);
        let mut schemas: Vec<Schema> = schemas.iter().map(Schema::read).collect();
        for always in [Schema::exempt(), Schema::catch_all()] {
            if !schemas.iter().any(|schema| schema.name == always.name) {
                schemas.push(always);
            }
        }
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        // As upstream: a schema whose level is not there is not matched.
        let flows = schemas.into_iter().filter_map(|schema| flow(schema, &levels, metrics)).map(Arc::new);
        let flows: Vec<Arc<Flow>> = flows.collect();
        let rest = flows.iter().rev().find(|flow| flow.schema.name == CATCH_ALL).or_else(|| flows.last());
        let rest = rest.map(Arc::clone);
        let plan = Self { flows, levels, rest };
        lend(&plan, metrics);
        plan
    }

    /// The flow of a request; a plan that was made of objects has one for every request.
    pub(super) fn classify(&self, user: &UserInfo, asked: &Attributes) -> Option<&Arc<Flow>> {
        self.flows.iter().find(|flow| flow.schema.matches(user, asked)).or(self.rest.as_ref())
    }
}

/// The levels with their seats.
fn standings(
    levels: &[Value],
    seats: u64,
    before: &Plan,
    metrics: &FlowMetrics,
) -> BTreeMap<SmolStr, Standing> {
    let mut specs: BTreeMap<SmolStr, LevelSpec> =
        levels.iter().map(|object| (Meta(object).name().into(), LevelSpec::read(object))).collect();
    // Both are always there, whatever became of their objects.
    specs.entry("exempt".into()).or_insert_with(|| LevelSpec::always(Kind::Exempt, 0));
    specs.entry(CATCH_ALL.into()).or_insert_with(|| LevelSpec::always(Kind::Reject, 5));
    let all_shares: u64 = specs.values().map(|spec| spec.shares).sum();
    let standing = |(name, spec): (SmolStr, LevelSpec)| {
        let bounds = spec.bounds(seats, all_shares);
        let label = [name.as_str()];
        for (gauge, seats) in [
            (&metrics.nominal_limit, bounds.nominal),
            (&metrics.lower_limit, bounds.least),
            (&metrics.upper_limit, bounds.most),
        ] {
            gauge.with_label_values(&label).set(i64::try_from(seats).unwrap_or(i64::MAX));
        }
        let kept = before.levels.get(&name).filter(|standing| standing.level.kind() == spec.kind);
        let level = kept.map_or_else(
            || Arc::new(Level::new(spec.kind, bounds.nominal)),
            |standing| Arc::clone(&standing.level),
        );
        (name, Standing { spec, bounds, level })
    };
    specs.into_iter().map(standing).collect()
}

fn flow(schema: Schema, levels: &BTreeMap<SmolStr, Standing>, metrics: &FlowMetrics) -> Option<Flow> {
    let standing = levels.get(&schema.level)?;
    let labels = [schema.level.as_str(), schema.name.as_str()];
    let header = |uid: &str| HeaderValue::from_str(uid).ok().filter(|uid| !uid.is_empty());
    Some(Flow {
        dispatched: metrics.dispatched.with_label_values(&labels),
        executing: metrics.executing.with_label_values(&labels),
        executing_seats: metrics.executing_seats.with_label_values(&labels),
        waiting: metrics.waiting.with_label_values(&labels),
        schema_uid: header(&schema.uid),
        level_uid: header(&standing.spec.uid),
        seats_max: standing.spec.seats_max(standing.bounds.nominal),
        level: Arc::clone(&standing.level),
        level_name: schema.level.clone(),
        schema,
    })
}
