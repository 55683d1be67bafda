//! The files of the dashboard. Written by `npm run build` in dashboard/; never by hand.

use super::file::File;

/// A hash over what these files were made of.
#[cfg(test)]
pub(super) const SOURCES_SHA256: &str = "e2d6eafb68ed6cb4c86bbd7e56a67c012478b6af729df0df24adc81daa320327";

/// All of them.
pub(super) static FILES: &[File] = &[
    File {
        path: "assets/index-DUl4B6xu.css",
        content_type: "text/css; charset=utf-8",
        sha256: "30f8a4aa47743162936ef6aed0e02445d75517a63e957031a8ca963eb0f1f6c0",
        is_gzip: true,
        bytes: include_bytes!("assets/index-DUl4B6xu.css.gz"),
    },
    File {
        path: "assets/index-DmtvF8l1.js",
        content_type: "text/javascript; charset=utf-8",
        sha256: "6c33f1fe02bbfa440111103536694bf55ce115126daec6e9a412f05971ae4ede",
        is_gzip: true,
        bytes: include_bytes!("assets/index-DmtvF8l1.js.gz"),
    },
    File {
        path: "assets/inter-latin-wght-normal-Dx4kXJAl.woff2",
        content_type: "font/woff2",
        sha256: "3100e775e8616cd2611beecfa23a4263d7037586789b43f035236a2e6fbd4c62",
        is_gzip: false,
        bytes: include_bytes!("assets/inter-latin-wght-normal-Dx4kXJAl.woff2"),
    },
    File {
        path: "assets/jetbrains-mono-latin-wght-normal-B9CIFXIH.woff2",
        content_type: "font/woff2",
        sha256: "18be452724bfdc236c074ca94a249a7f41a86752c7d04ab258ce9ed5651f6a7e",
        is_gzip: false,
        bytes: include_bytes!("assets/jetbrains-mono-latin-wght-normal-B9CIFXIH.woff2"),
    },
    File {
        path: "assets/mark-B9kNNnW5.svg",
        content_type: "image/svg+xml",
        sha256: "a57f905eb3d1431b033dfa37d513fa8f4fe1dc4e14ab8bca0b717829568d0d77",
        is_gzip: true,
        bytes: include_bytes!("assets/mark-B9kNNnW5.svg.gz"),
    },
    File {
        path: "index.html",
        content_type: "text/html; charset=utf-8",
        sha256: "fd36de0a049dcb54712635f3f0fd0c388410d6ae33716f09ae0907b2ff7dd5e9",
        is_gzip: true,
        bytes: include_bytes!("index.html.gz"),
    },
    File {
        path: "licenses.txt",
        content_type: "text/plain; charset=utf-8",
        sha256: "7a64563fa1379224b46ab06335f7f46b1efe2defa2e0c2772156d268e99764eb",
        is_gzip: true,
        bytes: include_bytes!("licenses.txt.gz"),
    },
];
