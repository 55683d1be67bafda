//! The files of the dashboard. Written by `npm run build` in dashboard/; never by hand.

use super::file::File;

/// A hash over what these files were made of.
#[cfg(test)]
pub(super) const SOURCES_SHA256: &str = "cb2a22cf7bbf101fb2150502ff3d58e878df4be29da04a4d3151468dccd5357b";

/// All of them.
pub(super) static FILES: &[File] = &[
    File {
        path: "assets/index-BcOwwxut.js",
        content_type: "text/javascript; charset=utf-8",
        sha256: "d48d87f65f4ac78ff01c57a62c5a3c0ce88649e9e20879be7f669637a4c439fb",
        is_gzip: true,
        bytes: include_bytes!("assets/index-BcOwwxut.js.gz"),
    },
    File {
        path: "assets/index-LJqRfEOt.css",
        content_type: "text/css; charset=utf-8",
        sha256: "06d8ae4c37ccb39d2f898f2fea425ab14fd5368815c868d47fd657c183a23b93",
        is_gzip: true,
        bytes: include_bytes!("assets/index-LJqRfEOt.css.gz"),
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
        sha256: "5082a1df321c0b315429c0daf63119568f0d0ccdc6297b6f9a376bc36a20e410",
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
