//! CRI's image service as an in-process trait.

use super::{BoxFuture, CriResult, v1};

/// Images on the node. Every call may be dropped half-way; what was done stays done and a repeated call goes on.
pub trait ImageService: Send + Sync {
    /// All images, or the one named by the filter.
    fn list_images(&self, request: v1::ListImagesRequest)
    -> BoxFuture<'_, CriResult<v1::ListImagesResponse>>;

    /// One image by reference, digest reference or id. An absent image is an empty response, not an error.
    fn image_status(
        &self,
        request: v1::ImageStatusRequest,
    ) -> BoxFuture<'_, CriResult<v1::ImageStatusResponse>>;

    /// Fetches an image from its registry. `InvalidArgument` for a bad reference, `NotFound` for an image or tag the
    /// registry does not have, `Unauthenticated`, `Unavailable`, `DataLoss` for a wrong digest,
    /// `ResourceExhausted` for an image beyond the limits.
    fn pull_image(&self, request: v1::PullImageRequest) -> BoxFuture<'_, CriResult<v1::PullImageResponse>>;

    /// Forgets an image by any of its names (all its tags go). Absent: no error.
    fn remove_image(
        &self,
        request: v1::RemoveImageRequest,
    ) -> BoxFuture<'_, CriResult<v1::RemoveImageResponse>>;

    /// The space that images and container layers take.
    fn image_fs_info(
        &self,
        request: v1::ImageFsInfoRequest,
    ) -> BoxFuture<'_, CriResult<v1::ImageFsInfoResponse>>;
}
