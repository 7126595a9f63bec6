#ifndef FARM_OCI_BLOB_UPLOAD_H_
#define FARM_OCI_BLOB_UPLOAD_H_

#include "absl/status/status.h"
#include "oci/registry_transport.h"

namespace farm {

// Registry::PushBlob over HTTP, without asking first whether the blob is there. One PUT, or PATCH
// requests; after a break it goes on where the registry stands.
absl::Status UploadBlob(RegistryTransport& transport, const Reference& repository,
                        const Descriptor& blob, const BlobOpener& open, const RegistryCall& call);

}  // namespace farm

#endif  // FARM_OCI_BLOB_UPLOAD_H_
