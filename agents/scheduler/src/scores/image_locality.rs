//! Prefers nodes that have the pod's images already, the more the larger they are.

use crate::framework::{Rate, SCORE_MAX, Score};
use crate::state::{NodeInfo, PodInfo, Snapshot};

const MEBIBYTE: i64 = 1024 * 1024;
/// Images smaller than this together are not worth a preference; from the upper bound per container on, more do not
/// count.
const BYTES_MIN: i64 = 23 * MEBIBYTE;
const BYTES_MAX_PER_CONTAINER: i64 = 1000 * MEBIBYTE;

pub(super) struct ImageLocality;

impl Score for ImageLocality {
    fn weight(&self) -> i64 {
        1
    }

    fn pre_score<'a>(&'a self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Rate<'a>> {
        let spec = pod.spec()?;
        let containers = || spec.init_containers.iter().flatten().chain(&spec.containers);
        let images: Vec<String> =
            containers().filter_map(|container| container.image.as_deref()).map(normal).collect();
        let count = i64::try_from(images.len()).unwrap_or(i64::MAX).max(1);
        let nodes = i64::try_from(snapshot.nodes().count()).unwrap_or(i64::MAX).max(1);
        let spread: Vec<(String, i64)> = images
            .into_iter()
            .map(|image| {
                let having = snapshot.nodes().filter(|node| node.image_bytes.contains_key(&image)).count();
                (image, i64::try_from(having).unwrap_or(i64::MAX))
            })
            .collect();
        let bytes_max = BYTES_MAX_PER_CONTAINER.saturating_mul(count);
        Some(Box::new(move |node: &NodeInfo| {
            let sum: i64 = spread
                .iter()
                .filter_map(|(image, having)| node.image_bytes.get(image).map(|bytes| bytes * having / nodes))
                .sum();
            SCORE_MAX * (sum.clamp(BYTES_MIN, bytes_max) - BYTES_MIN) / (bytes_max - BYTES_MIN)
        }))
    }
}

/// An image name without tag or digest means the tag `latest`.
fn normal(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || image.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}
