#ifndef FARM_OCI_BLOB_DOWNLOAD_H_
#define FARM_OCI_BLOB_DOWNLOAD_H_

#include <cstdint>

#include "absl/status/status.h"
#include "base/byte_stream.h"
#include "oci/registry_transport.h"

namespace farm {

// Registry::FetchBlob over HTTP: a broken connection is resumed by a range request, with the next
// mirror or the registry itself. A host's blobs that may come from a mirror are kept in an unlinked
// file (under $TMPDIR, else /var/tmp) until they are verified; if they are wrong, the registry
// itself is asked for all of them.
absl::Status DownloadBlob(RegistryTransport& transport, const Reference& repository,
                          const Descriptor& blob, int64_t offset, ByteSink& sink,
                          const RegistryCall& call);

}  // namespace farm

#endif  // FARM_OCI_BLOB_DOWNLOAD_H_
