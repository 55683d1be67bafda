//! The endpoint slice controller: the addresses of the pods behind each service.

mod endpoints;
mod plan;
mod ports;
mod reconciler;
mod world;

pub(crate) use reconciler::EndpointSliceController;
